//! The handshake, end to end: the client's upgrade goes to the service on a connection of its own, the answer
//! comes back unchanged, and only a 101 that proves itself becomes a session.

use bytes::Bytes;
use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::body::{AnswerBody, ClientBody, RequestBody, empty, relay};
use super::cold;
use super::connection::ClientSide;
use super::counters::UpgradeOutcome;
use super::dial::Dialer;
use super::error::{ConnectionError, Fault};
use super::exchange::Origin;
use super::handshake::{Asks, proves};
use super::headers::{ask_for_websocket, strip_hop_by_hop};
use super::io::Io;
use super::native::{self, Native};
use super::plain::{ANSWER_FIELDS_MAX, clean_answer, exchange_error, restate};
use super::spans;
use super::tunnel::SessionHead;
use super::verdict::{Lane, Verdict};
use super::watch::InFlight;
use crate::session::SessionId;

pub(super) const LANE_FIELD: HeaderName = HeaderName::from_static("x-crossfade-lane");

/// What comes of a request.
pub(super) enum Answered {
    /// An answer.
    Answer(Response<AnswerBody>),
    /// A 101 for the client, and what a session needs besides the client's side.
    Switched(Response<AnswerBody>, Box<Service>),
}

/// The service's side of a session to be.
pub(super) struct Service {
    pub(super) upstream: Io,
    pub(super) upstream_early: Bytes,
    pub(super) head: SessionHead,
}

/// Passes a request on that asks for a WebSocket, validly or not.
pub(super) async fn forward(
    client: &ClientSide,
    request: Request<ClientBody>,
    asks: Asks,
    origin: &mut Origin,
) -> Result<Answered, ConnectionError> {
    let counters = &client.worker.shared.counters;
    let path = request.uri().path().to_owned();
    let (mut parts, body) = request.into_parts();
    let source = client.worker.shared.config.trusted.client(&parts.headers, client.peer);
    let mut verdict = match asks {
        Asks::WebSocket { .. } => route(client, &mut parts, source),
        Asks::Plain | Asks::Malformed => Verdict::LEGACY,
    };
    if let (Lane::Cold, Asks::WebSocket { accept }) = (verdict.lane, &asks) {
        decided(origin, &verdict);
        let whence = (source, &mut *origin);
        match Box::pin(cold::enter(client, &parts, (accept.as_str(), whence), &verdict)).await? {
            cold::Outcome::Answered(answered) => return Ok(*answered),
            cold::Outcome::Elsewhere(why) => {
                verdict = Verdict { lane: Lane::Legacy, reason: why.as_str(), ..verdict };
            }
        }
    }
    decided(origin, &verdict);
    let asked = in_time(client, &asks, exchange(client, parts, body, &verdict));
    let mut answer = spans::asked(origin.span.as_deref(), client, verdict.lane, asked).await?;
    let switching = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    match asks {
        Asks::WebSocket { accept } if switching => {
            if !proves(answer.status(), answer.headers(), &accept) {
                return Err(Fault::SwitchingInvalid.into());
            }
            let (upstream, upstream_early) = leave_http(&mut answer).await?;
            let answer = switch(client, answer, &verdict);
            let head = session_head(client, answer.headers(), (path, source, origin), &verdict)?;
            counters.upgrades(UpgradeOutcome::Tunnelled).add();
            Ok(Answered::Switched(answer, Box::new(Service { upstream, upstream_early, head })))
        }
        _ if switching => Err(Fault::SwitchingUnasked.into()),
        asks => {
            let valid = matches!(asks, Asks::WebSocket { .. });
            let outcome = if valid { UpgradeOutcome::Refused } else { UpgradeOutcome::Malformed };
            counters.upgrades(outcome).add();
            clean_answer(&mut answer)?;
            if verdict.lane == Lane::Native {
                Native::answer(answer.headers_mut(), false);
            }
            Ok(Answered::Answer(relay(answer, InFlight::enter(&client.watch))))
        }
    }
}

fn decided(origin: &Origin, verdict: &Verdict) {
    if let Some(span) = &origin.span {
        span.decided(verdict);
    }
}

/// Asks for the lane, and makes the offer of `realtime` agree with it.
fn route(client: &ClientSide, parts: &mut Parts, source: std::net::SocketAddr) -> Verdict {
    let shared = &client.worker.shared;
    let mut verdict = (shared.decide)(parts, source);
    let offered = native::offers(&parts.headers);
    if verdict.lane == Lane::Native && (shared.native.is_none() || !offered) {
        let reason = if offered { "native_not_configured" } else { "realtime_not_offered" };
        verdict = Verdict { lane: Lane::Legacy, reason, ..verdict };
    }
    if verdict.lane != Lane::Native && offered && shared.native.is_some() {
        native::withdraw(&mut parts.headers);
    }
    verdict
}

/// Waits for the answer as long as its kind may take: a request that is no valid upgrade has the time of a plain one.
pub(super) async fn in_time(
    client: &ClientSide,
    asks: &Asks,
    answer: impl Future<Output = Result<Response<Incoming>, ConnectionError>>,
) -> Result<Response<Incoming>, ConnectionError> {
    let deadlines = &client.worker.shared.config.deadlines;
    let (limit, fault) = match asks {
        Asks::WebSocket { .. } => (Some(deadlines.upgrade), Fault::UpgradeTimeout),
        Asks::Plain | Asks::Malformed => (deadlines.response, Fault::ResponseTimeout),
    };
    match limit {
        Some(limit) => tokio::time::timeout(limit, answer)
            .await
            .unwrap_or_else(|elapsed| Err(ConnectionError::new(fault, elapsed))),
        None => answer.await,
    }
}

/// Sends the upgrade where its lane leads and waits for the answer's head.
pub(super) async fn exchange(
    client: &ClientSide,
    mut parts: Parts,
    body: ClientBody,
    verdict: &Verdict,
) -> Result<Response<Incoming>, ConnectionError> {
    let shared = &client.worker.shared;
    let native = match (verdict.lane, &shared.config.native, &shared.native) {
        (Lane::Native, Some(native), Some(dialer)) => Some((native, dialer)),
        _ => None,
    };
    restate(&mut parts, &body, client)?;
    let dialer: &Dialer = match native {
        Some((native, dialer)) => {
            native.rewrite(&mut parts);
            dialer
        }
        None => {
            ask_for_websocket(&mut parts.headers);
            &client.upstream
        }
    };
    let body = RequestBody::new(body, InFlight::enter(&client.watch));
    send_alone(client, dialer, Request::from_parts(parts, body)).await
}

/// Sends a request over a connection of its own and waits for the answer's head.
pub(super) async fn send_alone(
    client: &ClientSide,
    dialer: &Dialer,
    mut request: Request<RequestBody>,
) -> Result<Response<Incoming>, ConnectionError> {
    *request.uri_mut() = origin_form(request.uri());
    let broken = request.body().broken();
    // Kept until the answer: what comes back to us is known as ours meanwhile.
    let (io, _own) = dialer.dial_for(client.announced()).await?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(ANSWER_FIELDS_MAX)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| exchange_error(error, &broken))?;
    let driver = Driver(Some(tokio::task::spawn_local(connection.with_upgrades())));
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| exchange_error(error, &broken))?;
    driver.leave();
    Ok(answer)
}

/// The task that drives the connection to the service. Aborted, and the connection with it, if no answer comes.
struct Driver(Option<tokio::task::JoinHandle<hyper::Result<()>>>);

impl Driver {
    /// Lets the task go on by itself: it still has the answer's body to read, or the 101 to hand over.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Takes the service's connection out of HTTP, with the bytes that came right behind the 101.
pub(super) async fn leave_http(answer: &mut Response<Incoming>) -> Result<(Io, Bytes), ConnectionError> {
    let upgraded =
        hyper::upgrade::on(answer).await.map_err(|error| ConnectionError::new(Fault::Handover, error))?;
    let parts = upgraded.downcast::<TokioIo<Io>>().map_err(|_| ConnectionError::from(Fault::Handover))?;
    Ok((parts.io.into_inner(), compact(&parts.read_buf)))
}

/// The same bytes without hyper's read buffer behind them, which would stay as long as the session.
pub(super) fn compact(early: &Bytes) -> Bytes {
    if early.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(early) }
}

/// The 101 for the client.
fn switch(client: &ClientSide, answer: Response<Incoming>, verdict: &Verdict) -> Response<AnswerBody> {
    let mut answer = answer.map(|_| empty(InFlight::enter(&client.watch)));
    *answer.version_mut() = Version::HTTP_11;
    let headers = answer.headers_mut();
    strip_hop_by_hop(headers);
    headers.remove(http::header::CONTENT_LENGTH);
    ask_for_websocket(headers);
    if verdict.lane == Lane::Native {
        Native::answer(headers, true);
    }
    if client.worker.shared.config.lane_header {
        headers.insert(LANE_FIELD, HeaderValue::from_static(verdict.lane.as_str()));
    }
    answer
}

pub(super) fn session_head(
    client: &ClientSide,
    answer: &HeaderMap,
    (path, source, origin): (String, std::net::SocketAddr, &mut Origin),
    verdict: &Verdict,
) -> Result<SessionHead, ConnectionError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| ConnectionError::new(Fault::NoRandomness, error))?;
    #[expect(clippy::disallowed_methods, reason = "the shell where sessions begin")]
    let opened_at = std::time::Instant::now();
    Ok(SessionHead {
        number: client.worker.sessions().take_number(),
        id: SessionId::from_bits(u128::from_be_bytes(bits)),
        path,
        subprotocol: joined(answer, &SEC_WEBSOCKET_PROTOCOL),
        extensions: joined(answer, &SEC_WEBSOCKET_EXTENSIONS),
        peer: client.peer,
        client: source,
        trace: origin.trace,
        span: origin.span.take(),
        verdict: verdict.clone(),
        opened_at,
    })
}

/// All lines of a list field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> =
        headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}
