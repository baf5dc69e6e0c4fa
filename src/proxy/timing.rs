//! How long things take on the data threads, counted in buckets of plain atomics: no lock, no allocation, and no
//! clock of its own. Ten microseconds to thirty seconds, 0.1 s and 0.5 s among the edges.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::SessionCounters;
use crate::session::Direction;

/// Upper edges in seconds; beyond the last is the bucket of infinity.
pub const TIMING_EDGES: [f64; 20] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

const BUCKETS: usize = TIMING_EDGES.len() + 1;

/// See the module.
#[derive(Debug, Default)]
pub struct Timing {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Timing {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let bucket = TIMING_EDGES.partition_point(|edge| *edge < took.as_secs_f64());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Adds what it holds to `counts` (per bucket, not cumulative); its sum in seconds.
    pub fn add_to(&self, counts: &mut [u64; BUCKETS]) -> f64 {
        for (sum, count) in counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// One of so many turns of a worker's legacy sessions is timed: a second look at the clock for each would be felt.
const TURNS_PER_SAMPLE: u64 = 64;

impl SessionCounters {
    /// A turn is over in which bytes passed on the legacy lane and none were left. One of many asks `took`.
    pub(super) fn turned(&self, took: impl FnOnce() -> Duration) {
        // The worker is the only writer: no read-modify-write is needed.
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
        if turns.is_multiple_of(TURNS_PER_SAMPLE) {
            self.overhead.observe(took());
        }
    }
}

/// Since when one direction's bytes wait for a peer that takes none.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Instant>);

impl Held {
    /// Whether they wait at `now`.
    pub(super) fn note(&mut self, waits: bool, dir: Direction, counters: &SessionCounters, now: Instant) {
        let (open, over) = (&counters.held[dir as usize], &counters.held_us[dir as usize]);
        match (waits, self.0) {
            (true, None) => {
                self.0 = Some(now);
                open.fetch_add(1, Ordering::Relaxed);
            }
            (false, Some(since)) => {
                self.0 = None;
                open.fetch_sub(1, Ordering::Relaxed);
                let took = now.saturating_duration_since(since).as_micros();
                over.fetch_add(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_open_while_it_lasts_and_counted_when_it_is_over() {
        #[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let counters = SessionCounters::default();
        let mut held = Held::default();
        let seen = || {
            let figure = |dir: usize| counters.held_us[dir].load(Ordering::Relaxed);
            (counters.held[1].load(Ordering::Relaxed), figure(0), figure(1))
        };
        held.note(false, Direction::Down, &counters, at(0));
        assert_eq!(seen(), (0, 0, 0));
        for ms in [10, 20, 30] {
            held.note(true, Direction::Down, &counters, at(ms));
            assert_eq!(seen(), (1, 0, 0), "one wait, however often it is looked at");
        }
        held.note(false, Direction::Down, &counters, at(250));
        held.note(false, Direction::Down, &counters, at(900));
        assert_eq!(seen(), (0, 0, 240_000));
    }

    #[test]
    fn one_of_sixty_four_turns_is_timed() {
        let counters = SessionCounters::default();
        let mut asked = 0;
        for _ in 0..129 {
            counters.turned(|| {
                asked += 1;
                Duration::from_micros(20)
            });
        }
        assert_eq!(asked, 3);
        let mut counts = [0; BUCKETS];
        let sum = counters.overhead.add_to(&mut counts);
        assert_eq!((counts[1], counts.iter().sum::<u64>()), (3, 3));
        assert!((sum - 0.00006).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn several_threads_figures_add_up_and_an_edge_belongs_below() {
        let (one, other) = (Timing::default(), Timing::default());
        for millis in [100, 101, 500, 40_000] {
            one.observe(Duration::from_millis(millis));
        }
        other.observe(Duration::from_micros(10));
        let mut counts = [0; BUCKETS];
        let sum = one.add_to(&mut counts) + other.add_to(&mut counts);
        let at = |edge: f64| counts[TIMING_EDGES.iter().position(|other| *other == edge).unwrap()];
        assert_eq!((at(0.00001), at(0.1), at(0.25), at(0.5), counts[BUCKETS - 1]), (1, 1, 1, 1, 1));
        assert!((sum - 40.70101).abs() < 1e-9, "{sum}");
    }
}
