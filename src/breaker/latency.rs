//! Latency as a bounded sketch: counts in buckets an eighth of an octave wide, from 64 µs to 67 s, in a ring of
//! cells. A quantile read from it is at most 6.25 % off; no sample is stored.

use std::time::{Duration, Instant};

use super::window::Ring;

const OCTAVE_FIRST: u32 = 6;
const OCTAVE_LAST: u32 = 25;
const BUCKETS: usize = ((OCTAVE_LAST - OCTAVE_FIRST + 1) * 8) as usize;

/// Counts per bucket.
#[derive(Clone, Debug)]
struct Sketch([u32; BUCKETS]);

impl Default for Sketch {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

/// The bucket of a duration.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.clamp(1 << OCTAVE_FIRST, (1 << (OCTAVE_LAST + 1)) - 1);
    let octave = micros.ilog2();
    let eighth = (micros >> (octave - 3)) & 7;
    usize::try_from(u64::from(octave - OCTAVE_FIRST) * 8 + eighth).unwrap_or(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let (octave, eighth) = (bucket / 8 + u64::from(OCTAVE_FIRST), bucket % 8);
    let width = 1_u64 << (octave - 3);
    Duration::from_micros((8 + eighth) * width + width / 2)
}

/// What the sketch makes of one sample: the middle of its bucket.
#[cfg(test)]
pub(super) fn rounded(took: Duration) -> Duration {
    middle(bucket(took))
}

/// The 95th percentile of a sliding window.
#[derive(Debug)]
pub(super) struct Latency {
    ring: Ring<Sketch>,
    total: Sketch,
    samples: u64,
}

impl Latency {
    /// Sixty cells over `window`.
    pub(super) fn new(window: Duration, origin: Instant) -> Self {
        Self { ring: Ring::new(window, window / 60, origin), total: Sketch::default(), samples: 0 }
    }

    pub(super) fn add(&mut self, took: Duration, now: Instant) {
        self.advance(now);
        let place = bucket(took);
        let cell = self.ring.current().and_then(|cell| cell.0.get_mut(place));
        if let (Some(cell), Some(total)) = (cell, self.total.0.get_mut(place)) {
            // A cell that is full stops counting: total and cell stay equal, and p95 does not notice.
            if *cell < u32::MAX && *total < u32::MAX {
                *cell += 1;
                *total += 1;
                self.samples += 1;
            }
        }
    }

    pub(super) fn samples(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.samples
    }

    pub(super) const fn last_samples(&self) -> u64 {
        self.samples
    }

    /// The 95th percentile by nearest rank; `None` without samples.
    pub(super) fn p95(&mut self, now: Instant) -> Option<Duration> {
        self.advance(now);
        let rank = self.samples.checked_mul(95)?.div_ceil(100);
        let mut below = 0;
        let place = self.total.0.iter().position(|count| {
            below += u64::from(*count);
            below >= rank && below > 0
        })?;
        Some(middle(place))
    }

    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.total = Sketch::default();
        self.samples = 0;
    }

    fn advance(&mut self, now: Instant) {
        let (total, samples) = (&mut self.total, &mut self.samples);
        self.ring.advance(now, |cell| {
            for (sum, count) in total.0.iter_mut().zip(cell.0) {
                *sum = sum.saturating_sub(count);
                *samples = samples.saturating_sub(u64::from(count));
            }
        });
    }
}

/// What a healthy round trip takes.
///
/// ```text
/// baseline = max(p95 of the legacy leg over the same window, learnt)
/// learnt   = first p95 with enough samples, then once per window learnt += (p95 − learnt) / 8,
///            never while p95 is over the limit, never above `baseline_max`
/// ```
#[derive(Debug, Default)]
pub(super) struct Baseline {
    learnt: Option<(Duration, Instant)>,
}

impl Baseline {
    /// The baseline now; `None` until enough was learnt.
    pub(super) fn value(&self, legacy_p95: Option<Duration>) -> Option<Duration> {
        let (learnt, _) = self.learnt?;
        Some(learnt.max(legacy_p95.unwrap_or_default()))
    }

    /// Learns from a healthy p95, at most once per `every`.
    pub(super) fn learn(&mut self, p95: Duration, limits: (Duration, Duration), now: Instant) {
        let (every, max) = limits;
        let next = match self.learnt {
            None => p95,
            Some((_, at)) if now.saturating_duration_since(at) < every => return,
            Some((old, _)) if p95 >= old => old + (p95 - old) / 8,
            Some((old, _)) => old - (old - p95) / 8,
        };
        self.learnt = Some((next.min(max), now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn buckets_cover_the_range_without_gaps() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_micros(64)), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        for place in 0..BUCKETS {
            assert_eq!(bucket(middle(place)), place);
        }
    }

    #[test]
    fn old_samples_leave_the_percentile() {
        let start = origin();
        let mut latency = Latency::new(Duration::from_secs(600), start);
        latency.add(Duration::from_secs(5), start);
        latency.add(Duration::from_millis(1), start + Duration::from_secs(300));
        assert!(latency.p95(start + Duration::from_secs(599)).unwrap() > Duration::from_secs(4));
        assert!(latency.p95(start + Duration::from_secs(600)).unwrap() < Duration::from_millis(2));
        assert_eq!(latency.p95(start + Duration::from_secs(2_000)), None);
    }

    #[test]
    fn the_baseline_moves_by_an_eighth_per_window_and_stays_under_its_ceiling() {
        let (start, ms) = (origin(), Duration::from_millis);
        let limits = (Duration::from_secs(600), ms(250));
        let mut baseline = Baseline::default();
        assert_eq!(baseline.value(Some(ms(9))), None, "nothing learnt yet");
        baseline.learn(ms(80), limits, start);
        baseline.learn(ms(160), limits, start + Duration::from_secs(599));
        assert_eq!(baseline.value(None), Some(ms(80)), "not before a window has passed");
        baseline.learn(ms(160), limits, start + Duration::from_secs(600));
        assert_eq!(baseline.value(None), Some(ms(90)));
        baseline.learn(ms(10), limits, start + Duration::from_secs(1_200));
        assert_eq!(baseline.value(None), Some(ms(80)));
        assert_eq!(baseline.value(Some(ms(300))), Some(ms(300)), "the legacy leg itself is slower");
        baseline.learn(ms(9_000), limits, start + Duration::from_secs(1_800));
        assert_eq!(baseline.value(None), Some(ms(250)));
    }

    proptest! {
        #[test]
        fn p95_is_within_an_eighth_of_an_octave_of_the_truth(
            micros in prop::collection::vec(64_u64..60_000_000, 1..300),
        ) {
            let start = origin();
            let mut latency = Latency::new(Duration::from_secs(600), start);
            for value in &micros {
                latency.add(Duration::from_micros(*value), start);
            }
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * 95).div_ceil(100) - 1];
            let found = u64::try_from(latency.p95(start).unwrap().as_micros()).unwrap();
            prop_assert!(found.abs_diff(exact) * 16 <= exact + 16, "found {}, exact {}", found, exact);
            prop_assert_eq!(latency.last_samples(), micros.len() as u64);
        }
    }
}
