//! What follows an opening: cool-down, probes, the paced return, and the latch.

use super::*;

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
fn a_caller_that_does_not_poll_loses_the_oldest_changes_and_counts_them() {
    let mut world = World::closed(Config::default());
    for _ in 0..100 {
        world.breaker.force(Force::Closed, world.now);
        world.breaker.force(Force::Release, world.now);
    }
    assert_eq!(world.breaker.changes_lost(), 200 - 64);
    assert_eq!(world.drain().len(), 64);
}
