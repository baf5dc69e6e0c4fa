//! `/links/TOKEN`: what a link from a notice shows and does. For browsers of people, so these are pages and not JSON.
//!
//! Chats and mail scanners fetch links: GET and HEAD only ever say what would happen, and do not use the link up. POST
//! does it; the page has one button for that. The token is the authority here: there is no cookie to ride on, and no
//! bearer token is asked for. `Host` is one of ours or that of `base_url`. Whoever knows a link and cannot reach us could
//! let the browser of somebody who can press the button, from a page of their own: a browser that says so is refused.
//! `Origin: null` is what browsers send from our own page, because of `no-referrer`, so `Sec-Fetch-Site` decides.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::desk::{Ask, LinkToken};
use super::guard::is_direct;
use super::model::Audit;
use super::{Api, Problem, Remote};

/// Refusals that are entered in each window; what was done always is.
const REFUSALS_MAX: u32 = 10;
const WINDOW_MS: u64 = 10 * 60 * 1_000;
/// Links that are used at the same time; each has an answer within [`PATIENCE`](super::PATIENCE).
const USES_MAX: usize = 64;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The host that links name, and what keeps their users within bounds.
#[derive(Debug)]
pub(super) struct Site {
    host: String,
    uses: Arc<Semaphore>,
    /// Of links of ours, and of tokens that are none.
    refusals: Mutex<[Window; 2]>,
}

#[derive(Debug, Default)]
struct Window {
    since: u64,
    entered: u32,
}

impl Site {
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), uses: Arc::new(Semaphore::new(USES_MAX)), refusals: Mutex::default() }
    }

    /// Whoever guesses, or has links that are void, must not push people out of the trail. One does not hide the other.
    fn enters(&self, is_forged: bool, at: u64) -> bool {
        let mut windows = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let [ours, forged] = &mut *windows;
        let window = if is_forged { forged } else { ours };
        if at.abs_diff(window.since) >= WINDOW_MS {
            *window = Window { since: at, entered: 0 };
        }
        window.entered = window.entered.saturating_add(1);
        window.entered <= REFUSALS_MAX
    }

    /// The button was pressed on our page, as far as the browser says.
    fn is_ours(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let field = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        let own = |origin: &[u8]| {
            let hosts = [field("host").unwrap_or_default(), self.host.as_bytes()];
            let host =
                [&b"https://"[..], b"http://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
            origin == b"null"
                || host.is_some_and(|host| hosts.iter().any(|own| own.eq_ignore_ascii_case(host)))
        };
        let elsewhere = field("sec-fetch-site").is_some_and(|site| site != b"same-origin" && site != b"none");
        if !elsewhere && field("origin").is_none_or(own) {
            return Ok(());
        }
        let message = "another page sent this; open the link itself and press the button there";
        Err(Problem::new(StatusCode::FORBIDDEN, "foreign_origin", message))
    }
}

/// The routes; they come with their own headers. No body is ever read.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/links/{token}", get(look).post(act)).layer(middleware::from_fn(dressed))
}

async fn dressed(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn look(State(api): State<Api>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    match allowed(&api, &headers) {
        Ok(_) => page(&api.desk.ask(Ask::Link(LinkToken(token))).await),
        Err(problem) => problem.into_response(),
    }
}

async fn act(State(api): State<Api>, Path(token): Path<String>, request: Request) -> Response {
    let headers = request.headers();
    let site = match allowed(&api, headers).and_then(|site| site.is_ours(headers).map(|()| site)) {
        Ok(site) => Arc::clone(site),
        Err(problem) => return problem.into_response(),
    };
    let Ok(place) = Arc::clone(&site.uses).try_acquire_owned() else {
        return Problem::busy("crossfade").into_response();
    };
    let remote = request.extensions().get::<Remote>().map(|remote| remote.0.to_string());
    // A task of its own: whoever hangs up leaves neither a deed without an entry nor a used link without a deed.
    let life = tokio::spawn(async move {
        let reply = api.desk.ask(Ask::UseLink(LinkToken(token))).await;
        enter((&api, &site), remote, &reply);
        drop(place);
        page(&reply)
    });
    life.await.unwrap_or_else(|_| Problem::busy("crossfade").into_response())
}

/// There are links, and the request is for us.
fn allowed<'a>(api: &'a Api, headers: &HeaderMap) -> Result<&'a Arc<Site>, Problem> {
    let Some(site) = &api.links else {
        return Err(Problem::not_found("there are no links: [notices.links] is not configured"));
    };
    let given = headers.get(header::HOST).map(HeaderValue::as_bytes);
    if given.is_some_and(|given| given.eq_ignore_ascii_case(site.host.as_bytes())) {
        return Ok(site);
    }
    is_direct(headers).map(|_| site)
}

/// Every use is in the trail, and refusals within bounds, under the first digits of the link's nonce.
fn enter((api, site): (&Api, &Site), remote: Option<String>, reply: &super::Reply) {
    let at = super::unix_ms();
    let (id, action, outcome) = match reply {
        Ok(told) => (told["id"].as_str(), told["action"].as_str(), told["code"].as_str()),
        Err(problem) => (None, None, Some(problem.code)),
    };
    // Without an answer it may have been done all the same.
    let is_refused = reply.as_ref().is_ok_and(|told| told["state"] != "done");
    if is_refused && !site.enters(outcome == Some("link_forged"), at) {
        return;
    }
    let part = |name: &str| reply.as_ref().ok().map(|told| told[name].clone()).filter(|part| !part.is_null());
    let entry = Audit {
        at,
        no: 0,
        role: "link",
        remote,
        action: action.map_or("link", word),
        subject: id.map(str::to_owned),
        before: part("before"),
        after: part("after"),
        reason: None,
        outcome: outcome.map_or("unknown", word),
    };
    api.changes.write(entry, &api.events);
}

/// Words of the trail are from a closed list.
fn word(given: &str) -> &'static str {
    const WORDS: [&str; 16] = [
        "done",
        "link_promote",
        "link_rollback",
        "link_used",
        "link_unknown",
        "link_expired",
        "link_overtaken",
        "link_gate_fails",
        "link_forged",
        "stale_version",
        "plan_refused",
        "plan_unavailable",
        "not_configured",
        "not_found",
        "busy",
        "link",
    ];
    WORDS.into_iter().find(|known| *known == given).unwrap_or("refused")
}

fn page(reply: &super::Reply) -> Response {
    let (status, title, says, warnings, is_ready) = match reply {
        Err(problem) => (problem.status, "Not now", problem.message.as_str(), &Value::Null, false),
        Ok(told) => {
            let is_back = told["action"] == "link_rollback";
            let (status, title) = match (told["state"].as_str(), is_back) {
                (Some("ready"), true) => (StatusCode::OK, "Roll back"),
                (Some("ready"), false) => (StatusCode::OK, "Promote"),
                (Some("done"), true) => (StatusCode::OK, "Rolled back"),
                (Some("done"), false) => (StatusCode::OK, "Promoted"),
                _ if told["code"] == "link_forged" => (StatusCode::NOT_FOUND, "Refused"),
                _ => (StatusCode::CONFLICT, "Refused"),
            };
            let is_ready = told["state"] == "ready";
            (status, title, told["says"].as_str().unwrap_or_default(), &told["warnings"], is_ready)
        }
    };
    let warnings: String =
        warnings.as_array().into_iter().flatten().filter_map(Value::as_str).map(paragraph).collect();
    let button = if is_ready {
        format!(
            "<form method=\"post\"><button>{title} now</button></form><p><small>Nothing has happened yet. This link works once.</small></p>"
        )
    } else {
        String::new()
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>crossfade: {title}</title><style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;\
         padding:0 1rem;color-scheme:light dark}}button{{font:inherit;padding:.6rem 1.2rem}}</style><h1>{title}</h1>{}\
         {warnings}{button}</html>",
        paragraph(says)
    );
    (status, Html(html)).into_response()
}

fn paragraph(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    format!("<p>{text}</p>")
}
