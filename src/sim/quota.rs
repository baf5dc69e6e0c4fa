//! The chain under a plan's limit for minutes, with the emulator counting as Realtime does: the governor keeps our
//! read-back joined, and what is not read back costs no delivery.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::script::{Dice, Script};
use super::start;
use super::world::{Scene, World};
use crate::mirror::governor::Sabotage;
use crate::mirror::shard::Sampling;

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

/// Four sessions that get a message every 25 ms each, which ungoverned are 320 messages/s; `share` of them hot.
fn run(sampling: Sampling, share: u32, governor: Option<Sabotage>) -> Result<Outcome, String> {
    let mut dice = Dice::new(11);
    let length_ms = u64::try_from(LENGTH.as_millis()).expect("a short test");
    let scripts = (0..4).map(|session| Script::steady(session, 25, length_ms, &mut dice)).collect();
    let scene = Scene { scripts, faults: Vec::new(), sampling, limit: LIMIT, governor };
    let mut world = World::of(5, scene, start());
    world.ops.share = share;
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
    let outcome = run(Sampling::All, 100_000, None).unwrap_or_else(|what| panic!("{what}"));
    let (sends, deliveries) = outcome.counted;
    let per_second = (sends + deliveries) as f64 / LENGTH.as_secs_f64();
    assert!((60.0..=85.0).contains(&per_second), "{per_second} messages/s: the budget is 80 and is used");
    assert_eq!(outcome.confirmed, outcome.seen, "nothing is lost to the spacing");
    assert!(outcome.via_realtime * 10 > outcome.seen * 9, "{} of {}", outcome.via_realtime, outcome.seen);
}

#[test]
fn without_the_governor_it_is_thrown_out() {
    for sabotage in [Sabotage::NeverDefer, Sabotage::ForgetDeliveries] {
        let thrown = run(Sampling::All, 100_000, Some(sabotage)).err();
        let what = thrown.unwrap_or_else(|| panic!("{sabotage:?} is not noticed"));
        assert!(what.contains("thrown out"), "{sabotage:?}: {what}");
    }
}

#[test]
fn what_is_not_read_back_costs_no_delivery_and_is_acked_only() {
    let outcome = run(Sampling::Hot, 0, None).unwrap_or_else(|what| panic!("{what}"));
    let (sends, deliveries) = outcome.counted;
    assert_eq!((outcome.confirmed, outcome.acked_only), (0, outcome.seen));
    // Only probes and sentinels come back.
    assert!(deliveries < 40 && sends > 4 * deliveries, "{sends} sends, {deliveries} deliveries");
}

#[test]
fn a_sample_of_the_sessions_is_read_back_and_the_rest_is_acked_only() {
    let outcome = run(Sampling::Sessions(50_000), 0, None).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(outcome.confirmed + outcome.acked_only, outcome.seen);
    assert!(outcome.confirmed > 0 && outcome.acked_only > 0, "{} sampled", outcome.confirmed);
}

#[test]
fn hot_sessions_are_read_back_whatever_is_sampled() {
    let outcome = run(Sampling::Hot, 100_000, None).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(outcome.confirmed + outcome.acked_only, outcome.seen);
    assert!(outcome.via_realtime * 10 > outcome.seen * 9, "{} of {}", outcome.via_realtime, outcome.seen);
}
