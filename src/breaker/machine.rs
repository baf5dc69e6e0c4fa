//! The state machine: closed, open, half-open, and a person's word above them. It asks the evidence whether to
//! trip, and every transition has one method.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::config::Config;
use super::evidence::{Evidence, Figures};
use super::outcome::{Outcome, OwnFault, ProbeEnd, Trigger, Trip};
use super::past::{FULL, Past, next_step_after, share_after};
use super::sabotage::Sabotage;
use super::saved::{SAVED_VERSION, Saved, SavedOpen, millis_up};
use super::state::{Admission, Change, Force, Mode, Probe, Publish, State};

/// Changes kept for a caller that does not poll; beyond, the oldest is dropped and counted.
const CHANGES_MAX: usize = 64;
/// While anything is in a sliding window it is looked at this often, since time alone can tip a ratio.
const TICK: Duration = Duration::from_secs(1);

/// A circuit breaker: pure, one per process. See the room's essay.
#[derive(Debug)]
pub struct Breaker {
    config: Config,
    pub(super) inner: Inner,
    pub(super) mode: Mode,
    pub(super) evidence: Evidence,
    pub(super) past: Past,
    /// While observing: no further would-trip report before.
    pub(super) quiet_until: Option<Instant>,
    probes_taken: u64,
    seen: Instant,
    changes: VecDeque<Change>,
    changes_lost: u64,
}

/// The state with what only the machine needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inner {
    Closed { since: Instant, paced: bool, told: u16 },
    Open { since: Instant, until: Instant, trip: Trigger, latched: bool },
    HalfOpen { since: Instant, good: u32, next: Instant, flying: Option<(Probe, Instant)> },
}

impl Breaker {
    /// A breaker at its start: half-open, whatever happened before. `seed` is for the jitter alone.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let config = config.bounded();
        Self {
            evidence: Evidence::new(&config, now),
            config,
            inner: Inner::HalfOpen { since: now, good: 0, next: now, flying: None },
            mode: Mode::Auto,
            past: Past::new(seed),
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
            Outcome::Own(fault) => {
                self.evidence.own_fault(fault, now);
                self.excuse(fault, now);
            }
            _ if self.flows() => self.evidence.observe(outcome, &self.config, now),
            Outcome::ConnectFailed | Outcome::Connected if self.half_open() => {
                self.evidence.observe(outcome, &self.config, now);
            }
            _ => {} // What happens while it is open says nothing about what comes after.
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
            Inner::Closed { since, paced, .. } => paced.then(|| self.next_step(since, self.seen)).flatten(),
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
        let open = match self.inner {
            Inner::Open { until, trip, latched, .. } => {
                Some(SavedOpen { trip, left_ms: millis_up(until.saturating_duration_since(now)), latched })
            }
            _ => None,
        };
        let paced = match self.inner {
            Inner::Closed { paced, .. } => paced,
            _ => self.past.paced,
        };
        let mut saved = Saved {
            version: SAVED_VERSION,
            at_unix_ms: now_unix_ms,
            open,
            forced_open: self.mode == Mode::ForcedOpen,
            paced,
            openings: 0,
            trips_ago_ms: Vec::new(),
        };
        self.past.save(&mut saved, &self.config, now);
        saved
    }

    /// Takes over what the process before this one had saved. It can delay the return, grow the next cool-down
    /// and keep a latch or a person's `forced_open`; nothing in it closes the breaker. A state older than the
    /// latch window says only whether a person is needed.
    pub fn restore(&mut self, saved: &Saved, now: Instant, now_unix_ms: u64) {
        self.advance(now);
        let age = saved.age(now_unix_ms);
        let stale = age >= self.config.latch_window;
        if let Some(open) = saved.open {
            let left = Duration::from_millis(open.left_ms).saturating_sub(age);
            let left = left.min(self.config.cooldown_max * 2);
            if open.latched || (!stale && !left.is_zero()) {
                self.inner =
                    Inner::Open { since: now, until: now + left, trip: open.trip, latched: open.latched };
            }
        } else if self.evidence.sabotaged.is(Sabotage::ClosesFromSavedState) {
            self.close(now);
        }
        if !stale {
            self.past.restore(saved, &self.config, (age, now));
        }
        if saved.forced_open {
            self.force_open(now);
        }
    }

    /// Applies what time alone decides. Evidence is judged afterwards.
    pub(super) fn advance(&mut self, now: Instant) {
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
            self.quiet_until = Some(now + self.config.cooldown);
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

    /// Half-open cannot probe a topic that our role may not write: its time begins anew, so that it does not end in an
    /// opening, and a longer one each time, that nothing of Realtime's has caused.
    fn excuse(&mut self, fault: OwnFault, now: Instant) {
        if let Inner::HalfOpen { since, .. } = &mut self.inner
            && fault == OwnFault::Authorization
        {
            *since = now;
        }
    }

    /// To open. Only a trip out of closed counts for the latch: an outage that outlasts its cool-downs is one
    /// trip, however often a probe fails.
    pub(super) fn open(&mut self, trip: Trip, now: Instant) {
        let trips = matches!(self.inner, Inner::Closed { .. });
        let latched = trips && self.past.trip_latches(&self.config, now);
        let until = now + self.past.opening(&self.config);
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
        let paced = self.past.paced && !self.evidence.sabotaged.is(Sabotage::ForgetsThePace);
        let share_permille = self.share(now, paced, now);
        self.inner = Inner::Closed { since: now, paced, told: share_permille };
        self.tell(Change::Closed { share_permille });
    }

    /// Moves the paced return on; at its end the past is forgiven.
    fn pace(&mut self, since: Instant, paced: bool, told: u16, now: Instant) {
        let share_permille = self.share(since, paced, now);
        let over = paced && self.next_step(since, now).is_none();
        if over {
            self.past.returned();
        }
        self.inner = Inner::Closed { since, paced: paced && !over, told: share_permille };
        if share_permille != told {
            self.tell(Change::Share { share_permille });
        }
    }

    /// The share that a closing at `since` has reached.
    fn share(&self, since: Instant, paced: bool, now: Instant) -> u16 {
        if paced { share_after(&self.config.pace, now.saturating_duration_since(since)) } else { FULL }
    }

    /// When the return that began at `since` moves on, or ends.
    fn next_step(&self, since: Instant, now: Instant) -> Option<Instant> {
        let elapsed = now.saturating_duration_since(since);
        next_step_after(&self.config.pace, elapsed).map(|after| since + after)
    }

    fn half_open_end(&self, since: Instant) -> Instant {
        since + self.config.half_open_max
    }

    const fn half_open(&self) -> bool {
        matches!(self.inner, Inner::HalfOpen { .. })
    }

    /// True when traffic may reach Realtime, so that outcomes mean something.
    const fn flows(&self) -> bool {
        self.mode.overrides_closed() || matches!(self.inner, Inner::Closed { .. })
    }

    pub(super) fn tell(&mut self, change: Change) {
        if self.changes.len() >= CHANGES_MAX {
            self.changes.pop_front();
            self.changes_lost = self.changes_lost.saturating_add(1);
        }
        self.changes.push_back(change);
    }
}
