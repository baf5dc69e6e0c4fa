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
mod beginning;
mod behind;
pub(crate) mod cold;
mod console;
mod control;
mod decide;
mod ear;
mod ending;
mod event_topics;
pub(crate) mod events;
mod exposures;
pub(crate) mod figures;
pub(crate) mod flags;
mod life;
mod line;
pub(crate) mod memory;
pub(crate) mod notices;
mod on_time;
mod open;
pub(crate) mod ops;
mod orders;
mod otlp;
pub(crate) mod parity;
pub(crate) mod records;
mod report_rows;
pub(crate) mod reports;
pub(crate) mod settings;
mod shares;
pub(crate) mod side;
mod start_error;
mod status;
mod stores;
pub(crate) mod table;
pub(crate) mod table_account;
mod times;
mod tls;
pub(crate) mod trips;
mod tuning;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;

use tokio::sync::{Notify, mpsc, watch};

use crate::breaker::Breaker;
use crate::budget::Budget;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::mirror::flight::Epoch;
use crate::proxy::{DrainPlan, DrainReport, Mirroring, Phase, Policy, Running, Server, Shared, Windows};
use crate::rollout::Percent;
use crate::tap::{self, TapReceiver};

use beginning::{epoch, seed};
use behind::{Behind, runtime};
use console::Console;
use decide::Decider;
use events::EventFigures;
use figures::SideFigures;
pub use flags::Hand;
use flags::{FlagBook, Standing};
use life::start_ops;
use ops::{View, WORDS_MAX, Word};
pub use start_error::StartError;
use table::TableFigures;

pub use addresses::Addresses;
pub use reports::Proofs;
pub use settings::{SettingError, Tuning, load};
pub(crate) use settings::{accepts, link, proxy as proxy_settings, topic, wanted};

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
    /// Where there is a spool: its figures, and what it may hold in bytes.
    disk: Option<(Arc<crate::spool::disk::Figures>, u64)>,
    proofs: Arc<reports::ProofFigures>,
    /// Where there is a cold lane.
    cold: Option<Arc<cold::ColdFigures>>,
    /// Where spans are exported.
    spans: Option<Arc<crate::spans::Figures>>,
    records: Arc<records::Records>,
    began: Epoch,
    rollout: Arc<adoption::RolloutFigures>,
    notices: Arc<notices::Figures>,
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
    /// The cold lane, and the export of spans.
    ends: (Option<cold::Running>, Option<otlp::Running>),
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
    recall: Option<memory::Recall>,
    epoch: Epoch,
    decider: Decider,
    cold: Option<cold::Running>,
    otlp: Option<otlp::Running>,
    parity: Option<parity::Plan>,
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
        // Read while the proxy starts: clients are not kept waiting by a disk.
        let state = config.ops.state_dir.as_deref().filter(|_| config.supabase.is_some());
        let recall = state.map(memory::Recall::begin);
        let ledger = Ledger::new();
        let budget = Budget::new(config.mirror.buffer);
        let (tap, receiver) = tap::channel(Arc::clone(&budget), Arc::clone(&ledger), epoch.at);
        let numbers = tuning.breaker.clone().map_or_else(|| settings::breaker(config), Ok)?;
        let mut breaker = Breaker::new(numbers, seed(), epoch.at);
        if let Some(force) = settings::force(config.breaker.mode) {
            breaker.force(force, epoch.at);
        }
        let pods = config.supabase.as_ref().map_or(1, |supabase| supabase.pods);
        let view = watch::Sender::new(ops::first_view(&breaker, pods, epoch.at));
        let policy = watch::Sender::new(Policy::PASSTHROUGH);
        let (identity, mut tiers) = settings::rollout(config)?;
        let stores = stores::Stores::open(config, &identity, &mut tiers)?;
        let flags = FlagBook::new(identity, tiers);
        let (mirrors, parity) = (config.supabase.is_some(), parity::open(config)?);
        let (cold, fine) = (cold::start(config)?, Arc::new(settings::fine(config)?));
        let otlp = otlp::start(config, fine.otlp.as_ref())?;
        let decider = Decider {
            fine: Arc::clone(&fine),
            figures: Arc::default(),
            standing: flags.subscribe(),
            configured: mirrors,
            native: config.supabase.as_ref().is_some_and(|supabase| supabase.anon_key.is_some()),
            cold: cold.is_some(),
            mirror_percent: Percent::from_units(config.mirror.percent.thousandths()).unwrap_or(Percent::FULL),
            view: view.subscribe(),
            capture: parity.as_ref().map(parity::Plan::capture),
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
        let (words, probes) = (mpsc::channel(WORDS_MAX), mpsc::channel(4));
        let (mut proxy, decide) = (settings::proxy(config)?, decider.clone().into_fn());
        proxy.cold = cold.as_ref().map(|cold| cold.door.clone());
        proxy.spans = otlp.as_ref().map(|otlp| otlp.spans.clone());
        let parts = Parts {
            ledger,
            budget,
            receiver,
            words,
            probes,
            policy,
            view,
            breaker,
            recall,
            epoch,
            decider,
            cold,
            otlp,
            parity,
        };
        let running = match listener {
            Some(listener) => Server::start_on(listener, proxy, decide, mirroring)?,
            None => Server::start(proxy, decide, mirroring)?,
        };
        let running = Arc::new(running);
        Addresses::serving(&running);
        Self::start_behind(config, tuning, (running, flags, stores), parts)
    }

    /// Starts what stands behind the proxy.
    fn start_behind(
        config: &Config,
        tuning: &Tuning,
        (running, flags, mut stores): (Arc<Running>, FlagBook, stores::Stores),
        mut parts: Parts,
    ) -> Result<Self, StartError> {
        // Disks are waited for while clients are served, as legacy until it is known what was kept.
        stores.recall(&flags);
        let memory = parts.remember(config)?;
        let (disk, returned_us) = <(Arc<crate::spool::disk::Figures>, Arc<AtomicU64>)>::default();
        let eyes = Eyes {
            shared: running.shared(),
            view: parts.view.subscribe(),
            figures: Arc::default(),
            table: Arc::default(),
            events: Arc::default(),
            disk: config.spool.as_ref().map(|spool| (Arc::clone(&disk), spool.max)),
            ledger: Arc::clone(&parts.ledger),
            budget: Arc::clone(&parts.budget),
            returned_us: Arc::clone(&returned_us),
            standing: flags.subscribe(),
            tiers: stores.figures().into(),
            fleet: stores.fleet(),
            mirrors: config.supabase.is_some(),
            proofs: Arc::default(),
            began: parts.epoch,
            records: records::start(config.ops.state_dir.as_deref()).map_err(StartError::Thread)?,
            reachable: Arc::default(),
            cold: parts.cold.as_ref().map(|cold| Arc::clone(&cold.figures)),
            spans: parts.otlp.as_ref().map(|otlp| Arc::clone(&otlp.figures)),
            notices: Arc::default(),
            rollout: Arc::clone(&parts.decider.figures),
        };
        let ((words, heard), (ask, asked)) = (parts.words, parts.probes);
        let kept = (running.drain_signal(), Arc::clone(&eyes.records));
        let machine = life::Start {
            breaker: parts.breaker,
            told: (parts.view, parts.policy),
            flags,
            memory,
            hears: (heard, ask),
            returned: (running.shared().sessions.clone(), returned_us),
            pods: config.supabase.as_ref().map_or(1, |supabase| supabase.pods),
            trips_kept: trips::Trips::new(config, &running.shared().sessions, parts.epoch, kept)?,
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
            let book = (parts.receiver, parts.budget, parts.epoch, parts.parity);
            Some(behind.start(&running, book, Arc::clone(&stop_side))?)
        } else {
            None
        };
        let desk = Console::new((config, parts.epoch), &eyes, stores.to(&words), (&running, parts.decider));
        let admin = control::start(config, tuning, &running, desk)?;
        let stores = stores.start(&words, eyes.clone())?;
        let machine = (machine.machine(), words.clone());
        let (ops, metrics) = start_ops(config, tuning, machine, (&running, &eyes), Arc::clone(&stop_ops))?;
        let addresses = Addresses::told(&running, metrics, admin.as_ref());
        let ends = (parts.cold, parts.otlp);
        Ok(Self { running, addresses, eyes, words, ops, side, stop_side, stop_ops, admin, stores, ends })
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

    /// Completes when `POST /drain` was called.
    pub async fn drain_asked(&self) {
        self.running.drain_signal().reached(Phase::Settling).await;
    }

    /// Stops everything in order, within `plan.grace`. What the drain could not end in time is cut off.
    pub async fn drain(self, plan: DrainPlan) -> DrainReport {
        let end = tokio::time::Instant::now() + plan.grace;
        let report = self.running.drain(DrainPlan { grace: ending::clients(plan.grace), ..plan }).await;
        self.stop_side.notify_one();
        let Self { side, ops, stop_ops, words, running, admin, stores, ends: (cold, otlp), eyes, .. } = self;
        let spans = otlp.map(|otlp| otlp.stop(ending::flush(plan.grace)));
        drop((words, stores));
        if let Some(side) = side {
            ending::done_by(end - plan.grace / 50, "side", move || side.join()).await;
        }
        if let Some(thread) = spans {
            ending::done_by(end - plan.grace / 50, "otlp", move || thread.join()).await;
        }
        stop_ops.notify_one();
        ending::done_by(end, "ops", move || ops.join()).await;
        let soon = tokio::time::Instant::now() + plan.grace / 20;
        ending::done_by(end.min(soon), "records", move || eyes.records.end()).await;
        drop(running);
        // Last: who waits at `POST /drain` hears now that all is over.
        ending::done_by(end, "admin", move || {
            drop((cold, admin));
            Ok(())
        })
        .await;
        report
    }
}
