//! The spans of an upgrade and of the session that comes of it. Everything is gathered on the data thread that has the
//! session, in plain cells, and only for sessions that are traced; finished spans are handed over without waiting.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Response, StatusCode, Version};

use super::cell::SessionCell;
use super::connection::ClientSide;
use super::error::{ConnectionError, Fault};
use super::target::Target;
use super::trace::{TraceId, TraceParent};
use super::tunnel::{EndCause, Ended};
use super::verdict::{Lane, Verdict};
use crate::hot::Fallback;
use crate::spans::{Attribute, EVENTS_MAX, Event, Kind, Place, Sampler, Span, SpanId, Value};

/// The session, or the upgrade that did not become one.
const SESSION: &str = "websocket session";
/// The service's part of it.
const UPGRADE: &str = "websocket upgrade";
/// The client has reset its stream before the answer to its upgrade.
const CLIENT_LEFT: &str = "client_left";
/// A close frame without a code (RFC 6455 section 7.4.1).
pub(super) const CLOSE_NO_STATUS: u16 = 1005;

type Give = dyn Fn(Span) + Send + Sync;

/// Which sessions have spans, and where these go. Cheap to clone.
#[derive(Clone)]
pub struct Spans {
    sampler: Sampler,
    give: Arc<Give>,
}

impl Spans {
    /// Hands finished spans to `give`, which must not wait.
    pub fn new(sampler: Sampler, give: impl Fn(Span) + Send + Sync + 'static) -> Self {
        Self { sampler, give: Arc::new(give) }
    }

    /// A place for the session of this upgrade, if it is to be traced: the decision of whoever came before us, else ours.
    fn place(&self, parent: Option<TraceParent>) -> Option<Place> {
        if parent.is_some_and(|parent| !parent.sampled) {
            return None;
        }
        let [high, low, id] = random()?;
        let trace = parent.map_or((u128::from(high) << 64) | u128::from(low), |one| one.trace.bits());
        let chosen = trace != 0 && (parent.is_some() || self.sampler.wants(trace));
        let parent = parent.map(|parent| (parent.span, true));
        SpanId::from_bits(id).filter(|_| chosen).map(|id| Place { trace, id, parent })
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spans").field(&self.sampler).finish()
    }
}

/// Without randomness there is no span; a session would be refused for it elsewhere.
fn random() -> Option<[u64; 3]> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect::<Vec<_>>().try_into().ok()
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Client,
    Service,
    Crossfade,
}

impl Who {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Service => "service",
            Self::Crossfade => "crossfade",
        }
    }
}

/// The span of an upgrade under way, and of its session.
#[derive(Clone, Debug)]
pub(super) struct Open {
    spans: Spans,
    place: Place,
    began: Instant,
    /// What the request says.
    asked: Vec<Attribute>,
    verdict: Cell<Option<(Lane, &'static str)>>,
    moves: RefCell<Vec<Event>>,
    moves_lost: Cell<u32>,
    /// The first close frame.
    closed: Cell<Option<(Who, u16)>>,
}

impl Open {
    /// The span of this upgrade, if it is to have one.
    pub(super) fn begin(
        client: &ClientSide,
        parts: &Parts,
        http1: bool,
        parent: Option<TraceParent>,
    ) -> Option<Box<Self>> {
        let spans = client.worker.shared.config.spans.as_ref()?;
        let place = spans.place(parent)?;
        let version = match parts.version {
            _ if !http1 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        let mut asked = vec![
            ("http.request.method", Value::cut(parts.method.as_str())),
            ("url.scheme", if client.tls { "https" } else { "http" }.into()),
            ("url.path", Value::cut(parts.uri.path())),
            ("network.protocol.name", "http".into()),
            ("network.protocol.version", version.into()),
        ];
        let host = parts.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        if let Some(host) = host {
            asked.push(("server.address", Value::cut(host.host())));
            asked.extend(host.port_u16().map(|port| ("server.port", u64::from(port).into())));
        }
        Some(Box::new(Self {
            spans: spans.clone(),
            place,
            began: client.worker.now(),
            asked,
            verdict: Cell::new(None),
            moves: RefCell::default(),
            moves_lost: Cell::new(0),
            closed: Cell::new(None),
        }))
    }

    /// Its trace.
    pub(super) const fn trace(&self) -> TraceId {
        TraceId::from_bits(self.place.trace)
    }

    /// Its id.
    pub(super) const fn id(&self) -> SpanId {
        self.place.id
    }

    /// The lane is decided, or decided anew.
    pub(super) fn decided(&self, verdict: &Verdict) {
        self.verdict.set(Some((verdict.lane, verdict.reason)));
    }

    /// The session has changed lanes.
    pub(super) fn moved(&self, to: Lane, why: Option<Fallback>, at: Instant) {
        let mut moves = self.moves.borrow_mut();
        if moves.len() >= EVENTS_MAX {
            return self.moves_lost.set(self.moves_lost.get().saturating_add(1));
        }
        let mut attributes = vec![("crossfade.lane", to.as_str().into())];
        attributes.extend(why.map(|why| ("crossfade.cause", why.as_str().into())));
        moves.push(Event { name: "crossfade.move", at, attributes });
    }

    /// Close frames that were seen so far, from the client and from the service.
    pub(super) fn heard_close(&self, client: Option<u16>, service: Option<u16>) {
        if self.closed.get().is_none() {
            let client = client.map(|code| (Who::Client, code));
            self.closed.set(client.or(service.map(|code| (Who::Service, code))));
        }
    }

    /// We tell the client to close.
    pub(super) fn closed_by_us(&self, code: u16) {
        if self.closed.get().is_none() {
            self.closed.set(Some((Who::Crossfade, code)));
        }
    }

    /// The client got an answer that is no 101.
    pub(super) fn refused(&self, status: StatusCode, now: Instant) {
        let mut span = self.span(now);
        span.attributes.push(("http.response.status_code", u64::from(status.as_u16()).into()));
        if status.is_server_error() {
            span.failed = true;
            span.attributes.push(("error.type", Value::cut(status.as_str())));
        }
        (self.spans.give)(span);
    }

    /// The client got our own answer, because of this.
    pub(super) fn failed(&self, fault: Fault, now: Instant) {
        let mut span = self.span(now);
        span.attributes.push(("http.response.status_code", u64::from(fault.status().as_u16()).into()));
        span.attributes.push(("error.type", fault.as_str().into()));
        span.failed = true;
        (self.spans.give)(span);
    }

    /// The client has gone before it got any answer.
    pub(super) fn left(&self, now: Instant) {
        let mut span = self.span(now);
        span.attributes.push(("error.type", CLIENT_LEFT.into()));
        span.failed = true;
        (self.spans.give)(span);
    }

    /// The session is over.
    pub(super) fn ended(&self, cell: &SessionCell, ended: &Ended, now: Instant) {
        let mut span = self.span(now);
        let end = self.closed.get();
        let who = end.map(|(who, _)| who).or(match ended.cause {
            EndCause::ClientReset => Some(Who::Client),
            EndCause::UpstreamReset => Some(Who::Service),
            EndCause::Drained | EndCause::Cut | EndCause::Idle => Some(Who::Crossfade),
            EndCause::Finished => None,
        });
        span.failed = ended.cause == EndCause::UpstreamReset;
        span.attributes.extend([
            ("http.response.status_code", Value::Number(101)),
            ("crossfade.session", Value::cut(&cell.id.to_string())),
            ("crossfade.session.number", u64::from(cell.no.0).into()),
            ("crossfade.lane.end", ended.lane.as_str().into()),
            ("crossfade.bytes.up", ended.bytes_up.into()),
            ("crossfade.bytes.down", ended.bytes_down.into()),
            ("crossfade.messages.up", ended.messages_up.into()),
            ("crossfade.messages.down", ended.messages_down.into()),
            ("crossfade.end", ended.cause.as_str().into()),
        ]);
        span.attributes.extend(who.map(|who| ("crossfade.ended_by", who.as_str().into())));
        span.attributes.extend(end.map(|(_, code)| ("crossfade.close_code", u64::from(code).into())));
        span.attributes.extend(span.failed.then(|| ("error.type", ended.cause.as_str().into())));
        span.events = self.moves.take();
        span.events_lost = self.moves_lost.get();
        (self.spans.give)(span);
    }

    /// The span so far.
    fn span(&self, now: Instant) -> Span {
        let mut attributes = self.asked.clone();
        attributes.extend(self.lane());
        let (place, start) = (self.place, self.began);
        let (events, name, kind) = (Vec::new(), SESSION, Kind::Server);
        Span { place, name, kind, start, end: now, attributes, events, events_lost: 0, failed: false }
    }

    fn lane(&self) -> Vec<Attribute> {
        let decided = self.verdict.get();
        decided.map_or_else(Vec::new, |(lane, reason)| {
            vec![("crossfade.lane", lane.as_str().into()), ("crossfade.reason", reason.into())]
        })
    }

    /// The service has answered, or not: this span leaves at once, while the session goes on.
    fn answered(&self, target: &Target, answer: Result<StatusCode, Fault>, (start, end): (Instant, Instant)) {
        let Some([_, _, id]) = random() else { return };
        let Some(id) = SpanId::from_bits(id) else { return };
        let mut attributes = vec![("http.request.method", "GET".into())];
        match target.unix_path() {
            Some(path) => attributes.push(("server.address", Value::cut(&path.to_string_lossy()))),
            None => attributes.extend([
                ("server.address", Value::cut(target.host())),
                ("server.port", u64::from(target.port()).into()),
            ]),
        }
        attributes.extend(self.lane());
        let failed = match answer {
            Ok(status) => {
                attributes.push(("http.response.status_code", u64::from(status.as_u16()).into()));
                let failed = status.is_client_error() || status.is_server_error();
                attributes.extend(failed.then(|| ("error.type", Value::cut(status.as_str()))));
                failed
            }
            Err(fault) => {
                attributes.push(("error.type", fault.as_str().into()));
                true
            }
        };
        let place = Place { trace: self.place.trace, id, parent: Some((self.place.id, false)) };
        let (name, kind, events) = (UPGRADE, Kind::Client, Vec::new());
        (self.spans.give)(Span { place, name, kind, start, end, attributes, events, events_lost: 0, failed });
    }
}

/// Waits for the answer to an upgrade, and makes it a span where the session has one.
pub(super) async fn asked<B>(
    open: Option<&Open>,
    client: &ClientSide,
    lane: Lane,
    answer: impl Future<Output = Result<Response<B>, ConnectionError>>,
) -> Result<Response<B>, ConnectionError> {
    let Some(open) = open else { return answer.await };
    let shared = &client.worker.shared;
    let start = client.worker.now();
    let answer = answer.await;
    let native = shared.native.as_ref().filter(|_| lane == Lane::Native);
    let target = native.map_or_else(|| client.upstream.target(), |dialer| dialer.target());
    let said = answer.as_ref().map(Response::status).map_err(|error| error.fault);
    open.answered(target, said, (start, client.worker.now()));
    answer
}
