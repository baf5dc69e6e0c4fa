//! Ten minutes without Realtime, on the whole chain with a spool on real files: nothing is lost, the backlog comes in
//! beside live traffic, and hot sessions do not feel it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::script::{Dice, Script};
use super::spooled::Dir;
use super::start;
use super::world::{SERVICE, Scene, World};
use crate::emulator::{Fault, FaultKind};
use crate::mirror::governor::Plan;
use crate::mirror::shard::Sampling;

const OUTAGE_MS: u64 = 600_000;

/// A world with a spool, nothing that goes wrong but the outage, and something to say all the time.
fn world(seed: u64, dir: &Dir, total: u64) -> World {
    let mut world = World::new(seed, None, start());
    world.clear();
    world.attach_spool(dir, total);
    for (place, session) in world.sessions.iter_mut().enumerate() {
        for at_ms in (9_000..OUTAGE_MS + 120_000).step_by(1_500) {
            session.script.epilogue(place, at_ms + 13 * place as u64, &mut world.dice);
        }
    }
    let mut fault = Fault::new(FaultKind::Restart { down_ms: OUTAGE_MS, kill: true });
    fault.after_ms = 8_000;
    world.emulator.inject(fault, world.begin);
    world
}

/// How long clients waited for what was written since, while their sessions were hot, in order.
fn delays(world: &World, since: Instant) -> Vec<Duration> {
    let all = world.sessions.iter().flat_map(|session| &session.delays);
    let mut all: Vec<Duration> = all.filter(|(at, _)| *at >= since).map(|(_, delay)| *delay).collect();
    all.sort_unstable();
    all
}

/// Nobody who is hot waits for longer than half a second.
fn not_felt(world: &World, since: Instant) -> Result<(), String> {
    let delays = delays(world, since);
    let above = delays.iter().filter(|delay| **delay > Duration::from_millis(500)).count();
    let p95 = delays.get(delays.len() * 95 / 100).copied().unwrap_or_default();
    println!("{} hot messages during the catch-up: p95 {p95:?}, {above} above 500 ms", delays.len());
    if above > 0 || p95 >= Duration::from_millis(500) || delays.len() < 50 {
        return Err(format!("{} hot messages, p95 {p95:?}, {above} above 500 ms", delays.len()));
    }
    Ok(())
}

/// The free plan: three sessions with a message each second, and ten minutes without Realtime.
fn small(dir: &Dir) -> World {
    let mut dice = Dice::new(12);
    let scripts =
        (0..3).map(|session| Script::steady(session, 1_000, OUTAGE_MS + 450_000, &mut dice)).collect();
    let mut fault = Fault::new(FaultKind::Restart { down_ms: OUTAGE_MS, kill: true });
    fault.after_ms = 8_000;
    let limit = Plan::FREE.messages_per_second;
    let (faults, sampling) = (vec![fault], Sampling::All);
    let mut world = World::of(
        5,
        Scene { scripts, faults, sampling, limit, governor: None, hot: true, role: SERVICE },
        start(),
    );
    world.attach_spool(dir, 64 << 20);
    world.sessions.iter_mut().for_each(super::session::Session::read_freely);
    world
}

#[test]
fn the_backlog_of_ten_minutes_goes_within_the_free_plan_and_is_not_felt() {
    let dir = Dir::new("plan", 5);
    let mut world = small(&dir);
    let end = world.begin + Duration::from_millis(OUTAGE_MS);
    world.run_until(end).unwrap_or_else(|what| panic!("{what}"));
    assert!(world.ledger.account().spooled > 1_000, "{:?}", world.ledger.account());
    // Until everybody is hot again.
    let limit = world.now + Duration::from_secs(120);
    while world.policy.borrow().hot.is_err() {
        assert!(world.now < limit, "hot sessions never come back: {:?}", world.ledger.account());
        world.run_until(world.now + Duration::from_secs(1)).unwrap_or_else(|what| panic!("{what}"));
    }
    let (begin, before) = (world.now, world.emulator.stats());
    while world.ledger.account().spooled > 0 {
        assert!(world.now < begin + Duration::from_secs(300), "not drained: {:?}", world.ledger.account());
        world.run_until(world.now + Duration::from_secs(1)).unwrap_or_else(|what| panic!("{what}"));
    }
    let after = world.emulator.stats();
    let counted = (after.pushes + after.deliveries) - (before.pushes + before.deliveries);
    let per_second = counted as f64 / (world.now - begin).as_secs_f64();
    println!("drained after {:?}, {per_second} messages/s", world.now - begin);
    assert!(per_second <= f64::from(Plan::FREE.messages_per_second), "{per_second} messages/s");
    assert_eq!(world.side.governor.figures(world.now).refusals, 0);
    not_felt(&world, begin).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(world.ledger.account().shed_total(), 0, "{:?}", world.ledger.account());
}

#[test]
fn a_disk_that_hangs_for_a_minute_stops_nothing() {
    let dir = Dir::new("hangs", 5);
    let mut world = small(&dir);
    // The disk's turns do not come: whoever feeds it must not notice.
    let disk = world.disk.take();
    world.run_until(world.begin + Duration::from_secs(70)).unwrap_or_else(|what| panic!("{what}"));
    let account = world.ledger.account();
    assert!(account.spooled == 0 && account.imbalance() == 0, "{account:?}");
    world.disk = disk;
    world.run_until(world.begin + Duration::from_secs(80)).unwrap_or_else(|what| panic!("{what}"));
    let account = world.ledger.account();
    assert!(account.spooled > 50 && account.imbalance() == 0, "it goes on: {account:?}");
}

#[test]
fn ten_minutes_without_realtime_lose_nothing_and_the_catch_up_is_not_felt() {
    // Seeds whose sessions stay open and whose budgets are not tiny: the others are the lives' business.
    let calm = |seed: &u64| {
        let world = World::new(*seed, None, start());
        world.budget.limit() > 1 << 20 && world.sessions.iter().all(|session| !session.script.closes)
    };
    for seed in (0..).filter(calm).take(1) {
        let dir = Dir::new("outage", seed);
        let mut world = world(seed, &dir, 64 << 20);
        world.sessions.iter_mut().for_each(super::session::Session::read_freely);
        let end = world.begin + Duration::from_millis(OUTAGE_MS);
        world.run_until(end).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let account = world.ledger.account();
        assert!(account.spooled > 500, "seed {seed}: it is spooled meanwhile: {account:?}");
        assert!(account.in_flight < 200, "seed {seed}: not in memory: {account:?}");

        // Realtime is back. From the moment at which everybody is hot again the backlog must not be felt.
        let limit = world.now + Duration::from_secs(600);
        let mut felt = None;
        while world.ledger.account().spooled + world.ledger.account().in_flight > 0 || felt.is_none() {
            assert!(world.now < limit, "seed {seed}: no catch-up: {:?}", world.ledger.account());
            let until = world.now + Duration::from_secs(1);
            world.run_until(until).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            if felt.is_none() && world.policy.borrow().hot.is_ok() {
                felt = Some((world.counters.rescued.load(Ordering::Relaxed), world.now));
            }
        }
        world
            .run_until(world.now + Duration::from_secs(60))
            .unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        while world.ledger.account().in_flight > 0 {
            assert!(world.now < limit, "seed {seed}: no rest: {:?}", world.ledger.account());
            let until = world.now + Duration::from_millis(20);
            world.run_until(until).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        }
        let (felt, since) = felt.unwrap_or((0, world.now));
        let rescued = world.counters.rescued.load(Ordering::Relaxed) - felt;
        not_felt(&world, since).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let account = world.ledger.account();
        assert_eq!(account.shed_total(), 0, "seed {seed}: {account:?}");
        assert_eq!(account.confirmed, account.seen, "seed {seed}: {account:?}");
        assert_eq!(account.confirmed, world.witness.arrived(), "seed {seed}: by what came back");
        assert_eq!(rescued, 0, "seed {seed}: hot messages over their deadline during the catch-up");
    }
}
