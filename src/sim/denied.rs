//! A role that may read our topic and not write it, on the whole chain: Realtime swallows every push without a word.
//! That is no outage, and an outage beside it is still one.

use std::time::Duration;

use super::script::{Dice, Script};
use super::start;
use super::world::{Scene, World};
use crate::breaker::{OwnFault, Phase};
use crate::emulator::{Fault, FaultKind, Policy};
use crate::ledger::Shed;
use crate::mirror::shard::Sampling;
use crate::proxy::Lane;

const SEEDS: std::ops::Range<u64> = 0..2;
/// The link tries a denied topic again within a minute.
const FOUND_WITHIN: Duration = Duration::from_secs(75);
const READ: &str = "authenticated:*:r";
const WRITE: &str = "authenticated:*:rw";

fn world(seed: u64, policy: &str) -> World {
    let mut dice = Dice::new(seed ^ 0xDE41ED);
    let scripts = (0..2).map(|session| Script::steady(session, 250, 420_000, &mut dice)).collect();
    let scene = Scene {
        scripts,
        faults: Vec::new(),
        sampling: Sampling::All,
        limit: 1_000_000,
        governor: None,
        hot: true,
        role: "authenticated",
    };
    let mut world = World::of(seed, scene, start());
    world.sessions.iter_mut().for_each(super::session::Session::read_freely);
    allow(&mut world, policy);
    world
}

fn allow(world: &mut World, policy: &str) {
    world.emulator.set_policies(vec![Policy::parse(policy).expect("a policy")]);
}

fn run(world: &mut World, time: Duration) -> Result<(), String> {
    let until = world.now + time;
    world.run_until(until)
}

fn trips(world: &World) -> u64 {
    world.ops.trips.iter().sum()
}

fn need(holds: bool, what: &str, world: &World) -> Result<(), String> {
    let phase = world.ops.breaker.state().phase();
    let account = world.ledger.account();
    if holds { Ok(()) } else { Err(format!("{what}: {phase:?}, {:?}, {account:?}", world.ops.trips)) }
}

/// Everything is as if nothing had been.
fn is_well(world: &World) -> bool {
    world.ops.breaker.state().phase() == Phase::Closed
        && !world.side.figures.snapshot().write_denied
        && world.sessions.iter().all(|session| session.cell.lane() == Lane::Hot)
}

/// Denied from the start, then allowed, then a true outage.
fn life(seed: u64, doubts: bool) -> Result<(), String> {
    let mut world = world(seed, READ);
    if !doubts {
        world.wires.iter_mut().for_each(|wire| wire.link.never_doubts());
    }
    run(&mut world, Duration::from_secs(90))?;
    let now = world.now;
    let own = world.ops.breaker.figures(now).own_total[OwnFault::Authorization as usize];
    let account = world.ledger.account();
    need(trips(&world) == 0, "a missing policy trips nothing", &world)?;
    need(world.side.figures.snapshot().write_denied && own > 0, "it is named", &world)?;
    need(account.shed(Shed::Denied) > 100 && account.confirmed == 0, "what waits is shed as denied", &world)?;
    need(account.imbalance() == 0, "the account balances", &world)?;

    allow(&mut world, WRITE);
    run(&mut world, FOUND_WITHIN)?;
    need(is_well(&world) && trips(&world) == 0, "the mended policy is found", &world)?;
    need(world.ledger.account().confirmed > 0, "and messages arrive", &world)?;

    let mut fault = Fault::new(FaultKind::Stall);
    fault.for_ms = Some(20_000);
    let at = world.now;
    world.emulator.inject(fault, at);
    run(&mut world, Duration::from_secs(19))?;
    need(trips(&world) > 0, "an outage is still an outage", &world)?;
    run(&mut world, FOUND_WITHIN)?;
    need(is_well(&world), "and ends", &world)
}

#[test]
fn a_missing_policy_is_no_outage_and_an_outage_still_is() {
    for seed in SEEDS {
        life(seed, true).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn without_the_doubt_it_would_be_taken_for_one() {
    let noticed = SEEDS.filter(|seed| life(*seed, false).is_err()).count();
    assert_eq!(noticed, SEEDS.count(), "every life must notice it");
}

/// The policy goes while Realtime is away and the breaker open. Half-open has nothing to probe with; it must neither
/// open again and again nor be stuck when the policy is back.
#[test]
fn an_open_breaker_before_a_denied_topic_closes_when_it_may_write() {
    for seed in SEEDS {
        let check = |world: &World, holds, what: &str| {
            need(holds, what, world).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        };
        let mut world = world(seed, WRITE);
        let go = |world: &mut World, seconds| {
            run(world, Duration::from_secs(seconds)).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        };
        go(&mut world, 20);
        check(&world, is_well(&world), "all is well first");
        let at = world.now;
        world.emulator.inject(Fault::new(FaultKind::Restart { down_ms: 5_000, kill: true }), at);
        allow(&mut world, READ);
        go(&mut world, 60);
        check(&world, world.side.figures.snapshot().write_denied, "denied after the outage");
        let before = trips(&world);
        check(&world, before > 0, "the outage had opened it");
        go(&mut world, 120);
        check(&world, trips(&world) == before, "the denial does not open it again");
        allow(&mut world, WRITE);
        go(&mut world, FOUND_WITHIN.as_secs());
        check(&world, is_well(&world), "it closes when it may write");
    }
}
