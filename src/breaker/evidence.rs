//! Everything that speaks for or against Realtime, and the question whether it is enough to trip. It knows no
//! states: the machine decides when to ask and what an answer means.

use std::time::{Duration, Instant};

use super::config::Config;
use super::latency::{Baseline, Latency};
use super::outcome::{Outcome, OwnFault, Trigger, Trip};
use super::sabotage::{Sabotage, Sabotaged};
use super::window::{Tally, Window};

const CELL: Duration = Duration::from_secs(1);

/// Windows, runs and counters of one breaker.
#[derive(Debug)]
pub(super) struct Evidence {
    errors: Window,
    burn: Window,
    matches: Window,
    realtime: Latency,
    legacy: Latency,
    baseline: Baseline,
    connect: Option<Run>,
    waiting_since: Option<Instant>,
    slow: u64,
    own: [u64; OwnFault::ALL.len()],
    pub(super) sabotaged: Sabotaged,
}

/// Failed connection attempts in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Instant,
    last: Instant,
    count: u32,
}

/// The breaker's figures for metrics and the admin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Samples in the error window.
    pub samples: u64,
    /// The bad part of them.
    pub error_ratio: f64,
    /// The bad part of the fast window.
    pub burn_ratio: f64,
    /// p95 of the round trip over the latency window.
    pub p95: Option<Duration>,
    /// What p95 is compared with.
    pub baseline: Option<Duration>,
    /// p95 of the legacy leg over the same window, with enough samples.
    pub legacy_p95: Option<Duration>,
    /// Pairs in the validator's window.
    pub pairs: u64,
    /// The matching part of them; 1 when there are none.
    pub match_ratio: f64,
    /// Round trips since the start that came back late. Not errors.
    pub slow_total: u64,
    /// Own-side causes since the start, in the order of [`OwnFault::ALL`]. Not errors either.
    pub own_total: [u64; OwnFault::ALL.len()],
}

impl Evidence {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            errors: Window::new(config.error_window, CELL, now),
            burn: Window::new(config.burn_window, CELL, now),
            matches: Window::new(config.match_window, CELL, now),
            realtime: Latency::new(config.latency_window, now),
            legacy: Latency::new(config.latency_window, now),
            baseline: Baseline::default(),
            connect: None,
            waiting_since: None,
            slow: 0,
            own: [0; OwnFault::ALL.len()],
            sabotaged: Sabotaged::default(),
        }
    }

    /// Takes one outcome in. Probes are the machine's business and say nothing here.
    pub(super) fn observe(&mut self, outcome: Outcome, config: &Config, now: Instant) {
        match outcome {
            Outcome::ReadBack { took } => self.read_back(took, config, now),
            Outcome::Failed(_) => self.sample(Tally { good: 0, bad: 1 }, now),
            Outcome::LegacyLeg { took } => self.legacy.add(took, now),
            Outcome::ConnectFailed => self.connect_failed(now),
            Outcome::Connected => self.connect = None,
            Outcome::Waiting { batches, last_readback } => self.wait(batches, last_readback, config, now),
            Outcome::Compared { matched, mismatched } => {
                self.matches.add(Tally { good: matched, bad: mismatched }, now);
            }
            Outcome::Own(fault) => self.own_fault(fault, now),
            Outcome::Probe { .. } => {}
        }
    }

    /// Counts an own-side cause, and nothing else.
    pub(super) fn own_fault(&mut self, fault: OwnFault, now: Instant) {
        if let Some(count) = self.own.get_mut(fault as usize) {
            *count = count.saturating_add(1);
        }
        if self.sabotaged.is(Sabotage::CountsOwnFaults) {
            self.sample(Tally { good: 0, bad: 1 }, now);
        }
    }

    /// Forgets what belongs to the time before a change of state. What was learnt about health stays.
    pub(super) fn clear(&mut self) {
        if self.sabotaged.is(Sabotage::KeepsOldEvidence) {
            return;
        }
        self.errors.clear();
        self.burn.clear();
        self.matches.clear();
        self.realtime.clear();
        self.legacy.clear();
        self.connect = None;
        self.waiting_since = None;
    }

    /// The first trigger that fires, in the order from certain to statistical.
    pub(super) fn fired(&mut self, config: &Config, now: Instant) -> Option<Trip> {
        let on = |trip: &Trip| !config.off.contains(&trip.trigger);
        // One after the other: an unhealthy moment must not reach the last one, which learns what is healthy.
        self.connect_trip(config)
            .or_else(|| self.stall_trip(config, now).filter(on))
            .or_else(|| self.burn_trip(config, now).filter(on))
            .or_else(|| self.error_trip(config, now).filter(on))
            .or_else(|| self.match_trip(config, now).filter(on))
            .or_else(|| self.latency_trip(config, now).filter(on))
    }

    /// Only the connection attempts: what counts while nothing is published.
    pub(super) fn connect_trip(&self, config: &Config) -> Option<Trip> {
        let run = self.connect?;
        let span = run.last.saturating_duration_since(run.first);
        let enough = run.count >= config.connect_failures && span >= config.connect_span;
        let off = config.off.contains(&Trigger::Connect);
        (enough && !off).then_some(Trip {
            trigger: Trigger::Connect,
            measured: span.as_secs_f64(),
            limit: config.connect_span.as_secs_f64(),
            samples: u64::from(run.count),
        })
    }

    /// When a stall would be reached.
    pub(super) fn stall_at(&self, config: &Config) -> Option<Instant> {
        self.waiting_since.map(|since| since + config.stall_after)
    }

    /// True when time alone can change the answer of [`fired`](Self::fired): a window holds something.
    pub(super) const fn slides(&self) -> bool {
        self.errors.last_tally().total() > 0
            || self.matches.last_tally().total() > 0
            || self.realtime.last_samples() > 0
    }

    pub(super) fn figures(&mut self, config: &Config, now: Instant) -> Figures {
        let (errors, pairs) = (self.errors.tally(now), self.matches.tally(now));
        let legacy = self.legacy_p95(config, now);
        Figures {
            samples: errors.total(),
            error_ratio: errors.bad_ratio(),
            burn_ratio: self.burn.tally(now).bad_ratio(),
            p95: self.realtime.p95(now),
            baseline: self.baseline.value(legacy),
            legacy_p95: legacy,
            pairs: pairs.total(),
            match_ratio: 1.0 - pairs.bad_ratio(),
            slow_total: self.slow,
            own_total: self.own,
        }
    }

    fn read_back(&mut self, took: Duration, config: &Config, now: Instant) {
        let late = took > config.slow_after;
        self.slow = self.slow.saturating_add(u64::from(late));
        let bad = u64::from(late && self.sabotaged.is(Sabotage::LateIsAnError));
        self.sample(Tally { good: 1 - bad, bad }, now);
        self.realtime.add(took, now);
        if !self.sabotaged.is(Sabotage::StallIgnoresReadBack) {
            self.waiting_since = self.waiting_since.map(|_| now);
        }
    }

    fn sample(&mut self, sample: Tally, now: Instant) {
        self.errors.add(sample, now);
        self.burn.add(sample, now);
    }

    fn connect_failed(&mut self, now: Instant) {
        let run = self.connect.get_or_insert(Run { first: now, last: now, count: 0 });
        run.count = run.count.saturating_add(1);
        run.last = run.last.max(now);
    }

    fn wait(&mut self, batches: u32, last_readback: Option<Instant>, config: &Config, now: Instant) {
        if batches < config.stall_batches_min {
            self.waiting_since = None;
            return;
        }
        let since = self.waiting_since.unwrap_or(now);
        let alive = last_readback.map_or(since, |at| at.min(now));
        self.waiting_since = Some(since.max(alive));
    }

    fn stall_trip(&self, config: &Config, now: Instant) -> Option<Trip> {
        let silent = now.saturating_duration_since(self.waiting_since?);
        (silent >= config.stall_after).then_some(Trip {
            trigger: Trigger::Stall,
            measured: silent.as_secs_f64(),
            limit: config.stall_after.as_secs_f64(),
            samples: u64::from(config.stall_batches_min),
        })
    }

    fn burn_trip(&mut self, config: &Config, now: Instant) -> Option<Trip> {
        let tally = self.burn.tally(now);
        let enough = tally.total() >= config.burn_samples_min;
        (enough && tally.bad_ratio() > config.burn_ratio).then_some(Trip {
            trigger: Trigger::FastBurn,
            measured: tally.bad_ratio(),
            limit: config.burn_ratio,
            samples: tally.total(),
        })
    }

    fn error_trip(&mut self, config: &Config, now: Instant) -> Option<Trip> {
        let tally = self.errors.tally(now);
        let enough = tally.total() >= config.error_samples_min || self.sabotaged.is(Sabotage::IgnoresMinimum);
        let bad = match config.confidence {
            Some(confidence) => tally.bad_ratio_at_least(confidence),
            None => tally.bad_ratio(),
        };
        (enough && bad > config.error_ratio).then_some(Trip {
            trigger: Trigger::ErrorRatio,
            measured: bad,
            limit: config.error_ratio,
            samples: tally.total(),
        })
    }

    fn match_trip(&mut self, config: &Config, now: Instant) -> Option<Trip> {
        let tally = self.matches.tally(now);
        let matching = 1.0 - tally.bad_ratio();
        let enough = tally.total() >= config.match_samples_min.max(1);
        (enough && matching < config.match_gate).then_some(Trip {
            trigger: Trigger::Match,
            measured: matching,
            limit: config.match_gate,
            samples: tally.total(),
        })
    }

    /// Compares p95 with the baseline, or learns from it when it is healthy.
    fn latency_trip(&mut self, config: &Config, now: Instant) -> Option<Trip> {
        let samples = self.realtime.samples(now);
        if samples < config.latency_samples_min {
            return None;
        }
        let p95 = self.realtime.p95(now)?;
        let legacy = self.legacy_p95(config, now);
        if let Some(baseline) = self.baseline.value(legacy) {
            let limit = baseline.mul_f64(config.latency_factor).max(baseline + config.latency_excess);
            if p95 > limit {
                return Some(Trip {
                    trigger: Trigger::Latency,
                    measured: p95.as_secs_f64(),
                    limit: limit.as_secs_f64(),
                    samples,
                });
            }
        }
        self.baseline.learn(p95, (config.latency_window, config.baseline_max), now);
        None
    }

    fn legacy_p95(&mut self, config: &Config, now: Instant) -> Option<Duration> {
        let enough = self.legacy.samples(now) >= config.latency_samples_min;
        if enough { self.legacy.p95(now) } else { None }
    }
}
