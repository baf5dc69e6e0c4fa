//! Rates as Realtime keeps them: counts in buckets of 5 s, averaged over at most twelve, looked at when a bucket ends.
//! A burst therefore passes, and a trip lasts until the average has fallen (recordings 05a and 05b). Requests over HTTP
//! are counted by the second (recording 05b: a rolling rate of 1 half a second after the first request).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Length of a bucket.
pub(super) const BUCKET: Duration = Duration::from_secs(5);
/// Length of a bucket of requests.
const BUCKET_OF_REQUESTS: Duration = Duration::from_secs(1);
/// What is averaged over, at most.
const WINDOW: Duration = Duration::from_secs(60);

/// One counter. It starts with its first count and forgets everything after a silent minute.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    bucket: Duration,
    done: VecDeque<u64>,
    current: u64,
    ends: Option<Instant>,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { bucket: BUCKET, done: VecDeque::new(), current: 0, ends: None }
    }
}

impl Rate {
    /// A counter whose first bucket begins now, counts or not.
    #[must_use]
    pub(super) fn started(now: Instant) -> Rate {
        Rate { ends: Some(now + BUCKET), ..Rate::default() }
    }

    /// A counter of requests, which begins with the first one.
    #[must_use]
    pub(super) fn of_requests() -> Rate {
        Rate { bucket: BUCKET_OF_REQUESTS, ..Rate::default() }
    }

    /// Counts `events` in the bucket of `now`.
    pub(super) fn count(&mut self, events: u64, now: Instant) {
        self.advance(now);
        self.ends.get_or_insert(now + self.bucket);
        self.current = self.current.saturating_add(events);
    }

    /// Events per second over the finished buckets; zero before the first one has ended.
    pub(super) fn average(&mut self, now: Instant) -> f64 {
        self.advance(now);
        if self.done.is_empty() {
            return 0.0;
        }
        let seconds =
            self.bucket.as_secs_f64() * f64::from(u32::try_from(self.done.len()).unwrap_or(u32::MAX));
        let events: u64 = self.done.iter().sum();
        f64::from(u32::try_from(events).unwrap_or(u32::MAX)) / seconds
    }

    /// Whether the average has reached `limit`.
    pub(super) fn tripped(&mut self, limit: u32, now: Instant) -> bool {
        self.average(now) >= f64::from(limit)
    }

    fn advance(&mut self, now: Instant) {
        let most = usize::try_from(WINDOW.as_secs() / self.bucket.as_secs().max(1)).unwrap_or(1);
        let mut steps = 0;
        while let Some(end) = self.ends.filter(|end| *end <= now) {
            self.done.push_back(std::mem::take(&mut self.current));
            if self.done.len() > most {
                self.done.pop_front();
            }
            self.ends = Some(end + self.bucket);
            steps += 1;
            if steps > most {
                *self = Rate { bucket: self.bucket, ..Rate::default() };
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "one origin for the virtual clock")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_burst_passes_until_its_bucket_ends() {
        let start = origin();
        let mut rate = Rate::default();
        rate.count(136, start);
        assert!(!rate.tripped(5, start + Duration::from_millis(4_999)));
        assert!(rate.tripped(5, start + Duration::from_secs(5)));
        assert!(rate.tripped(5, start + Duration::from_secs(25)), "136 in 25 s are still 5.4 a second");
        assert!(!rate.tripped(5, start + Duration::from_secs(30)));
    }

    #[test]
    fn a_silent_minute_is_forgotten() {
        let start = origin();
        let mut rate = Rate::default();
        rate.count(1_000_000, start);
        assert!(rate.tripped(5, start + Duration::from_secs(59)));
        assert!(!rate.tripped(5, start + Duration::from_secs(70)));
        rate.count(1, start + Duration::from_secs(71));
        assert!(rate.average(start + Duration::from_secs(76)) < 1.0);
    }

    #[test]
    fn requests_are_averaged_by_the_second_since_the_first() {
        let start = origin();
        let mut rate = Rate::of_requests();
        assert!(!rate.tripped(1, start), "nothing yet");
        rate.count(3, start + Duration::from_secs(30));
        let after = |ms: u64| start + Duration::from_millis(30_000 + ms);
        assert_eq!(rate.average(after(999)).to_string(), "0");
        assert_eq!(rate.average(after(1_000)).to_string(), "3");
        assert_eq!(rate.average(after(3_000)).to_string(), "1");
        rate.count(60, after(59_500));
        assert_eq!(rate.average(after(60_000)).to_string(), "1.05", "63 in 60 seconds");
        assert_eq!(rate.average(after(61_000)).to_string(), "1", "the first three are forgotten");
    }
}
