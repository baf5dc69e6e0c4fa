// Sessions, a page at a time, and the answer to "why is it here?" for one of them.

import { get, mayOperate, post } from "./api.js";
import { announce, byId, bytes, facts, h, int, percent, show, span, unknown, words } from "./dom.js";

const PAGE = 50;
const LANES = [["", "All lanes"], ["legacy", "Legacy"], ["hot", "Hot"], ["native", "Native"]];

export function sessions({ argument, status }) {
  let lane = "";
  let trail = [null]; // where each page began
  let busy = false;

  const body = h("tbody");
  const total = h("p", { class: "dim", "aria-live": "polite" });
  const refused = h("p", { class: "refused", role: "alert", hidden: true });
  const choose = h("select", { id: "lane", onchange: () => { lane = choose.value; trail = [null]; load(); } }, LANES.map(([value, name]) => h("option", { value }, name)));
  const back = h("button", { type: "button", onclick: () => { trail.pop(); load(); } }, "Previous");
  const on = h("button", { type: "button", onclick: () => { trail.push(on.dataset.next); load(); } }, "Next");
  const heads = ["Session", "Fed by", "Why", "Path", "Open for", "From client", "To client"];
  const element = h("section", { class: "panel sessions", "aria-labelledby": "sessions-title" },
    h("header", {}, h("h2", { id: "sessions-title" }, "Sessions"), h("label", { for: "lane", class: "sr" }, "Lane"), choose, h("button", { type: "button", onclick: () => load() }, "Refresh")),
    total, refused,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Sessions" },
      h("table", { class: "stack" }, h("caption", { class: "sr" }, "Open sessions"),
        h("thead", {}, h("tr", {}, heads.map((name, at) => h("th", { scope: "col", class: at > 3 ? "n" : null }, name)))), body)),
    h("nav", { class: "pages", "aria-label": "Pages of sessions" }, back, on));

  function row(one) {
    const link = h("a", { href: `#/sessions/${one.id}`, onclick: (event) => { event.preventDefault(); why(one.id); } }, `#${one.no}`, h("span", { class: "sr" }, ": why is it here?"));
    const cells = [link, h("span", { class: `lane ${one.lane}` }, one.lane), words(one.reason), h("code", {}, one.path), span(one.age_s), int(one.messages_up), int(one.messages_down)];
    return h("tr", {}, cells.map((cell, at) => h("td", { class: at > 3 ? "n" : null, "data-name": heads[at] }, cell)));
  }

  async function load() {
    if (busy) return;
    busy = true;
    try {
      const after = trail.at(-1);
      const query = new URLSearchParams({ limit: PAGE, ...(lane && { lane }), ...(after && { after }) });
      const page = await get(`sessions?${query}`);
      body.replaceChildren(...page.sessions.map(row));
      on.disabled = page.next === null || page.next === undefined;
      on.dataset.next = page.next ?? "";
      back.disabled = trail.length === 1;
      const open = status()?.sessions.open ?? {};
      const all = lane ? open[lane] : Object.values(open).reduce((sum, n) => sum + n, 0);
      const from = (trail.length - 1) * PAGE;
      show(total, page.sessions.length ? `${int(from + 1)} to ${int(from + page.sessions.length)} of ${int(Math.max(all ?? 0, from + page.sessions.length))}` : "No open session on this lane.");
      refused.hidden = true;
    } catch (refusal) {
      refused.hidden = false;
      refused.textContent = refusal.message;
    } finally {
      busy = false;
    }
  }

  async function why(id) {
    const dialog = byId("dialog");
    const place = h("div", { class: "why-here" }, h("h2", { id: "dialog-title" }, "Why is it here?"), h("p", { class: "dim" }, "Asking …"));
    dialog.replaceChildren(place);
    if (!dialog.open) dialog.showModal();
    try {
      draw(place, await get(`sessions/${encodeURIComponent(id)}`), () => why(id));
    } catch (refusal) {
      place.append(h("p", { class: "refused", role: "alert" }, refusal.message));
      place.append(h("p", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
    }
  }

  function draw(place, one, again) {
    const decision = one.decision;
    const refusedHere = h("p", { class: "refused", role: "alert", hidden: true });
    const act = async (path, content, done) => {
      refusedHere.hidden = true;
      try {
        const { warnings = [] } = (await post(`sessions/${one.id}/${path}`, content)) ?? {};
        announce([done, ...warnings].join(". "));
        load();
        again();
      } catch (refusal) {
        refusedHere.hidden = false;
        refusedHere.textContent = `Refused: ${refusal.message}`;
      }
    };
    const to = one.lane === "hot" ? "legacy" : "hot";
    const bucket = typeof decision?.bucket === "number" ? percent(decision.bucket / 1000) : null;
    place.replaceChildren(h("h2", { id: "dialog-title" }, "Why is it here?"),
      h("p", { class: "sentence" }, h("span", { class: `lane ${one.lane}` }, one.lane), " ", one.sentence), scale(decision),
      facts([["session", h("code", {}, one.id)], ["path", h("code", {}, one.path)], ["open for", span(one.age_s)],
        ["from the client", `${int(one.messages_up)} messages`, bytes(one.bytes_up)], ["to the client", `${int(one.messages_down)} messages`, bytes(one.bytes_down)],
        ["bucket", bucket ?? "no key"], decision && ["compared with", percent(decision.percent), `by ${words(decision.tier)}${decision.rule ? `, rule ${decision.rule}` : ""}`],
        ["key", decision?.key ? h("code", {}, decision.key) : unknown("needs a token")], ["breaker", words(one.breaker)],
        one.left_hot_because && ["left hot because of", words(one.left_hot_because)], one.pinned && ["put by a person on", one.pinned],
        ["waits for Realtime", `${int(one.window?.messages)} messages`, bytes(one.window?.bytes)], ["mirrored", one.mirror?.mirrored || one.lane === "hot" ? "yes" : "no"],
        ["trace", one.trace_id ? h("code", {}, one.trace_id) : "none"]]),
      refusedHere,
      h("p", { class: "buttons" }, mayOperate() && h("button", { type: "button", onclick: () => act("move", { lane: to }, `Asked to move to ${to}`) }, `Move to ${to}`),
        mayOperate() && h("button", { type: "button", class: "alarm", onclick: () => act("close", { code: 1012 }, "Asked to close") }, "Close with 1012"),
        h("button", { type: "button", class: "quiet", onclick: () => byId("dialog").close() }, "Done")));
    place.querySelector(".buttons button:last-child").focus();
  }

  /** The bucket on the fader's own scale. */
  function scale(decision) {
    if (typeof decision?.bucket !== "number") return null;
    const at = decision.bucket / 1000;
    return h("div", { class: "bucket", role: "img", "aria-label": `Bucket ${percent(at)}, share ${percent(decision.percent)}` },
      h("i", { style: { width: `${decision.percent}%` } }), h("b", { style: { left: `${at}%` } }));
  }

  load();
  if (argument) why(argument);
  return { element, role: load, heard: (kind) => { if (kind === "audit") load(); } };
}
