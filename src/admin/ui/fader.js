// The fader: where the share of the users on Realtime is seen and changed. Moving it changes nothing yet: the
// server's preview is shown, the person types the percentage, and only then is it sent.

import { get, mayOperate, post, put } from "./api.js";
import { announce, h, int, percent, rate, ratio, s, show, usd, words } from "./dom.js";

const clamp = (n) => Math.max(0, Math.min(100, Math.round(n * 1000) / 1000));
const TICKS = Array.from({ length: 41 }, (_, at) => at * 2.5);

/** Builds the fader; `ask` opens the way to a token. Returns its element and how it is told about a new status. */
export function fader(ask) {
  let seen = null; // the rollout as the server says
  let wanted = null; // where the person has put the cap; null: where the server says
  let asked = 0;

  const cap = h("div", { class: "cap", role: "slider", tabindex: "0", "aria-label": "Share of the users on Realtime, in percent",
    "aria-valuemin": "0", "aria-valuemax": "100", "aria-describedby": "fader-help" }, h("i"), h("output", { "aria-hidden": "true" }));
  const live = h("span", { class: "pin live-pin" }, h("b"), h("span"));
  const slot = h("div", { class: "slot" }, h("span", { class: "ghost", "aria-hidden": "true" }), cap, live);
  const rule = s("svg", { class: "rule", viewBox: "0 0 1000 14", preserveAspectRatio: "none", "aria-hidden": "true" },
    TICKS.map((at) => s("path", { d: `M${at * 10} 0v${at % 25 === 0 ? 14 : at % 10 === 0 ? 9 : 5}`, class: at % 25 === 0 ? "long" : "" })));
  const scale = h("div", { class: "scale", "aria-hidden": "true" }, [0, 25, 50, 75, 100].map((at) => h("span", {}, at)));
  const exact = h("input", { id: "exact", type: "text", inputmode: "decimal", autocomplete: "off", size: "6", "aria-describedby": "fader-help" });
  const line = h("p", { class: "fader-line" });
  const panel = h("form", { class: "confirm", hidden: true, "aria-label": "Confirm the new share" });
  const element = h("section", { class: "fader", "aria-label": "Fader" },
    h("div", { class: "ends", "aria-hidden": "true" }, h("span", { class: "l" }, "Legacy"), h("span", { class: "r" }, "Realtime")),
    h("div", { class: "track" }, rule, slot, scale), line,
    h("p", { class: "exact" }, h("label", { for: "exact" }, "Set to"), exact, h("span", {}, "%"),
      h("small", { id: "fader-help" }, "Drag, use the arrow keys (Page Up and Down: 10), or type. Nothing moves until you confirm.")),
    panel);

  const position = () => wanted ?? seen?.percent ?? 0;

  function draw() {
    const at = position();
    cap.style.left = `${at}%`;
    cap.setAttribute("aria-valuenow", at);
    cap.setAttribute("aria-valuetext", `${percent(at)} of the users on Realtime${wanted === null ? "" : ", not confirmed"}`);
    cap.querySelector("output").textContent = percent(at);
    element.classList.toggle("moved", wanted !== null);
    slot.querySelector(".ghost").style.left = `${seen?.percent ?? 0}%`;
    if (document.activeElement !== exact) exact.value = String(at);
    const share = seen?.live_percent;
    live.hidden = typeof share !== "number";
    live.style.left = `${share ?? 0}%`;
    live.lastChild.textContent = `live ${percent(share)}`;
    live.classList.toggle("right", share > 80 || (share < at && at - share < 14 && share > 10));
    live.classList.toggle("near", Math.abs(share - at) < 3);
  }

  function sentence() {
    if (!seen) return;
    const parts = [h("strong", {}, `Wanted ${percent(seen.percent)}`), typeof seen.live_percent === "number" ? ` · live ${percent(seen.live_percent)}` : " · nobody to move yet"];
    if (seen.effective_percent !== seen.percent) parts.push(` · effective ${percent(seen.effective_percent)}`);
    parts.push(` · lane ${seen.lane} · decided by ${words(seen.tier)} · `, seen.scope === "fleet" ? "the whole fleet" : "this pod only");
    show(line, parts);
  }

  function move(to, from) {
    if (!seen) return;
    wanted = clamp(to);
    if (wanted === seen.percent && from !== "drag") return cancel();
    draw();
    preview();
  }

  function cancel(back) {
    wanted = null;
    asked += 1;
    panel.hidden = true;
    panel.replaceChildren();
    draw();
    if (back) cap.focus();
  }

  let timer = 0;
  function preview(said) {
    clearTimeout(timer);
    const [mine, to] = [++asked, wanted];
    timer = setTimeout(async () => {
      const found = await post("rollout/preview", { percent: to }).catch((refusal) => ({ refusal }));
      if (mine === asked && wanted === to) form(to, found, said);
    }, 180);
  }

  function form(to, found, said) {
    const typed = panel.querySelector("[name=confirm]")?.value ?? "";
    const reason = panel.querySelector("[name=reason]")?.value ?? "";
    const text = String(to);
    const go = h("button", { type: "submit", class: "go", disabled: typed.trim() !== text }, `Move to ${percent(to)}`);
    const input = h("input", { name: "confirm", id: "confirm", autocomplete: "off", inputmode: "decimal", size: "8", value: typed,
      oninput: (event) => { go.disabled = event.target.value.trim() !== text; } });
    const refused = h("p", { class: "refused", role: "alert", hidden: !said }, said);
    panel.hidden = false;
    show(panel, []);
    panel.append(h("div", { class: "preview", "aria-live": "polite" }, foresight(to, found)));
    if (mayOperate()) {
      panel.append(h("div", { class: "type" },
        h("p", {}, h("label", { for: "confirm" }, "Type ", h("kbd", {}, text), " to confirm"), input),
        h("p", {}, h("label", { for: "reason" }, "Why (for the audit)"), h("input", { name: "reason", id: "reason", autocomplete: "off", value: reason, maxlength: "200" })),
        h("p", { class: "buttons" }, go, h("button", { type: "button", class: "quiet", onclick: () => cancel(true) }, "Cancel"))), refused);
    } else {
      panel.append(h("p", { class: "buttons" }, h("button", { type: "button", onclick: ask }, "Enter an operate token to move it"),
        h("button", { type: "button", class: "quiet", onclick: () => cancel(true) }, "Cancel")));
    }
    panel.onsubmit = (event) => {
      event.preventDefault();
      if (!go.disabled) commit({ to, version: found.version ?? seen.version }, input.value, panel.querySelector("[name=reason]").value, refused, go);
    };
  }

  function foresight(to, found) {
    if (found.refusal) return h("p", { class: "warn" }, `No preview: ${found.refusal.message}`);
    const moves = [found.moves_to_realtime, found.moves_to_legacy].some(Number.isFinite);
    const tiles = [
      moves && ["to Realtime", int(found.moves_to_realtime), `of ${int(found.of_open)} open`],
      moves && ["to legacy", int(found.moves_to_legacy), "inside their open sockets"],
      typeof found.messages_per_s_more === "number" && ["more messages", `${found.messages_per_s_more >= 0 ? "+" : ""}${rate(found.messages_per_s_more)}`, "per second"],
      typeof found.quota_ratio === "number" && ["of the quota", ratio(found.quota_ratio), "afterwards, at most"],
      typeof found.month_cost_usd === "number" && ["a month", usd(found.month_cost_usd), "at most"],
      typeof found.takes_s === "number" && ["to move them", `${int(Math.ceil(found.takes_s))} s`, "at the stated rate"],
    ].filter(Boolean);
    return [h("p", { class: "sentence" }, found.sentence ?? `From ${percent(seen.percent)} to ${percent(to)}.`),
      h("ul", { class: "tiles" }, tiles.map(([name, value, note]) => h("li", {}, h("b", {}, value), h("span", {}, name), h("small", {}, note)))),
      (found.warnings ?? []).map((warning) => h("p", { class: "warn" }, warning))];
  }

  /** The version is that of the preview: what was looked at is what is confirmed. */
  async function commit({ to, version: looked }, confirm, reason, refused, go) {
    go.disabled = true;
    const body = { percent: to, lane: seen.lane, confirm: confirm.trim(), reason: reason.trim() || undefined };
    try {
      const now = await put("rollout", body, { "If-Match": `"${looked}"`, "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) });
      const { percent: stands = to, lane = seen.lane, version = seen.version } = now?.after ?? {};
      seen = { ...seen, percent: stands, lane, version };
      announce(`Confirmed: ${percent(to)} of the users on Realtime`);
      cancel(true);
      sentence();
    } catch (refusal) {
      refused.hidden = false;
      refused.textContent = await explain(refusal);
      go.disabled = false;
      if (refusal.status === 412) preview(refused.textContent);
    }
  }

  /** The server's own words, and what can be done about it. */
  async function explain(refusal) {
    if (refusal.status === 412) {
      const now = await get("rollout").catch(() => null);
      if (now) { seen = { ...seen, ...now }; draw(); sentence(); }
      return `Refused: ${refusal.message}. It stands at ${percent(seen.percent)} now; look at the preview and confirm again.`;
    }
    if (refusal.status === 409) return `Refused: ${refusal.message}`;
    if (refusal.status === 401 || refusal.status === 403) return `Refused: ${refusal.message}`;
    return `Not done: ${refusal.message}`;
  }

  cap.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    const edge = { Home: 0, End: 100 }[event.key];
    if (event.key === "Escape") cancel(true);
    else if (event.key === "Enter") panel.querySelector("input, button")?.focus();
    else if (step !== undefined) move(position() + (event.shiftKey ? step / 10 : step));
    else if (edge !== undefined) move(edge);
    else return;
    event.preventDefault();
  });
  slot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    cap.focus({ preventScroll: true });
    slot.setPointerCapture(event.pointerId);
    const follow = (one) => {
      const box = slot.getBoundingClientRect();
      move(Math.round(clamp(((one.clientX - box.left) / box.width) * 100)), "drag");
    };
    if (!event.target.closest(".cap")) follow(event);
    const end = () => {
      slot.removeEventListener("pointermove", follow);
      if (wanted === seen?.percent) cancel();
    };
    slot.addEventListener("pointermove", follow);
    slot.addEventListener("pointerup", end, { once: true });
    slot.addEventListener("pointercancel", end, { once: true });
  });
  exact.addEventListener("change", () => {
    const to = Number(exact.value.replace(",", ".").replace("%", "").trim());
    if (Number.isFinite(to) && exact.value.trim() !== "") move(to);
    else draw();
  });
  element.addEventListener("keydown", (event) => { if (event.key === "Escape") cancel(true); });

  return {
    element,
    update(status) {
      const first = seen === null;
      seen = status.rollout;
      if (wanted === null || first) draw();
      else slot.querySelector(".ghost").style.left = `${seen.percent}%`;
      draw();
      sentence();
    },
    /** After a change of role: the confirmation is drawn anew. */
    again() { if (wanted !== null) preview(); },
  };
}
