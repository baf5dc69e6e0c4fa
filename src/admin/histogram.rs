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

/// A distribution over edges of its own: for what is not a latency in milliseconds, and for one that a single thread
/// counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    edges: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Spread {
    /// Nothing counted yet.
    #[must_use]
    pub fn over(edges: &'static [f64]) -> Self {
        Self { edges, counts: vec![0; edges.len() + 1], sum: 0.0 }
    }

    /// What was counted elsewhere: per bucket, not cumulative, the last beyond the last edge.
    #[must_use]
    pub fn of(edges: &'static [f64], counts: &[u64], sum: f64) -> Self {
        let mut counts = counts.to_vec();
        counts.resize(edges.len() + 1, 0);
        Self { edges, counts, sum }
    }

    /// Counts one value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.edges.partition_point(|edge| *edge < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.sum += value;
        }
    }

    /// Upper edges with the counts below them, cumulative.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        self.edges.iter().zip(&self.counts).scan(0, |total, (edge, count)| {
            *total += count;
            Some((*edge, *total))
        })
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum
    }
}

impl From<Readings> for Spread {
    fn from(readings: Readings) -> Self {
        Self::of(&EDGES, &readings.counts, readings.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_counts_below_its_edges_and_keeps_what_is_beyond_them() {
        let mut sizes = Spread::over(&[1.0, 10.0]);
        for value in [0.5, 1.0, 2.0, 10.0, 11.0] {
            sizes.observe(value);
        }
        assert_eq!(sizes.cumulative().collect::<Vec<_>>(), [(1.0, 2), (10.0, 4)]);
        assert_eq!((sizes.count(), sizes.sum()), (5, 24.5));
        // Too few counts, as from a thread of another build: nothing is made up.
        assert_eq!(Spread::of(&[1.0, 10.0], &[3], 1.5).count(), 3);
        assert_eq!(Spread::default().count(), 0);
    }

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
