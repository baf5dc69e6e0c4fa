//! Wiring: builds every room, hands out channel ends, starts the threads, stops them in order.
//!
//! **Problem.** The rooms know nothing of each other, and the promise that nothing behind the tap can be felt by a
//! legacy session must not depend on anybody's good will.
//!
//! **Decision.** Threads are the walls. The proxy brings its acceptor and its data workers. `ops` runs the breaker
//! and the metrics listener. `side` runs everything behind the tap; without Supabase settings there is none, and the
//! process is a pure, observable proxy. Between them there are only bounded queues that are never waited for (tap,
//! words, notices, probes) and watch channels (policy, view). A panic on `side` ends that thread alone: the tap's
//! queue closes, the beat stops, and the data threads pass their sessions on.
//!
//! ```text
//! data workers ──tap──▶ side ──words──▶ ops
//!      ▲ ▲               │ ▲             │ │
//!      │ └──notices──────┘ └─view,probes─┘ │
//!      └───────────policy──────────────────┘
//! ```
//!
//! **Stopping.** Not ready → settle → no new connections → plain HTTP finishes → sessions are closed with 1012 in
//! turns → the mirror is flushed → everything ends, inside the grace period.
//!
//! **Limits.** A full queue of words or notices loses what does not fit (counted): the breaker then knows less for a
//! moment, and windows release by their own clocks. One publish and one read-back link; at most two topics per pod.

mod addresses;
mod adoption;
mod behind;
mod console;
mod control;
mod decide;
mod ear;
mod ending;
pub(crate) mod events;
mod exposures;
pub(crate) mod figures;
pub(crate) mod flags;
mod life;
mod line;
mod open;
pub(crate) mod ops;
pub(crate) mod reports;
pub(crate) mod settings;
mod shares;
pub(crate) mod side;
mod status;
mod stores;
pub(crate) mod table;
mod tls;
mod tuning;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{Notify, mpsc, watch};

use crate::breaker::{Breaker, Force};
use crate::budget::Budget;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::mirror::flight::Epoch;
use crate::proxy::{DrainPlan, DrainReport, Mirroring, Phase, Policy, Running, Server, Shared, Windows};
use crate::rollout::Percent;
use crate::tap::{self, TapReceiver};

use behind::{Behind, runtime};
use console::Console;
use decide::Decider;
use events::EventFigures;
use figures::SideFigures;
pub use flags::Hand;
use flags::{FlagBook, FlagWord, Standing};
use life::start_ops;
use ops::{Links, Ops, View, WORDS_MAX, Word};
pub use stores::driver::PlanWord;
use table::TableFigures;

pub use addresses::Addresses;
pub use reports::Proofs;
pub use settings::{SettingError, Tuning, load};
pub(crate) use settings::{accepts, link, proxy as proxy_settings, topic, wanted};

/// Why the process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The proxy did not start.
    #[error("the proxy cannot start")]
    Proxy(#[from] crate::proxy::StartError),
    /// The metrics listener cannot be bound.
    #[error("cannot listen on {0} (CROSSFADE_METRICS_LISTEN)")]
    Metrics(std::net::SocketAddr, #[source] std::io::Error),
    /// The admin listener cannot be bound.
    #[error("cannot listen on {0} (CROSSFADE_ADMIN_LISTEN)")]
    Admin(std::net::SocketAddr, #[source] std::io::Error),
    /// `CROSSFADE_STATE_DIR` cannot be used.
    #[error("cannot write into {} (CROSSFADE_STATE_DIR)", .0.display())]
    State(std::path::PathBuf, #[source] std::io::Error),
    /// A thread or its runtime cannot be made.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The metrics contradict each other (a bug).
    #[error("the metrics cannot be registered")]
    Registry(#[from] prometheus::Error),
}

/// What pictures are drawn from. Cheap to clone, readable from any thread.
#[derive(Clone)]
pub struct Eyes {
    shared: Arc<Shared>,
    view: watch::Receiver<View>,
    figures: Arc<SideFigures>,
    table: Arc<TableFigures>,
    events: Arc<EventFigures>,
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    returned_us: Arc<AtomicU64>,
    standing: watch::Receiver<Arc<Standing>>,
    tiers: Arc<[Arc<stores::desk::TierFigures>]>,
    fleet: watch::Receiver<stores::driver::FleetView>,
    mirrors: bool,
    reachable: Arc<AtomicBool>,
    /// Where there is a spool.
    disk: Option<Arc<crate::spool::disk::Figures>>,
    proofs: Arc<reports::ProofFigures>,
    rollout: Arc<adoption::RolloutFigures>,
}

/// A running process.
pub struct App {
    running: Arc<Running>,
    addresses: Addresses,
    eyes: Eyes,
    words: mpsc::Sender<Word>,
    ops: JoinHandle<()>,
    side: Option<JoinHandle<()>>,
    stop_side: Arc<Notify>,
    stop_ops: Arc<Notify>,
    admin: Option<control::Listener>,
    stores: stores::Running,
    plan: mpsc::Sender<stores::driver::Asked>,
}

/// Everything that the threads share before they exist.
struct Parts {
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    receiver: TapReceiver,
    words: (mpsc::Sender<Word>, mpsc::Receiver<Word>),
    probes: (mpsc::Sender<crate::breaker::Probe>, mpsc::Receiver<crate::breaker::Probe>),
    policy: watch::Sender<Policy>,
    view: watch::Sender<View>,
    breaker: Breaker,
    epoch: Epoch,
    decider: Decider,
}

impl App {
    /// Starts everything.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: &Config, tuning: &Tuning) -> Result<Self, StartError> {
        Self::start_on(None, config, tuning)
    }

    /// As [`App::start`]; a listener that was handed over takes the place of `CROSSFADE_LISTEN`.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start_on(
        listener: Option<TcpListener>,
        config: &Config,
        tuning: &Tuning,
    ) -> Result<Self, StartError> {
        let epoch = epoch();
        let ledger = Ledger::new();
        let budget = Budget::new(config.mirror.buffer);
        let (tap, receiver) = tap::channel(Arc::clone(&budget), Arc::clone(&ledger), epoch.at);
        let numbers = tuning.breaker.clone().unwrap_or_else(|| settings::breaker(config));
        let mut breaker = Breaker::new(numbers, seed(), epoch.at);
        if let Some(force) = settings::force(config.breaker.mode) {
            breaker.force(force, epoch.at);
        }
        let pods = config.supabase.as_ref().map_or(1, |supabase| supabase.pods);
        let view = watch::Sender::new(ops::first_view(&breaker, pods, epoch.at));
        let policy = watch::Sender::new(Policy::PASSTHROUGH);
        let (identity, mut tiers) = settings::rollout(config)?;
        let stores = stores::Stores::open(config, &identity, &mut tiers);
        let flags = FlagBook::new(identity, tiers);
        let mirrors = config.supabase.is_some();
        let fine = Arc::new(settings::fine(config)?);
        let decider = Decider {
            fine: Arc::clone(&fine),
            figures: Arc::default(),
            standing: flags.subscribe(),
            configured: mirrors,
            native: config.supabase.as_ref().is_some_and(|supabase| supabase.anon_key.is_some()),
            mirror_percent: Percent::from_units(config.mirror.percent.thousandths()).unwrap_or(Percent::FULL),
            view: view.subscribe(),
        };
        let mirroring = Mirroring {
            tap: mirrors.then_some(tap),
            copies: settings::copies(config),
            inflating: Budget::new(config.mirror.inflate_buffer),
            hot: settings::hot(config),
            windows: Windows::new(config.hot.window_pod),
            follow: decider.follow_fn(),
            moves_per_second: fine.rollout.moves_per_second,
            exposed: exposures::told(config, &decider)?,
            policy: policy.subscribe(),
            close_code: config.drain.code,
        };
        let words = mpsc::channel(WORDS_MAX);
        let probes = mpsc::channel(4);
        let (proxy, decide) = (settings::proxy(config)?, decider.clone().into_fn());
        let parts = Parts { ledger, budget, receiver, words, probes, policy, view, breaker, epoch, decider };
        let running = match listener {
            Some(listener) => Server::start_on(listener, proxy, decide, mirroring)?,
            None => Server::start(proxy, decide, mirroring)?,
        };
        let running = Arc::new(running);
        Self::start_behind(config, tuning, (running, flags, stores), parts)
    }

    /// Starts what stands behind the proxy.
    fn start_behind(
        config: &Config,
        tuning: &Tuning,
        (running, flags, stores): (Arc<Running>, FlagBook, stores::Stores),
        parts: Parts,
    ) -> Result<Self, StartError> {
        let (disk, returned_us) = <(Arc<crate::spool::disk::Figures>, Arc<AtomicU64>)>::default();
        let eyes = Eyes {
            shared: running.shared(),
            view: parts.view.subscribe(),
            figures: Arc::default(),
            table: Arc::default(),
            events: Arc::default(),
            disk: config.spool.is_some().then(|| Arc::clone(&disk)),
            ledger: Arc::clone(&parts.ledger),
            budget: Arc::clone(&parts.budget),
            returned_us: Arc::clone(&returned_us),
            standing: flags.subscribe(),
            tiers: stores.figures().into(),
            fleet: stores.fleet(),
            mirrors: config.supabase.is_some(),
            proofs: Arc::default(),
            reachable: Arc::default(),
            rollout: Arc::clone(&parts.decider.figures),
        };
        let ((words, heard), (ask, asked)) = (parts.words, parts.probes);
        let machine = Ops {
            breaker: parts.breaker,
            flags,
            words: heard,
            probes: ask,
            view: parts.view,
            policy: parts.policy,
            counters: running.shared().sessions.clone(),
            returned_us,
            links: Links::default(),
            quota_until: None,
            spacing: None,
            pods: config.supabase.as_ref().map_or(1, |supabase| supabase.pods),
            left_at: None,
            trips: [0; crate::breaker::Trigger::ALL.len()],
            last_trip: None,
            tripped: std::collections::VecDeque::new(),
            own_trip: None,
        };
        let (stop_side, stop_ops): (Arc<Notify>, Arc<Notify>) = Default::default();
        let side = if let Some(supabase) = &config.supabase {
            let behind = Behind {
                config,
                tuning,
                link: settings::link(supabase)?,
                words: words.clone(),
                view: eyes.view.clone(),
                asked,
                figures: Arc::clone(&eyes.figures),
                plan: (settings::terms(supabase), settings::batch_bytes(supabase)),
                table: Arc::clone(&eyes.table),
                events: Arc::clone(&eyes.events),
                ledger: Arc::clone(&parts.ledger),
                disk,
                proofs: Arc::clone(&eyes.proofs),
                standing: eyes.standing.clone(),
                fine: &parts.decider.fine,
            };
            let book = (parts.receiver, parts.budget, parts.epoch);
            Some(behind.start(&running, book, Arc::clone(&stop_side))?)
        } else {
            None
        };
        let console = Console::new((config, parts.epoch), &eyes, &words, (&running, parts.decider));
        let admin = control::start(config, tuning, &running, console)?;
        let (stores, plan) = stores.start(&words, eyes.clone())?;
        let machine = (machine, words.clone());
        let (ops, metrics) = start_ops(config, tuning, machine, (&running, &eyes), Arc::clone(&stop_ops))?;
        let addresses = Addresses::told(&running, metrics, admin.as_ref());
        Ok(Self { running, addresses, eyes, words, ops, side, stop_side, stop_ops, admin, stores, plan })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What pictures are drawn from.
    #[must_use]
    pub fn eyes(&self) -> Eyes {
        self.eyes.clone()
    }

    /// A person's word to the breaker.
    pub fn force(&self, force: Force) {
        if self.words.try_send(Word::Force(force)).is_err() {
            tracing::error!("the breaker did not hear a person's word: too much is waiting");
        }
    }

    /// Everybody on legacy, or no longer as far as this hand is concerned.
    pub fn emergency(&self, hand: Hand, on: bool) {
        if self.words.try_send(Word::Flags(FlagWord::Emergency(hand, on))).is_err() {
            tracing::error!("the emergency switch was not heard: too much is waiting; switch again");
        }
    }

    /// Completes when `POST /drain` was called.
    pub async fn drain_asked(&self) {
        self.running.drain_signal().reached(Phase::Settling).await;
    }

    /// So many pods share the plan now, as whoever counts them has seen.
    pub fn set_pods(&self, pods: u32) {
        if self.words.try_send(Word::Pods(pods.max(1))).is_err() {
            tracing::warn!("the number of pods was not heard: too much is waiting");
        }
    }

    /// A person's word about the plan, done or refused with the reason. Needs Redis.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn plan(&self, word: PlanWord) -> Result<(), String> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        if self.plan.try_send((word, answer)).is_err() {
            return Err("a plan needs CROSSFADE_REDIS_URL, or too much is waiting".to_owned());
        }
        answered.await.map_err(|_| "the process is stopping".to_owned())?
    }

    /// Stops everything in order, within `plan.grace`. What the drain could not end in time is cut off.
    pub async fn drain(self, plan: DrainPlan) -> DrainReport {
        let end = tokio::time::Instant::now() + plan.grace;
        let report = self.running.drain(DrainPlan { grace: ending::clients(plan.grace), ..plan }).await;
        self.stop_side.notify_one();
        let Self { side, ops, stop_ops, words, running, admin, stores, .. } = self;
        drop((words, stores));
        if let Some(side) = side {
            ending::done_by(end - plan.grace / 50, "side", move || side.join()).await;
        }
        stop_ops.notify_one();
        ending::done_by(end, "ops", move || ops.join()).await;
        drop(running);
        // Last: who waits at `POST /drain` hears now that all is over.
        ending::done_by(end, "admin", move || {
            drop(admin);
            Ok(())
        })
        .await;
        report
    }
}

/// Both clocks at the start.
#[expect(clippy::disallowed_methods, reason = "the process starts here: its clocks are the real ones")]
fn epoch() -> Epoch {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Epoch { at: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
}

/// Randomness for jitter and names; not for keys.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness two pods may share a jitter; that is all.
    getrandom::fill(&mut bytes).unwrap_or_default();
    u64::from_ne_bytes(bytes)
}
