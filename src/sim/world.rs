//! One life: every machine from the service's bytes to the client's, on a clock that jumps to the next wake-up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};

use super::oracle::Witness;
use super::script::{Dice, Script, faults, scripts};
use super::session::Session;
use super::wire::Wire;
use super::{Sabotage, UNIX};
use crate::app::figures::SideFigures;
use crate::app::ops::{Links, Ops, WORDS_MAX, Word, first_view};
use crate::app::side::{ACKED_TOPIC, Acked, Book, Intake, Side, TOPIC, Watch, WatchScene};
use crate::breaker::{self, Breaker, Step};
use crate::budget::Budget;
use crate::emulator::{self, Claims, Clock, Emulator, Fault, FaultKind, Secret};
use crate::hot;
use crate::ledger::Ledger;
use crate::mirror::batch::{BATCH_BYTES_MAX, Batcher, Limits};
use crate::mirror::classify::Classifier;
use crate::mirror::flight::Epoch;
use crate::mirror::governor::{Governor, Plan, Terms};
use crate::mirror::publish::Publisher;
use crate::mirror::redact::{Redactor, Scope};
use crate::mirror::settings::Settings;
use crate::mirror::shard::{Sampling, Shard};
use crate::proxy::{Follows, Policy, SessionCounters, Sessions, WorkerHandle, WorkerMessage};
use crate::realtime::key::ApiKey;
use crate::realtime::link::{Config as LinkConfig, Join};
use crate::realtime::message::Vsn;
use crate::realtime::url::Endpoint;
use crate::tap::{self, Tap};

/// The worker's tick, as in `proxy::sessions`.
const TICK: Duration = Duration::from_millis(20);
const NAMES: (&str, &str) = ("sim", "pod");

/// A session of the cohort.
const COHORT: Follows = Follows::Share { bucket: 0, share: 100_000 };

/// What a world is set up with besides what its dice say.
pub(super) struct Scene {
    pub(super) scripts: Vec<Script>,
    pub(super) faults: Vec<Fault>,
    pub(super) sampling: Sampling,
    /// Messages per second that the plan allows, for the governor and for the emulator.
    pub(super) limit: u32,
    pub(super) governor: Option<crate::mirror::governor::Sabotage>,
    /// The sessions follow the hot lane.
    pub(super) hot: bool,
    /// The role of the sidecar's key.
    pub(super) role: &'static str,
}

impl Scene {
    /// The scene of a life. Its dice are its own, so that older seeds mean what they meant.
    fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5CE4);
        let sampling = match dice.number(4) {
            0 => Sampling::Hot,
            1 => Sampling::Sessions(50_000),
            _ => Sampling::All,
        };
        let limit = if dice.one_in(6) { 100 } else { GENEROUS };
        Self {
            scripts: Vec::new(),
            faults: Vec::new(),
            sampling,
            limit,
            governor: None,
            hot: true,
            role: SERVICE,
        }
    }
}

/// The role of a sidecar's usual key: no policy holds it up.
pub(super) const SERVICE: &str = "service_role";

/// A limit that never gets in the way.
const GENEROUS: u32 = 1_000_000;

/// See the module.
pub(super) struct World {
    pub(super) begin: Instant,
    pub(super) now: Instant,
    pub(super) dice: Dice,
    tap: Tap,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) sessions: Vec<Session>,
    pub(super) book: Sessions,
    pub(super) counters: Arc<SessionCounters>,
    pub(super) wires: [Wire; 2],
    pub(super) emulator: Emulator,
    pub(super) side: Side,
    /// Where the spool is, for worlds with one.
    pub(super) disk: Option<crate::spool::disk::Worker>,
    pub(super) ops: Ops,
    pub(super) witness: Witness,
    pub(super) ledger: Arc<Ledger>,
    pub(super) budget: Arc<Budget>,
    pub(super) policy: watch::Receiver<Policy>,
    inbox: mpsc::Receiver<WorkerMessage>,
    /// The side thread hangs from time to time: (from, to).
    hangs: Vec<(Instant, Instant)>,
    /// Every so many posts to the worker are lost.
    loses_posts: u64,
    tick_at: Instant,
    ids: u64,
    was_joined: bool,
    /// A fault of this life changes characters, those of names included.
    pub(super) corrupts: bool,
    pub(super) steps: u64,
}

impl World {
    pub(super) fn new(seed: u64, sabotage: Option<Sabotage>, begin: Instant) -> Self {
        let mut world = Self::with(seed, sabotage, begin, &Scene::of(seed));
        let scripts = scripts(&mut world.dice);
        world.populate(scripts, COHORT);
        if world.dice.one_in(8) {
            let from = begin + Duration::from_millis(world.dice.between(500, 6_000));
            world.hangs.push((from, from + Duration::from_millis(world.dice.between(50, 3_000))));
        }
        for fault in faults(&mut world.dice) {
            world.corrupts |= matches!(fault.kind, FaultKind::Corrupt);
            world.emulator.inject(fault, begin);
        }
        world
    }

    /// A world of this scene, with its own scripts and faults.
    pub(super) fn of(seed: u64, scene: Scene, begin: Instant) -> Self {
        let mut world = Self::with(seed, None, begin, &scene);
        world.populate(scene.scripts, if scene.hot { COHORT } else { Follows::Never });
        scene.faults.into_iter().for_each(|fault| {
            world.emulator.inject(fault, begin);
        });
        world
    }

    fn with(seed: u64, sabotage: Option<Sabotage>, begin: Instant, scene: &Scene) -> Self {
        let mut dice = Dice::new(seed);
        let ledger = Ledger::new();
        let budget = Budget::new(if dice.one_in(10) { 20_000 } else { 32 << 20 });
        let (tap, receiver) = tap::channel(Arc::clone(&budget), Arc::clone(&ledger), begin);
        let counters = Arc::new(SessionCounters::default());
        let (handle, inbox) = WorkerHandle::for_tests(1_024);
        let book = Sessions::new(0, 1, Some(tap.clone()), Arc::clone(&counters));
        let (wires, [publish, readback]) = wires(&mut dice, (scene.sampling, scene.role), begin);
        let breaker = Breaker::new(numbers(), dice.bits(), begin);
        let view = watch::Sender::new(first_view(&breaker, 1, begin));
        let (policy, seen) = watch::channel(Policy::PASSTHROUGH);
        let (words, heard) = mpsc::channel(WORDS_MAX);
        let (ask, asked) = mpsc::channel(4);
        let epoch = Epoch { at: begin, unix_ms: UNIX * 1_000 };
        let publisher = publisher(sabotage, &mut dice, epoch);
        let scope = if dice.one_in(4) { Scope::Off } else { Scope::Up };
        let machines = (Classifier::default(), Redactor::new(scope));
        let intake = Intake::new(machines, Arc::clone(&budget), epoch, scene.sampling);
        let mut side = Side {
            tap: receiver,
            intake,
            batcher: Batcher::new(Limits { bytes: if dice.one_in(10) { 4_000 } else { 32 << 20 } }),
            publisher,
            acked: acked(scene.sampling, epoch),
            governor: governor(scene, begin),
            publish,
            readback,
            links: Links::default(),
            limit_bytes: BATCH_BYTES_MAX,
            view: view.subscribe(),
            probes: asked,
            ops: words,
            workers: vec![handle],
            figures: Arc::new(SideFigures::default()),
            stop: Arc::new(Notify::new()),
            key_file: None,
            spool: None,
            events: None,
            watch: watch(epoch),
            state: Book::default(),
        };
        side.begin();
        let ops = ops(breaker, (heard, ask), (view, policy), (Arc::clone(&counters), epoch));
        Self {
            begin,
            now: begin,
            sabotage,
            sessions: Vec::new(),
            book,
            counters,
            wires,
            emulator: emulator(&mut dice, scene.limit, begin),
            side,
            disk: None,
            ops,
            witness: Witness::default(),
            ledger,
            budget,
            policy: seen,
            inbox,
            hangs: Vec::new(),
            loses_posts: if dice.one_in(6) { dice.between(2, 10) } else { u64::MAX },
            tick_at: begin,
            ids: 0,
            was_joined: false,
            corrupts: false,
            steps: 0,
            dice,
            tap,
        }
    }

    fn populate(&mut self, scripts: Vec<Script>, follows: Follows) {
        let begin = self.begin;
        for script in scripts {
            let mut hot = hot::Config::default();
            if self.dice.one_in(5) {
                hot.waiting_bytes_max = 2_000;
            }
            let slow = self.dice.one_in(3);
            let parts = (&self.book, &self.tap, script);
            self.sessions.push(Session::new(parts, (hot, self.sabotage), (slow, follows), begin));
        }
    }

    /// Runs until `until`, checking at every moment what must always hold.
    pub(super) fn run_until(&mut self, until: Instant) -> Result<(), String> {
        while self.now < until {
            self.step(until)?;
        }
        Ok(())
    }

    pub(super) fn step(&mut self, until: Instant) -> Result<(), String> {
        self.steps += 1;
        self.emulator.handle_timeout(self.now);
        for _ in 0..2 {
            self.turn()?;
        }
        self.check().map_err(|what| format!("at {:?}: {what}", self.now - self.begin))?;
        self.now = self.wake().min(until).max(self.now + Duration::from_millis(1));
        Ok(())
    }

    /// Whatever went wrong on purpose ends here.
    pub(super) fn clear(&mut self) {
        self.emulator.clear_faults(None, self.now);
        self.hangs.clear();
        self.loses_posts = u64::MAX;
    }

    pub(super) fn side_hangs(&self) -> bool {
        self.hangs.iter().any(|(from, to)| *from <= self.now && self.now < *to)
    }

    fn turn(&mut self) -> Result<(), String> {
        let now = self.now;
        self.sessions_turn()?;
        self.shuttle();
        if !self.side_hangs() {
            self.side.tap.beat(now);
            while let Ok(probe) = self.side.probes.try_recv() {
                self.side.send_probe(probe, now);
            }
            self.side.turn(now);
            if let Some(disk) = &mut self.disk {
                let ms = u64::try_from((now - self.begin).as_millis()).unwrap_or(0);
                disk.turn(None, UNIX * 1_000 + ms);
            }
        }
        self.shuttle();
        while let Ok(word) = self.ops.words.try_recv() {
            let word = match word {
                Word::Links(links) if self.sabotage == Some(Sabotage::IgnoreReadBackLoss) => {
                    self.was_joined |= links.publish && links.readback;
                    Word::Links(Links { publish: self.was_joined, readback: self.was_joined })
                }
                word => word,
            };
            self.ops.hear(word, now);
        }
        self.ops.act(now);
        if self.policy.has_changed().unwrap_or(false) {
            let policy = *self.policy.borrow_and_update();
            self.book.apply(policy, 1012);
        }
        while let Ok(message) = self.inbox.try_recv() {
            let lost =
                self.sabotage == Some(Sabotage::LoseNoticesAndClock) || self.dice.one_in(self.loses_posts);
            if let WorkerMessage::Notices(notices) = message
                && !lost
            {
                self.book.notify(&notices, now);
            }
        }
        if self.book.wants_tick() && self.tick_at <= now {
            self.tick_at = now + TICK;
            self.book.tick(now);
        }
        self.sessions_turn()
    }

    fn sessions_turn(&mut self) -> Result<(), String> {
        for (place, session) in self.sessions.iter_mut().enumerate() {
            session
                .turn(&self.book, &mut self.dice, (self.begin, self.now))
                .map_err(|what| format!("at {:?}, session {place}: {what}", self.now - self.begin))?;
        }
        Ok(())
    }

    /// Moves what can be moved between the links and the emulator.
    fn shuttle(&mut self) {
        let Self { wires, emulator, witness, sessions, ids, now, .. } = self;
        for (place, wire) in wires.iter_mut().enumerate() {
            for frame in wire.turn(emulator, ids, *now) {
                if place == 1 {
                    witness.read(&frame, |no, seq| {
                        let script = &sessions.get(usize::try_from(no).ok()?)?.script;
                        script.bodies.get(usize::try_from(seq).ok()?.checked_sub(1)?).map(Vec::as_slice)
                    });
                }
            }
        }
        while let Some((id, out)) = emulator.poll_transmit() {
            if let Some(wire) = wires.iter_mut().find(|wire| wire.is(id)) {
                wire.receive(out, *now);
            }
        }
    }

    fn wake(&self) -> Instant {
        let soon = self.now + Duration::from_millis(1);
        // With a spool the side thread's idle tick matters: reports of the disk wake nobody here.
        let later = self.now + if self.disk.is_some() { TICK } else { Duration::from_secs(1) };
        let busy = !self.wires.iter().all(Wire::is_still)
            || !self.side.tap.is_drained()
            || !self.ops.words.is_empty()
            || !self.inbox.is_empty();
        let hang = self.hangs.iter().map(|(_, to)| *to).find(|to| *to > self.now);
        if busy && !self.side_hangs() {
            return soon;
        }
        // A deadline that has passed waits for somebody else: the side thread looks again at its next tick.
        let side = self.side.deadline().map(|at| if at <= self.now { self.now + TICK } else { at });
        let tick = self.book.wants_tick().then_some(self.tick_at);
        let breaker = self.ops.breaker.poll_timeout();
        let wires = self.wires.iter().filter_map(Wire::wake).min();
        let sessions = self.sessions.iter().filter_map(|session| session.wake(self.begin)).min();
        let emulator = self.emulator.poll_timeout();
        let all = [side, tick, breaker, self.ops.quota_until, wires, sessions, emulator, hang];
        all.into_iter().flatten().fold(later, Instant::min)
    }
}

fn wires(
    dice: &mut Dice,
    (sampling, role): (Sampling, &str),
    begin: Instant,
) -> ([Wire; 2], [crate::realtime::client::Handle; 2]) {
    let exp = i64::try_from(UNIX).unwrap_or(0) + 10 * 365 * 86_400;
    let key = ApiKey::new(&Secret::new(SECRET).mint(&Claims::of(role, exp)));
    let mut config =
        LinkConfig::new(Endpoint::parse("http://127.0.0.1:4000/socket").expect("a good URL"), key);
    if dice.one_in(5) {
        config.vsn = Vsn::V1;
    }
    let latency = Duration::from_millis(dice.between(1, 25));
    let mut one = |receive: bool| {
        let (wire, handle) = Wire::new(config.clone(), dice.bits(), latency, begin);
        let join = |shard: Shard| Join { ack: !receive, ..Join::new(&shard.topic(NAMES.0, NAMES.1), true) };
        handle.commands().try_join(TOPIC, join(Shard::ReadBack)).expect("a fresh queue has room");
        if sampling.splits() && !receive {
            handle.commands().try_join(ACKED_TOPIC, join(Shard::Acked)).expect("a fresh queue has room");
        }
        (wire, handle)
    };
    let ((a, publish), (b, readback)) = (one(false), one(true));
    ([a, b], [publish, readback])
}

fn publisher(sabotage: Option<Sabotage>, dice: &mut Dice, epoch: Epoch) -> Publisher {
    let mut publisher = Publisher::new(Settings::new("pod-sim", dice.bits()), epoch);
    if let Some(Sabotage::Mirror(by)) = sabotage {
        publisher.sabotage = Some(by);
    }
    publisher
}

fn watch(epoch: Epoch) -> Watch {
    Watch::new(WatchScene {
        names: (NAMES.0.to_owned(), NAMES.1.to_owned()),
        src: "pod-sim".to_owned(),
        noise: crate::validator::noise::Noise::default(),
        epoch,
        standing: None,
        outbox: None,
        ledger: crate::ledger::Ledger::new(),
        figures: Arc::default(),
    })
}

fn acked(sampling: Sampling, epoch: Epoch) -> Option<Acked> {
    let settings = Settings { readback: false, ..Settings::new("pod-sim", 2) };
    sampling.splits().then(|| Acked {
        batcher: Batcher::new(Limits::default()),
        publisher: Publisher::new(settings, epoch),
    })
}

fn governor(scene: &Scene, begin: Instant) -> Governor {
    let plan = Plan { messages_per_second: scene.limit, ..Plan::CUSTOM };
    let mut governor = Governor::new(Terms { plan, pods: 1, readers: 0 }, begin);
    governor.sabotage = scene.governor;
    governor
}

const SECRET: &str = "a secret of at least thirty-two characters";

fn emulator(dice: &mut Dice, limit: u32, begin: Instant) -> Emulator {
    let mut config = emulator::Config::new(Secret::new(SECRET));
    dice.one_in(6); // drawn for what the scene decides now, so that what follows is as it was
    config.limits = emulator::Limits { events_per_second: limit, ..emulator::Limits::generous() };
    let clock = Clock { at: begin, unix_ms: i64::try_from(UNIX * 1_000).unwrap_or(0) };
    Emulator::new(config, dice.bits(), clock)
}

/// The contract's breaker in a hurry.
fn numbers() -> breaker::Config {
    breaker::Config {
        error_window: Duration::from_secs(20),
        error_samples_min: 5,
        error_ratio: 0.2,
        burn_window: Duration::from_secs(3),
        burn_samples_min: 4,
        stall_after: Duration::from_secs(1),
        connect_span: Duration::from_secs(1),
        cooldown: Duration::from_millis(700),
        cooldown_max: Duration::from_secs(3),
        probes: 3,
        probe_interval: Duration::from_millis(50),
        probe_deadline: Duration::from_secs(1),
        pace: vec![Step { share_permille: 1_000, hold: Duration::from_secs(1) }],
        latch_trips: 1_000,
        ..breaker::Config::default()
    }
}

fn ops(
    breaker: Breaker,
    (words, probes): (mpsc::Receiver<Word>, mpsc::Sender<breaker::Probe>),
    (view, policy): (watch::Sender<crate::app::ops::View>, watch::Sender<Policy>),
    (counters, epoch): (Arc<SessionCounters>, Epoch),
) -> Ops {
    let counters = vec![counters];
    let rules = crate::drill::Rules::default();
    Ops {
        trips_kept: crate::app::trips::Trips::of(("sim", "sim-0"), rules, &counters, epoch),
        breaker,
        flags: crate::app::flags::tests::book(),
        words,
        probes,
        view,
        policy,
        counters,
        returned_us: Arc::default(),
        links: Links::default(),
        quota_until: None,
        spacing: None,
        pods: 1,
        left_at: None,
        trips: [0; breaker::Trigger::ALL.len()],
        last_trip: None,
        tripped: std::collections::VecDeque::new(),
        own_trip: None,
        memory: None,
        legs_at: None,
    }
}
