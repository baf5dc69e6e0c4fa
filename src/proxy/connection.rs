//! One client from its first byte to its last: TLS, HTTP as long as it lasts, and, after a proven 101, the tunnel.
//! Whatever goes wrong here costs this connection and no other.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::admission::Place;
use super::body::{AnswerBody, refusal_bytes, refuse};
use super::counters::UpgradeOutcome;
use super::drain::Phase;
use super::entry::{self, Entered};
use super::error::{ConnectionError, Fault};
use super::handshake::{Asks, classify};
use super::io::Io;
use super::proxy_protocol::Header;
use super::trace::TraceId;
use super::tunnel::{self, Upgraded};
use super::upgrade::{Handoff, compact};
use super::verdict::Lane;
use super::watch::{HeadClock, InFlight, Runs, Watch, Watched};
use super::worker::Worker;
use super::{lane_endpoint, plain, upgrade};

/// How long a client may take to read our last words before the connection is closed.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read and dropped meanwhile.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Fields hyper may parse beyond our limit, so that it is we who answer, with a body.
const FIELDS_BEYOND: usize = 64;
/// hyper's least buffer.
const BUFFER_BYTES_MIN: usize = 8192;

/// What is known about the client, for all its requests.
pub(super) struct ClientSide {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: SocketAddr,
    /// Where it connected to.
    pub(super) destination: SocketAddr,
    pub(super) tls: bool,
    pub(super) watch: Arc<Watch>,
    handoff: RefCell<Option<Handoff>>,
}

impl ClientSide {
    /// Leaves what the session needs where the connection finds it once the 101 is flushed.
    pub(super) fn hand_over(&self, handoff: Handoff) {
        self.handoff.replace(Some(handoff));
    }

    /// What the service is told of the client's connection, where it is told.
    pub(super) const fn announced(&self) -> Header {
        Header::Proxied { source: self.peer, destination: self.destination }
    }

    fn note(&self, error: &ConnectionError, trace: Option<TraceId>) {
        note(&self.worker, self.peer, error, trace);
    }
}

fn note(worker: &Worker, peer: SocketAddr, error: &ConnectionError, trace: Option<TraceId>) {
    worker.shared.counters.faults(error.fault).add();
    let trace_id = trace.map(tracing::field::display);
    tracing::debug!(%peer, trace_id, %error, "an exchange failed");
}

/// Counts a connection as open until it is dropped.
pub(super) struct Open {
    worker: Rc<Worker>,
    /// What its address is counted by, where that is limited.
    _place: Option<Place>,
}

impl Open {
    /// Takes over the count that the acceptor has begun.
    pub(super) fn count(worker: &Rc<Worker>, place: Option<Place>) -> Self {
        Self { worker: Rc::clone(worker), _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.load.connections.fetch_sub(1, Ordering::Relaxed);
        self.worker.shared.counters.connections_open.sub();
        self.worker.shared.left.notify_waiters();
    }
}

/// Counts a session as open until it is dropped.
struct OpenSession(Rc<Worker>, Lane);

impl OpenSession {
    fn count(worker: &Rc<Worker>, lane: Lane) -> Self {
        worker.shared.counters.sessions_total(lane).add();
        worker.shared.counters.sessions_open(lane).add();
        Self(Rc::clone(worker), lane)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.shared.counters.sessions_open(self.1).sub();
    }
}

/// Serves one client. Dropping the future closes the connection.
pub(super) async fn serve(worker: Rc<Worker>, socket: std::net::TcpStream, peer: SocketAddr, open: Open) {
    let watch = Arc::new(Watch::default());
    let Entered { io, peer, destination } = match entry::enter(&worker.shared, socket, peer).await {
        Ok(entered) => entered,
        Err(error) => return note(&worker, peer, &error, None),
    };
    let (tls, handoff) = (io.is_tls(), RefCell::new(None));
    let client = Rc::new(ClientSide { worker, peer, destination, tls, watch: Arc::clone(&watch), handoff });
    // Boxed, because hyper's state is large and a session, which follows in another task, needs none of it.
    Box::pin(speak_http(&client, Watched::new(io, watch))).await;
    let handoff = client.handoff.take();
    if let Some(handoff) = handoff {
        match switched(handoff).await {
            Ok(upgraded) => {
                tokio::task::spawn_local(session(&client.worker, upgraded, open));
            }
            Err(error) => client.note(&error, None),
        }
    }
}

/// How the HTTP part of a connection ended.
enum Finish {
    Ended(hyper::Result<()>),
    Overdue(Runs),
}

/// HTTP/1.1 until the client leaves, fails, or switches protocols.
async fn speak_http(client: &Rc<ClientSide>, io: Watched) {
    let config = &client.worker.shared.config;
    let mut connection = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .half_close(true)
        .header_read_timeout(None)
        .max_headers(config.limits.head_fields + FIELDS_BEYOND)
        .max_buf_size((config.limits.head_bytes * 2).max(BUFFER_BYTES_MIN))
        .serve_connection(TokioIo::new(io), Door(Rc::clone(client)))
        .with_upgrades();
    let mut clock = HeadClock::start(Arc::clone(&client.watch), &config.deadlines);
    let mut finishing = pin!(client.worker.shared.drain.reached(Phase::Finishing));
    let mut told = false;
    let finish = poll_fn(|cx| {
        if !told && finishing.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Finish::Ended(result));
        }
        clock.poll(cx).map(Finish::Overdue)
    })
    .await;
    let (fault, words) = match finish {
        Finish::Ended(Ok(())) => return,
        Finish::Ended(Err(error)) => {
            let fault = client_fault(&error);
            client.note(&ConnectionError::new(fault, error), None);
            (fault, Vec::new())
        }
        Finish::Overdue(Runs::Idle) => return, // nothing is under way: closed without a word
        Finish::Overdue(Runs::Head) => {
            client.note(&Fault::HeadTimeout.into(), None);
            // A client that has said nothing has asked nothing: a 408 would only be taken for a later answer.
            let silent = client.watch.is_silent();
            (Fault::HeadTimeout, if silent { Vec::new() } else { refusal_bytes(Fault::HeadTimeout) })
        }
    };
    if fault != Fault::ClientGone
        && let Some(parts) = connection.into_parts()
    {
        last_words(parts.io.into_inner().into_inner(), &words).await;
    }
}

/// What an error of hyper's server means. hyper has answered malformed heads by itself.
fn client_fault(error: &hyper::Error) -> Fault {
    if error.is_parse_too_large() {
        Fault::HeadTooLarge
    } else if error.is_parse() {
        Fault::HeadMalformed
    } else {
        Fault::ClientGone
    }
}

/// Writes, ends our direction and reads what is still coming for a moment: closing with unread bytes would reset the
/// connection, and the reset can overtake the answer.
async fn last_words(mut io: Io, words: &[u8]) {
    let farewell = async {
        io.write_all(words).await?;
        io.shutdown().await?;
        let mut dropped = 0;
        let mut buffer = [0; 4096];
        while dropped < LINGER_BYTES_MAX {
            match io.read(&mut buffer).await? {
                0 => break,
                n => dropped += n,
            }
        }
        std::io::Result::Ok(())
    };
    // Whether the client listened or not, the connection is closed now.
    drop(timeout(LINGER, farewell).await);
}

/// The client's side out of HTTP, and both sides together.
async fn switched(handoff: Handoff) -> Result<Upgraded, ConnectionError> {
    let upgraded = handoff.client.await.map_err(|error| ConnectionError::new(Fault::ClientGone, error))?;
    let parts =
        upgraded.downcast::<TokioIo<Watched>>().map_err(|_| ConnectionError::from(Fault::Handover))?;
    Ok(Upgraded {
        client: parts.io.into_inner().into_inner(),
        client_early: compact(&parts.read_buf),
        upstream: handoff.upstream,
        upstream_early: handoff.upstream_early,
        head: handoff.head,
    })
}

fn session(worker: &Rc<Worker>, upgraded: Upgraded, open: Open) -> impl Future<Output = ()> + use<> {
    let counted = OpenSession::count(worker, upgraded.head.verdict.lane);
    let (id, trace, verdict) = (upgraded.head.id, upgraded.head.trace, &upgraded.head.verdict);
    tracing::info!(
        session = %id,
        trace_id = trace.map(tracing::field::display),
        lane = verdict.lane.as_str(),
        reason = verdict.reason,
        "session opened"
    );
    let mut life = tunnel::run(upgraded, Rc::clone(worker));
    async move {
        // By reference: awaited by value it would lie in this future twice.
        let ended = (&mut life).await;
        tracing::info!(
            session = %id,
            trace_id = trace.map(tracing::field::display),
            lane = ended.lane.as_str(),
            reason = ended.cause.as_str(),
            bytes_up = ended.bytes_up,
            bytes_down = ended.bytes_down,
            "session closed"
        );
        // In this order: when no connection is left, no session may still be counted.
        drop(counted);
        drop(open);
    }
}

/// hyper's way to us.
struct Door(Rc<ClientSide>);

impl hyper::service::Service<Request<Incoming>> for Door {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let client = Rc::clone(&self.0);
        client.watch.head_read();
        let in_flight = InFlight::enter(&client.watch);
        Box::pin(async move { Ok(answer(&client, request, in_flight).await) })
    }
}

/// One exchange: check the head, pass it on as what it is, answer.
async fn answer(
    client: &ClientSide,
    request: Request<Incoming>,
    in_flight: InFlight,
) -> Response<AnswerBody> {
    let counters = &client.worker.shared.counters;
    let (parts, body) = request.into_parts();
    let asks = classify(&parts, !body.is_end_stream());
    let trace = TraceId::of(&parts.headers);
    let acceptable = check_head(client, &parts).and_then(|()| check_pace(client, &asks));
    let answered = match (acceptable, asks) {
        (Err(fault), _) => Err(fault.into()),
        (Ok(()), Asks::Plain) if lane_endpoint::is_asked(client, &parts) => {
            return lane_endpoint::answer(client, parts, in_flight);
        }
        (Ok(()), Asks::Plain) => {
            counters.plain_requests.add();
            note_request(client, &parts.method, trace);
            plain::forward(client, Request::from_parts(parts, body)).await
        }
        (Ok(()), asks) => {
            let request = Request::from_parts(parts, body);
            let answered = Box::pin(upgrade::forward(client, request, asks)).await;
            if answered.is_err() {
                counters.upgrades(UpgradeOutcome::Failed).add();
            }
            answered
        }
    };
    answered.unwrap_or_else(|error| {
        client.note(&error, trace);
        refuse(error.fault, in_flight)
    })
}

/// What no request may lack or have, whatever the service thinks of it.
fn check_head(client: &ClientSide, parts: &Parts) -> Result<(), Fault> {
    let limits = &client.worker.shared.config.limits;
    let line = parts.method.as_str().len() + parts.uri.path().len() + parts.uri.query().map_or(0, str::len);
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if parts.headers.len() > limits.head_fields || line + fields > limits.head_bytes {
        return Err(Fault::HeadTooLarge);
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
