//! `/links/TOKEN`: what a link from a notice shows and does. For browsers of people, so these are pages and not JSON.
//!
//! Chats and mail scanners fetch links: GET and HEAD only ever say what would happen, and do not use the link up. POST
//! does it; the page has one button for that. The token is the only authority here: there is no cookie to ride on, so
//! neither a bearer token nor `Origin` is asked for (with `no-referrer` browsers send `Origin: null`). `Host` is one of
//! ours or that of `base_url`.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

use super::desk::{Ask, LinkToken};
use super::guard::is_direct;
use super::model::Audit;
use super::{Api, Problem, Remote};

/// Between two entries about tokens that are none: whoever guesses must not push people out of the trail.
const FORGED_EVERY_MS: u64 = 10_000;
/// The button sends nothing.
const BODY_BYTES_MAX: usize = 1_024;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The routes; they come with their own headers.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/links/{token}", get(look).post(act))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(dressed))
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
        Ok(()) => page(&api.desk.ask(Ask::Link(LinkToken(token))).await),
        Err(problem) => problem.into_response(),
    }
}

async fn act(State(api): State<Api>, Path(token): Path<String>, request: Request) -> Response {
    if let Err(problem) = allowed(&api, request.headers()) {
        return problem.into_response();
    }
    let remote = request.extensions().get::<Remote>().map(|remote| remote.0.to_string());
    let reply = api.desk.ask(Ask::UseLink(LinkToken(token))).await;
    enter(&api, remote, &reply);
    page(&reply)
}

/// There are links, and the request is for us.
fn allowed(api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = &api.links else {
        return Err(Problem::not_found("there are no links: [notices.links] is not configured"));
    };
    let given = headers.get(header::HOST).map(HeaderValue::as_bytes);
    if given.is_some_and(|given| given.eq_ignore_ascii_case(host.as_bytes())) {
        return Ok(());
    }
    is_direct(headers).map(drop)
}

/// Every use and refusal is in the trail, under the first digits of the link's nonce.
fn enter(api: &Api, remote: Option<String>, reply: &super::Reply) {
    static FORGED: AtomicU64 = AtomicU64::new(0);
    let at = super::unix_ms();
    let (id, action, outcome) = match reply {
        Ok(told) => (told["id"].as_str(), told["action"].as_str(), told["code"].as_str()),
        Err(problem) => (None, None, Some(problem.code)),
    };
    let is_late = |last: u64| (at.saturating_sub(last) >= FORGED_EVERY_MS).then_some(at);
    if id.is_none() && FORGED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_late).is_err() {
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
