//! Ten minutes without Realtime, on the whole chain with a spool on real files: nothing is lost, the backlog comes in
//! beside live traffic, and hot sessions do not feel it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::spooled::Dir;
use super::start;
use super::world::World;
use crate::emulator::{Fault, FaultKind};

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
                felt = Some(world.counters.rescued.load(Ordering::Relaxed));
            }
        }
        let rescued = world.counters.rescued.load(Ordering::Relaxed) - felt.unwrap_or(0);
        let account = world.ledger.account();
        assert_eq!(account.shed_total(), 0, "seed {seed}: {account:?}");
        assert_eq!(account.confirmed, account.seen, "seed {seed}: {account:?}");
        assert_eq!(account.confirmed, world.witness.arrived(), "seed {seed}: by what came back");
        assert_eq!(rescued, 0, "seed {seed}: hot messages over their deadline during the catch-up");
    }
}
