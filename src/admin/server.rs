//! The listener itself: four routes, few connections, short deadlines.
//! Runs on the ops thread; `stop` ends it last of all, so that a draining pod still answers its probes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use super::api::Remote;
use super::gate::Gate;
use super::health::{Health, Status};

/// The most open connections; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 64;

/// The longest wait for a request head, and the longest work on an answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// After a failed accept (no file descriptors left, say): wait, instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener shows.
#[derive(Clone, Debug)]
pub struct Ops {
    /// For `/metrics`.
    pub registry: Registry,
    /// For the probes.
    pub health: Health,
    /// For programs that drive a rollout.
    pub gate: Gate,
}

impl Ops {
    /// The routes, with their deadline.
    pub fn router(self) -> Router {
        let no_store = HeaderValue::from_static("no-store");
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|State(ops): State<Self>| async move { probe((ops.health.live)()) }))
            .route("/readyz", get(|State(ops): State<Self>| async move { probe((ops.health.ready)()) }))
            .route("/gate", get(gate).post(gate))
            .layer(SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, no_store))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
            .with_state(self)
    }
}

async fn gate(State(ops): State<Ops>, Query(query): Query<Vec<(String, String)>>) -> Response {
    ops.gate.answer(&query)
}

fn probe(status: Status) -> Response {
    match status {
        Status::Ok => (StatusCode::OK, "ok\n").into_response(),
        Status::Failing(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match TextEncoder::new().encode_to_string(&ops.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Answers on `listener` until `stop` resolves; then open connections are cut. Cancel safe: dropping the future
/// closes everything.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let router = router.clone();
                        open.spawn(async move {
                            answer(socket, peer, router).await;
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the ops listener cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    open.shutdown().await;
}

async fn answer(socket: TcpStream, peer: SocketAddr, router: Router) {
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Remote(peer));
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "an ops connection ended early");
    }
}
