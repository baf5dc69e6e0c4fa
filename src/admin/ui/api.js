// The way to the API: the token (in this tab's memory only), requests, and the stream of events.

const KEY = "crossfade-token";
/** The stream says something each second; after this without a word it is opened anew. */
const SILENCE = 10_000;
let token = sessionStorage.getItem(KEY) ?? "";
let role = "";
const hearers = new Set();

export const hasToken = () => token !== "";
export const currentRole = () => role;
export const mayOperate = () => role === "operate";

export function setToken(next) {
  token = next;
  role = "";
  if (next) sessionStorage.setItem(KEY, next);
  else sessionStorage.removeItem(KEY);
}

/** A refusal as the server worded it. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the answer was ${status}, without an explanation`);
    this.status = status;
    this.code = body?.error?.code ?? "unexplained";
    this.field = body?.error?.field;
  }
}

async function send(method, path, body, headers = {}, signal = AbortSignal.timeout(8000)) {
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  if (body !== undefined) request.body = JSON.stringify(body);
  const answer = await fetch(`/api/v1/${path}`, request);
  const seen = answer.headers.get("crossfade-role");
  if (seen && seen !== role) {
    role = seen;
    for (const hear of hearers) hear(role);
  }
  return answer;
}

async function read(answer) {
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refusal(answer.status, body);
  return body;
}

export const onRole = (hear) => hearers.add(hear);
export const get = async (path) => read(await send("GET", path));
export const post = async (path, body = {}, headers = {}) => read(await send("POST", path, body, headers));
export const put = async (path, body, headers) => read(await send("PUT", path, body, headers));

/** One event of a stream, from its block of lines. */
function parse(block) {
  const event = { type: "message", data: "" };
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event.type = line.slice(6).trim();
    else if (line.startsWith("data:")) event.data += line.slice(5).trim();
  }
  return event;
}

/** Reads `GET /events` until it ends. `fetch` and not EventSource: that one cannot send a token. */
async function stream(hear) {
  const stop = new AbortController();
  let timer = setTimeout(() => stop.abort(new Error("no word for ten seconds")), SILENCE);
  try {
    return await listen(hear, stop.signal, () => {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(new Error("no word for ten seconds")), SILENCE);
    });
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

async function listen(hear, signal, alive) {
  const answer = await send("GET", "events", undefined, { Accept: "text/event-stream" }, signal);
  if (!answer.ok) return read(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return null;
    alive();
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const event of blocks.map(parse)) if (event.data) hear(event.type, JSON.parse(event.data));
  }
}

const pause = (time) => new Promise((done) => setTimeout(done, time));

/** Follows the process for ever: by its events, and by asking each second where there are none. */
export async function follow(hear, trouble) {
  let streams = true;
  for (;;) {
    try {
      hear("status", await get("status"));
      if (streams) await stream(hear);
      else await pause(1000);
    } catch (error) {
      if (error.status === 404 || error.status === 405) streams = false;
      else if (error.status !== 429 && error.status !== 503) trouble(error);
      await pause(1000);
    }
  }
}
