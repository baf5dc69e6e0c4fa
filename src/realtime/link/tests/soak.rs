//! Hours of weather on a virtual clock. After every storm, a stretch of good weather must bring every channel back;
//! at no time may a rule be broken. Each sabotage must be noticed.

use std::time::Duration;

use super::Sabotage;
use super::world::{Weather, World};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than the longest wait of the link, 6 min, with what may come behind it.
const RECOVERY: Duration = Duration::from_secs(15 * 60);

/// Runs storms and recoveries; answers what went wrong, the seed with it.
fn soak(seed: u64, storms: u32, sabotage: Option<Sabotage>) -> Result<World, String> {
    let mut world = World::new(seed, sabotage);
    world.run(MINUTE);
    for storm in 0..storms {
        world.weather = world.any_weather();
        let minutes = 1 + world.number(9) as u32;
        world.run(minutes * MINUTE);
        let weather = std::mem::replace(&mut world.weather, Weather::Good);
        world.run(RECOVERY);
        if !world.all_joined() {
            // A refused token or an expiry may have fallen into the very end.
            world.run(7 * MINUTE);
        }
        if let Some(violation) = world.violations.first() {
            return Err(format!("seed {seed}: {} violations, first: {violation}", world.violations.len()));
        }
        if !world.all_joined() {
            return Err(format!("seed {seed}: not joined after storm {storm} of {weather:?}"));
        }
    }
    if world.unsettled() > 3 * 32 || world.most_waiting > 1_000 {
        return Err(format!("seed {seed}: {} unsettled, {} waiting", world.unsettled(), world.most_waiting));
    }
    Ok(world)
}

#[test]
fn it_always_comes_back_and_keeps_every_rule() {
    let (mut hours, mut downs) = (0.0, 0);
    for seed in 1..=20 {
        let world = soak(seed, 20, None).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(world.accepted > 1_000 && world.received > 1_000, "seed {seed}: there was traffic");
        hours += (world.now - super::start()).as_secs_f64() / 3_600.0;
        downs += world.downs;
    }
    assert!(hours > 100.0, "{hours} h");
    assert!(downs > 100, "{downs} sockets ended: the weather was too good");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let counts = |world: World| (world.accepted, world.received, world.downs, world.link.stats());
    assert_eq!(soak(3, 2, None).map(counts), soak(3, 2, None).map(counts));
}

#[test]
fn every_sabotage_is_noticed() {
    for (sabotage, sign) in [
        (Sabotage::NoHeartbeats, "no heartbeat"),
        (Sabotage::MatchesWithoutRefs, "never accepted"),
        (Sabotage::ReusesJoinRef, "used again"),
        (Sabotage::NeverRejoins, "not joined"),
        (Sabotage::RejoinsAtOnce, "after a quota close"),
    ] {
        let broken: Vec<_> = (1..=6).filter_map(|seed| soak(seed, 8, Some(sabotage)).err()).collect();
        assert!(broken.iter().any(|error| error.contains(sign)), "{sabotage:?}: {broken:?}");
    }
}
