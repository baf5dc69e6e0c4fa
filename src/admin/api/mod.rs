//! The admin API, version 1: look at everything, change what a person may change.
//!
//! **Problem.** Whoever moves users between two systems must see what happens and be able to act within seconds,
//! from a page, a script or a pipeline. Whoever else can reach the port, the browser of the same person included,
//! must not. And asking must never be felt by a session.
//!
//! **Decision.** The listener has a thread of its own and owns nothing. Every question goes over one [`Desk`] that
//! the wiring hands in; it reads snapshots, or asks a worker through its bounded inbox and waits [`PATIENCE`] at
//! most. Access is judged in one place (`guard.rs`) from the head alone; there are no cookies, so a foreign page
//! has nothing to ride on. Shapes are plain structs (`model.rs`), and `openapi.json` is made from examples of them
//! by a test that also asks every path.
//!
//! **Limits.** A body of 64 KiB; answers within two seconds or 503. `at` is Unix time in milliseconds, durations
//! are `_s` or `_ms`. Names of fields are only ever added.
//!
//! **Not here.** TLS (put a terminating proxy or `kubectl port-forward` in front), users and sessions of its own.

mod changes;
mod desk;
mod events;
mod guard;
mod links;
pub mod model;
#[cfg(test)]
mod openapi_tests;
mod problem;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

pub use changes::AUDIT_MAX;
use changes::{Asked, Changes};
pub use desk::{Answer, Ask, Change, Desk, LinkToken, PATIENCE, PlanChange, Reply, What};
pub use events::{Events, LISTENERS_MAX};
pub(super) use guard::is_direct;
pub use guard::{Access, Role, Token};
pub use problem::Problem;

/// The document that describes all this.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The caller's role, in every answer that is not a refusal of access.
const ROLE: HeaderName = HeaderName::from_static("crossfade-role");

const PREVIEW: &str = "/api/v1/rollout/preview";

/// The longest body that is read.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Who asks: known to every handler behind the guard.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
    /// Where it connects from.
    pub remote: Option<std::net::SocketAddr>,
}

/// The other end of a connection; the listener leaves it with each request.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub std::net::SocketAddr);

/// What the API is made of.
#[derive(Clone, Debug)]
pub struct Api {
    /// Who may do what.
    pub access: Arc<Access>,
    /// Who answers.
    pub desk: Desk,
    /// Who listens.
    pub events: Events,
    changes: Arc<Changes>,
    /// Where there are links.
    links: Option<Arc<links::Site>>,
}

impl Api {
    /// An API behind this access, answered at this desk.
    #[must_use]
    pub fn new(access: Arc<Access>, desk: Desk) -> Self {
        Self { access, desk, events: Events::default(), changes: Arc::default(), links: None }
    }

    /// With links that name this host.
    #[must_use]
    pub fn with_links(self, host: Option<&str>) -> Self {
        Self { links: host.map(links::Site::new).map(Arc::new), ..self }
    }

    /// The routes under `/api/v1`.
    pub fn router(self) -> Router {
        let guard = middleware::from_fn_with_state(Arc::clone(&self.access), guarded);
        let header =
            |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
        Router::new()
            .route("/api/v1/openapi.json", get(openapi))
            .route("/api/v1/status", get(status))
            .route("/api/v1/events", get(events))
            .route("/api/v1/quota", get(quota))
            .route("/api/v1/spool", get(spool))
            .route("/api/v1/types", get(types))
            .route("/api/v1/reports", get(reports))
            .route("/api/v1/reports/{id}", get(report))
            .route("/api/v1/discrepancies", get(discrepancies))
            .route("/api/v1/noise", get(noise))
            .route("/api/v1/audit", get(audit))
            .route("/api/v1/sessions", get(sessions))
            .route("/api/v1/sessions/{id}", get(session))
            .route("/api/v1/sessions/{id}/move", post(move_session))
            .route("/api/v1/sessions/{id}/close", post(close_session))
            .route("/api/v1/rollout", get(rollout).put(|s, c, h, b| change(What::Rollout, s, c, h, b)))
            .route(PREVIEW, post(preview))
            .route("/api/v1/rollout/emergency-off", post(|s, c, h, b| change(What::Emergency, s, c, h, b)))
            .merge(plan_routes())
            .route("/api/v1/breaker", get(breaker).post(|s, c, h, b| change(What::Breaker, s, c, h, b)))
            .route("/api/v1/breaker/reset", post(|s, c, h, b| change(What::BreakerReset, s, c, h, b)))
            .route("/api/v1/incidents", get(incidents))
            .route("/api/v1/incidents/{id}", get(incident))
            .route("/api/v1/drill", get(drills).post(|s, c, h, b| change(What::Drill, s, c, h, b)))
            .route("/api/v1/config", get(config))
            .route("/api/v1/history", get(history))
            .route("/api/{*rest}", axum::routing::any(nothing))
            .method_not_allowed_fallback(method)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(guard)
            .merge(links::routes())
            .layer(header(header::CACHE_CONTROL, "no-store"))
            .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, super::REQUEST_TIMEOUT))
            .with_state(self)
    }
}

/// Lets through what may pass, with the caller's role.
async fn guarded(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    // A preview is asked by POST and changes nothing.
    let looks = request.method() == Method::POST && request.uri().path() == PREVIEW;
    let method = if looks { &Method::GET } else { request.method() };
    match access.judge(method, request.headers()) {
        Ok(role) => {
            let remote = request.extensions().get::<Remote>().map(|remote| remote.0);
            request.extensions_mut().insert(Caller { role, remote });
            let mut answer = next.run(request).await;
            // The dashboard shows what its token may do.
            answer.headers_mut().insert(ROLE, HeaderValue::from_static(role.as_str()));
            answer
        }
        Err(problem) => problem.into_response(),
    }
}

async fn answer(desk: &Desk, ask: Ask) -> Response {
    desk.ask(ask).await.map(Json).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn status(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Status).await
}

async fn breaker(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Breaker).await
}

async fn quota(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Quota).await
}

async fn spool(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Spool).await
}

async fn types(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Types).await
}

async fn reports(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Reports).await
}

async fn report(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    answer(&api.desk, Ask::Report { id, with_samples: caller.role > Role::Anonymous }).await
}

/// Payloads, though without secrets: never for somebody unnamed.
async fn discrepancies(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Response {
    if caller.role > Role::Anonymous {
        return answer(&api.desk, Ask::Discrepancies).await;
    }
    let message = "samples show parts of messages, so they need a token also on loopback: CROSSFADE_ADMIN_VIEW_TOKEN or \
                   CROSSFADE_ADMIN_TOKEN, as `Authorization: Bearer …`";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response()
}

async fn noise(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Noise).await
}

async fn incidents(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Incidents).await
}

async fn incident(State(api): State<Api>, Path(id): Path<String>) -> Response {
    answer(&api.desk, Ask::Incident(id)).await
}

async fn drills(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Drills).await
}

async fn config(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Config).await
}

async fn history(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::History).await
}

async fn events(State(api): State<Api>) -> Response {
    api.events.listen(&api.desk).await
}

async fn audit(State(api): State<Api>) -> Response {
    Json(serde_json::json!({ "entries": api.changes.audit() })).into_response()
}

async fn sessions(State(api): State<Api>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let query = query.into_iter().map(|(name, value)| (name, value.into())).collect();
    answer(&api.desk, Ask::Sessions(serde_json::Value::Object(query))).await
}

async fn session(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    answer(&api.desk, Ask::Session { id, with_key: caller.role > Role::Anonymous }).await
}

fn plan_routes() -> Router<Api> {
    let to = |one: PlanChange| post(move |s, c, h, b| change(What::Plan(one), s, c, h, b));
    Router::new()
        .route("/api/v1/plan", get(plan))
        .route("/api/v1/plan/start", to(PlanChange::Start))
        .route("/api/v1/plan/pause", to(PlanChange::Pause))
        .route("/api/v1/plan/resume", to(PlanChange::Resume))
        .route("/api/v1/plan/promote", to(PlanChange::Promote))
        .route("/api/v1/plan/abort", to(PlanChange::Abort))
}

async fn rollout(State(api): State<Api>) -> Response {
    tagged(&api.desk, Ask::Rollout).await
}

async fn plan(State(api): State<Api>) -> Response {
    tagged(&api.desk, Ask::Plan).await
}

/// With the version as an entity tag, for `If-Match`.
async fn tagged(desk: &Desk, ask: Ask) -> Response {
    let reply = desk.ask(ask).await;
    let tag = reply.as_ref().ok().and_then(|reply| reply["version"].as_str().map(|tag| format!("\"{tag}\"")));
    let mut answer = reply.map(Json).into_response();
    if let Some(tag) = tag.and_then(|tag| HeaderValue::try_from(tag).ok()) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

async fn preview(State(api): State<Api>, body: Body) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(refused) => return too_large(&refused).into_response(),
    };
    match serde_json::from_slice(&body) {
        Ok(body) => answer(&api.desk, Ask::Preview(body)).await,
        Err(_) => Problem::new(StatusCode::BAD_REQUEST, "not_json", "the body is not one JSON object")
            .into_response(),
    }
}

async fn move_session(
    state: State<Api>,
    caller: Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    make(What::MoveSession, Some(id), (state, caller, headers), body).await
}

async fn close_session(
    state: State<Api>,
    caller: Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    make(What::CloseSession, Some(id), (state, caller, headers), body).await
}

async fn change(
    what: What,
    state: State<Api>,
    caller: Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    make(what, None, (state, caller, headers), body).await
}

type Body = Result<Bytes, BytesRejection>;
type Head = (State<Api>, Extension<Caller>, HeaderMap);

async fn make(what: What, subject: Option<String>, head: Head, body: Body) -> Response {
    let (State(api), Extension(caller), headers) = head;
    match body {
        Ok(body) => {
            let asked = Asked { caller, what, subject, headers, body };
            // A task of its own: whoever hangs up leaves no change without an entry.
            let life = tokio::spawn(async move { api.changes.make(asked, &api.desk, &api.events).await });
            life.await.unwrap_or_else(|_| Problem::busy("crossfade").into_response())
        }
        Err(refused) => too_large(&refused).into_response(),
    }
}

fn too_large(refused: &BytesRejection) -> Problem {
    let message = format!("the body cannot be read, or is longer than {BODY_BYTES_MAX} bytes");
    Problem::new(refused.status(), "body_refused", message)
}

#[expect(clippy::disallowed_methods, reason = "the admin listener is a shell: what people did has a date")]
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn nothing() -> Problem {
    Problem::not_found("there is no such path; GET /api/v1/openapi.json names those there are")
}

async fn method() -> Problem {
    let message = "this path does not take this method; GET /api/v1/openapi.json says which it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
