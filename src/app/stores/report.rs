//! What a pod says of itself with each heartbeat, and what all of them together are evidence of.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shared::Beat;
use crate::breaker::fleet::{ALIVE, Fleet, Report};
use crate::mirror::tally::EDGES_MS;
use crate::rollout::plan::{Evidence, Match};

/// Round trips of the last so many beats are reported: about ten minutes.
const BEATS: usize = 120;
/// Fewer round trips say nothing about p95.
const SAMPLES_MIN: u64 = 100;

/// One pod's word. Fields that a later version adds are skipped by this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Whether its breaker is closed; `None` without Supabase.
    pub(crate) closed: Option<bool>,
    /// How long ago its own evidence opened the breaker.
    pub(crate) tripped_ms: Option<u64>,
    /// Used part of its share of the plan's messages.
    pub(crate) quota: Option<f64>,
    /// Round trips of the last ten minutes, by `EDGES_MS`.
    pub(crate) latency: Vec<u64>,
    /// Pairs that the validator has compared since the share changed, and those that match.
    pub(crate) pairs: Option<(u64, u64)>,
}

/// The window over a histogram that only grows.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Vec<u64>>);

impl Window {
    /// Takes the counts since the start in and gives those of the window.
    pub(super) fn slide(&mut self, counts: &[u64]) -> Vec<u64> {
        if self.0.len() >= BEATS {
            self.0.pop_front();
        }
        self.0.push_back(counts.to_vec());
        let first = self.0.front().map_or(&[][..], Vec::as_slice);
        let before = first.iter().copied().chain(std::iter::repeat(0));
        counts.iter().zip(before).map(|(now, then)| now.saturating_sub(then)).collect()
    }
}

/// Everybody's word together. A live pod that says nothing about something leaves no evidence of it at all.
pub(super) fn together(beats: &[Beat]) -> (Fleet, Evidence) {
    let said: Vec<(Duration, Said)> =
        beats.iter().map(|beat| (beat.age, serde_json::from_str(&beat.said).unwrap_or_default())).collect();
    let reports: Vec<Report> = said
        .iter()
        .map(|(heard, said)| Report { heard: *heard, tripped: said.tripped_ms.map(Duration::from_millis) })
        .collect();
    let live: Vec<&Said> = said.iter().filter(|(age, _)| *age < ALIVE).map(|(_, said)| said).collect();
    let closed: Option<Vec<bool>> = live.iter().map(|said| said.closed).collect();
    let quota: Option<Vec<f64>> = live.iter().map(|said| said.quota).collect();
    let pairs: Option<Vec<(u64, u64)>> = live.iter().map(|said| said.pairs).collect();
    let sum = |one: (u64, u64), two: (u64, u64)| (one.0.saturating_add(two.0), one.1.saturating_add(two.1));
    let pairs = pairs.and_then(|all| all.into_iter().reduce(sum));
    let evidence = Evidence {
        matching: pairs.map(|(pairs, matched)| Match { pairs, matched }),
        breaker_closed: closed.filter(|all| !all.is_empty()).map(|all| all.into_iter().all(|closed| closed)),
        p95_ms: p95(&live),
        quota: quota.and_then(|all| all.into_iter().reduce(f64::max)),
    };
    (Fleet::of(&reports), evidence)
}

/// The upper edge of the bucket that holds 95 % of everybody's round trips.
fn p95(live: &[&Said]) -> Option<f64> {
    let count = |place: usize| live.iter().filter_map(|said| said.latency.get(place)).sum::<u64>();
    let counts: Vec<u64> = (0..=EDGES_MS.len()).map(count).collect();
    let total: u64 = counts.iter().sum();
    if total < SAMPLES_MIN {
        return None;
    }
    let mut below = 0;
    let place = counts.iter().position(|count| {
        below += count;
        below * 100 >= total * 95
    })?;
    // Beyond the last edge it is at least twice that: no gate lies there.
    let last = EDGES_MS.last().map_or(0.0, |edge| *edge as f64 * 2.0);
    Some(EDGES_MS.get(place).map_or(last, |edge| *edge as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(age_s: u64, said: &Said) -> Beat {
        Beat { age: Duration::from_secs(age_s), said: serde_json::to_string(said).expect("plain fields") }
    }

    fn good() -> Said {
        let mut latency = vec![0; EDGES_MS.len() + 1];
        latency[3] = 99;
        Said { closed: Some(true), quota: Some(0.2), latency, pairs: Some((10, 9)), ..Said::default() }
    }

    #[test]
    fn a_silent_part_is_no_evidence_and_a_bad_one_counts_for_all() {
        let (fleet, evidence) = together(&[beat(0, &good()), beat(3, &good())]);
        assert_eq!((fleet.live, fleet.trips()), (2, false));
        assert_eq!((evidence.breaker_closed, evidence.quota), (Some(true), Some(0.2)));
        assert_eq!(evidence.p95_ms, Some(EDGES_MS[3] as f64));
        assert_eq!(evidence.matching, Some(Match { pairs: 20, matched: 18 }), "the fleet's sum");
        let older: Said =
            serde_json::from_str(r#"{"closed":true,"tripped_ms":null,"quota":0.1,"latency":[]}"#)
                .expect("a pod of an older version");
        assert_eq!(
            together(&[beat(0, &good()), beat(0, &older)]).1.matching,
            None,
            "it says nothing of pairs"
        );
        let open = Said { closed: Some(false), quota: Some(0.9), tripped_ms: Some(5_000), ..good() };
        let (fleet, evidence) = together(&[beat(0, &good()), beat(0, &open), beat(0, &open)]);
        assert!(fleet.trips());
        assert_eq!((evidence.breaker_closed, evidence.quota), (Some(false), Some(0.9)));
        let garbage = Beat { age: Duration::ZERO, said: "{".to_owned() };
        let (fleet, evidence) = together(&[beat(0, &good()), garbage]);
        assert_eq!((fleet.live, evidence), (2, Evidence::default()), "99 round trips are too few besides");
        assert_eq!(together(&[beat(21, &open)]).0.live, 0, "gone");
    }

    #[test]
    fn round_trips_leave_the_window() {
        let mut window = Window::default();
        assert_eq!(window.slide(&[5]), [0]);
        for _ in 1..BEATS {
            window.slide(&[9]);
        }
        assert_eq!(window.slide(&[9]), [0], "the first look has left");
        assert_eq!(window.slide(&[12]), [3]);
    }
}
