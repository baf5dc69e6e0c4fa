//! How long the legacy leg takes inside this process: from the moment a worker has read what the service sent, until
//! the client's socket has taken it. The breaker's latency baseline is never below it (record 0027).
//!
//! One sample in 20 ms and worker, of mirrored sessions on the legacy lane. A client that is behind gives none: its
//! slowness holds up what comes by Realtime just as much. The worker writes into a ring of atomics and nobody waits;
//! the ops thread takes them out once a second, and what it is too late for is overwritten.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A worker measures at most this often.
const EVERY: Duration = Duration::from_millis(20);
/// Samples that wait: more than come within a second.
const RING: usize = 64;

/// Samples of one worker, in µs; 0 is none.
#[derive(Debug)]
pub struct LegSamples([AtomicU32; RING]);

impl Default for LegSamples {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl LegSamples {
    /// Takes out what is there.
    pub fn take(&self) -> impl Iterator<Item = Duration> + '_ {
        let taken = self.0.iter().map(|slot| slot.swap(0, Ordering::Relaxed));
        taken.filter(|us| *us > 0).map(|us| Duration::from_micros(u64::from(us)))
    }
}

/// A worker's own part.
#[derive(Debug, Default)]
pub(super) struct LegClock {
    due: Cell<Option<Instant>>,
    next: Cell<usize>,
}

impl LegClock {
    /// What was read at `read_at` has just been taken by the client's socket. Asks for the time only when a sample is
    /// due.
    pub(super) fn taken(&self, read_at: Instant, samples: &LegSamples, now: impl FnOnce() -> Instant) {
        if self.due.get().is_some_and(|due| read_at < due) {
            return;
        }
        self.due.set(Some(read_at + EVERY));
        let took = now().saturating_duration_since(read_at).as_micros();
        let place = self.next.get();
        self.next.set((place + 1) % RING);
        if let Some(slot) = samples.0.get(place) {
            slot.store(u32::try_from(took).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn one_sample_in_twenty_milliseconds_and_each_is_taken_once() {
        let (clock, samples, begin) = (LegClock::default(), LegSamples::default(), origin());
        for ms in 0..100 {
            let at = begin + Duration::from_millis(ms);
            clock.taken(at, &samples, || at + Duration::from_micros(10 + ms));
        }
        let took: Vec<u128> = samples.take().map(|took| took.as_micros()).collect();
        assert_eq!(took, [10, 30, 50, 70, 90]);
        assert_eq!(samples.take().count(), 0);
    }

    #[test]
    fn what_nobody_takes_is_overwritten() {
        let (clock, samples, begin) = (LegClock::default(), LegSamples::default(), origin());
        for number in 0..1_000 {
            let at = begin + number * EVERY;
            clock.taken(at, &samples, || at + Duration::from_micros(u64::from(number)));
        }
        let took: Vec<u128> = samples.take().map(|took| took.as_micros()).collect();
        assert_eq!(took.len(), RING);
        assert!(took.iter().all(|us| (936..1_000).contains(us)), "{took:?}");
    }
}
