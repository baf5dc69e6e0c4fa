//! Saved state can make the next process stricter and nothing else.

use proptest::prelude::*;

use super::*;

const WALL: u64 = 1_700_000_000_000;

fn restarted(saved: &Saved, later_ms: u64) -> World {
    let mut world = World::new(Config::default());
    world.breaker.restore(saved, world.now, WALL + later_ms);
    world
}

#[test]
fn an_outage_survives_a_restart_with_what_is_left_of_its_cool_down() {
    let mut world = World::closed(Config { jitter: 0.0, ..Config::default() });
    world.outage();
    world.wait(20 * SECOND);
    let saved = world.breaker.save(world.now, WALL);
    let saved = Saved::parse(saved.to_json().as_bytes()).unwrap();
    let mut next = restarted(&saved, 10_000);
    assert_eq!(next.trigger(), Some(Trigger::FastBurn));
    assert_eq!(next.cool_down(), 30 * SECOND);
    next.probe_until_closed();
    assert_eq!(next.share(), 10, "still a return");
}

#[test]
fn trips_before_the_restart_count_for_the_latch_while_they_are_young() {
    let mut world = World::closed(Config::default());
    for _ in 0..2 {
        world.outage();
        world.cool_down();
        world.probe_until_closed();
    }
    let saved = world.breaker.save(world.now, WALL);
    let latched = |later_ms| {
        let mut next = restarted(&saved, later_ms);
        next.probe_until_closed();
        next.outage();
        matches!(next.breaker.state(), State::Open { latched: true, .. })
    };
    assert!(latched(0));
    assert!(latched(23 * 3_600_000));
    assert!(!latched(24 * 3_600_000), "stale");
}

#[test]
fn a_latch_and_a_persons_word_survive_any_age() {
    let mut world = World::closed(Config { latch_trips: 1, ..Config::default() });
    world.outage();
    let saved = world.breaker.save(world.now, WALL);
    let next = restarted(&saved, u64::MAX - WALL);
    assert!(matches!(next.breaker.state(), State::Open { latched: true, .. }));

    let mut world = World::closed(Config::default());
    world.breaker.force(Force::Open, world.now);
    let saved = world.breaker.save(world.now, WALL);
    let next = restarted(&saved, u64::MAX - WALL);
    assert_eq!((next.breaker.mode(), next.share()), (Mode::ForcedOpen, 0));
}

#[test]
fn a_healthy_state_restarts_half_open_and_unpaced() {
    let world = World::closed(Config::default());
    let saved = world.breaker.save(world.now, WALL);
    let mut next = restarted(&saved, 0);
    assert_eq!((next.phase(), next.share()), (Phase::HalfOpen, 0));
    next.probe_until_closed();
    assert_eq!(next.share(), 1_000);
}

#[test]
fn what_is_not_ours_is_ignored_with_a_reason() {
    assert_eq!(Saved::parse(b"{\"version\":1"), Err(SavedError::Corrupt));
    assert_eq!(Saved::parse(&vec![b' '; SAVED_BYTES_MAX + 1]), Err(SavedError::TooLarge));
    let mut saved = World::closed(Config::default()).breaker.save(World::new(Config::default()).now, WALL);
    saved.version = 2;
    assert_eq!(Saved::parse(saved.to_json().as_bytes()), Err(SavedError::Version(2)));
}

fn any_saved() -> impl Strategy<Value = Saved> {
    let open = (0..Trigger::ALL.len(), any::<u64>(), any::<bool>())
        .prop_map(|(trip, left_ms, latched)| SavedOpen { trip: Trigger::ALL[trip], left_ms, latched });
    let trips = prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..90_000_000], 0..9);
    let rest = (any::<u64>(), any::<bool>(), any::<u32>(), any::<bool>());
    (prop::option::of(open), trips, rest).prop_map(|(open, trips_ago_ms, rest)| Saved {
        version: SAVED_VERSION,
        at_unix_ms: rest.0,
        open,
        forced_open: rest.1,
        openings: rest.2,
        paced: rest.3,
        trips_ago_ms,
    })
}

/// The first moment at which a fresh breaker that was given this state serves anyone; `None`: a person is needed.
fn serves_after(saved: Option<&Saved>, rule: Option<Sabotage>) -> Option<Duration> {
    let mut world = World::new(Config::default());
    if let Some(rule) = rule {
        world.breaker.sabotage(rule);
    }
    let start = world.now;
    if let Some(saved) = saved {
        world.breaker.restore(saved, world.now, WALL);
    }
    for _ in 0..64 {
        if world.breaker.admits(world.now).serves() {
            return Some(world.now - start);
        }
        match world.breaker.state() {
            State::HalfOpen { .. } => world.probe_until_closed(),
            State::Open { latched: false, .. } if world.breaker.mode() == Mode::Auto => {
                world.cool_down();
            }
            _ => return None,
        }
    }
    None
}

proptest! {
    #[test]
    fn no_saved_state_lets_anyone_use_realtime_sooner_than_none(saved in any_saved()) {
        let without = serves_after(None, None).unwrap();
        if let Some(with) = serves_after(Some(&saved), None) {
            prop_assert!(with >= without, "{with:?} < {without:?}");
            prop_assert!(with <= 61 * MINUTE + without, "bounded by twice the longest cool-down");
        }
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Saved::parse(&bytes).is_err());
    }
}

#[test]
fn a_breaker_that_believes_a_healthy_file_is_caught() {
    let world = World::closed(Config::default());
    let saved = world.breaker.save(world.now, WALL);
    let without = serves_after(None, None).unwrap();
    let with = serves_after(Some(&saved), Some(Sabotage::ClosesFromSavedState)).unwrap();
    assert!(with < without);
}
