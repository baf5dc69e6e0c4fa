//! The state machine: closed, open, half-open, and a person's word above them. It asks the evidence whether to
//! trip, and every transition has one method.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::config::{Config, LONGEST};
use super::evidence::{Evidence, Figures};
use super::outcome::{Outcome, ProbeEnd, Trigger, Trip};
use super::sabotage::Sabotage;
use super::saved::{SAVED_VERSION, Saved, SavedOpen};
use super::state::{Admission, Change, Force, Mode, Probe, Publish, State};

/// Changes kept for a caller that does not poll; beyond, the oldest is dropped and counted.
const CHANGES_MAX: usize = 64;
/// While anything is in a sliding window it is looked at this often, since time alone can tip a ratio.
const TICK: Duration = Duration::from_secs(1);
/// Whole share.
const FULL: u16 = 1_000;
/// Doubling stops here: far beyond any `cooldown_max`.
const DOUBLINGS_MAX: u32 = 20;

/// A circuit breaker: pure, one per process. See the room's essay.
#[derive(Debug)]
pub struct Breaker {
    config: Config,
    inner: Inner,
    mode: Mode,
    evidence: Evidence,
    seed: u64,
    /// Openings in a row without a complete return.
    openings: u32,
    /// The next closing is a return and therefore paced.
    paced: bool,
    /// When each counted trip stops counting, oldest first.
    trips: VecDeque<Instant>,
    /// While observing: no further would-trip report before.
    quiet_until: Option<Instant>,
    probes_taken: u64,
    seen: Instant,
    changes: VecDeque<Change>,
    changes_lost: u64,
}

/// The state with what only the machine needs.
#[derive(Clone, Copy, Debug)]
enum Inner {
    Closed { since: Instant, paced: bool, told: u16 },
    Open { since: Instant, until: Instant, trip: Trigger, latched: bool },
    HalfOpen { since: Instant, good: u32, next: Instant, flying: Option<(Probe, Instant)> },
}

impl Breaker {
    /// A breaker at its start: half-open, whatever happened before. `seed` is for the jitter alone.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        Self {
            evidence: Evidence::new(&config, now),
            config,
            inner: Inner::HalfOpen { since: now, good: 0, next: now, flying: None },
            mode: Mode::Auto,
            seed,
            openings: 0,
            paced: false,
            trips: VecDeque::new(),
            quiet_until: None,
            probes_taken: 0,
            seen: now,
            changes: VecDeque::new(),
            changes_lost: 0,
        }
    }

    /// Takes one outcome in and trips at once if it is the last straw.
    pub fn record(&mut self, outcome: Outcome, now: Instant) {
        self.advance(now);
        match outcome {
            Outcome::Probe { probe, end } => self.probe_ended(probe, end, now),
            Outcome::Own(fault) => self.evidence.own_fault(fault, now),
            _ if self.flows() => self.evidence.observe(outcome, &self.config, now),
            Outcome::ConnectFailed | Outcome::Connected if self.half_open() => {
                self.evidence.observe(outcome, &self.config, now);
            }
            // Nothing that happens while it is open says anything about what comes after.
            _ => {}
        }
        self.judge(now);
    }

    /// Does what a person asks for.
    pub fn force(&mut self, force: Force, now: Instant) {
        self.advance(now);
        match force {
            Force::Open => self.force_open(now),
            Force::Closed => self.set_mode(Mode::ForcedClosed),
            Force::ObserveOnly => self.set_mode(Mode::ObserveOnly),
            Force::Release => self.set_mode(Mode::Auto),
            Force::Reset => self.reset(now),
        }
        self.handle_timeout(now);
    }

    /// A probe to publish, if one is due and none is on its way.
    pub fn take_probe(&mut self, now: Instant) -> Option<Probe> {
        self.advance(now);
        let two_at_once = self.evidence.sabotaged.is(Sabotage::TwoProbesAtOnce);
        let Inner::HalfOpen { next, flying, .. } = &mut self.inner else { return None };
        if self.mode == Mode::ForcedOpen || now < *next || (flying.is_some() && !two_at_once) {
            return None;
        }
        self.probes_taken = self.probes_taken.wrapping_add(1);
        let probe = Probe(self.probes_taken);
        *flying = Some((probe, now + self.config.probe_deadline));
        *next = now + self.config.probe_interval;
        Some(probe)
    }

    /// Lets time pass. Spurious calls are harmless. Hand over what has been received before calling this, or a
    /// read-back that waits in the caller's own inbox looks like a stall.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.judge(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called, and [`take_probe`](Self::take_probe) tried.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.mode == Mode::ForcedOpen {
            return None;
        }
        let state = match self.inner {
            Inner::Open { latched: true, .. } => None,
            Inner::Open { until, .. } => Some(until),
            Inner::Closed { since, paced, .. } => paced.then(|| self.next_step(since)).flatten(),
            Inner::HalfOpen { since, next, flying, .. } => {
                let probe = flying.map_or(next, |(_, deadline)| deadline);
                // A probe that is due and not taken must not keep the caller busy.
                let probe = Some(probe).filter(|at| *at > self.seen);
                Some(probe.map_or(self.half_open_end(since), |at| at.min(self.half_open_end(since))))
            }
        };
        let stall = self.evidence.stall_at(&self.config).filter(|at| self.flows() && *at > self.seen);
        let tick = (self.flows() && self.evidence.slides()).then(|| self.seen + TICK);
        [state, stall, tick].into_iter().flatten().min()
    }

    /// The next change to tell, oldest first.
    pub fn poll_event(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Changes that nobody polled in time.
    #[must_use]
    pub const fn changes_lost(&self) -> u64 {
        self.changes_lost
    }

    /// The machine's state as of the last call with a time.
    #[must_use]
    pub fn state(&self) -> State {
        match self.inner {
            Inner::Closed { since, told, .. } => State::Closed { since, share_permille: told },
            Inner::Open { since, until, trip, latched } => State::Open { since, until, trip, latched },
            Inner::HalfOpen { since, good, flying, .. } => State::HalfOpen {
                since,
                until: self.half_open_end(since),
                probes_good: good,
                probing: flying.is_some(),
            },
        }
    }

    /// Who decides.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What may be done with Realtime at `now`. The share of a paced return follows `now`; every other change waits
    /// for a call that lets time pass.
    #[must_use]
    pub fn admits(&self, now: Instant) -> Admission {
        let phase = self.state().phase();
        let (share_permille, publish) = match self.inner {
            _ if self.mode.overrides_closed() => (FULL, Publish::All),
            Inner::Closed { since, paced, .. } => (self.share(since, paced, now), Publish::All),
            Inner::HalfOpen { .. } if self.mode == Mode::Auto => (0, Publish::ProbesOnly),
            Inner::HalfOpen { .. } | Inner::Open { .. } => (0, Publish::Nothing),
        };
        Admission { phase, mode: self.mode, share_permille, publish }
    }

    /// Figures for metrics and the admin.
    pub fn figures(&mut self, now: Instant) -> Figures {
        self.evidence.figures(&self.config, now)
    }

    /// The numbers it works with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What should be written to disk after every change, for the next process.
    #[must_use]
    pub fn save(&self, now: Instant, now_unix_ms: u64) -> Saved {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let open = match self.inner {
            Inner::Open { until, trip, latched, .. } => {
                Some(SavedOpen { trip, left_ms: millis(until.saturating_duration_since(now)), latched })
            }
            _ => None,
        };
        let window = self.config.latch_window.min(LONGEST);
        let age = |ends: &Instant| millis(window.saturating_sub(ends.saturating_duration_since(now)));
        let returning = match self.inner {
            Inner::Closed { since, paced, .. } => paced && self.share(since, paced, now) < FULL,
            _ => self.paced,
        };
        Saved {
            version: SAVED_VERSION,
            at_unix_ms: now_unix_ms,
            open,
            forced_open: self.mode == Mode::ForcedOpen,
            openings: self.openings,
            paced: returning,
            trips_ago_ms: self.trips.iter().map(age).collect(),
        }
    }

    /// Takes over what the process before this one had saved. It can delay the return, grow the next cool-down
    /// and keep a latch or a person's `forced_open`; nothing in it closes the breaker. A state older than the
    /// latch window says only whether a person is needed.
    pub fn restore(&mut self, saved: &Saved, now: Instant, now_unix_ms: u64) {
        self.advance(now);
        let age = saved.age(now_unix_ms);
        let window = self.config.latch_window.min(LONGEST);
        let stale = age >= window;
        if let Some(open) = saved.open {
            let left = Duration::from_millis(open.left_ms).saturating_sub(age);
            let left = left.min(self.config.cooldown_max.min(LONGEST) * 2);
            if open.latched || (!stale && !left.is_zero()) {
                let latched = open.latched || self.latched();
                self.inner = Inner::Open { since: now, until: now + left, trip: open.trip, latched };
            }
        }
        if saved.open.is_none() && self.evidence.sabotaged.is(Sabotage::ClosesFromSavedState) {
            self.close(now);
        }
        if !stale {
            self.openings = self.openings.max(saved.openings.min(DOUBLINGS_MAX));
            self.paced |= saved.paced;
            let ages = saved.trips_ago_ms.iter().take(self.config.latch_trips);
            let left = ages.map(|ms| window.saturating_sub(Duration::from_millis(*ms).saturating_add(age)));
            self.trips.extend(left.filter(|left| !left.is_zero()).map(|left| now + left));
            self.trips.make_contiguous().sort_unstable();
        }
        if saved.forced_open {
            self.force_open(now);
        }
    }

    /// Applies what time alone decides. Evidence is judged afterwards.
    fn advance(&mut self, now: Instant) {
        self.seen = self.seen.max(now);
        if self.mode == Mode::ForcedOpen {
            return;
        }
        match self.inner {
            Inner::Open { .. } if self.evidence.sabotaged.is(Sabotage::NeverHalfOpens) => {}
            Inner::Open { until, latched: false, .. } if now >= until => {
                self.half_open_from(now);
            }
            Inner::Open { .. } => {}
            Inner::HalfOpen { since, flying, .. } => {
                if flying.is_some_and(|(_, deadline)| now >= deadline) {
                    self.open(Trip::bare(Trigger::Probe), now);
                } else if now >= self.half_open_end(since) {
                    self.open(Trip::bare(Trigger::HalfOpenExpired), now);
                }
            }
            Inner::Closed { since, paced, told } => self.pace(since, paced, told, now),
        }
    }

    /// Trips if the evidence says so and the machine is the one who decides.
    fn judge(&mut self, now: Instant) {
        if self.half_open() && self.mode == Mode::Auto {
            if let Some(trip) = self.evidence.connect_trip(&self.config) {
                self.open(trip, now);
            }
            return;
        }
        if !self.flows() || self.mode == Mode::ForcedClosed {
            return;
        }
        let Some(trip) = self.evidence.fired(&self.config, now) else { return };
        if self.mode == Mode::Auto {
            self.open(trip, now);
        } else if self.quiet_until.is_none_or(|until| now >= until) {
            self.quiet_until = Some(now + self.config.cooldown.min(LONGEST));
            self.tell(Change::WouldTrip(trip));
        }
    }

    fn probe_ended(&mut self, probe: Probe, end: ProbeEnd, now: Instant) {
        let forgives = self.evidence.sabotaged.is(Sabotage::ForgivesBadProbes);
        let Inner::HalfOpen { good, flying, .. } = &mut self.inner else { return };
        if flying.is_none_or(|(expected, _)| expected != probe) {
            return;
        }
        *flying = None;
        match end {
            ProbeEnd::Good => {
                *good = good.saturating_add(1);
                if *good >= self.config.probes.max(1) {
                    self.close(now);
                }
            }
            ProbeEnd::Bad(_) if forgives => {}
            ProbeEnd::Bad(_) => self.open(Trip::bare(Trigger::Probe), now),
            ProbeEnd::Void(fault) => self.evidence.own_fault(fault, now),
        }
    }

    /// To open. Only a trip out of closed counts for the latch: an outage that outlasts its cool-downs is one
    /// trip, however often a probe fails.
    fn open(&mut self, trip: Trip, now: Instant) {
        let latched = matches!(self.inner, Inner::Closed { .. }) && self.count_trip(now);
        let until = now + self.next_cooldown();
        self.openings = self.openings.saturating_add(1);
        self.paced = true;
        self.evidence.clear();
        self.inner = Inner::Open { since: now, until, trip: trip.trigger, latched };
        self.tell(Change::Opened { trip, until, latched });
    }

    fn half_open_from(&mut self, now: Instant) {
        self.evidence.clear();
        self.inner = Inner::HalfOpen { since: now, good: 0, next: now, flying: None };
        self.tell(Change::HalfOpened);
    }

    fn close(&mut self, now: Instant) {
        self.evidence.clear();
        let paced = self.paced && !self.evidence.sabotaged.is(Sabotage::ForgetsThePace);
        let share_permille = self.share(now, paced, now);
        self.inner = Inner::Closed { since: now, paced, told: share_permille };
        self.tell(Change::Closed { share_permille });
    }

    /// Moves the paced return on; at its end the past is forgiven.
    fn pace(&mut self, since: Instant, paced: bool, told: u16, now: Instant) {
        let share_permille = self.share(since, paced, now);
        let over = paced && now >= self.return_end(since);
        if over {
            self.openings = 0;
            self.paced = false;
        }
        self.inner = Inner::Closed { since, paced: paced && !over, told: share_permille };
        if share_permille != told {
            self.tell(Change::Share { share_permille });
        }
    }

    fn force_open(&mut self, now: Instant) {
        if !matches!(self.inner, Inner::Open { .. }) {
            self.paced = true;
            self.evidence.clear();
            self.inner = Inner::Open { since: now, until: now, trip: Trigger::Forced, latched: false };
            self.tell(Change::Opened { trip: Trip::bare(Trigger::Forced), until: now, latched: false });
        }
        self.set_mode(Mode::ForcedOpen);
    }

    fn reset(&mut self, now: Instant) {
        self.trips.clear();
        self.openings = 0;
        if let Inner::Open { since, trip, .. } = self.inner {
            self.inner = Inner::Open { since, until: now, trip, latched: false };
        }
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.mode != mode {
            self.mode = mode;
            self.quiet_until = None;
            self.tell(Change::Mode(mode));
        }
    }

    /// Notes a trip; true when it is the one that latches.
    fn count_trip(&mut self, now: Instant) -> bool {
        self.trips.retain(|ends| *ends > now);
        self.trips.push_back(now + self.config.latch_window.min(LONGEST));
        while self.trips.len() > self.config.latch_trips.max(1) {
            self.trips.pop_front();
        }
        self.trips.len() >= self.config.latch_trips.max(1)
            && !self.evidence.sabotaged.is(Sabotage::NeverLatches)
    }

    /// `cooldown × 2ⁿ`, capped, then changed by up to ± `jitter`.
    fn next_cooldown(&mut self) -> Duration {
        let grows = !self.evidence.sabotaged.is(Sabotage::CooldownNeverGrows);
        let doublings = if grows { self.openings.min(DOUBLINGS_MAX) } else { 0 };
        let max = self.config.cooldown_max.min(LONGEST);
        let plain = self.config.cooldown.checked_mul(1 << doublings).map_or(max, |long| long.min(max));
        let jitter = self.config.jitter.clamp(0.0, 1.0);
        plain.mul_f64(1.0 + jitter * (2.0 * self.draw() - 1.0))
    }

    /// A number in [0, 1) out of the seed (splitmix64).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The share that a return begun at `since` has reached.
    fn share(&self, since: Instant, paced: bool, now: Instant) -> u16 {
        if !paced {
            return FULL;
        }
        let mut left = now.saturating_duration_since(since);
        for step in &self.config.pace {
            if left < step.hold {
                return step.share_permille.min(FULL);
            }
            left -= step.hold;
        }
        FULL
    }

    /// When the next step of the return begins, or the return ends.
    fn next_step(&self, since: Instant) -> Option<Instant> {
        let mut at = since;
        for step in &self.config.pace {
            at += step.hold.min(LONGEST);
            if at > self.seen {
                return Some(at);
            }
        }
        None
    }

    fn return_end(&self, since: Instant) -> Instant {
        self.config.pace.iter().fold(since, |at, step| at + step.hold.min(LONGEST))
    }

    fn half_open_end(&self, since: Instant) -> Instant {
        since + self.config.half_open_max.min(LONGEST)
    }

    const fn half_open(&self) -> bool {
        matches!(self.inner, Inner::HalfOpen { .. })
    }

    const fn latched(&self) -> bool {
        matches!(self.inner, Inner::Open { latched: true, .. })
    }

    /// True when traffic may reach Realtime, so that outcomes mean something.
    const fn flows(&self) -> bool {
        self.mode.overrides_closed() || matches!(self.inner, Inner::Closed { .. })
    }

    fn tell(&mut self, change: Change) {
        if self.changes.len() >= CHANGES_MAX {
            self.changes.pop_front();
            self.changes_lost = self.changes_lost.saturating_add(1);
        }
        self.changes.push_back(change);
    }
}
