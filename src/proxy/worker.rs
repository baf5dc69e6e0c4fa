//! One data thread: a current-thread runtime, the connections placed on it and what they share. Nobody else
//! touches those connections; whoever wants something of them posts it to the worker's bounded inbox.

use std::cell::{RefCell, RefMut};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use super::admission::{Addresses, Pace};
use super::circle::Circle;
use super::config::Config;
use super::connection;
use super::control;
use super::counters::Counters;
use super::dial::Dialer;
use super::drain::{Drain, Phase};
use super::inflaters::Inflaters;
use super::inquiry::{self, Inquiry};
use super::leg_clock::LegClock;
use super::plain::{self, Pool};
use super::session_counters::SessionCounters;
use super::sessions::{Notice, Sessions};
use super::verdict::{Course, Decide, Exposed, Follow, Follows, Policy};
use super::windows::Windows;
use crate::budget::Budget;
use crate::hot;
use crate::tap::Tap;
use crate::ws;

/// Bytes of the scratch buffer that all sessions of a worker share.
pub const SCRATCH_BYTES: usize = 64 * 1024;
/// How often a worker says that it is alive.
pub const BEAT: Duration = Duration::from_millis(250);

/// What all workers share.
pub struct Shared {
    /// The settings at the start.
    pub config: Config,
    /// Who goes on which lane.
    pub decide: Decide,
    /// What is counted.
    pub counters: Counters,
    /// How far stopping has come.
    pub drain: Drain,
    /// The way to the service.
    pub upstream: Arc<Dialer>,
    /// Knows connections of ours that come back.
    pub(super) circle: Arc<Circle>,
    /// The way to Supabase for native clients.
    pub native: Option<Dialer>,
    /// What sessions do besides passing bytes.
    pub mirroring: Mirroring,
    /// Figures of the sessions, one set for each worker.
    pub sessions: Vec<Arc<SessionCounters>>,
    /// How many connections each address has, where that is limited.
    pub(super) addresses: Option<Arc<Addresses>>,
    /// How many upgrades may still come, where that is limited.
    pub(super) pace: Option<Pace>,
    /// Told at each connection that ends while draining.
    pub(super) left: Notify,
}

/// What sessions do besides passing bytes, and who tells them.
#[derive(Clone, Debug)]
pub struct Mirroring {
    /// Where copies go; `None` leaves sessions unobserved.
    pub tap: Option<Tap>,
    /// How much is copied.
    pub copies: ws::Limits,
    /// What decompressors of compressed sessions are paid from.
    pub inflating: Arc<Budget>,
    /// The windows of hot sessions, each …
    pub hot: hot::Config,
    /// … and all together.
    pub windows: Arc<Windows>,
    /// How an open session follows the hot lane after the settings have changed.
    pub follow: Follow,
    /// Who is told of sessions under an experiment.
    pub exposed: Option<Exposed>,
    /// How many open sessions the rollout moves to Realtime in a second, on all workers together.
    pub moves_per_second: Option<NonZeroU32>,
    /// What holds for open sessions.
    pub policy: watch::Receiver<Policy>,
    /// The code that clients get when we close (drain, or a native session that must leave).
    pub close_code: u16,
}

/// What the windows of a process may hold where nothing else was said.
const WINDOWS_BYTES: u64 = 64 << 20;
/// What its decompressors may hold.
const INFLATING_BYTES: u64 = 64 << 20;

impl Mirroring {
    /// No mirror, and nobody is ever hot.
    #[must_use]
    pub fn off() -> Self {
        Self {
            tap: None,
            copies: ws::Limits::default(),
            inflating: Budget::new(INFLATING_BYTES),
            hot: hot::Config::default(),
            windows: Windows::new(WINDOWS_BYTES),
            follow: Follow::new(|_, _| Course { follows: Follows::Never, wants: None }),
            exposed: None,
            moves_per_second: None,
            policy: watch::Sender::new(Policy::PASSTHROUGH).subscribe(),
            close_code: ws::CLOSE_SERVICE_RESTART,
        }
    }
}

/// What can be posted to a worker.
#[derive(Debug)]
pub enum WorkerMessage {
    /// A client has connected.
    Accept(std::net::TcpStream, SocketAddr),
    /// News for messages in the windows of hot sessions.
    Notices(Vec<Notice>),
    /// The admin asks.
    Ask(Inquiry),
}

/// One data thread's own things. Never leaves its thread.
pub struct Worker {
    /// Its place among the workers.
    pub index: usize,
    /// For reads that are written on at once. Borrow it only between two await points.
    pub scratch: RefCell<Box<[u8]>>,
    /// What all workers share.
    pub shared: Arc<Shared>,
    pub(super) pool: Pool,
    pub(super) load: Arc<Load>,
    sessions: Sessions,
    inflaters: Rc<Inflaters>,
    legs: LegClock,
}

impl Worker {
    /// This moment.
    #[expect(clippy::disallowed_methods, reason = "the data thread is a shell: its clock is the real one")]
    #[expect(clippy::unused_self, reason = "the worker is where a session gets its time from")]
    pub(super) fn now(&self) -> Instant {
        Instant::now()
    }

    /// The shared buffer. Borrow it only between two await points.
    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// The book of its sessions.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What was read at `read_at` for a session on legacy has been taken by its client.
    pub(super) fn leg_taken(&self, read_at: Instant) {
        if let Some(counters) = self.shared.sessions.get(self.index) {
            self.legs.taken(read_at, &counters.legs, || self.now());
        }
    }

    pub(super) const fn inflaters(&self) -> &Rc<Inflaters> {
        &self.inflaters
    }

    /// What is done now and then, on a beat that comes anyway: no session has a timer of its own.
    fn look_around(&self, now: Instant) {
        self.inflaters.sweep(now);
        if let Some(limit) = self.shared.config.deadlines.idle {
            self.sessions.end_idle(limit, now);
        }
    }

    pub(super) fn hot_config(&self) -> hot::Config {
        self.shared.mirroring.hot
    }

    #[cfg(test)]
    pub(super) fn for_tests(tap: Option<Tap>) -> Rc<Self> {
        Self::with_windows_for_tests(tap, Windows::new(WINDOWS_BYTES))
    }

    #[cfg(test)]
    pub(super) fn with_windows_for_tests(tap: Option<Tap>, windows: Arc<Windows>) -> Rc<Self> {
        let config =
            Config { workers: Some(1), ..Config::new(super::Target::service("ws://127.0.0.1:9").unwrap()) };
        let mirroring = Mirroring { tap, windows, ..Mirroring::off() };
        let decide: Decide = Arc::new(|_, _| super::Verdict::LEGACY);
        let shared = super::server::share(config, decide, mirroring).unwrap();
        Rc::new(seat(0, Arc::new(shared), Arc::default()))
    }

    /// A masking key for the one frame that we may send to the service (RFC 6455 section 5.3).
    #[expect(clippy::unused_self, reason = "the worker is where a session gets its randomness from")]
    pub(super) fn mask_key(&self) -> [u8; 4] {
        let mut key = [0; 4];
        // Without randomness a fixed key still makes a valid frame.
        getrandom::fill(&mut key).unwrap_or(());
        key
    }
}

/// How busy a worker is and when it last said so.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Connections open, for placement.
    pub(super) connections: AtomicU64,
    /// Milliseconds from the origin to the last beat.
    beat_ms: AtomicU64,
}

/// The other threads' end of a worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    inbox: mpsc::Sender<WorkerMessage>,
    pub(super) load: Arc<Load>,
}

impl WorkerHandle {
    /// A handle whose inbox is a test's.
    #[cfg(test)]
    pub(crate) fn for_tests(capacity: usize) -> (Self, mpsc::Receiver<WorkerMessage>) {
        let (sender, inbox) = mpsc::channel(capacity);
        (Self { inbox: sender, load: Arc::default() }, inbox)
    }

    /// Posts a message without waiting. Gives it back when the inbox is full or the worker is gone.
    ///
    /// # Errors
    /// The message comes back with the reason.
    pub fn post(&self, message: WorkerMessage) -> Result<(), mpsc::error::TrySendError<WorkerMessage>> {
        self.inbox.try_send(message)
    }

    /// How long the worker has been silent, measured from the server's `origin`.
    pub(super) fn silence(&self, origin: Instant, now: Instant) -> Duration {
        let beat = Duration::from_millis(self.load.beat_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(origin).saturating_sub(beat)
    }
}

/// A worker that has not been given to its thread yet.
pub(super) struct Seat {
    index: usize,
    shared: Arc<Shared>,
    runtime: Runtime,
    inbox: mpsc::Receiver<WorkerMessage>,
    load: Arc<Load>,
    origin: Instant,
}

/// Prepares a worker. Beats are counted from `origin`.
///
/// # Errors
/// When the runtime cannot be built (no file descriptor left).
pub(super) fn prepare(
    index: usize,
    shared: &Arc<Shared>,
    origin: Instant,
) -> io::Result<(Seat, WorkerHandle)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (sender, inbox) = mpsc::channel(shared.config.inbox.max(1));
    let load = Arc::new(Load::default());
    let handle = WorkerHandle { inbox: sender, load: Arc::clone(&load) };
    Ok((Seat { index, shared: Arc::clone(shared), runtime, inbox, load, origin }, handle))
}

impl Seat {
    /// The thread's whole life. Returns when the drain has expired; whatever is still open is dropped then.
    pub(super) fn run(self) {
        let Self { index, shared, runtime, inbox, load, origin } = self;
        let local = LocalSet::new();
        let life = async move {
            let worker = Rc::new(seat(index, shared, load));
            tokio::task::spawn_local(control::control(Rc::clone(&worker)));
            tokio::task::spawn_local(control::close_sessions(Rc::clone(&worker)));
            work(worker, inbox, origin).await;
        };
        local.block_on(&runtime, life);
        drop(local);
        // A name that is still being resolved must not hold up the end of the process.
        runtime.shutdown_background();
    }
}

fn seat(index: usize, shared: Arc<Shared>, load: Arc<Load>) -> Worker {
    let workers = u32::try_from(shared.sessions.len()).unwrap_or(u32::MAX);
    let counters = shared.sessions.get(index).map_or_else(Arc::default, Arc::clone);
    let place = u32::try_from(index).unwrap_or(0);
    let inflating = Arc::clone(&shared.mirroring.inflating);
    let inflaters = Rc::new(Inflaters::new(inflating, Arc::clone(&counters)));
    let sessions = Sessions::new(place, workers, shared.mirroring.tap.clone(), counters)
        .paced(shared.mirroring.moves_per_second);
    let scratch = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
    let (pool, legs) = (plain::pool(&shared), LegClock::default());
    Worker { index, scratch, pool, shared, load, sessions, inflaters, legs }
}

async fn work(worker: Rc<Worker>, mut inbox: mpsc::Receiver<WorkerMessage>, origin: Instant) {
    let drain = worker.shared.drain.clone();
    let mut expired = std::pin::pin!(drain.reached(Phase::Expired));
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut expired => return,
            now = beat.tick() => {
                let age = now.into_std().saturating_duration_since(origin);
                worker.load.beat_ms.store(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
                worker.look_around(now.into_std());
            }
            message = inbox.recv() => match message {
                Some(WorkerMessage::Accept(socket, peer)) => {
                    // Counted here and not in the task, so that the drain cannot miss a socket in between.
                    let open = connection::Open::count(&worker);
                    tokio::task::spawn_local(connection::serve(Rc::clone(&worker), socket, peer, open));
                }
                Some(WorkerMessage::Notices(notices)) => worker.sessions().notify(&notices, worker.now()),
                Some(WorkerMessage::Ask(asked)) => {
                    tokio::task::spawn_local(inquiry::answer(Rc::clone(&worker), asked));
                }
                None => return,
            },
        }
    }
}
