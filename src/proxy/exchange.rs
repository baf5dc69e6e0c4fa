//! One exchange, whichever HTTP the client speaks: check the head, pass it on as what it is, answer.

use std::rc::Rc;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Version};
use http_body::Body as _;

use super::body::{ClientBody, refuse};
use super::connection::ClientSide;
use super::counters::UpgradeOutcome;
use super::drain::Phase;
use super::error::{ConnectionError, Fault};
use super::handshake::{Asks, classify};
use super::spans::Open;
use super::trace::{TraceId, TraceParent};
use super::upgrade::Answered;
use super::watch::InFlight;
use super::worker::Worker;
use super::{lane_endpoint, plain, upgrade};

/// Answers one request. A request that failed has an answer too: ours.
pub(super) async fn exchange(
    client: &ClientSide,
    request: Request<ClientBody>,
    in_flight: InFlight,
) -> Answered {
    let counters = &client.worker.shared.counters;
    let (parts, body) = request.into_parts();
    let asks = classify(&parts, !body.is_end_stream());
    let parent = TraceParent::of(&parts.headers);
    let http1 = matches!(body, ClientBody::Http1(_));
    let span = if matches!(asks, Asks::Plain) { None } else { Open::begin(client, &parts, http1, parent) };
    // One of our own choice names the session in the log, too.
    let trace = parent.map(|parent| parent.trace).or(span.as_ref().map(|span| span.trace()));
    let worker = Rc::clone(&client.worker);
    let mut origin = Origin { trace, span, worker };
    let acceptable = check_head(client, &parts).and_then(|()| check_pace(client, &asks));
    let answered = match (acceptable, asks) {
        (Err(fault), _) => Err(ConnectionError::from(fault)),
        (Ok(()), Asks::Plain) if lane_endpoint::is_asked(client, &parts) => {
            return Answered::Answer(lane_endpoint::answer(client, parts, in_flight));
        }
        (Ok(()), Asks::Plain) => {
            counters.plain_requests.add();
            note_request(client, &parts.method, trace);
            plain::forward(client, Request::from_parts(parts, body)).await.map(Answered::Answer)
        }
        (Ok(()), asks) => {
            let request = Request::from_parts(parts, body);
            let began = client.worker.now();
            let answered = Box::pin(upgrade::forward(client, request, asks, &mut origin)).await;
            counters.upgrade_times.observe(client.worker.now().saturating_duration_since(began));
            if answered.is_err() {
                counters.upgrades(UpgradeOutcome::Failed).add();
            }
            answered
        }
    };
    // Where there is a session, the span is the session's by now.
    let span = origin.span.take().map(|span| (span, client.worker.now()));
    match answered {
        Ok(answered) => {
            if let (Answered::Answer(answer), Some((span, now))) = (&answered, span) {
                span.refused(answer.status(), now);
            }
            answered
        }
        Err(error) => {
            if let Some((span, now)) = span {
                span.failed(error.fault, now);
            }
            client.note(&error, trace);
            Answered::Answer(refuse(error.fault, in_flight))
        }
    }
}

/// Where an upgrade belongs: the trace that its session is known by, and its span where it has one.
pub(super) struct Origin {
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<Box<Open>>,
    worker: Rc<Worker>,
}

impl Drop for Origin {
    /// Nobody has taken the span: the exchange was given up in the middle. At a drain we do that ourselves, and the
    /// client is not said to have left.
    fn drop(&mut self) {
        if let Some(span) = self.span.take().filter(|_| self.worker.shared.drain.phase() < Phase::Closing) {
            span.left(self.worker.now());
        }
    }
}

/// What no request may lack or have, whatever the service thinks of it.
fn check_head(client: &ClientSide, parts: &Parts) -> Result<(), Fault> {
    let limits = &client.worker.shared.config.limits;
    let line = parts.method.as_str().len() + parts.uri.path().len() + parts.uri.query().map_or(0, str::len);
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if parts.headers.len() > limits.head_fields || line + fields > limits.head_bytes {
        return Err(Fault::HeadTooLarge);
    }
    if client.came_back() {
        return Err(Fault::LoopDetected);
    }
    if parts.method == Method::CONNECT {
        return Err(Fault::MethodConnect);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if parts.version == Version::HTTP_10 => Ok(()),
        (Some(host), None) if is_authority(host.as_bytes()) => Ok(()),
        _ => Err(Fault::HostInvalid),
    }
}

/// Whether the service may have one more upgrade in this second.
fn check_pace(client: &ClientSide, asks: &Asks) -> Result<(), Fault> {
    let worker = &client.worker;
    match &worker.shared.pace {
        Some(pace) if matches!(asks, Asks::WebSocket { .. }) && !pace.admit(worker.now()) => {
            Err(Fault::UpgradeRate)
        }
        _ => Ok(()),
    }
}

/// A plain request's line in the log, where somebody asked for so much. Its target may hold secrets and is not in it.
fn note_request(client: &ClientSide, method: &Method, trace: Option<TraceId>) {
    let trace_id = trace.map(tracing::field::display);
    tracing::debug!(peer = %client.peer, trace_id, %method, "a request passes");
}

/// RFC 9110 section 7.2: `uri-host [":" port]`, or empty where the target has no authority.
fn is_authority(host: &[u8]) -> bool {
    let plain = Bytes::copy_from_slice(host);
    host.is_empty() || (!host.contains(&b'@') && Authority::from_maybe_shared(plain).is_ok())
}
