//! What came back against what was sent: the counts and the latency that say how well both sides agree.
//! Messages are counted as the ledger does, by (session, seq); broadcasts where nothing better is known.

use std::time::Duration;

/// Upper edges of the latency buckets, in milliseconds; one more bucket is open above.
pub const EDGES_MS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// Figures since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages read back with the right length, checksum and recipients.
    pub matched: u64,
    /// Messages read back otherwise, counted at each sight.
    pub altered: u64,
    /// Messages published, repeated and never read back.
    pub missing: u64,
    /// Batches read back again after they were settled.
    pub duplicate: u64,
    /// Batches read back after their deadline or only when repeated.
    pub late: u64,
    /// Read-backs of batches that this publisher does not know.
    pub unknown: u64,
    /// Read-backs that are no envelope.
    pub malformed: u64,
    /// Repetitions sent.
    pub republished: u64,
    /// Time from first transmission to read-back, per batch.
    pub latency: Histogram,
    /// Time from the tap to the read-back, per record.
    pub leg: Histogram,
}

/// A histogram with fixed buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; EDGES_MS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, took: Duration) {
        let bucket = EDGES_MS.iter().position(|edge| took <= Duration::from_millis(*edge));
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(EDGES_MS.len())) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The upper edge of the bucket in which this part of the durations ends; nothing without one, and the last edge
    /// for what is beyond it.
    #[must_use]
    pub fn quantile_ms(&self, part: f64) -> Option<u64> {
        let count = self.count();
        let rank = (count as f64 * part).ceil() as u64;
        let mut below = 0;
        let bucket = self.counts.iter().position(|in_it| {
            below += in_it;
            below >= rank
        })?;
        (count > 0).then(|| EDGES_MS.get(bucket).or(EDGES_MS.last()).copied()).flatten()
    }

    /// Counts per bucket, not cumulative; the last is open above.
    #[must_use]
    pub const fn counts(&self) -> &[u64; EDGES_MS.len() + 1] {
        &self.counts
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_belong_to_the_bucket_below() {
        let mut latency = Histogram::default();
        for ms in [0, 1, 2, 500, 501, 10_000, 60_000] {
            latency.record(Duration::from_millis(ms));
        }
        let counts = latency.counts();
        assert_eq!((counts[0], counts[1], counts[8], counts[9], counts[12], counts[13]), (2, 1, 1, 1, 1, 1));
        assert_eq!((latency.count(), latency.sum()), (7, Duration::from_millis(71_004)));
    }
}
