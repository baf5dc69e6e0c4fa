//! A latency histogram of plain atomics, for paths that may not lock or allocate.
//! The edges hold both service levels of the migration: 0.1 s and 0.5 s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper edges in seconds; beyond the last is the bucket of infinity.
pub const EDGES: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const BUCKETS: usize = EDGES.len() + 1;

/// Counts durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// What a [`Histogram`] held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    /// Observations per bucket, not cumulative; the last is everything above 30 s.
    pub counts: [u64; BUCKETS],
    /// The sum of all observations, in seconds.
    pub seconds: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = EDGES.partition_point(|edge| *edge < seconds);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The figures of this moment.
    #[must_use]
    pub fn readings(&self) -> Readings {
        let counts = std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed));
        Readings { counts, seconds: Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_belongs_to_the_bucket_below_it() {
        let histogram = Histogram::default();
        for millis in [0, 1, 100, 101, 500, 30_000, 30_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let readings = histogram.readings();
        let at = |edge: f64| readings.counts[EDGES.iter().position(|e| *e == edge).unwrap()];
        assert_eq!((at(0.001), at(0.1), at(0.15), at(0.5), at(30.0)), (2, 1, 1, 1, 1));
        assert_eq!(readings.counts[EDGES.len()], 1, "above 30 s");
        assert!((readings.seconds - 60.703).abs() < 1e-9, "{}", readings.seconds);
    }
}
