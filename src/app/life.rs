//! The ops thread: breaker, metrics listener, and what the probes are told.
//! It outlives the proxy's threads, so that a draining pod still answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::flags::{FlagBook, FlagWord, Hand};
use super::memory::Memory;
use super::ops::{Links, Ops, View, Word};
use super::{Eyes, StartError, Tuning, runtime, side};
use crate::admin::{self, Health};
use crate::breaker::{Breaker, Probe, Trigger};
use crate::config::Config;
use crate::proxy::{Policy, Running, SessionCounters};

/// What the machine of the ops thread is made from.
pub(super) struct Start {
    pub(super) breaker: Breaker,
    /// Whom it tells: everybody, and the workers.
    pub(super) told: (watch::Sender<View>, watch::Sender<Policy>),
    pub(super) flags: FlagBook,
    pub(super) memory: Option<Memory>,
    /// Words come in, probes go out.
    pub(super) hears: (mpsc::Receiver<Word>, mpsc::Sender<Probe>),
    /// What the return to legacy is measured by, and where it is left.
    pub(super) returned: (Vec<Arc<SessionCounters>>, Arc<AtomicU64>),
    pub(super) pods: u32,
    /// The flight recorder and the drills.
    pub(super) trips_kept: super::trips::Trips,
}

impl Start {
    /// The machine before it has heard anything.
    pub(super) fn machine(self) -> Ops {
        Ops {
            breaker: self.breaker,
            flags: self.flags,
            words: self.hears.0,
            probes: self.hears.1,
            view: self.told.0,
            policy: self.told.1,
            counters: self.returned.0,
            returned_us: self.returned.1,
            links: Links::default(),
            quota_until: None,
            spacing: None,
            pods: self.pods,
            left_at: None,
            trips: [0; Trigger::ALL.len()],
            last_trip: None,
            tripped: VecDeque::new(),
            own_trip: None,
            memory: self.memory,
            legs_at: None,
            trips_kept: self.trips_kept,
        }
    }
}

/// Starts the ops thread: breaker and metrics listener.
pub(super) fn start_ops(
    config: &Config,
    tuning: &Tuning,
    (machine, words): (Ops, mpsc::Sender<Word>),
    (running, eyes): (&Arc<Running>, &Eyes),
    stop: Arc<Notify>,
) -> Result<(JoinHandle<()>, Option<std::net::SocketAddr>), StartError> {
    let address = config.ops.metrics_listen;
    let listener = (!tuning.quiet).then(|| std::net::TcpListener::bind(address)).transpose();
    let listener = listener.map_err(|error| StartError::Metrics(address, error))?;
    let bound = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    if let Some(listener) = &listener {
        listener.set_nonblocking(true).map_err(StartError::Thread)?;
    }
    let own = eyes.clone();
    let registry = admin::registry(move || own.snapshot(side::clock()))?;
    let probing = Arc::clone(&eyes.reachable);
    let own = eyes.clone();
    let gate = admin::Gate(Arc::new(move || own.gate(side::clock())));
    let served = admin::Ops { registry, health: health(running, &probing), gate };
    let running = Arc::clone(running);
    let emergency = config.rollout.emergency_file.clone();
    let runtime = runtime().map_err(StartError::Thread)?;
    let mut machine = machine;
    let life = move || {
        // The settings may be others than those under which the first clients have connected.
        machine.act(side::clock());
        runtime.block_on(async move {
            let heart = tokio::spawn(machine.run());
            let files = tokio::spawn(super::tls::keep(running.shared()));
            let watch = tokio::spawn(watch_switch(emergency, words));
            let upstream = tokio::spawn(async move {
                loop {
                    let reachable = running.probe_upstream().await.is_ok();
                    probing.store(reachable, std::sync::atomic::Ordering::Relaxed);
                    tokio::time::sleep(if reachable { UPSTREAM_EVERY } else { UPSTREAM_RETRY }).await;
                }
            });
            if let Some(listener) =
                listener.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok())
            {
                admin::serve(listener, served.router(), stop.notified()).await;
            } else {
                stop.notified().await;
            }
            upstream.abort();
            watch.abort();
            heart.abort();
            files.abort();
        });
    };
    let thread =
        std::thread::Builder::new().name("ops".to_owned()).spawn(life).map_err(StartError::Thread)?;
    Ok((thread, bound))
}

/// While the file exists, everybody is on legacy. It is looked at once a second.
async fn watch_switch(file: Option<std::path::PathBuf>, words: mpsc::Sender<Word>) {
    let Some(file) = file else { return };
    let mut looks = match watch_file(file) {
        Ok(looks) => looks,
        Err(error) => return tracing::error!(%error, "the emergency file is not watched: no thread"),
    };
    loop {
        // A file that cannot be looked at counts as there: the switch must work when little else does.
        let on = match tokio::time::timeout(LOOK_MAX, looks.recv()).await {
            Ok(Some(on)) => on,
            Ok(None) => return,
            Err(_) => true,
        };
        if words.try_send(Word::Flags(FlagWord::Emergency(Hand::File, on))).is_err() {
            tracing::warn!("the emergency file was not heard; it is looked at again in a second");
        }
    }
}

/// Looks at the file once a second, on a thread of its own: a volume that hangs (NFS) must not hang the breaker.
/// The thread ends with its receiver; one that hangs in the kernel ends with the process.
fn watch_file(file: std::path::PathBuf) -> std::io::Result<mpsc::Receiver<bool>> {
    let (said, looks) = mpsc::channel(1);
    let look = move || {
        while said.blocking_send(file.try_exists().unwrap_or(true)).is_ok() {
            std::thread::sleep(SWITCH_EVERY);
        }
    };
    std::thread::Builder::new().name("switch".to_owned()).spawn(look)?;
    Ok(looks)
}

const SWITCH_EVERY: Duration = Duration::from_secs(1);
/// A look that takes longer counts as a file that is there.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// How often the way to the service is tried for `/readyz`.
const UPSTREAM_EVERY: Duration = Duration::from_secs(5);
const UPSTREAM_RETRY: Duration = Duration::from_millis(500);
/// A data worker that has been silent for this long needs a restart.
const WORKER_SILENCE_MAX: Duration = Duration::from_secs(10);

fn health(running: &Arc<Running>, reachable: &Arc<std::sync::atomic::AtomicBool>) -> Health {
    let seen = Arc::clone(reachable);
    let (live, ready) = (Arc::clone(running), running.drain_signal());
    Health {
        live: Arc::new(move || {
            let silent = live.health(side::clock()).into_iter().any(|silence| silence > WORKER_SILENCE_MAX);
            if silent { admin::Status::Failing("a data worker hangs") } else { admin::Status::Ok }
        }),
        ready: Arc::new(move || {
            if !ready.is_ready() {
                admin::Status::Failing("draining")
            } else if seen.load(std::sync::atomic::Ordering::Relaxed) {
                admin::Status::Ok
            } else {
                admin::Status::Failing("the service cannot be reached")
            }
        }),
    }
}
