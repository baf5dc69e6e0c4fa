// The dialog in which a person confirms a change: what will happen, in words and figures, then a word to type where
// the change may raise the share. What the server refuses is shown in its own words, and the dialog stays.

import { announce, byId, h } from "./dom.js";

/** Shows this content in the dialog. */
export function openDialog(...content) {
  const dialog = byId("dialog");
  dialog.replaceChildren(...content);
  if (!dialog.open) {
    dialog.showModal();
    // What opened it may be gone by then: the focus stays in the view.
    dialog.addEventListener("close", () => { if (document.activeElement === document.body) byId("main").focus({ preventScroll: true }); }, { once: true });
  }
  return dialog;
}

/**
 * Asks. `say` gives what will happen, `word` what must be typed (null: nothing), `act` does it with the reason and
 * throws a refusal; `look` is asked for the situation anew after a stale version, and gives the next question.
 */
export function confirm({ title, say, extra, word, button, alarm, done, act, look }, refusal) {
  const refused = h("p", { class: "refused", role: "alert", hidden: !refusal }, refusal);
  const warned = h("div", { class: "warned" });
  const go = h("button", { type: "submit", class: alarm ? "go alarm" : "go" }, button);
  const typed = () => (typeof word === "function" ? word() : word);
  const label = h("kbd", {}, typed() ?? "");
  const field = h("input", { id: "typed", autocomplete: "off", size: "10", oninput: () => ready() });
  const reason = h("input", { id: "because", autocomplete: "off", maxlength: "200" });
  function ready() {
    const wanted = typed();
    label.textContent = wanted ?? "";
    go.disabled = word !== undefined && (!wanted || field.value.trim() !== wanted);
  }
  const dialog = byId("dialog");
  const form = h("form", { class: "ask" }, h("h2", { id: "dialog-title" }, title), h("div", { class: "say" }, say), extra?.(ready),
    word !== undefined && h("p", {}, h("label", { for: "typed" }, "Type ", label, " to confirm"), field),
    h("p", {}, h("label", { for: "because" }, "Why (for the audit)"), reason), refused, warned,
    h("p", { class: "buttons" }, go, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    try {
      const { warnings = [] } = (await act(reason.value.trim() || undefined)) ?? {};
      announce([done, ...warnings].join(". "));
      if (!warnings.length) return dialog.close();
      form.replaceChildren(h("h2", { id: "dialog-title" }, done), ...warnings.map((one) => h("p", { class: "warn" }, one)),
        h("p", { class: "buttons" }, h("button", { type: "button", class: "go", onclick: () => dialog.close() }, "Understood")));
      form.querySelector("button").focus();
    } catch (error) {
      const next = error.status === 412 && look ? await look().catch(() => null) : null;
      if (next) return confirm(next, `Refused: ${error.message}.`);
      refused.hidden = false;
      refused.textContent = `Refused: ${error.message}`;
      ready();
    }
  });
  openDialog(form);
  ready();
  (word !== undefined ? field : reason).focus();
}
