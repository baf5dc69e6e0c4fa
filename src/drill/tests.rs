//! Drills on a virtual clock: the two halves, every refusal, and every way to fail.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an origin is needed; nothing is measured")]
    Instant::now()
}

fn calm() -> Scene {
    Scene { closed: true, share_permille: 1_000, ready: true, hot: 900, moved: 0, draining: false }
}

fn seen(hot: u64, waiting: u64) -> Option<Seen> {
    Some(Seen { hot, waiting })
}

fn by_hand(now: Instant) -> Drills {
    Drills::new(Rules { every: None, permille: 50 }, now)
}

#[test]
fn the_slice_leaves_stays_and_returns_and_all_is_timed() {
    let t = start();
    let mut drills = by_hand(t);
    assert_eq!(drills.half(), None);
    let half = drills.ask(Cause::Person, calm(), 7, t).unwrap();
    assert_eq!(half, Half { number: 1, permille: 50, away: true });
    assert_eq!(drills.half(), Some(half));
    assert!(drills.poll_timeout(t).is_some_and(|at| at <= t + 10 * MS));
    drills.handle(None, calm(), 7, t + 10 * MS);
    drills.handle(seen(3, 0), Scene { moved: 42, ..calm() }, 7, t + 20 * MS);
    assert_eq!(drills.half(), Some(half), "three are still hot");
    drills.handle(seen(0, 45), Scene { moved: 45, ..calm() }, 7, t + 40 * MS);
    assert_eq!(drills.half(), Some(half), "it stays for a while");
    drills.handle(seen(0, 45), calm(), 7, t + 1_040 * MS);
    assert_eq!(drills.half(), Some(Half { away: false, ..half }));
    drills.handle(None, calm(), 7, t + 1_050 * MS);
    drills.handle(seen(44, 1), calm(), 7, t + 1_060 * MS);
    assert_eq!(drills.poll_record(), None);
    drills.handle(seen(45, 0), calm(), 7, t + 1_140 * MS);
    let record = drills.poll_record().unwrap();
    assert_eq!((record.number, record.at_ms, record.cause), (1, 7, Cause::Person));
    assert_eq!((record.percent, record.hot, record.moved, record.left), (5.0, 900, 45, 0));
    assert_eq!((record.to_legacy_ms, record.to_hot_ms), (Some(40.0), Some(100.0)));
    assert_eq!(record.outcome, Outcome::Passed);
    assert_eq!((drills.half(), drills.poll_record()), (None, None));
    assert_eq!(drills.poll_timeout(t), None, "nothing is due when nothing is scheduled");
}

#[test]
fn what_speaks_against_it_is_named() {
    let t = start();
    for (scene, why) in [
        (Scene { closed: false, ready: false, hot: 0, ..calm() }, Refused::NotClosed),
        (Scene { share_permille: 250, ..calm() }, Refused::PacedReturn),
        (Scene { ready: false, ..calm() }, Refused::NotReady),
        (Scene { hot: 0, ..calm() }, Refused::NobodyHot),
        (Scene { draining: true, ..calm() }, Refused::Draining),
    ] {
        let mut drills = by_hand(t);
        assert_eq!(drills.ask(Cause::Person, scene, 0, t), Err(why));
        assert_eq!(drills.half(), None);
    }
    let mut drills = by_hand(t);
    drills.ask(Cause::Person, calm(), 0, t).unwrap();
    assert_eq!(drills.ask(Cause::Person, calm(), 0, t + MS), Err(Refused::Running));
    drills.handle(None, Scene { ready: false, ..calm() }, 0, t + MS);
    assert_eq!(drills.ask(Cause::Person, calm(), 0, t + 2 * MS), Err(Refused::TooSoon));
    assert!(drills.ask(Cause::Person, calm(), 0, t + MS + REST).is_ok());
    let words: std::collections::BTreeSet<_> = Refused::ALL.map(Refused::as_str).into_iter().collect();
    let sentences: std::collections::BTreeSet<_> = Refused::ALL.map(Refused::sentence).into_iter().collect();
    assert_eq!((words.len(), sentences.len()), (Refused::ALL.len(), Refused::ALL.len()));
}

#[test]
fn a_trip_in_the_middle_ends_it_at_once() {
    let t = start();
    for scene in [
        Scene { closed: false, ..calm() },
        Scene { ready: false, ..calm() },
        Scene { draining: true, ..calm() },
    ] {
        for away in [true, false] {
            let mut drills = by_hand(t);
            drills.ask(Cause::Person, calm(), 0, t).unwrap();
            if !away {
                drills.handle(seen(0, 5), calm(), 0, t + MS);
                drills.handle(seen(0, 5), calm(), 0, t + STAY + MS);
            }
            assert_eq!(drills.half().unwrap().away, away);
            drills.handle(seen(0, 0), scene, 0, t + STAY + 2 * MS);
            assert_eq!(drills.half(), None);
            assert_eq!(drills.poll_record().unwrap().outcome, Outcome::Aborted);
        }
    }
}

#[test]
fn who_does_not_move_in_time_fails_the_drill_and_is_let_go() {
    let t = start();
    let mut drills = by_hand(t);
    drills.ask(Cause::Person, calm(), 0, t).unwrap();
    drills.handle(seen(2, 0), Scene { moved: 7, ..calm() }, 0, t + BACK_MAX);
    let record = drills.poll_record().unwrap();
    assert_eq!((record.outcome, record.left, record.moved), (Outcome::StuckHot, 2, 7));
    assert_eq!((record.to_legacy_ms, drills.half()), (None, None));

    // A worker that never counts is as bad as one that says that sessions are still hot.
    let mut drills = by_hand(t);
    drills.ask(Cause::Person, calm(), 0, t).unwrap();
    drills.handle(None, calm(), 0, t + BACK_MAX);
    assert_eq!(drills.poll_record().unwrap().outcome, Outcome::StuckHot);

    let mut drills = by_hand(t);
    drills.ask(Cause::Person, calm(), 0, t).unwrap();
    drills.handle(seen(0, 9), Scene { moved: 9, ..calm() }, 0, t + MS);
    drills.handle(seen(0, 9), calm(), 0, t + STAY + MS);
    drills.handle(seen(6, 3), calm(), 0, t + STAY + MS + RETURN_MAX);
    let record = drills.poll_record().unwrap();
    assert_eq!((record.outcome, record.left), (Outcome::StuckLegacy, 3));
    assert!(record.outcome.is_failure() && record.to_legacy_ms.is_some() && record.to_hot_ms.is_none());
}

#[test]
fn a_slice_without_a_hot_session_shows_nothing_and_says_so() {
    let t = start();
    let mut drills = by_hand(t);
    drills.ask(Cause::Person, Scene { hot: 1, ..calm() }, 0, t).unwrap();
    drills.handle(seen(0, 0), calm(), 0, t + MS);
    drills.handle(seen(0, 0), calm(), 0, t + STAY + MS);
    drills.handle(seen(0, 0), calm(), 0, t + STAY + 2 * MS);
    assert_eq!(drills.poll_record().unwrap().outcome, Outcome::Empty);
}

#[test]
fn the_schedule_keeps_its_time_and_retries_what_was_refused() {
    let t = start();
    let every = Duration::from_secs(3_600);
    let mut drills = Drills::new(Rules { every: Some(every), permille: 5_000 }, t);
    assert_eq!(drills.poll_timeout(t), Some(t + every), "not at the start");
    drills.handle(None, calm(), 0, t + every - MS);
    assert_eq!(drills.half(), None);
    drills.handle(None, Scene { closed: false, ..calm() }, 0, t + every);
    assert_eq!(drills.half(), None);
    assert_eq!(drills.poll_timeout(t), Some(t + every + RETRY));
    let begun = t + every + RETRY;
    drills.handle(None, calm(), 5, begun);
    assert_eq!(drills.half().unwrap().permille, PERMILLE_MAX, "a rule beyond the limit is cut to it");
    drills.handle(seen(0, 1), Scene { moved: 1, ..calm() }, 0, begun + MS);
    drills.handle(seen(0, 1), calm(), 0, begun + STAY + MS);
    drills.handle(seen(1, 0), calm(), 0, begun + STAY + 2 * MS);
    let record = drills.poll_record().unwrap();
    assert_eq!((record.cause, record.at_ms, record.outcome), (Cause::Scheduled, 5, Outcome::Passed));
    assert_eq!(drills.poll_timeout(t), Some(begun + every), "from the begin of the last one");
}
