//! The recorder on made-up times: what is kept, what gives way, and what a page says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::breaker::{self, Fault, Outcome, OwnFault, Trigger};

/// 2026-11-22T00:41:00Z.
const T: u64 = 1_795_308_060_000;

fn recorder() -> Recorder {
    Recorder::new("prices", "prices-0", "1.2.3")
}

fn stall() -> Trip {
    let trip = breaker::Trip { trigger: Trigger::Stall, measured: 2.1, limit: 2.0, samples: 7 };
    Trip { trip, open_for: Duration::from_secs(60), latched: false }
}

fn figures(hot: u64, breaker: u64) -> Figures {
    Figures { hot, moved_back: BTreeMap::from([("breaker", breaker), ("rollout", 3)]) }
}

fn back(ms: u64) -> Outcome {
    Outcome::ReadBack { took: Duration::from_millis(ms) }
}

/// Nine hundred sessions, a stall, and everybody back after 41 ms.
fn story() -> (Incident, Incident) {
    let mut recorder = recorder();
    recorder.healthy(figures(900, 5), T - 500);
    recorder.outcome(back(10), 900, T - 3_000);
    recorder.outcome(back(30), 900, T - 2_999);
    recorder.outcome(Outcome::Waiting { batches: 4, last_readback: None }, 900, T - 1_000);
    recorder.outcome(Outcome::Failed(Fault::NotReadBack), 900, T - 900);
    let opened = Event::Opened { trigger: "stall".to_owned(), measured: 2.1, limit: 2.0, latched: false };
    recorder.note(opened, 900, T);
    recorder.tripped(stall(), T);
    let first = recorder.take(true, &figures(880, 25), T).unwrap();
    assert_eq!(recorder.take(true, &figures(500, 405), T + 10), None, "told once");
    recorder.note(Event::Returned { took_ms: 41.0 }, 0, T + 41);
    let second = recorder.take(false, &figures(0, 905), T + 42).unwrap();
    assert_eq!(recorder.take(false, &figures(0, 905), T + 43), None, "complete once");
    (first, second)
}

#[test]
fn a_trip_is_told_at_once_and_again_when_everybody_is_back() {
    let (first, second) = story();
    assert_eq!((first.id.as_str(), first.complete), ("20261122T004100Z-stall", false));
    assert_eq!((first.hot_before, first.hot_left, first.returned_ms), (900, 880, None));
    assert_eq!((second.id.as_str(), second.complete), ("20261122T004100Z-stall", true));
    assert_eq!((second.hot_left, second.returned_ms), (0, Some(41.0)));
    assert_eq!(second.moved_back, BTreeMap::from([("breaker".to_owned(), 900)]), "only what moved since");
    assert_eq!((first.decisions.len(), second.decisions.len()), (1, 2));
    let [healthy, bad] = second.seconds.as_slice() else { panic!("{:?}", second.seconds) };
    assert_eq!((healthy.returned, healthy.mean_ms, healthy.max_ms), (2, Some(20.0), 30.0));
    assert_eq!((bad.returned, bad.mean_ms, bad.failed, bad.waiting), (0, None, 1, 4));
    let json = serde_json::to_vec(&second).unwrap();
    assert_eq!(serde_json::from_slice::<Incident>(&json).unwrap(), second);
}

#[test]
fn the_page_says_what_a_woken_person_asks() {
    let (first, second) = story();
    let text = page(&second);
    for word in [
        "20261122T004100Z-stall",
        "2026-11-22T00:41:00Z",
        "nothing was read back while batches waited",
        "2.100 s, limit 2.000 s, 7 samples",
        "900 sessions (breaker)",
        "41.0 ms until the last session was on legacy",
        "+0.041 s       0 hot  the last session is back on legacy",
        "-3.000 s",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    assert!(!text.contains("incomplete") && page(&first).contains("incomplete"));
    assert!(page(&first).contains("880 sessions were still hot"));
    assert!(text.lines().all(|line| line.len() <= 110), "{text}");
}

#[test]
fn the_rings_are_bounded_and_the_file_too() {
    let mut recorder = recorder();
    for n in 0..5_000_u64 {
        recorder.outcome(back(n % 7), u64::MAX, T + n * 1_000);
        recorder.outcome(Outcome::Own(OwnFault::Queue), 0, T + n * 1_000);
        let opened = Event::Opened {
            trigger: "half_open_expired".to_owned(),
            measured: n as f64 / 7.0,
            limit: 0.05,
            latched: true,
        };
        recorder.note(opened.clone(), u64::MAX, T + n * 1_000);
        recorder.note(opened, u64::MAX, T + n * 1_000 + 1);
    }
    recorder.tripped(stall(), T + 5_000_000);
    let incident = recorder.take(false, &figures(0, 0), T + 5_000_000).unwrap();
    assert_eq!((incident.seconds.len(), incident.decisions.len()), (SECONDS_MAX, ENTRIES_MAX));
    assert_eq!(incident.seconds.last().unwrap().at_ms, T + 4_999_000, "the oldest give way");
    let bytes = serde_json::to_vec(&incident).unwrap().len();
    assert!(bytes < 200 << 10, "{bytes} bytes");
}

#[test]
fn what_is_old_is_not_told() {
    let mut recorder = recorder();
    recorder.outcome(back(1), 1, T);
    recorder.note(Event::Settings, 1, T);
    recorder.note(Event::Quota, 1, T + 300_000);
    recorder.tripped(stall(), T + 700_000);
    let incident = recorder.take(false, &figures(0, 0), T + 700_000).unwrap();
    assert_eq!(incident.seconds, []);
    assert_eq!(incident.decisions.len(), 1);
}

#[test]
fn a_return_that_the_lost_link_began_belongs_to_the_trip() {
    let mut recorder = recorder();
    recorder.healthy(figures(900, 0), T);
    recorder.note(Event::Links { publish: true, readback: false }, 900, T + 10);
    recorder.note(Event::Returned { took_ms: 12.0 }, 0, T + 22);
    recorder.tripped(stall(), T + 10_000);
    let incident = recorder.take(false, &figures(0, 900), T + 10_000).unwrap();
    assert_eq!((incident.returned_ms, incident.hot_before), (Some(12.0), 900));
    assert_eq!(incident.moved_back.values().sum::<u64>(), 900);
    // One that was over before Realtime was used again does not.
    recorder.healthy(figures(0, 900), T + 11_000);
    recorder.tripped(stall(), T + 12_000);
    let incident = recorder.take(false, &figures(0, 900), T + 12_000).unwrap();
    assert_eq!(incident.returned_ms, None);
}

#[test]
fn an_incident_without_an_end_is_complete_after_a_minute() {
    let mut recorder = recorder();
    recorder.healthy(figures(9, 0), T);
    recorder.tripped(stall(), T);
    assert!(!recorder.take(true, &figures(9, 0), T).unwrap().complete);
    assert_eq!(recorder.take(true, &figures(4, 5), T + 59_999), None);
    let last = recorder.take(true, &figures(2, 7), T + 60_000).unwrap();
    assert_eq!((last.complete, last.hot_left, last.returned_ms), (true, 2, None));
    assert!(!recorder.is_open());
}
