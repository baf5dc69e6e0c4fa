//! One client from its first byte to its last: TLS, HTTP as long as it lasts, and, after a proven 101, the tunnel.
//! Whatever goes wrong here costs this connection and no other.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::admission::Place;
use super::body::{AnswerBody, ClientBody, refusal_bytes};
use super::circle::Arrived;
use super::dial::Dialer;
use super::drain::Phase;
use super::entry::{self, Entered};
use super::error::{ConnectionError, Fault};
use super::exchange::exchange;
use super::http2;
use super::io::Io;
use super::proxy_protocol::Header;
use super::trace::TraceId;
use super::tunnel::{self, Upgraded};
use super::upgrade::{Answered, Service, compact};
use super::verdict::Lane;
use super::watch::{HeadClock, InFlight, Runs, Watch, Watched};
use super::worker::Worker;

/// How long a draining process waits for the first byte of a connection that it has accepted.
const FIRST_WORD: Duration = Duration::from_secs(1);
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
    arrived: Arrived,
    /// Whether it is one of our own, once somebody has looked.
    came_back: OnceCell<bool>,
    pub(super) tls: bool,
    pub(super) watch: Arc<Watch>,
    /// The way to the service: the one of all, or to the port that this client meant.
    pub(super) upstream: Arc<Dialer>,
    handoff: RefCell<Option<Handoff>>,
}

/// What an HTTP/1.1 connection needs to become a session once hyper has flushed the 101.
type Handoff = (OnUpgrade, Box<Service>);

impl ClientSide {
    /// What the service is told of the client's connection, where it is told.
    pub(super) const fn announced(&self) -> Header {
        Header::Proxied { source: self.peer, destination: self.destination }
    }

    /// True if this is a connection of our own to the service. Looked up once, at the first request.
    pub(super) fn came_back(&self) -> bool {
        *self.came_back.get_or_init(|| {
            let circle = &self.worker.shared.circle;
            let came_back = circle.closes(&self.arrived);
            if came_back {
                circle.tell(&self.arrived, self.worker.now());
            }
            came_back
        })
    }

    pub(super) fn note(&self, error: &ConnectionError, trace: Option<TraceId>) {
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
    place: Option<Place>,
}

impl Open {
    /// Takes over the count that the acceptor has begun.
    pub(super) fn count(worker: &Rc<Worker>) -> Self {
        Self { worker: Rc::clone(worker), place: None }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.place = None;
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
pub(super) async fn serve(worker: Rc<Worker>, socket: std::net::TcpStream, peer: SocketAddr, mut open: Open) {
    let watch = Arc::new(Watch::default());
    let Entered { io, peer, destination, arrived, upstream, place } =
        match entry::enter(&worker.shared, socket, peer).await {
            Ok(entered) => entered,
            Err(error) => return note(&worker, peer, &error, None),
        };
    open.place = place;
    let (tls, handoff, came_back) = (io.is_tls(), RefCell::new(None), OnceCell::new());
    let sniff = worker.shared.config.http2 && !tls;
    let agreed = worker.shared.config.http2 && io.alpn() == Some(b"h2");
    let client = Rc::new(ClientSide {
        worker,
        peer,
        destination,
        arrived,
        came_back,
        tls,
        watch: Arc::clone(&watch),
        upstream,
        handoff,
    });
    let mut io = Some(Watched::new(io, watch, sniff));
    if !agreed && let Some(first) = io.take() {
        // Boxed, because hyper's state is large and a session, which follows in another task, needs none of it.
        io = Box::pin(speak_http(&client, first)).await;
    }
    if let Some(io) = io {
        return Box::pin(http2::serve(&client, io)).await;
    }
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
    /// The client began with the preface of HTTP/2.
    Http2,
}

/// HTTP/1.1 until the client leaves, fails, or switches protocols. Gives the connection back if it turns out to speak
/// HTTP/2: hyper has seen none of its bytes then.
async fn speak_http(client: &Rc<ClientSide>, io: Watched) -> Option<Watched> {
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
    let mut leaving = pin!(time_to_leave(client));
    let mut told = false;
    let finish = poll_fn(|cx| {
        if !told && leaving.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Finish::Ended(result));
        }
        if client.watch.is_http2() {
            return Poll::Ready(Finish::Http2);
        }
        clock.poll(cx).map(Finish::Overdue)
    })
    .await;
    let (fault, words) = match finish {
        Finish::Ended(Ok(())) => return None,
        Finish::Http2 => return connection.into_parts().map(|parts| parts.io.into_inner()),
        Finish::Ended(Err(error)) => {
            let fault = client_fault(&error);
            client.note(&ConnectionError::new(fault, error), None);
            (fault, Vec::new())
        }
        Finish::Overdue(Runs::Idle) => return None, // nothing is under way: closed without a word
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
    None
}

/// Ends when a draining process asks its clients to leave. A client that was accepted a moment ago and has not come
/// to speak yet would find the door shut without a word, and could not know whether to ask again.
async fn time_to_leave(client: &ClientSide) {
    client.worker.shared.drain.reached(Phase::Finishing).await;
    if client.watch.is_silent() {
        tokio::time::sleep(FIRST_WORD).await;
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
async fn switched((client, service): Handoff) -> Result<Upgraded, ConnectionError> {
    let upgraded = client.await.map_err(|error| ConnectionError::new(Fault::ClientGone, error))?;
    let parts =
        upgraded.downcast::<TokioIo<Watched>>().map_err(|_| ConnectionError::from(Fault::Handover))?;
    Ok(Upgraded {
        client: parts.io.into_inner().into_inner(),
        client_early: compact(&parts.read_buf),
        upstream: service.upstream,
        upstream_early: service.upstream_early,
        head: service.head,
    })
}

/// A session's life. `open` is dropped after everything else.
pub(super) fn session<O>(
    worker: &Rc<Worker>,
    upgraded: Upgraded,
    open: O,
) -> impl Future<Output = ()> + use<O> {
    let counted = OpenSession::count(worker, upgraded.head.verdict.lane);
    let (id, trace, verdict) = (upgraded.head.id, upgraded.head.trace, &upgraded.head.verdict);
    let span = upgraded.head.span.as_ref().map(|span| span.id());
    tracing::info!(
        session = %id,
        trace_id = trace.map(tracing::field::display),
        span_id = span.map(tracing::field::display),
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
            span_id = span.map(tracing::field::display),
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

/// One exchange of HTTP/1.1. What a 101 needs is left where the connection finds it once the answer is flushed.
async fn answer(
    client: &ClientSide,
    mut request: Request<Incoming>,
    in_flight: InFlight,
) -> Response<AnswerBody> {
    let on_upgrade = hyper::upgrade::on(&mut request);
    match exchange(client, request.map(ClientBody::Http1), in_flight).await {
        Answered::Answer(answer) => answer,
        Answered::Switched(answer, service) => {
            client.handoff.replace(Some((on_upgrade, service)));
            answer
        }
    }
}
