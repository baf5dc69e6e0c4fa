//! The whole chain with one kind of fault at the emulator at a time: the validator reports that kind and no other.

use std::time::Duration;

use super::script::{Dice, Script};
use super::start;
use super::world::{SERVICE, Scene, World};
use crate::breaker::Force;
use crate::emulator::{Fault, FaultKind};
use crate::ledger::Shed;
use crate::mirror::shard::Sampling;
use crate::validator::tally::Tally;
use crate::validator::{Kind, NotCompared};

/// Twenty seconds of four talking sessions, and time for everything to be judged. The breaker is held closed.
fn run(fault: Option<FaultKind>, pushes: u64) -> Tally {
    every(100, fault, pushes)
}

/// The same with a message every so many milliseconds.
fn every(ms: u64, fault: Option<FaultKind>, pushes: u64) -> Tally {
    world_of(ms, fault, pushes).side.watch.validator.book().total()
}

/// The world after it ran for so long that all is decided.
fn world_of(ms: u64, fault: Option<FaultKind>, pushes: u64) -> World {
    let mut dice = Dice::new(21);
    let scripts = (0..4).map(|session| Script::steady(session, ms, 20_000, &mut dice)).collect();
    let faults = fault.map(|kind| {
        let mut fault = Fault::new(kind).pushes(0, pushes);
        fault.after_ms = 5_000;
        fault
    });
    let scene = Scene {
        scripts,
        faults: faults.into_iter().collect(),
        sampling: Sampling::All,
        limit: 1_000_000,
        governor: None,
        hot: false,
        role: SERVICE,
    };
    let mut world = World::of(9, scene, start());
    world.ops.breaker.force(Force::Closed, world.now);
    world.run_until(world.begin + Duration::from_secs(150)).unwrap_or_else(|what| panic!("{what}"));
    world
}

#[track_caller]
fn only(tally: &Tally, kind: Option<Kind>) {
    let ended = ended(tally, kind);
    assert!([800, 4_000].contains(&ended), "each message ends once: {:?}", tally.kinds);
}

/// Holds that no other kind was seen. So many messages ended in the book.
#[track_caller]
fn ended(tally: &Tally, kind: Option<Kind>) -> u64 {
    for one in Kind::ALL {
        let there = tally.of(one) > 0;
        assert_eq!(there, one == Kind::Matched || Some(one) == kind, "{one:?} in {:?}", tally.kinds);
    }
    let paired = tally.pairs() - tally.of(Kind::Duplicate);
    let out: u64 = NotCompared::ALL.into_iter().map(|why| tally.left_out(why)).sum();
    paired + out
}

#[test]
fn without_a_fault_everything_matches() {
    let tally = run(None, 0);
    only(&tally, None);
    assert_eq!((tally.ratio(), tally.coverage()), (Some(1.0), Some(1.0)));
}

#[test]
fn dropped_for_good_is_missing() {
    // From the fifth second to the end, through every repetition.
    only(&run(Some(FaultKind::Drop), 1_000_000), Some(Kind::Missing));
}

#[test]
fn never_acked_is_a_lost_link_of_ours_and_no_loss_of_realtime() {
    let mut world = world_of(100, Some(FaultKind::Lose), 1_000_000);
    let tally = world.side.watch.validator.book().total();
    // Silence on a link that lives is taken for a missing policy: what waits is shed before it is published.
    let account = world.ledger.account();
    assert!(account.shed(Shed::Denied) > 0, "{account:?}");
    let (ended, denied) = (ended(&tally, None), account.shed(Shed::Denied));
    // What was under way at that moment is both: in the book as a gap, in the account as denied.
    assert!((800..=800 + denied).contains(&(ended + denied)) && ended <= 800, "{ended}, {account:?}");
    assert_eq!(account.imbalance(), 0, "{account:?}");
    assert!(tally.left_out(NotCompared::Gap) > 0 && tally.coverage() < Some(1.0), "and the coverage says so");
}

#[test]
fn dropped_once_is_late_for_we_publish_it_again() {
    let tally = run(Some(FaultKind::Drop), 5);
    only(&tally, Some(Kind::Late));
    assert_eq!(tally.repeated, tally.of(Kind::Late));
}

#[test]
fn delivered_twice_is_duplicate() {
    only(&run(Some(FaultKind::Duplicate), 10), Some(Kind::Duplicate));
}

#[test]
fn overtaken_is_reordered() {
    // Closer together than the emulator holds a push back for the next one.
    only(&every(20, Some(FaultKind::Reorder), 10), Some(Kind::Reordered));
}

#[test]
fn another_character_is_altered() {
    only(&run(Some(FaultKind::Corrupt), 10), Some(Kind::Altered));
}

#[test]
fn slower_than_the_window_is_late() {
    let tally = run(Some(FaultKind::Slow { delay_ms: 12_000 }), 10);
    only(&tally, Some(Kind::Late));
    assert!(tally.echoes > 0, "our own repetition came back too, and is nobody's fault");
}

#[test]
fn slow_within_the_window_matches() {
    only(&run(Some(FaultKind::Slow { delay_ms: 3_000 }), 10), None);
}

#[test]
fn refused_never_went_in() {
    let tally = run(Some(FaultKind::Nack), 10);
    only(&tally, None);
    assert!(tally.left_out(NotCompared::Refused) > 0);
}
