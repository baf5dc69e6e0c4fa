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

mod desk;
mod guard;
pub mod model;
mod problem;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

pub use desk::{Answer, Ask, Desk, PATIENCE, Reply};
pub use guard::{Access, Role, Token};
pub use problem::Problem;

/// The document that describes all this.
pub const OPENAPI: &str = include_str!("openapi.json");

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
}

impl Api {
    /// An API behind this access, answered at this desk.
    #[must_use]
    pub fn new(access: Arc<Access>, desk: Desk) -> Self {
        Self { access, desk }
    }

    /// The routes under `/api/v1`.
    pub fn router(self) -> Router {
        let guard = middleware::from_fn_with_state(Arc::clone(&self.access), guarded);
        let header =
            |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
        Router::new()
            .route("/api/v1/openapi.json", get(openapi))
            .route("/api/v1/status", get(status))
            .route("/api/v1/breaker", get(breaker))
            .route("/api/v1/config", get(config))
            .route("/api/v1/history", get(history))
            .route("/api/{*rest}", axum::routing::any(nothing))
            .method_not_allowed_fallback(method)
            .layer(guard)
            .layer(header(header::CACHE_CONTROL, "no-store"))
            .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, super::REQUEST_TIMEOUT))
            .with_state(self)
    }
}

/// Lets through what may pass, with the caller's role.
async fn guarded(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    match access.judge(request.method(), request.headers()) {
        Ok(role) => {
            let remote = request.extensions().get::<Remote>().map(|remote| remote.0);
            request.extensions_mut().insert(Caller { role, remote });
            next.run(request).await
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

async fn config(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::Config).await
}

async fn history(State(api): State<Api>) -> Response {
    answer(&api.desk, Ask::History).await
}

async fn nothing() -> Problem {
    Problem::not_found("there is no such path; GET /api/v1/openapi.json names those there are")
}

async fn method() -> Problem {
    let message = "this path does not take this method; GET /api/v1/openapi.json says which it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
