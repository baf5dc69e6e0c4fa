//! Counts messages as Realtime does: sends and deliveries in buckets of 5 s, averaged over a minute.

use std::time::{Duration, Instant};

/// Length of a bucket.
pub const BUCKET: Duration = Duration::from_secs(5);
/// Buckets that are averaged.
pub const BUCKETS: usize = 12;

/// The meter.
#[derive(Clone, Debug)]
pub struct Meter {
    buckets: [u64; BUCKETS],
    /// Begin of the bucket that fills now.
    begun: Instant,
    place: usize,
    sends: u64,
    deliveries: u64,
}

impl Meter {
    /// An empty meter.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { buckets: [0; BUCKETS], begun: now, place: 0, sends: 0, deliveries: 0 }
    }

    /// Counts one broadcast and its deliveries.
    pub fn count(&mut self, deliveries: u32, now: Instant) {
        self.advance(now);
        self.sends += 1;
        self.deliveries += u64::from(deliveries);
        if let Some(bucket) = self.buckets.get_mut(self.place) {
            *bucket += 1 + u64::from(deliveries);
        }
    }

    /// Messages per second over the last minute, the unfinished bucket included.
    #[must_use]
    pub fn per_second(&mut self, now: Instant) -> f64 {
        self.advance(now);
        let counted: u64 = self.buckets.iter().sum();
        counted as f64 / (BUCKET.as_secs_f64() * BUCKETS as f64)
    }

    /// Broadcasts and deliveries since the start.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.sends, self.deliveries)
    }

    fn advance(&mut self, now: Instant) {
        let silent = now.saturating_duration_since(self.begun);
        if silent >= BUCKET * BUCKETS as u32 {
            self.buckets = [0; BUCKETS];
            self.begun = now;
            return;
        }
        while now.saturating_duration_since(self.begun) >= BUCKET {
            self.begun += BUCKET;
            self.place = (self.place + 1) % BUCKETS;
            if let Some(bucket) = self.buckets.get_mut(self.place) {
                *bucket = 0;
            }
        }
    }
}
