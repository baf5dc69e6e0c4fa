//! The plan's suite: the shipped files, gates without data, and a model of what may never happen.

use proptest::prelude::*;

use super::*;
use crate::rollout::Percent;

const FILES: [(&str, &str, &str); 3] = [
    ("default", include_str!("../../../deploy/plans/default.json"), "0.1,1,5,10,25,50,75,100"),
    ("eight-weeks", include_str!("../../../deploy/plans/eight-weeks.json"), "10,50,100"),
    ("two-weeks", include_str!("../../../deploy/plans/two-weeks.json"), "25,50,75,100"),
];

const GOOD: Evidence = Evidence {
    matching: Some(Match { pairs: 3_000, matched: 3_000 }),
    breaker_closed: Some(true),
    p95_ms: Some(90.0),
    quota: Some(0.3),
};

fn percent(text: &str) -> Percent {
    text.parse().unwrap()
}

fn plan() -> Plan {
    let text = r#"{"schema":1,"name":"p","steps":[{"percent":"10","bake_seconds":60},
        {"percent":"50","bake_seconds":60},{"percent":"100","bake_seconds":0}]}"#;
    Plan::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_plans_that_are_shipped_are_read_and_have_their_steps_and_length() {
    for (name, text, steps) in FILES {
        let plan = Plan::parse(text.as_bytes()).unwrap();
        assert_eq!(plan.name, name);
        let percents: Vec<String> = plan.steps.iter().map(|step| step.percent.to_string()).collect();
        assert_eq!(percents.join(","), steps);
        assert_eq!(plan.gates, Gates::default(), "{name}");
        let days = plan.steps.iter().map(|step| step.bake_seconds).sum::<u64>() / 86_400;
        match name {
            "eight-weeks" => assert_eq!(days, 56),
            "two-weeks" => assert_eq!(days, 14),
            _ => assert!(days < 14, "{days}"),
        }
    }
}

#[test]
fn a_plan_that_cannot_work_is_refused() {
    let error = |text: &str| Plan::parse(text.as_bytes()).unwrap_err().to_string();
    let with =
        |steps: &str, gates: &str| format!(r#"{{"schema":1,"name":"p","steps":[{steps}],"gates":{gates}}}"#);
    let step = r#"{"percent":"10","bake_seconds":1}"#;
    assert!(error("{").contains("cannot be read"));
    assert!(error(&with("", "{}")).contains("1 to 100 steps, not 0"));
    assert!(error(&with(&format!("{step},{step}"), "{}")).contains("step 2 (10 %) does not raise"));
    assert!(error(&with(step, r#"{"quota":80}"#)).contains("gate quota: 80"));
    assert!(error(&with(step, r#"{"p95":80}"#)).contains("unknown field `p95`"));
    assert!(error(&with(step, "{}").replace(":1,\"name", ":7,\"name")).contains("schema 7"));
}

#[test]
fn no_data_holds_and_a_failure_is_told_apart() {
    let gates = Gates::default();
    let of = |evidence: Evidence| {
        let report = judge(&gates, &evidence);
        (report.pass, report.fail)
    };
    assert_eq!(of(GOOD), (true, false));
    assert_eq!(of(Evidence::default()), (false, false));
    assert_eq!(of(Evidence { p95_ms: None, ..GOOD }), (false, false));
    assert_eq!(of(Evidence { p95_ms: Some(f64::NAN), ..GOOD }), (false, false));
    assert_eq!(of(Evidence { p95_ms: Some(500.0), ..GOOD }), (false, true));
    assert_eq!(of(Evidence { quota: Some(0.8), ..GOOD }), (false, true));
    assert_eq!(of(Evidence { breaker_closed: Some(false), ..GOOD }), (false, true));
    let pairs = |pairs, matched| Evidence { matching: Some(Match { pairs, matched }), ..GOOD };
    assert_eq!(of(pairs(2_994, 2_994)), (false, false), "too few");
    assert_eq!(of(pairs(2_994, 10)), (false, false), "too few to condemn");
    assert_eq!(of(pairs(10_000, 9_990)), (true, false));
    assert_eq!(of(pairs(10_000, 9_989)), (false, true));
    let json = serde_json::to_value(judge(&gates, &pairs(10, 10))).unwrap();
    assert_eq!(json["pass"], false);
    assert_eq!(json["gates"][0]["name"], "match");
    assert_eq!(json["gates"][0]["verdict"], "no_data");
    assert_eq!(json["gates"][0]["why"], "10 pairs, 2995 are needed");
}

/// Flags as a store would hold them, and the driver's turn.
struct Stage {
    runner: Runner,
    flags: Percent,
    now: u64,
}

impl Stage {
    fn new() -> Self {
        Self { runner: Runner::new(plan(), Progress::IDLE), flags: Percent::ZERO, now: 1_000_000 }
    }

    fn turn(&mut self, seconds: u64, evidence: &Evidence) {
        self.now += seconds * 1_000;
        self.runner.watch(evidence, self.flags, false, self.now);
        self.write();
    }

    fn write(&mut self) {
        if let Some(percent) = self.runner.order() {
            self.flags = percent;
            self.runner.written();
        }
    }

    fn say(&mut self, command: Command) {
        self.runner.command(command, self.now).unwrap();
        self.write();
    }
}

#[test]
fn steps_are_baked_by_watched_time_and_a_failure_begins_anew() {
    let mut stage = Stage::new();
    stage.turn(600, &GOOD);
    assert_eq!((stage.flags, stage.runner.progress().phase), (Percent::ZERO, Phase::Idle));
    stage.say(Command::Start);
    assert_eq!(stage.flags, percent("10"));
    stage.turn(30, &GOOD);
    stage.turn(600, &Evidence { p95_ms: None, ..GOOD });
    assert_eq!(stage.runner.progress().baked_ms, 30_000, "held");
    stage.turn(1, &Evidence { p95_ms: Some(900.0), ..GOOD });
    assert_eq!(stage.runner.progress().baked_ms, 0, "anew");
    stage.turn(86_400, &GOOD);
    assert_eq!(stage.runner.progress().baked_ms, 30_000, "a day that nobody watched");
    stage.turn(30, &GOOD);
    assert_eq!(stage.flags, percent("50"));
    stage.turn(30, &GOOD);
    stage.turn(30, &GOOD);
    assert_eq!((stage.flags, stage.runner.progress().phase), (Percent::FULL, Phase::Running));
    stage.turn(1, &GOOD);
    assert_eq!((stage.flags, stage.runner.progress().phase), (Percent::FULL, Phase::Done));
}

#[test]
fn people_and_a_fleet_trip_pause_it_and_it_survives_a_restart() {
    let mut stage = Stage::new();
    stage.say(Command::Start);
    stage.turn(20, &GOOD);
    stage.flags = percent("3");
    stage.turn(1, &GOOD);
    assert_eq!(stage.runner.progress().phase, Phase::Paused(Why::Moved));
    stage.turn(600, &GOOD);
    assert_eq!(stage.flags, percent("3"), "nobody is fought");
    stage.say(Command::Resume);
    assert_eq!(stage.flags, percent("10"));
    stage.turn(20, &GOOD);
    let saved = serde_json::to_string(&stage.runner.progress()).unwrap();
    stage.runner = Runner::new(plan(), serde_json::from_str(&saved).unwrap());
    stage.turn(20, &GOOD);
    assert_eq!(stage.runner.progress().baked_ms, 40_000);
    stage.runner.watch(&GOOD, stage.flags, true, stage.now);
    stage.write();
    assert_eq!((stage.flags, stage.runner.progress().phase), (percent("10"), Phase::Paused(Why::FleetTrip)));
    let refused = stage.runner.command(Command::Promote, stage.now).unwrap_err();
    assert!(refused.to_string().contains("Promote is not possible while the plan is Paused"));
    stage.say(Command::Abort);
    assert_eq!((stage.flags, stage.runner.progress().phase), (Percent::ZERO, Phase::Aborted));
    let beyond = Progress { step: 9, ..Progress::IDLE };
    assert_eq!(Runner::new(plan(), beyond).progress(), Progress::IDLE);
}

proptest! {
    /// Whatever happens, the fader rises by the plan's steps only, and only after a whole bake of passing gates or
    /// a person's word.
    #[test]
    fn the_fader_never_rises_unearned(
        turns in prop::collection::vec((0_u8..12, 0_u64..90), 1..120),
    ) {
        let mut stage = Stage::new();
        let mut earned = 0_u64;
        for (what, seconds) in turns {
            let (before, phase) = (stage.flags, stage.runner.progress().phase);
            let mut asked = false;
            match what {
                0 => { asked = stage.runner.command(Command::Start, stage.now).is_ok(); stage.write(); }
                1 => stage.runner.command(Command::Pause, stage.now).unwrap_or(()),
                2 => { asked = stage.runner.command(Command::Resume, stage.now).is_ok(); stage.write(); }
                3 => { asked = stage.runner.command(Command::Promote, stage.now).is_ok(); stage.write(); }
                4 => { stage.runner.command(Command::Abort, stage.now).unwrap_or(()); stage.write(); }
                5 => { stage.turn(seconds, &Evidence { quota: Some(0.9), ..GOOD }); earned = 0; }
                6 => stage.turn(seconds, &Evidence::default()),
                7 => stage.flags = percent("3"),
                _ => {
                    if phase == Phase::Running { earned += seconds.min(30); }
                    stage.turn(seconds, &GOOD);
                }
            }
            if what != 7 && stage.flags > before {
                let bake = stage.runner.plan().steps[stage.runner.progress().step.saturating_sub(1)].bake_seconds;
                prop_assert!(asked || earned >= bake, "{before} to {} after {earned} s", stage.flags);
                let known = plan().steps.iter().any(|step| step.percent == stage.flags);
                prop_assert!(known);
            }
            if stage.flags != before { earned = 0; }
        }
    }
}

/// The shipped plans of the migration documents from start to end on a virtual clock, a look each half minute: a trip
/// in the middle, a person who goes on days later, a restart, nights without data, and a failing gate.
#[test]
fn the_migration_plans_are_driven_through_eight_and_two_weeks() {
    for (name, text, _) in &FILES[1..] {
        let plan = Plan::parse(text.as_bytes()).unwrap();
        let bakes: u64 = plan.steps.iter().map(|step| step.bake_seconds).sum();
        let mut stage =
            Stage { runner: Runner::new(plan.clone(), Progress::IDLE), flags: Percent::ZERO, now: 1_000_000 };
        stage.say(Command::Start);
        let (mut seen, mut tripped, mut elapsed) = (vec![stage.flags], false, 0_u64);
        let middle = plan.steps[0].bake_seconds + plan.steps[1].bake_seconds / 2;
        let idle = Evidence { p95_ms: None, ..GOOD };
        while stage.runner.progress().phase == Phase::Running {
            // Six hours of each night nobody speaks: that time does not count.
            let night = elapsed % 86_400 >= 64_800;
            stage.turn(30, if night { &idle } else { &GOOD });
            elapsed += 30;
            if stage.flags != *seen.last().unwrap() {
                seen.push(stage.flags);
            }
            if !tripped && stage.runner.progress().step == 1 && elapsed > middle {
                tripped = true;
                let (flags, before) = (stage.flags, stage.runner.progress());
                assert!(before.baked_ms > 0);
                stage.runner.watch(&GOOD, stage.flags, true, stage.now);
                stage.write();
                assert_eq!(stage.runner.progress().phase, Phase::Paused(Why::FleetTrip));
                stage.turn(3 * 86_400, &GOOD);
                assert_eq!((stage.flags, stage.runner.progress().step), (flags, 1), "it stays, and waits");
                let saved = serde_json::to_string(&stage.runner.progress()).unwrap();
                stage.runner = Runner::new(plan.clone(), serde_json::from_str(&saved).unwrap());
                stage.say(Command::Resume);
                assert_eq!((stage.flags, stage.runner.progress().baked_ms), (flags, 0), "the step anew");
                stage.turn(30, &Evidence { quota: Some(0.95), ..GOOD });
            }
            // A restart each day changes nothing.
            if elapsed % 86_400 == 0 {
                let saved = serde_json::to_string(&stage.runner.progress()).unwrap();
                stage.runner = Runner::new(plan.clone(), serde_json::from_str(&saved).unwrap());
            }
        }
        let steps: Vec<Percent> = plan.steps.iter().map(|step| step.percent).collect();
        assert_eq!(seen, steps, "{name}: every step once, none twice");
        assert_eq!((stage.flags, stage.runner.progress().phase), (Percent::FULL, Phase::Done), "{name}");
        assert!(tripped && elapsed >= bakes * 4 / 3, "{name}: {elapsed} s for {bakes} s of bakes");
    }
}
