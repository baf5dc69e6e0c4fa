//! Machine and model side by side over random operations, and the sabotages that this comparison must catch.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::model::{Model, Stand};
use super::*;

/// One thing that a shell or a person does.
#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Record(Outcome, u32),
    Waits(u32, u64),
    TakeProbe,
    EndProbe(ProbeEnd),
    /// Waits out a cool-down and probes until something happens.
    Recover,
    Force(Force),
    /// The process is killed; the next one begins so many seconds later with what was saved last.
    Restart(u64),
}

/// The default rules with numbers small enough for short sequences. Every window has cells of one second.
fn small() -> Config {
    let step = |share_permille, seconds| Step { share_permille, hold: SECOND * seconds };
    Config {
        error_window: MINUTE,
        burn_window: 15 * SECOND,
        latency_window: MINUTE,
        latency_samples_min: 10,
        match_window: MINUTE,
        match_gate: 0.9,
        match_samples_min: 50,
        cooldown: 10 * SECOND,
        cooldown_max: MINUTE,
        probes: 3,
        half_open_max: MINUTE,
        pace: vec![step(10, 10), step(250, 5), step(1_000, 5)],
        latch_window: 10 * MINUTE,
        ..Config::default()
    }
}

fn any_end() -> impl Strategy<Value = ProbeEnd> {
    prop_oneof![
        5 => Just(ProbeEnd::Good),
        1 => Just(ProbeEnd::Bad(Fault::Altered)),
        1 => Just(ProbeEnd::Void(OwnFault::Quota)),
    ]
}

fn any_force() -> impl Strategy<Value = Force> {
    let all = [Force::Open, Force::Closed, Force::ObserveOnly, Force::Release, Force::Release, Force::Reset];
    prop::sample::select(all.to_vec())
}

fn any_op() -> impl Strategy<Value = Op> {
    let took = prop_oneof![4 => 1_u64..60, 1 => 60_u64..2_000].prop_map(Duration::from_millis);
    let legacy = (1_u64..300).prop_map(|ms| Outcome::LegacyLeg { took: Duration::from_millis(ms) });
    let pairs =
        (0_u64..80, 0_u64..10).prop_map(|(matched, mismatched)| Outcome::Compared { matched, mismatched });
    let own = prop::sample::select(OwnFault::ALL.to_vec()).prop_map(Outcome::Own);
    prop_oneof![
        6 => prop_oneof![1_u64..1_500, 1_u64..20_000, 1_u64..70_000].prop_map(Op::Wait),
        5 => (took, 1_u32..25).prop_map(|(took, times)| Op::Record(Outcome::ReadBack { took }, times)),
        4 => (1_u32..22).prop_map(|times| Op::Record(Outcome::Failed(Fault::Refused), times)),
        2 => (own, 1_u32..25).prop_map(|(own, times)| Op::Record(own, times)),
        1 => (legacy, 1_u32..15).prop_map(|(legacy, times)| Op::Record(legacy, times)),
        1 => pairs.prop_map(|pairs| Op::Record(pairs, 1)),
        2 => Just(Op::Record(Outcome::ConnectFailed, 1)),
        1 => Just(Op::Record(Outcome::Connected, 1)),
        2 => (0_u32..4, 0_u64..5_000).prop_map(|(batches, ago)| Op::Waits(batches, ago)),
        2 => Just(Op::TakeProbe),
        2 => any_end().prop_map(Op::EndProbe),
        5 => Just(Op::Recover),
        1 => any_force().prop_map(Op::Force),
        1 => prop_oneof![0_u64..5, 0_u64..90, 0_u64..900].prop_map(Op::Restart),
    ]
}

fn any_ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(any_op(), 1..80)
}

struct Pair {
    world: World,
    model: Model,
    origin: Instant,
    flying: Option<Probe>,
}

impl Pair {
    fn new(rule: Option<Sabotage>) -> Self {
        let mut world = World::new(small());
        if let Some(rule) = rule {
            world.breaker.sabotage(rule);
        }
        let origin = world.now;
        Self { world, model: Model::new(small()), origin, flying: None }
    }

    fn ms(&self) -> u64 {
        u64::try_from((self.world.now - self.origin).as_millis()).unwrap()
    }

    fn run(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Wait(ms) => self.wait(*ms),
            Op::Record(outcome, times) => (0..*times).try_for_each(|_| self.record(*outcome)),
            Op::Waits(batches, ago) => {
                let at = self.ms().saturating_sub(*ago);
                let last_readback = Some(self.origin + Duration::from_millis(at));
                self.record(Outcome::Waiting { batches: *batches, last_readback })
            }
            Op::TakeProbe => self.take_probe(),
            Op::EndProbe(end) => self.end_probe(*end),
            Op::Recover => self.recover(),
            Op::Force(force) => {
                self.world.breaker.force(*force, self.world.now);
                self.model.force(*force, self.ms());
                self.compare()
            }
            Op::Restart(seconds) => self.restart(*seconds),
        }
    }

    /// A new process, at a whole second of the model's clock: its windows begin with it.
    fn restart(&mut self, seconds: u64) -> Result<(), String> {
        const WALL: u64 = 1_700_000_000_000;
        let saved = self.world.breaker.save(self.world.now, WALL);
        let saved = Saved::parse(saved.to_json().as_bytes()).map_err(|error| error.to_string())?;
        let away = seconds * 1_000 + (1_000 - self.ms() % 1_000) % 1_000;
        self.model.killed(self.ms(), away);
        self.world.now += Duration::from_millis(away);
        let rule = self.world.breaker.evidence.sabotaged.rule;
        self.world.breaker = Breaker::new(small(), 8, self.world.now);
        if let Some(rule) = rule {
            self.world.breaker.sabotage(rule);
        }
        self.world.breaker.restore(&saved, self.world.now, WALL + away);
        self.flying = None;
        self.compare()
    }

    fn wait(&mut self, ms: u64) -> Result<(), String> {
        // In two steps, so that wake-ups matter less than times.
        for part in [ms / 2, ms - ms / 2] {
            self.world.now += Duration::from_millis(part);
            self.world.breaker.handle_timeout(self.world.now);
            self.model.pass(self.ms());
            self.compare()?;
        }
        Ok(())
    }

    fn record(&mut self, outcome: Outcome) -> Result<(), String> {
        self.world.record(outcome);
        self.model.record(outcome, self.origin, self.ms());
        self.compare()
    }

    fn take_probe(&mut self) -> Result<(), String> {
        let taken = self.world.breaker.take_probe(self.world.now);
        let expected = self.model.take_probe(self.ms());
        if taken.is_some() != expected {
            return Err(format!("probe {taken:?}, expected {expected}"));
        }
        self.flying = taken.or(self.flying);
        self.compare()
    }

    fn end_probe(&mut self, end: ProbeEnd) -> Result<(), String> {
        let Some(probe) = self.flying.take() else { return Ok(()) };
        self.world.record(Outcome::Probe { probe, end });
        self.model.probe_ended(end, self.ms());
        self.compare()
    }

    fn recover(&mut self) -> Result<(), String> {
        if let Stand::Open { until, latched: false, .. } = self.model.stand {
            self.wait(until.saturating_sub(self.ms()).max(1))?;
        }
        for _ in 0..small().probes {
            self.end_probe(ProbeEnd::Good)?;
            self.wait(1_000)?;
            self.take_probe()?;
            self.end_probe(ProbeEnd::Good)?;
        }
        Ok(())
    }

    /// Says how the two differ. A cool-down that the machine has drawn is checked and taken over.
    fn compare(&mut self) -> Result<(), String> {
        let state = self.world.breaker.state();
        if let (State::Open { until, .. }, Stand::Open { until: expected @ u64::MAX, .. }) =
            (state, &mut self.model.stand)
        {
            let plain = (small().cooldown * 2_u32.pow(self.model.openings_before.min(10))).min(MINUTE);
            let drawn = until - self.world.now;
            if drawn < plain.mul_f64(0.799) || drawn > plain.mul_f64(1.201) {
                return Err(format!("cool-down {drawn:?} is not within 20 % of {plain:?}"));
            }
            // Up to the next millisecond: the model's clock has no finer ticks.
            let millis = (until - self.origin).as_nanos().div_ceil(1_000_000);
            *expected = u64::try_from(millis).unwrap();
        }
        let same = match (state, self.model.stand) {
            (State::Closed { .. }, Stand::Closed { .. }) => true,
            (State::Open { trip, latched, .. }, Stand::Open { trip: t, latched: l, .. }) => {
                trip == t && latched == l
            }
            (State::HalfOpen { probes_good, probing, .. }, Stand::HalfOpen { good, flying, .. }) => {
                probes_good == good && probing == flying.is_some()
            }
            _ => false,
        };
        let (share, expected) = (self.world.share(), self.model.share(self.ms()));
        if same && share == expected && self.world.breaker.mode() == self.model.mode {
            return Ok(());
        }
        let at = self.ms();
        Err(format!("at {at} ms: {state:?} share {share}, expected {:?} share {expected}", self.model.stand))
    }
}

fn check(ops: &[Op], rule: Option<Sabotage>) -> Result<(), String> {
    let mut pair = Pair::new(rule);
    ops.iter().try_for_each(|op| pair.run(op))
}

proptest! {
    #[test]
    fn the_machine_equals_the_model(ops in any_ops()) {
        prop_assert_eq!(check(&ops, None), Ok(()));
    }

    /// A shell that follows `poll_timeout` is never sent round in circles.
    #[test]
    fn following_the_timeouts_makes_progress(ops in any_ops()) {
        let mut pair = Pair::new(None);
        for op in &ops {
            prop_assert_eq!(pair.run(op), Ok(()));
            prop_assert_eq!(pair.wait(0), Ok(()));
            let next = pair.world.breaker.poll_timeout();
            prop_assert!(next.is_none_or(|at| at > pair.world.now), "{:?}", pair.world.breaker.state());
        }
    }
}

/// Every sabotage.
const CAUGHT_BY_THE_MODEL: [Sabotage; 12] = [
    Sabotage::NeverHalfOpens,
    Sabotage::IgnoresMinimum,
    Sabotage::CountsOwnFaults,
    Sabotage::LateIsAnError,
    Sabotage::NeverLatches,
    Sabotage::ForgivesBadProbes,
    Sabotage::TwoProbesAtOnce,
    Sabotage::ForgetsThePace,
    Sabotage::CooldownNeverGrows,
    Sabotage::KeepsOldEvidence,
    Sabotage::StallIgnoresReadBack,
    Sabotage::ClosesFromSavedState,
];

#[test]
fn each_sabotage_is_caught_by_the_model() {
    for rule in CAUGHT_BY_THE_MODEL {
        let mut runner = TestRunner::deterministic();
        let caught = (0..600).find(|_| {
            let ops = any_ops().new_tree(&mut runner).unwrap().current();
            check(&ops, Some(rule)).is_err()
        });
        assert!(caught.is_some(), "nobody noticed {rule:?}");
    }
}
