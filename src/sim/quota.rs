//! The chain under a plan's limit for minutes, with the emulator counting as Realtime does: the governor keeps our
//! read-back joined, and what is not read back costs no delivery.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::script::{Dice, Script};
use super::start;
use super::world::{SERVICE, Scene, World};
use crate::app::side::Intake;
use crate::breaker::Phase;
use crate::emulator::{Fault, FaultKind};
use crate::hot::Fallback;
use crate::lane::Source;
use crate::ledger::Shed;
use crate::mirror::batch::{Batcher, Limits};
use crate::mirror::classify::Classifier;
use crate::mirror::flight::Epoch;
use crate::mirror::governor::{Plan, Sabotage};
use crate::mirror::redact::{Redactor, Scope};
use crate::mirror::rules::Rule;
use crate::mirror::shard::Sampling;
use crate::proxy::Lane;

/// More than the minute over which Realtime averages.
const LENGTH: Duration = Duration::from_secs(75);
/// The free plan.
const LIMIT: u32 = 100;

struct Outcome {
    seen: u64,
    confirmed: u64,
    acked_only: u64,
    via_realtime: u64,
    /// Broadcasts and deliveries that the emulator has counted.
    counted: (u64, u64),
}

/// Four sessions that get a message every 25 ms each, which ungoverned are 320 messages/s; all of them hot or none.
fn run(sampling: Sampling, hot: bool, governor: Option<Sabotage>) -> Result<Outcome, String> {
    run_at(LIMIT, sampling, hot, governor)
}

fn run_at(limit: u32, sampling: Sampling, hot: bool, governor: Option<Sabotage>) -> Result<Outcome, String> {
    let mut dice = Dice::new(11);
    let length_ms = u64::try_from(LENGTH.as_millis()).expect("a short test");
    let scripts = (0..4).map(|session| Script::steady(session, 25, length_ms, &mut dice)).collect();
    let scene = Scene { scripts, faults: Vec::new(), sampling, limit, governor, hot, role: SERVICE };
    let mut world = World::of(5, scene, start());
    let (end, mut was_joined) = (world.begin + LENGTH, false);
    while world.now < end {
        world.step(end)?;
        was_joined |= world.side.links.readback;
        if was_joined && !world.side.links.readback {
            return Err(format!("thrown out after {:?}", world.now - world.begin));
        }
    }
    world.run_until(end + Duration::from_secs(20))?;
    let (account, counts) = (world.ledger.account(), world.emulator.stats());
    let refused = world.side.governor.figures(world.now).refusals;
    if !was_joined || refused > 0 || account.in_flight > 0 || account.imbalance() != 0 {
        return Err(format!("joined: {was_joined}, {refused} refusals, {account:?}"));
    }
    Ok(Outcome {
        seen: account.seen,
        confirmed: account.confirmed,
        acked_only: account.acked_only,
        via_realtime: world.counters.via_realtime.load(Ordering::Relaxed),
        counted: (counts.pushes, counts.deliveries),
    })
}

#[test]
fn the_free_plan_never_throws_the_read_back_out_and_hot_is_served() {
    let outcome = run(Sampling::All, true, None).unwrap_or_else(|what| panic!("{what}"));
    let (sends, deliveries) = outcome.counted;
    let per_second = (sends + deliveries) as f64 / LENGTH.as_secs_f64();
    assert!((60.0..=85.0).contains(&per_second), "{per_second} messages/s: the budget is 80 and is used");
    assert_eq!(outcome.confirmed, outcome.seen, "nothing is lost to the spacing");
    assert!(outcome.via_realtime * 10 > outcome.seen * 9, "{} of {}", outcome.via_realtime, outcome.seen);
}

#[test]
fn every_preset_is_kept_as_realtime_counts() {
    for plan in Plan::PRESETS {
        let outcome = run_at(plan.messages_per_second, Sampling::All, true, None);
        let outcome = outcome.unwrap_or_else(|what| panic!("{}: {what}", plan.name));
        let (sends, deliveries) = outcome.counted;
        let per_second = (sends + deliveries) as f64 / LENGTH.as_secs_f64();
        let limit = f64::from(plan.messages_per_second);
        assert!(per_second <= limit, "{}: {per_second} messages/s of {limit}", plan.name);
        assert_eq!(outcome.confirmed, outcome.seen, "{}", plan.name);
    }
}

#[test]
fn without_the_governor_it_is_thrown_out() {
    for sabotage in [Sabotage::NeverDefer, Sabotage::ForgetDeliveries] {
        let thrown = run(Sampling::All, true, Some(sabotage)).err();
        let what = thrown.unwrap_or_else(|| panic!("{sabotage:?} is not noticed"));
        assert!(what.contains("thrown out"), "{sabotage:?}: {what}");
    }
}

#[test]
fn what_is_not_read_back_costs_no_delivery_and_is_acked_only() {
    let outcome = run(Sampling::Hot, false, None).unwrap_or_else(|what| panic!("{what}"));
    let (sends, deliveries) = outcome.counted;
    assert_eq!((outcome.confirmed, outcome.acked_only), (0, outcome.seen));
    // Only probes and sentinels come back.
    assert!(deliveries < 40 && sends > 4 * deliveries, "{sends} sends, {deliveries} deliveries");
}

#[test]
fn a_sample_of_the_sessions_is_read_back_and_the_rest_is_acked_only() {
    let outcome = run(Sampling::Sessions(30_000), false, None).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(outcome.confirmed + outcome.acked_only, outcome.seen);
    assert!(outcome.confirmed > 0 && outcome.acked_only > 0, "{} sampled", outcome.confirmed);
}

#[test]
fn hot_sessions_are_read_back_whatever_is_sampled() {
    let outcome = run(Sampling::Hot, true, None).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(outcome.confirmed + outcome.acked_only, outcome.seen);
    assert!(outcome.via_realtime * 10 > outcome.seen * 9, "{} of {}", outcome.via_realtime, outcome.seen);
}

/// Whether every session is hot.
fn all_hot(world: &World) -> bool {
    world.sessions.iter().all(|session| session.cell.lane() == Lane::Hot)
}

#[test]
fn too_many_pods_refuse_the_hot_lane_and_fewer_bring_it_back() {
    let mut dice = Dice::new(3);
    let scripts = (0..2).map(|session| Script::steady(session, 200, 60_000, &mut dice)).collect();
    let scene = Scene {
        scripts,
        faults: Vec::new(),
        sampling: Sampling::All,
        limit: LIMIT,
        governor: None,
        hot: true,
        role: SERVICE,
    };
    let mut world = World::of(5, scene, start());
    let after = |world: &mut World, pods, seconds| {
        world.ops.pods = pods;
        world.run_until(world.now + Duration::from_secs(seconds)).unwrap_or_else(|what| panic!("{what}"));
        (all_hot(world), world.ops.spacing.map(|spacing| spacing.to_string()))
    };
    assert_eq!(after(&mut world, 1, 15), (true, None));
    let (hot, why) = after(&mut world, 7, 5);
    assert_eq!((hot, world.ops.view.borrow().source), (false, Source::Spaced));
    let expected = "2 messages × 7 pods / (100 messages/s × 0.8) = 175 ms between publishes";
    assert_eq!(why.as_deref(), Some(expected));
    assert!(!after(&mut world, 5, 5).0, "125 ms would have been admitted, but not after a refusal");
    assert_eq!(after(&mut world, 4, 5), (true, None));
    assert_eq!(world.ops.breaker.state().phase(), Phase::Closed, "the breaker does not move");
    assert_eq!(world.counters.moved_back[Fallback::Quota as usize].load(Ordering::Relaxed), 2);
}

#[test]
fn a_refusal_by_realtime_halves_the_rate_and_moves_no_breaker() {
    let mut dice = Dice::new(4);
    let scripts = (0..2).map(|session| Script::steady(session, 100, 60_000, &mut dice)).collect();
    let mut fault = Fault::new(FaultKind::RateLimit);
    (fault.after_ms, fault.for_ms) = (15_000, Some(2_000));
    let scene = Scene {
        scripts,
        faults: vec![fault],
        sampling: Sampling::All,
        limit: LIMIT,
        governor: None,
        hot: true,
        role: SERVICE,
    };
    let mut world = World::of(5, scene, start());
    let before = world.side.governor.figures(world.now).budget;
    world.run_until(world.begin + Duration::from_secs(25)).unwrap_or_else(|what| panic!("{what}"));
    let figures = world.side.governor.figures(world.now);
    assert_eq!((figures.refusals, all_hot(&world)), (1, false), "{figures:?}");
    assert!(figures.budget <= before * 0.8, "{} after {before}", figures.budget);
    assert_eq!(world.ops.trips.iter().sum::<u64>(), 0);
}

#[test]
fn what_a_tiny_budget_cannot_carry_is_shed_as_quota_and_low_goes_first() {
    let mut dice = Dice::new(6);
    let scripts = (0..4).map(|session| Script::steady(session, 25, 30_000, &mut dice)).collect();
    let scene = Scene {
        scripts,
        faults: Vec::new(),
        sampling: Sampling::All,
        limit: 10,
        governor: None,
        hot: false,
        role: SERVICE,
    };
    let mut world = World::of(5, scene, start());
    let rules = Rule::parse_list("event=tick:low").expect("a rule");
    let machines = (Classifier::new(rules), Redactor::new(Scope::Off));
    let epoch = Epoch { at: world.begin, unix_ms: 0 };
    world.side.intake = Intake::new(machines, Arc::clone(&world.budget), epoch, Sampling::All);
    world.side.batcher = Batcher::new(Limits { bytes: 40_000 });
    world.side.limit_bytes = 4_096;
    world.run_until(world.begin + Duration::from_secs(60)).unwrap_or_else(|what| panic!("{what}"));
    let account = world.ledger.account();
    assert_eq!((account.in_flight, account.imbalance()), (0, 0), "{account:?}");
    assert!(account.shed(Shed::Quota) > 500 && account.confirmed > 200, "{account:?}");
    assert_eq!(account.seen, account.confirmed + account.shed(Shed::Quota), "{account:?}");
    assert_eq!(world.side.governor.figures(world.now).refusals, 0);
}
