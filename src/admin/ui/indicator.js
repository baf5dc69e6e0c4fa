// crossfade's data source indicator, for the service's own pages:
//   <script src="/.crossfade/indicator.js" defer data-path="/feed"></script>
// Shows which lane feeds the page. data-path: where the page opens its WebSocket; data-query: the
// query that it adds; data-every: seconds (30). Style it as `crossfade-lane[lane=hot]`. Without an answer it hides.
(() => {
  const { path = "/", query = "", every = "30" } = document.currentScript?.dataset ?? {};
  const names = { legacy: "Legacy", hot: "Realtime", cold: "Realtime", native: "Supabase" };
  const place = document.querySelector("crossfade-lane") ?? document.body.appendChild(document.createElement("crossfade-lane"));
  place.setAttribute("role", "status");
  place.hidden = true;
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(`/.crossfade/lane?path=${path}&${query}`, { cache: "no-store" });
      const { lane } = answer.ok ? await answer.json() : {};
      const changed = place.getAttribute("lane") !== lane;
      place.hidden = !names[lane];
      if (!names[lane] || !changed) return;
      place.setAttribute("lane", lane);
      place.textContent = `Data: ${names[lane]}`;
      dispatchEvent(new CustomEvent("crossfade-lane", { detail: lane }));
    } catch {
      place.hidden = true;
    }
  };
  look();
  setInterval(look, Math.max(5, +every || 30) * 1000);
  document.addEventListener("visibilitychange", look);
})();
