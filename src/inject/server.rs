//! The listener: HTTPS, three routes, bounded bodies and deadlines that are shorter than the API server's patience.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutLayer;

use super::Namespace;
use super::files::{LiveTemplate, TemplateLook, TemplateWatch};
use super::metrics::{Answered, Figures, Reload};
use super::review::{Answer, Outcome, answer};
use crate::proxy::tls::{LOOK_EVERY, Live, Look, Named, ServerFiles, TlsProblem};

/// The largest question, in bytes. etcd holds no Pod of 1.5 MiB; one of 1 MiB as JSON was never meant to run.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Questions that are read at one time; the next ones wait within their deadline.
pub const BODIES_MAX: usize = 16;

/// The most open connections; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 256;

/// The longest work on an answer, waiting included: less than the webhook's `timeoutSeconds`, 3.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for a request head. The API server drops an idle connection after 90 s; it must be the first, or
/// a question could meet a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The largest template: a ConfigMap holds 1 MiB.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// The variable of both certificate files.
const TLS_DIR: &str = "CROSSFADE_INJECT_TLS_DIR";

/// What the webhook works with.
#[derive(Clone)]
pub struct Webhook {
    template: Arc<LiveTemplate>,
    tls: Arc<Live<ServerConfig>>,
    bodies: Arc<Semaphore>,
    figures: Figures,
}

/// The template's file and what was read of it.
pub struct Watched {
    path: PathBuf,
    watch: TemplateWatch,
}

/// Reads certificate, key and template.
///
/// # Errors
/// Every problem, one line each.
pub fn open(config: &crate::config::Inject) -> Result<(Webhook, Watched), Vec<String>> {
    let named = |file: &str| Named { variable: TLS_DIR, path: config.tls_dir.join(file) };
    let files =
        ServerFiles { pairs: vec![(named("tls.crt"), named("tls.key"))], client_ca: None, http2: false };
    let lines = |problems: Vec<TlsProblem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let tls = files.open(now()).map_err(lines);
    let path = config.template.clone();
    let said = |why: String| vec![format!("CROSSFADE_INJECT_TEMPLATE: {} {why}", path.display())];
    let template = read(&path)
        .and_then(|bytes| LiveTemplate::open(bytes).map_err(|error| error.to_string()))
        .map_err(said);
    let figures = Figures::new().map_err(|error| vec![format!("the metrics cannot be registered: {error}")]);
    match (tls, template, figures) {
        (Ok(tls), Ok((template, watch)), Ok(figures)) => {
            let bodies = Arc::new(Semaphore::new(BODIES_MAX));
            Ok((Webhook { template, tls, bodies, figures }, Watched { path, watch }))
        }
        (tls, template, figures) => {
            Err([tls.err(), template.err(), figures.err()].into_iter().flatten().flatten().collect())
        }
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| format!("cannot be read ({error})");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(TEMPLATE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > TEMPLATE_BYTES_MAX { Err("is larger than 1 MiB".to_owned()) } else { Ok(bytes) }
}

impl Webhook {
    fn router(&self) -> Router {
        let plain = |State(hook): State<Self>, request: Request| async move {
            hook.mutate(request, Namespace::Plain).await
        };
        let redirect = |State(hook): State<Self>, request: Request| async move {
            hook.mutate(request, Namespace::MayRedirect).await
        };
        Router::new()
            .route("/mutate", post(plain))
            .route("/mutate/redirect", post(redirect))
            .route("/healthz", get(|| async { "ok\n" }))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_TIMEOUT))
            .with_state(self.clone())
    }

    /// What Prometheus and the kubelet ask without TLS; nothing of a pod is in it.
    pub fn metrics_router(&self) -> Router {
        let metrics = |State(hook): State<Self>| async move { hook.metrics() };
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_TIMEOUT))
            .with_state(self.clone())
    }

    fn metrics(&self) -> Response {
        match self.figures.text(self.tls.expires()) {
            Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    async fn mutate(&self, request: Request, namespace: Namespace) -> Response {
        let question = self.figures.question();
        let Ok(_place) = self.bodies.acquire().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let Ok(body) = to_bytes(request.into_body(), BODY_BYTES_MAX).await else {
            question.answered(Answered::TooLarge);
            return (StatusCode::PAYLOAD_TOO_LARGE, "over 1 MiB, or cut off\n").into_response();
        };
        match answer(&body, &self.template.load(), namespace) {
            Ok(answer) => {
                question.answered(answer.outcome.into());
                if let Outcome::Refused(reason) = answer.outcome {
                    self.figures.refused(reason);
                }
                tell(&answer);
                let json = [(header::CONTENT_TYPE, "application/json")];
                (json, Body::from(answer.review.to_string())).into_response()
            }
            Err(error) => {
                question.answered(Answered::Invalid);
                tracing::warn!(%error, "a question that is none");
                (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
            }
        }
    }

    /// Answers on `listener` until `stop` resolves, then finishes what is under way, for the answer's deadline at most.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (ending, ended) = tokio::sync::watch::channel(false);
        let router = self.router();
        let mut open = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = open.join_next(), if !open.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                            let (router, tls, ended) = (router.clone(), self.tls.load(), ended.clone());
                            open.spawn(async move {
                                connection(socket, TlsAcceptor::from(tls), router, ended).await;
                                drop(place);
                            });
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the webhook cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        ending.send_replace(true);
        let rest = async { while open.join_next().await.is_some() {} };
        drop(tokio::time::timeout(ANSWER_TIMEOUT, rest).await);
        open.shutdown().await;
    }

    /// Looks at the files for as long as it is polled.
    pub async fn keep(self, mut watched: Watched) -> Infallible {
        for problem in self.tls.warnings() {
            tracing::warn!(problem = problem.sentence(), "certificate is used all the same");
        }
        let mut turn = tokio::time::interval(LOOK_EVERY);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            let (tls, path) = (Arc::clone(&self.tls), watched.path.clone());
            // The disk is waited for elsewhere: answers have a deadline.
            let looked = tokio::task::spawn_blocking(move || (tls.look(now()), read(&path))).await;
            let Ok((tls, template)) = looked else { continue };
            self.tell_tls(tls);
            match self.template.look(&mut watched.watch, template) {
                TemplateLook::Same => {}
                TemplateLook::Applied => {
                    self.figures.reload(Reload::TemplateApplied);
                    tracing::info!("the template has changed: new pods get the new one");
                }
                TemplateLook::Refused(problem) => {
                    self.figures.reload(Reload::TemplateRefused);
                    tracing::error!(
                        problem,
                        "the template has changed and cannot be used: the last good one stays"
                    );
                }
            }
        }
    }

    fn tell_tls(&self, look: Look) {
        match look {
            Look::Same => {}
            Look::Applied => {
                self.figures.reload(Reload::TlsApplied);
                tracing::info!("TLS files have changed: new connections use them");
            }
            Look::Restored => tracing::info!("TLS files are as they were"),
            Look::Refused(problems) => {
                self.figures.reload(Reload::TlsRefused);
                for problem in problems {
                    tracing::error!(
                        variable = problem.variable,
                        problem = problem.sentence(),
                        "TLS files have changed and cannot be used: the last good ones stay in use"
                    );
                }
            }
        }
    }
}

fn tell(answer: &Answer) {
    let (namespace, pod) = (answer.namespace.as_str(), answer.name.as_str());
    match answer.outcome {
        Outcome::Injected => tracing::info!(namespace, pod, warnings = ?answer.warnings, "injected"),
        Outcome::Already | Outcome::NotAsked => {
            tracing::debug!(namespace, pod, outcome = ?answer.outcome, "left alone");
        }
        Outcome::Refused(reason) => {
            let why = answer.warnings.first().map(String::as_str).unwrap_or_default();
            tracing::warn!(namespace, pod, reason = reason.as_str(), why, "not injected");
        }
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    mut ended: tokio::sync::watch::Receiver<bool>,
) {
    let secured = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(secured)) => secured,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let service = hyper::service::service_fn(move |request| router.clone().oneshot(request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(secured), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = async { drop(ended.wait_for(|ended| *ended).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the wall clock")]
fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixTime::since_unix_epoch(since)
}
