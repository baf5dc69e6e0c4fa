//! Each trigger just under and just over its threshold, with the default numbers, and what follows an opening.

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
    assert_eq!(world.breaker.figures(world.now).own_total, [1_000; 4]);
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
fn cool_downs_double_with_jitter_up_to_the_cap() {
    let mut world = World::closed(Config::default());
    world.outage();
    let mut seen = Vec::new();
    for opening in 0..10 {
        let plain = (MINUTE * (1 << opening)).min(30 * MINUTE);
        let took = world.cool_down();
        assert!(took >= plain.mul_f64(0.8) && took <= plain.mul_f64(1.2), "{opening}: {took:?}");
        seen.push(took.as_secs_f64() / plain.as_secs_f64());
        world.probe(ProbeEnd::Bad(Fault::Refused));
        assert_eq!(world.trigger(), Some(Trigger::Probe));
    }
    seen.sort_by(f64::total_cmp);
    assert!(seen[9] - seen[0] > 0.1, "no jitter in {seen:?}");
}

#[test]
fn half_open_ends_after_ten_good_probes_or_fifteen_minutes() {
    let mut world = World::new(Config::default());
    for good in 1..10 {
        world.probe(ProbeEnd::Good);
        let State::HalfOpen { probes_good, .. } = world.breaker.state() else { panic!("{good}") };
        assert_eq!((probes_good, world.share()), (good, 0));
    }
    world.probe(ProbeEnd::Good);
    assert_eq!((world.phase(), world.share()), (Phase::Closed, 1_000));

    let mut world = World::new(Config::default());
    world.probe(ProbeEnd::Good);
    world.wait(15 * MINUTE - MS);
    assert_eq!(world.phase(), Phase::HalfOpen);
    world.wait(MS);
    assert_eq!(world.trigger(), Some(Trigger::HalfOpenExpired));
}

#[test]
fn one_probe_at_a_time_once_a_second_and_a_silent_one_is_bad() {
    let mut world = World::new(Config::default());
    let first = world.breaker.take_probe(world.now).unwrap();
    world.wait(4_999 * MS);
    assert_eq!(world.breaker.take_probe(world.now), None, "the first has not ended");
    world.record(Outcome::Probe { probe: first, end: ProbeEnd::Good });
    let second = world.breaker.take_probe(world.now).unwrap();
    world.record(Outcome::Probe { probe: first, end: ProbeEnd::Bad(Fault::Refused) });
    assert_eq!(world.phase(), Phase::HalfOpen, "the first is outdated");
    world.record(Outcome::Probe { probe: second, end: ProbeEnd::Good });
    assert_eq!(world.breaker.take_probe(world.now), None, "not before a second has passed");
    world.wait(SECOND);
    assert!(world.breaker.take_probe(world.now).is_some());
    world.wait(5 * SECOND);
    assert_eq!(world.trigger(), Some(Trigger::Probe), "no answer is a bad answer");
}

#[test]
fn a_void_probe_counts_neither_way() {
    let mut world = World::new(Config::default());
    for _ in 0..9 {
        world.probe(ProbeEnd::Good);
    }
    world.probe(ProbeEnd::Void(OwnFault::Quota));
    assert_eq!(world.phase(), Phase::HalfOpen);
    world.probe(ProbeEnd::Good);
    assert_eq!(world.phase(), Phase::Closed);
}

#[test]
fn the_return_is_paced_and_tells_each_step() {
    let mut world = World::closed(Config::default());
    world.outage();
    world.cool_down();
    world.probe_until_closed();
    world.drain();
    for (minutes, permille) in [(0, 10), (9, 10), (1, 250), (4, 250), (1, 500), (5, 1_000)] {
        world.wait(MINUTE * minutes);
        assert_eq!(world.share(), permille, "after {minutes} more minutes");
    }
    let told = [250, 500, 1_000].map(|share_permille| Change::Share { share_permille });
    assert_eq!(world.drain(), told);
}

#[test]
fn a_complete_return_starts_the_cool_down_anew_and_an_incomplete_one_does_not() {
    let config = Config { jitter: 0.0, latch_trips: 100, ..Config::default() };
    let mut world = World::closed(config);
    world.outage();
    assert_eq!(world.cool_down(), MINUTE);
    world.probe_until_closed();
    world.wait(24 * MINUTE);
    world.outage();
    assert_eq!(world.cool_down(), 2 * MINUTE, "the 100 % step had one minute to go");
    world.probe_until_closed();
    world.wait(25 * MINUTE);
    world.outage();
    assert_eq!(world.cool_down(), MINUTE);
}

#[test]
fn the_third_trip_in_a_day_latches_until_a_person_resets_it() {
    let mut world = World::closed(Config::default());
    for _ in 0..2 {
        world.outage();
        world.cool_down();
        world.probe_until_closed();
        world.wait(60 * MINUTE);
    }
    world.outage();
    assert!(matches!(world.breaker.state(), State::Open { latched: true, .. }));
    assert_eq!(world.breaker.poll_timeout(), None);
    world.wait(48 * 60 * MINUTE);
    assert_eq!((world.phase(), world.share()), (Phase::Open, 0));
    world.breaker.force(Force::Reset, world.now);
    assert_eq!(world.phase(), Phase::HalfOpen, "a reset probes, it does not close");
    world.probe_until_closed();
    world.outage();
    assert!(matches!(world.breaker.state(), State::Open { latched: false, .. }), "the past is forgotten");
}

#[test]
fn flapping_that_is_slower_than_the_latch_window_never_latches() {
    let mut world = World::closed(Config::default());
    for _ in 0..6 {
        world.outage();
        world.cool_down();
        world.probe_until_closed();
        world.wait(12 * 60 * MINUTE);
    }
    assert_eq!(world.phase(), Phase::Closed);
}

#[test]
fn failed_probes_prolong_one_outage_and_are_no_trips() {
    let mut world = World::closed(Config::default());
    world.outage();
    for _ in 0..5 {
        world.cool_down();
        world.probe(ProbeEnd::Bad(Fault::NotReadBack));
        assert!(matches!(world.breaker.state(), State::Open { latched: false, .. }));
    }
}

#[test]
fn outcomes_from_before_the_trip_do_not_trip_again_after_the_return() {
    let mut world = World::closed(Config::default());
    world.bad(19);
    world.record(Outcome::Waiting { batches: 4, last_readback: None });
    world.bad(1);
    world.bad(500);
    world.cool_down();
    world.probe_until_closed();
    world.wait(MINUTE);
    world.good(1);
    assert_eq!(world.phase(), Phase::Closed);
    assert_eq!(world.breaker.figures(world.now).samples, 1);
}

#[test]
fn a_tap_that_is_not_polled_loses_the_oldest_changes_and_counts_them() {
    let mut world = World::closed(Config::default());
    for _ in 0..100 {
        world.breaker.force(Force::Closed, world.now);
        world.breaker.force(Force::Release, world.now);
    }
    assert_eq!(world.breaker.changes_lost(), 200 - 64);
    assert_eq!(world.drain().len(), 64);
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
