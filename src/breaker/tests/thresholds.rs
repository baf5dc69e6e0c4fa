//! Each trigger just under and just over its threshold, with the default numbers.

use super::*;

#[test]
fn more_than_five_percent_of_twenty_trips_and_five_percent_does_not() {
    let mut world = World::closed(Config::default());
    world.good(19);
    world.bad(1);
    assert_eq!(world.phase(), Phase::Closed, "1 of 20 is exactly 5 %");
    world.bad(1);
    assert_eq!(world.trigger(), Some(Trigger::ErrorRatio), "2 of 21");
    let change = world.drain().pop();
    let Some(Change::Opened { trip, .. }) = change else { panic!("{change:?}") };
    assert_eq!((trip.samples, trip.limit), (21, 0.05));
}

#[test]
fn nineteen_bad_samples_are_not_enough_and_the_twentieth_is() {
    let mut world = World::closed(Config::default());
    world.bad(19);
    assert_eq!(world.phase(), Phase::Closed);
    world.bad(1);
    assert_eq!(world.trigger(), Some(Trigger::FastBurn));
}

#[test]
fn the_error_window_forgets_after_five_minutes() {
    let mut world = World::closed(Config { burn_ratio: 1.0, ..Config::default() });
    world.bad(10);
    world.good(9);
    world.wait(301 * SECOND);
    world.good(19);
    world.bad(1);
    assert_eq!(world.phase(), Phase::Closed, "the ten old ones are gone");
    assert_eq!(world.breaker.figures(world.now).samples, 20);
}

#[test]
fn good_samples_that_slide_out_can_trip_without_a_new_sample() {
    let mut world = World::closed(Config::default());
    world.good(100);
    world.wait(200 * SECOND);
    world.good(20);
    world.bad(6);
    assert_eq!(world.phase(), Phase::Closed, "6 of 126");
    world.wait(99 * SECOND);
    assert_eq!(world.phase(), Phase::Closed);
    world.wait(2 * SECOND);
    assert_eq!(world.trigger(), Some(Trigger::ErrorRatio), "6 of 26 once the hundred have left");
}

#[test]
fn half_of_the_fast_window_is_not_a_burn_and_more_is() {
    let config = Config { error_ratio: 1.0, ..Config::default() };
    let mut world = World::closed(config);
    world.good(20);
    world.bad(20);
    assert_eq!(world.phase(), Phase::Closed);
    world.bad(1);
    assert_eq!(world.trigger(), Some(Trigger::FastBurn));
}

#[test]
fn confidence_asks_for_more_errors_than_the_plain_ratio() {
    let mut world = World::closed(Config { confidence: Some(0.95), ..Config::default() });
    world.good(92);
    world.bad(8);
    assert_eq!(world.phase(), Phase::Closed, "8 in 100 could be a true 5 %");
    world.bad(1);
    assert_eq!(world.trigger(), Some(Trigger::ErrorRatio));
}

#[test]
fn a_stall_is_two_seconds_of_silence_while_two_batches_wait() {
    let mut world = World::closed(Config::default());
    world.record(Outcome::Waiting { batches: 1, last_readback: None });
    world.wait(10 * SECOND);
    assert_eq!(world.phase(), Phase::Closed, "one batch is not a stall");
    let last_readback = Some(world.now - 9 * SECOND);
    world.record(Outcome::Waiting { batches: 2, last_readback });
    world.wait(1_999 * MS);
    assert_eq!(world.phase(), Phase::Closed, "they have waited for less than two seconds");
    world.good(1);
    world.wait(1_999 * MS);
    assert_eq!(world.phase(), Phase::Closed, "a read-back starts the clock anew");
    world.wait(MS);
    assert_eq!(world.trigger(), Some(Trigger::Stall));
}

#[test]
fn the_stall_clock_wakes_the_shell_by_itself() {
    let mut world = World::closed(Config::default());
    world.record(Outcome::Waiting { batches: 2, last_readback: None });
    assert_eq!(world.breaker.poll_timeout(), Some(world.now + 2 * SECOND));
    world.record(Outcome::Waiting { batches: 0, last_readback: Some(world.now) });
    assert_eq!(world.breaker.poll_timeout(), None, "nothing waits, no window holds anything");
}

/// 200 samples of 40 ms teach the baseline; then slower ones are added until p95 is theirs.
fn latency_world(slow: Duration) -> World {
    let mut world = World::closed(Config::default());
    for _ in 0..200 {
        world.record(Outcome::ReadBack { took: 40 * MS });
    }
    assert!(world.breaker.figures(world.now).baseline.is_some());
    for _ in 0..100 {
        world.record(Outcome::ReadBack { took: slow });
    }
    world
}

#[test]
fn latency_must_exceed_both_the_factor_and_the_excess() {
    // Sketch values: 40 ms reads 38.9, so the limits are 77.8 (twice) and 88.9 (50 above).
    assert_eq!(latency_world(78 * MS).phase(), Phase::Closed, "twice, but not 50 ms above");
    assert_eq!(latency_world(99 * MS).trigger(), Some(Trigger::Latency));
}

#[test]
fn late_read_backs_move_the_latency_and_never_the_error_ratio() {
    let mut world = World::closed(Config { latency_samples_min: u64::MAX, ..Config::default() });
    for _ in 0..100 {
        world.record(Outcome::ReadBack { took: 3 * SECOND });
    }
    let figures = world.breaker.figures(world.now);
    assert_eq!((figures.error_ratio, figures.slow_total, world.phase()), (0.0, 100, Phase::Closed));
}

#[test]
fn a_slow_legacy_leg_raises_the_baseline() {
    let mut world = World::closed(Config::default());
    for _ in 0..200 {
        world.record(Outcome::LegacyLeg { took: 400 * MS });
        world.record(Outcome::ReadBack { took: 40 * MS });
    }
    for _ in 0..200 {
        world.record(Outcome::ReadBack { took: 700 * MS });
    }
    assert_eq!(world.phase(), Phase::Closed, "700 ms is under twice what the same messages take on legacy");
    for _ in 0..600 {
        world.record(Outcome::ReadBack { took: 1_000 * MS });
    }
    assert_eq!(world.trigger(), Some(Trigger::Latency));
}

#[test]
fn three_connection_failures_must_span_ten_seconds() {
    let mut world = World::closed(Config::default());
    for gap in [0, 5_000, 4_999] {
        world.wait(gap * MS);
        world.record(Outcome::ConnectFailed);
    }
    assert_eq!(world.phase(), Phase::Closed, "three in 9.999 s");
    world.wait(MS);
    world.record(Outcome::ConnectFailed);
    assert_eq!(world.trigger(), Some(Trigger::Connect));

    let mut world = World::closed(Config::default());
    world.record(Outcome::ConnectFailed);
    world.wait(20 * SECOND);
    world.record(Outcome::ConnectFailed);
    assert_eq!(world.phase(), Phase::Closed, "two are not three in a row");
    world.record(Outcome::Connected);
    world.record(Outcome::ConnectFailed);
    world.wait(20 * SECOND);
    world.record(Outcome::ConnectFailed);
    assert_eq!(world.phase(), Phase::Closed, "a success in between");
}

#[test]
fn the_validator_trips_below_its_gate_with_enough_pairs() {
    let mut world = World::closed(Config::default());
    world.record(Outcome::Compared { matched: 2_894, mismatched: 100 });
    assert_eq!(world.phase(), Phase::Closed, "2,994 pairs are not enough");
    let mut world = World::closed(Config::default());
    world.record(Outcome::Compared { matched: 9_990, mismatched: 10 });
    assert_eq!(world.phase(), Phase::Closed, "99.9 % is the gate itself");
    world.record(Outcome::Compared { matched: 0, mismatched: 1 });
    assert_eq!(world.trigger(), Some(Trigger::Match));
}

#[test]
fn own_faults_are_counted_and_never_held_against_realtime() {
    let mut world = World::closed(Config::default());
    for fault in OwnFault::ALL {
        for _ in 0..1_000 {
            world.record(Outcome::Own(fault));
        }
    }
    assert_eq!(world.phase(), Phase::Closed);
    assert_eq!(world.breaker.figures(world.now).own_total, [1_000; OwnFault::ALL.len()]);
    assert_eq!(world.breaker.figures(world.now).samples, 0);
}

#[test]
fn thin_traffic_trips_by_sentinels_alone() {
    let mut world = World::closed(Config::default());
    let mut trip_after = Duration::ZERO;
    while world.phase() == Phase::Closed && trip_after < 5 * MINUTE {
        world.wait(5 * SECOND);
        trip_after += 5 * SECOND;
        world.bad(1);
    }
    assert_eq!(world.trigger(), Some(Trigger::ErrorRatio));
    assert_eq!(trip_after, 100 * SECOND, "twenty sentinels");
}

#[test]
fn a_switched_off_trigger_stays_silent() {
    let mut world = World::closed(Config { off: vec![Trigger::FastBurn], ..Config::default() });
    world.bad(20);
    assert_eq!(world.trigger(), Some(Trigger::ErrorRatio), "the other one still works");
    let off = vec![Trigger::FastBurn, Trigger::ErrorRatio];
    let mut world = World::closed(Config { off, ..Config::default() });
    world.bad(200);
    assert_eq!(world.phase(), Phase::Closed);
}

#[test]
fn absurd_numbers_are_told_and_never_panic() {
    let config = Config {
        stall_after: Duration::MAX,
        probe_deadline: Duration::MAX,
        half_open_max: Duration::MAX,
        cooldown: Duration::MAX,
        cooldown_max: Duration::MAX,
        latch_window: Duration::MAX,
        error_window: Duration::ZERO,
        latency_factor: f64::NAN,
        jitter: f64::NAN,
        pace: vec![Step { share_permille: 9_999, hold: Duration::MAX }],
        ..Config::default()
    };
    assert!(config.problems().len() >= 8, "{:?}", config.problems());
    let now = World::new(Config::default()).now;
    let mut breaker = Breaker::new(config, 1, now);
    for _ in 0..10 {
        let probe = breaker.take_probe(now + 100 * SECOND);
        if let Some(probe) = probe {
            breaker.record(Outcome::Probe { probe, end: ProbeEnd::Good }, now + 100 * SECOND);
        }
        breaker.record(Outcome::Waiting { batches: 9, last_readback: Some(now) }, now);
        for _ in 0..300 {
            breaker.record(Outcome::ReadBack { took: Duration::MAX }, now + 101 * SECOND);
        }
        breaker.record(Outcome::Failed(Fault::Refused), now + 101 * SECOND);
        breaker.force(Force::Reset, now + 102 * SECOND);
        breaker.handle_timeout(now + 60 * 365 * 24 * 60 * MINUTE);
        assert!(breaker.poll_timeout().is_none_or(|at| at > now));
    }
}
