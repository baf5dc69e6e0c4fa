//! The emulator on a TCP port: hyper for HTTP and upgrades, one task per connection, the machine behind one lock.
//! The lock is held only while the machine works, never across a wait; what it transmits goes to bounded queues.

use self::postgres::Postgres;
use super::config::{Clock, Config};
use super::connect::{UpgradeRequest, is_socket_path};
use super::fault::Fault;
use super::http::{BODY_MAX, HttpRequest};
use super::machine::{Admission, ConnId, Emulator, HttpAnswer, Out};
use super::rest::PREFIX as REST;
use super::stats::Stats;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot, watch};

mod follow;
mod postgres;
mod socket;

#[cfg(test)]
mod tests;

/// Most frames waiting for one socket.
pub(super) const QUEUE_FRAMES: usize = 65_536;
/// Most bytes waiting for one socket; beyond either the socket is reset, as Realtime's heap limit does to a listener
/// that does not read (recording 15).
pub(super) const QUEUE_BYTES: usize = 50_000_000;
/// Longest wait for a request head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Steers a running emulator. Clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Arms a fault; the number serves to clear it.
    pub fn inject(&self, fault: Fault) -> u64 {
        self.shared.with(|emulator, now| emulator.inject(fault, now))
    }

    /// Disarms one fault, or all.
    pub fn clear_faults(&self, number: Option<u64>) {
        self.shared.with(|emulator, now| emulator.clear_faults(number, now));
    }

    /// SIGTERM now (or SIGKILL), back after `away`. Meanwhile connections are reset right after they are accepted.
    pub fn restart(&self, away: Duration, kill: bool) {
        self.shared.with(|emulator, now| emulator.restart(away, kill, now));
    }

    /// Whatever else the machine can do: limits, suspension, database broadcasts.
    pub fn with<T>(&self, act: impl FnOnce(&mut Emulator, Instant) -> T) -> T {
        self.shared.with(act)
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.with(|emulator, _| emulator.stats())
    }

    /// Ends the future that [`serve`] gave; its sockets end with it.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }
}

/// An emulator on `listener`. Nothing happens until the future is polled; dropping it ends every connection at once.
///
/// # Errors
/// When the listener has no address.
pub fn serve(
    listener: TcpListener,
    config: Config,
    seed: u64,
) -> std::io::Result<(Handle, impl Future<Output = ()> + Send + 'static)> {
    start(listener, config, seed, None)
}

/// As [`serve`], with the rows in the PostgreSQL at `url`: `/rest/v1` runs SQL there, and `postgres_changes` tells of
/// what its write-ahead log says of the tables in the publication `supabase_realtime`, where `wal_level` is `logical`.
///
/// # Errors
/// A sentence when the database cannot be reached.
pub async fn serve_with_database(
    listener: TcpListener,
    config: Config,
    seed: u64,
    url: &str,
) -> Result<(Handle, impl Future<Output = ()> + Send + 'static), String> {
    let postgres = Postgres::reach(url, config.max_rows).await?;
    // The tables are the database's.
    let config = Config { tables: Vec::new(), ..config };
    start(listener, config, seed, Some(postgres)).map_err(|error| error.to_string())
}

fn start(
    listener: TcpListener,
    config: Config,
    seed: u64,
    postgres: Option<Postgres>,
) -> std::io::Result<(Handle, impl Future<Output = ()> + Send + 'static)> {
    let addr = listener.local_addr()?;
    let emulator = Emulator::new(config, seed, wall_clock());
    let shared = Arc::new(Shared {
        postgres,
        machine: Mutex::new(Machine { emulator, sinks: HashMap::new(), answers: HashMap::new(), made: 0 }),
        wake: Notify::new(),
        stop: watch::Sender::new(false),
    });
    let handle = Handle { addr, shared: Arc::clone(&shared) };
    Ok((handle, run(listener, shared)))
}

#[expect(clippy::disallowed_methods, reason = "the shell reads the clocks for the machine")]
fn wall_clock() -> Clock {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock { at: Instant::now(), unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX) }
}

#[expect(clippy::disallowed_methods, reason = "the shell reads the clock for the machine")]
fn now() -> Instant {
    Instant::now()
}

/// What the tasks share.
pub(super) struct Shared {
    machine: Mutex<Machine>,
    /// The machine's next timeout may have changed.
    wake: Notify,
    stop: watch::Sender<bool>,
    /// Where rows are, unless they are in the machine's memory.
    postgres: Option<Postgres>,
}

struct Machine {
    emulator: Emulator,
    sinks: HashMap<ConnId, Sink>,
    answers: HashMap<ConnId, oneshot::Sender<Option<HttpAnswer>>>,
    made: u64,
}

/// The sending side of one socket's queue.
struct Sink {
    queue: mpsc::Sender<Out>,
    /// Bytes in the queue; the socket task subtracts what it took.
    bytes: Arc<std::sync::atomic::AtomicUsize>,
    /// Cuts a socket that does not read.
    cut: Arc<Notify>,
}

impl Shared {
    /// Lets the machine do something, then hands out what it transmits.
    fn with<T>(&self, act: impl FnOnce(&mut Emulator, Instant) -> T) -> T {
        let now = now();
        let mut machine = self.lock();
        let before = machine.emulator.poll_timeout();
        let result = act(&mut machine.emulator, now);
        machine.route();
        let after = machine.emulator.poll_timeout();
        drop(machine);
        if after != before {
            self.wake.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    fn route(&mut self) {
        while let Some((id, out)) = self.emulator.poll_transmit() {
            match out {
                Out::Http(answer) => self.answer(id, Some(answer)),
                Out::Reset if self.answers.contains_key(&id) => self.answer(id, None),
                other => self.queue(id, other),
            }
        }
    }

    fn answer(&mut self, id: ConnId, answer: Option<HttpAnswer>) {
        if let Some(waiting) = self.answers.remove(&id) {
            // The client may have gone meanwhile; then nobody wants the answer.
            waiting.send(answer).unwrap_or_default();
        }
    }

    fn queue(&mut self, id: ConnId, out: Out) {
        use std::sync::atomic::Ordering::Relaxed;
        let Some(sink) = self.sinks.get(&id) else { return };
        let last = !matches!(out, Out::Frame(_));
        let size = match &out {
            Out::Frame(frame) => frame.len(),
            _ => 0,
        };
        let full = sink.bytes.fetch_add(size, Relaxed).saturating_add(size) > QUEUE_BYTES;
        if full || sink.queue.try_send(out).is_err() {
            sink.cut.notify_one();
            self.sinks.remove(&id);
        } else if last {
            self.sinks.remove(&id);
        }
    }
}

/// Accepts until stopped; owns every connection's task.
async fn run(listener: TcpListener, shared: Arc<Shared>) {
    // Upgraded sockets are tasks of their own: they end when this future does, however it ends.
    let _ends = EndsAll(Arc::clone(&shared));
    let mut stop = shared.stop.subscribe();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(keep_time(Arc::clone(&shared)));
    tasks.spawn(follow::follow(Arc::clone(&shared)));
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(connection(stream, Arc::clone(&shared)));
                }
                // Out of descriptors or the like: others may still be served.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

struct EndsAll(Arc<Shared>);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.stop.send_replace(true);
    }
}

/// Resolves when the emulator is stopped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end too.
    stop.wait_for(|stop| *stop).await.map(|_| ()).unwrap_or_default();
}

/// Wakes the machine when it asked for it.
async fn keep_time(shared: Arc<Shared>) {
    loop {
        let next = shared.lock().emulator.poll_timeout();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => shared.with(Emulator::handle_timeout),
            () = shared.wake.notified() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    if !shared.with(|emulator, _| emulator.is_up()) {
        socket::reset(&stream);
        return;
    }
    stream.set_nodelay(true).unwrap_or_default();
    let service = hyper::service::service_fn(move |request| respond(request, Arc::clone(&shared)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A broken connection concerns its client alone.
    served.await.unwrap_or_default();
}

/// The server went down while the request waited, or a fault wants it so: hyper drops the connection.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the emulated server")]
struct Gone;

type Answer = Result<Response<Full<Bytes>>, Gone>;

async fn respond(request: Request<hyper::body::Incoming>, shared: Arc<Shared>) -> Answer {
    let upgrade = request
        .headers()
        .get(http::header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if upgrade && is_socket_path(request.uri().path()) {
        return socket::upgrade(request, shared).await;
    }
    let (parts, body) = request.into_parts();
    let headers = lowered(&parts.headers);
    let body = match Limited::new(body, BODY_MAX.saturating_add(1)).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::from(vec![b' '; BODY_MAX.saturating_add(1)]),
    };
    let request = HttpRequest {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
    };
    let fate = shared.with(|emulator, now| emulator.meet_request(&request, now));
    if fate.cut {
        return Err(Gone);
    }
    let answer = match fate.instead {
        Some(answer) => answer,
        None => carry_out(&request, &shared).await,
    };
    if !fate.delay.is_zero() {
        tokio::time::sleep(fate.delay).await;
    }
    if fate.lose { Err(Gone) } else { Ok(response(&answer)) }
}

async fn carry_out(request: &HttpRequest, shared: &Shared) -> HttpAnswer {
    let Some(postgres) = shared.postgres.as_ref().filter(|_| request.path.starts_with(REST)) else {
        return shared.with(|emulator, now| emulator.http(request, now));
    };
    match shared.with(|emulator, now| emulator.rest_caller(request, now)) {
        Ok(caller) => postgres.respond(request, &caller).await,
        Err(answer) => answer,
    }
}

fn lowered(headers: &http::HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

fn response(answer: &HttpAnswer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body.clone())));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = answer.content_type.map(|kind| ("content-type", kind.to_owned()));
    for (name, value) in kind.iter().chain(&answer.headers) {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}
