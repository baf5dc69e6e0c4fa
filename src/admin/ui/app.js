// The frame: who is looking, which view, light or dark, and the one status that every view is told about.

import { currentRole, follow, get, hasToken, onRole, setToken } from "./api.js";
import { announce, byId, h, int, show, span } from "./dom.js";
import { incidents } from "./incidents.js";
import { mixer } from "./mixer.js";
import { plan } from "./plan.js";
import { proof } from "./proof.js";
import { audit, setup } from "./records.js";
import { sessions } from "./sessions.js";

const VIEWS = { "": mixer, sessions, proof, plan, incidents, audit, setup };
const TITLES = { "": "Mixer", sessions: "Sessions", proof: "Proof", plan: "Plan", incidents: "Incidents", audit: "Audit", setup: "Set-up" };
const THEMES = ["system", "light", "dark"];
let status = null;
let view = null;

function open(first) {
  const [name, argument] = location.hash.replace(/^#\/?/, "").split("/");
  const build = VIEWS[name] ?? mixer;
  view?.leave?.();
  view = build({ askToken, argument: argument ? decodeURIComponent(argument) : undefined, status: () => status });
  const heading = h("h1", { class: "sr" }, TITLES[name] ?? "Mixer");
  byId("main").replaceChildren(heading, view.element);
  document.title = `${TITLES[name] ?? "Mixer"} · crossfade`;
  for (const link of byId("nav").children) {
    if (link.getAttribute("href") === `#/${TITLES[name] ? name : ""}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ inline: "center", block: "nearest" });
    }
    else link.removeAttribute("aria-current");
  }
  if (status) view.update?.(status);
  if (!first) byId("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function connection(state, text) {
  const live = byId("live");
  live.dataset.state = state;
  live.lastElementChild.textContent = text;
}

let spoken = "";
function hear(kind, body) {
  connection("on", "live");
  byId("banner").dataset.kind === "trouble" && banner("");
  if (kind !== "status") return view?.heard?.(kind, body);
  status = body;
  show(byId("where"), h("strong", {}, body.service), h("span", { class: "dim" }, ` ${body.pod} · ${body.version} · up ${span(body.uptime_s)}`));
  show(byId("foot"), `Sessions since the start: ${int(body.sessions.opened_total)} · upstream ${body.upstream.address}${body.upstream.reachable ? "" : " (not reachable)"}`);
  const word = body.breaker ? `Breaker ${body.breaker.state.replace("_", " ")}` : "";
  if (spoken && word && word !== spoken) announce(word);
  spoken = word || spoken;
  standing(body);
  view?.update?.(body);
}

/** What must not be overlooked, on every view. */
function standing(body) {
  const held = body.rollout.emergency ?? [];
  if (body.phase === "draining") banner("This pod is draining: sessions are closed in turns.", "state");
  else if (held.length) banner(`The emergency switch is on (by ${held.join(", ")}): everybody is on legacy.`, "state");
  else if (body.breaker?.latched) banner("The breaker is latched open: it stays open until a person resets it.", "state");
  else if (byId("banner").dataset.kind === "state") banner("");
}

function banner(text, kind = "trouble") {
  const place = byId("banner");
  place.dataset.kind = kind;
  place.hidden = text === "";
  if (place.textContent !== text) place.textContent = text;
}

function trouble(error) {
  connection("off", "no answer");
  if (error.status === 401) {
    banner(hasToken() ? "This token is refused: enter another." : "A token is needed to look at this crossfade.");
    if (!byId("dialog").open) askToken();
  } else banner(`crossfade does not answer: ${error.message}. Asking again each second; what you see is the last that was known.`);
}

function shownRole() {
  const role = currentRole();
  byId("role").textContent = { operate: "Operate", view: "View" }[role] ?? "Look only";
  byId("role").dataset.role = role;
}

/** The dialog for the token. It stays in this tab and goes to this server alone. */
function askToken() {
  const dialog = byId("dialog");
  const field = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", required: true });
  const refused = h("p", { class: "refused", role: "alert", hidden: true });
  const form = h("form", { class: "token" }, h("h2", { id: "dialog-title" }, "Who is at the fader?"),
    h("p", {}, "CROSSFADE_ADMIN_TOKEN lets you operate, CROSSFADE_ADMIN_VIEW_TOKEN lets you view. The token stays in this tab and is forgotten when you close it."),
    h("label", { for: "token" }, "Token"), field, refused,
    h("p", { class: "buttons" }, h("button", { type: "submit", class: "go" }, "Use it"),
      hasToken() && h("button", { type: "button", onclick: () => { setToken(""); location.reload(); } }, "Forget the token"),
      h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setToken(field.value.trim());
    try {
      await get("status");
      dialog.close();
      banner("");
      announce(`You may ${currentRole() === "operate" ? "operate" : "view"}`);
      shownRole();
      view?.role?.();
    } catch (refusal) {
      setToken("");
      refused.hidden = false;
      refused.textContent = refusal.message;
      field.select();
    }
  });
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
  field.focus();
}

function theme(next) {
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  byId("theme").setAttribute("aria-label", `Light or dark: ${next === "system" ? "as the system" : next}`);
  byId("theme").title = byId("theme").getAttribute("aria-label");
  localStorage.setItem("crossfade-theme", next);
}

const stored = localStorage.getItem("crossfade-theme");
theme(THEMES.includes(stored) ? stored : "system");
byId("theme").addEventListener("click", () => {
  const now = localStorage.getItem("crossfade-theme");
  theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
byId("role").addEventListener("click", askToken);
addEventListener("hashchange", () => open(false));
onRole(() => { shownRole(); view?.role?.(); });
open(true);
follow(hear, trouble);
