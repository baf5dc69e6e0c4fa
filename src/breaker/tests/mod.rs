//! The breaker's suite: a naive model beside the machine over random operations, thresholds on a virtual clock,
//! and named sabotages that the model must notice.

mod hours;
mod model;
mod persons;
mod random;
mod recovery;
mod restart;
mod thresholds;

use std::time::{Duration, Instant};

use super::sabotage::Sabotage;
use super::*;

impl Breaker {
    /// Breaks one rule.
    fn sabotage(&mut self, rule: Sabotage) {
        self.evidence.sabotaged.rule = Some(rule);
        self.past.sabotaged.rule = Some(rule);
    }
}

/// A breaker on a virtual clock.
struct World {
    breaker: Breaker,
    now: Instant,
}

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

impl World {
    /// Half-open, as every start.
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn new(config: Config) -> Self {
        assert_eq!(config.problems(), Vec::<String>::new());
        let now = Instant::now();
        Self { breaker: Breaker::new(config, 7, now), now }
    }

    /// Probed and closed.
    fn closed(config: Config) -> Self {
        let mut world = Self::new(config);
        world.probe_until_closed();
        world.drain();
        world
    }

    /// Lets time pass by jumping from wake-up to wake-up, as a shell would.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.breaker.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.breaker.handle_timeout(self.now);
            if self.breaker.poll_timeout().is_some_and(|next| next <= at) {
                break;
            }
        }
        self.now = end;
        self.breaker.handle_timeout(end);
    }

    fn record(&mut self, outcome: Outcome) {
        self.breaker.record(outcome, self.now);
    }

    fn good(&mut self, count: u32) {
        for _ in 0..count {
            self.record(Outcome::ReadBack { took: 5 * MS });
        }
    }

    fn bad(&mut self, count: u32) {
        for _ in 0..count {
            self.record(Outcome::Failed(Fault::NotReadBack));
        }
    }

    /// One probe with this end; waits until it is due.
    fn probe(&mut self, end: ProbeEnd) {
        for _ in 0..100 {
            if let Some(probe) = self.breaker.take_probe(self.now) {
                self.record(Outcome::Probe { probe, end });
                return;
            }
            self.wait(100 * MS);
        }
        panic!("no probe was asked for in 10 s: {:?}", self.breaker.state());
    }

    fn probe_until_closed(&mut self) {
        for _ in 0..self.breaker.config().probes {
            self.probe(ProbeEnd::Good);
        }
        assert_eq!(self.phase(), Phase::Closed);
    }

    /// A sure trip by the fast burn.
    fn outage(&mut self) {
        self.bad(20);
    }

    /// Waits out the cool-down.
    fn cool_down(&mut self) -> Duration {
        let State::Open { until, latched: false, .. } = self.breaker.state() else {
            panic!("not cooling down: {:?}", self.breaker.state());
        };
        let left = until - self.now;
        self.wait(left);
        assert_eq!(self.phase(), Phase::HalfOpen);
        left
    }

    fn phase(&self) -> Phase {
        self.breaker.state().phase()
    }

    fn share(&self) -> u16 {
        self.breaker.admits(self.now).share_permille
    }

    fn trigger(&self) -> Option<Trigger> {
        match self.breaker.state() {
            State::Open { trip, .. } => Some(trip),
            _ => None,
        }
    }

    fn drain(&mut self) -> Vec<Change> {
        std::iter::from_fn(|| self.breaker.poll_event()).collect()
    }
}
