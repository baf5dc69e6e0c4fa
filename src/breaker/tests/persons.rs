//! What a person can force, and that releasing never closes more than the machine would.

use super::*;

fn admission(world: &World) -> (u16, Publish) {
    let admission = world.breaker.admits(world.now);
    (admission.share_permille, admission.publish)
}

#[test]
fn the_phases_admit_what_they_should() {
    let mut world = World::new(Config::default());
    assert_eq!(admission(&world), (0, Publish::ProbesOnly));
    world.probe_until_closed();
    assert_eq!(admission(&world), (1_000, Publish::All));
    world.outage();
    assert_eq!(admission(&world), (0, Publish::Nothing));
}

#[test]
fn forced_open_holds_until_released_and_then_probes() {
    let mut world = World::closed(Config::default());
    world.breaker.force(Force::Open, world.now);
    assert_eq!(admission(&world), (0, Publish::Nothing));
    assert_eq!(world.trigger(), Some(Trigger::Forced));
    world.wait(48 * 60 * MINUTE);
    assert_eq!(world.breaker.take_probe(world.now), None);
    assert_eq!(world.phase(), Phase::Open);
    world.breaker.force(Force::Release, world.now);
    assert_eq!(world.phase(), Phase::HalfOpen);
    world.probe_until_closed();
    assert_eq!(world.share(), 10, "a return, therefore paced");
}

#[test]
fn forced_open_is_no_way_out_of_a_latch() {
    let mut world = World::closed(Config { latch_trips: 1, ..Config::default() });
    world.outage();
    world.breaker.force(Force::Open, world.now);
    world.breaker.force(Force::Release, world.now);
    assert!(matches!(world.breaker.state(), State::Open { latched: true, .. }));
}

#[test]
fn forced_closed_ignores_every_trigger_and_is_judged_on_release() {
    let mut world = World::closed(Config::default());
    world.breaker.force(Force::Closed, world.now);
    world.drain();
    world.bad(1_000);
    assert_eq!(admission(&world), (1_000, Publish::All));
    assert_eq!(world.drain(), []);
    world.breaker.force(Force::Release, world.now);
    assert_eq!(world.trigger(), Some(Trigger::FastBurn), "the evidence was collected all the time");
}

#[test]
fn forced_closed_over_an_open_breaker_gives_way_to_it_on_release() {
    let mut world = World::closed(Config::default());
    world.outage();
    world.breaker.force(Force::Closed, world.now);
    assert_eq!(world.share(), 1_000);
    world.breaker.force(Force::Release, world.now);
    assert_eq!(admission(&world), (0, Publish::Nothing));
}

#[test]
fn forced_closed_counts_as_closed_unless_the_machine_has_a_reason() {
    let closed = |world: &World| world.breaker.admits(world.now).is_closed();
    for force in [Force::Closed, Force::ObserveOnly] {
        let mut world = World::new(Config::default());
        assert!(!closed(&world), "half-open at the start, and nobody has spoken");
        world.breaker.force(force, world.now);
        assert_eq!(world.phase(), Phase::HalfOpen, "the machine finds out for itself what holds on release");
        assert!(closed(&world), "a drill is allowed and the gate passes: users are on Realtime");
        world.breaker.force(Force::Release, world.now);
        assert!(!closed(&world), "nothing was proven");
        // Probes that prove it meanwhile are not lost.
        world.breaker.force(force, world.now);
        world.probe_until_closed();
        world.breaker.force(Force::Release, world.now);
        assert!(closed(&world));
        // What has tripped before is a reason against drills and steps, whatever a person says.
        world.outage();
        world.breaker.force(force, world.now);
        assert_eq!((world.share(), world.phase()), (1_000, Phase::Open));
        assert!(!closed(&world));
    }
    let mut world = World::closed(Config::default());
    assert!(closed(&world));
    world.breaker.force(Force::Open, world.now);
    assert!(!closed(&world));
}

#[test]
fn observe_only_reports_once_per_cool_down_and_never_opens() {
    let mut world = World::closed(Config { error_window: MINUTE * 60, ..Config::default() });
    world.breaker.force(Force::ObserveOnly, world.now);
    world.drain();
    world.outage();
    world.bad(100);
    let told = world.drain();
    assert!(
        matches!(told.as_slice(), [Change::WouldTrip(Trip { trigger: Trigger::FastBurn, .. })]),
        "{told:?}"
    );
    world.wait(59 * SECOND);
    assert_eq!(world.drain(), []);
    world.wait(2 * SECOND);
    assert_eq!(world.drain().len(), 1);
    assert_eq!(admission(&world), (1_000, Publish::All));
}

#[test]
fn reset_ends_a_cool_down_in_probing() {
    let mut world = World::closed(Config::default());
    world.outage();
    world.breaker.force(Force::Reset, world.now);
    assert_eq!(admission(&world), (0, Publish::ProbesOnly));
}

#[test]
fn the_fleet_opens_and_can_do_nothing_else() {
    let mut world = World::closed(Config::default());
    let now = world.now;
    world.breaker.fleet_trip((2, 2, 5), now);
    assert_eq!((world.phase(), world.trigger()), (Phase::Open, Some(Trigger::Fleet)));
    let open = world.breaker.state();
    world.wait(Duration::from_secs(5));
    let now = world.now;
    world.breaker.fleet_trip((5, 2, 5), now);
    assert_eq!(world.breaker.state(), open, "the same outage is no longer for being told twice");
    for force in [Force::Closed, Force::ObserveOnly] {
        let mut world = World::closed(Config::default());
        let now = world.now;
        world.breaker.force(force, now);
        world.breaker.fleet_trip((2, 2, 5), now);
        assert_eq!(world.phase(), Phase::Closed, "a person's word stands above it");
    }
}
