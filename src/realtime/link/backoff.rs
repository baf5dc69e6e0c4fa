//! How long to wait before the next attempt: full jitter from a seed, so that tests repeat and fleets spread.
//! Failures are never counted up to an end: a proxy that gives up for good needs a person at night.

use std::time::Duration;

use crate::realtime::reason::Remedy;

/// A splitmix64 stream; good enough to spread clients, nothing more.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A duration from `low` up to `high`, evenly spread.
    pub(super) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low);
        low + span.mul_f64(self.unit())
    }

    /// A number in 0..1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After success that lasted.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures in a row.
    pub(super) const fn failures(self) -> u32 {
        self.failures
    }

    /// One more failure: how long to wait.
    pub(super) fn delay(&mut self, remedy: Remedy, jitter: &mut Jitter) -> Duration {
        let doubled = |first: u64, cap: u64| {
            let factor = 1u64 << self.failures.min(16);
            Duration::from_millis(first.saturating_mul(factor).min(cap))
        };
        let (low, high) = match remedy {
            Remedy::Reconnect | Remedy::Nothing => (Duration::ZERO, doubled(500, 30_000)),
            Remedy::ReturnSoon => (secs(1), secs(5)),
            Remedy::Retry => (secs(1), secs(10)),
            Remedy::BackOff | Remedy::Refresh => (doubled(2_500, 30_000), doubled(5_000, 60_000)),
            Remedy::SlowDown => (doubled(15_000, 60_000), doubled(20_000, 120_000)),
            Remedy::WaitForRoom => (secs(30), secs(120)),
            Remedy::GiveUp => (secs(240), secs(360)),
        };
        self.failures = self.failures.saturating_add(1);
        jitter.between(low, high)
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_in_their_bounds_and_differ_by_seed() {
        for (remedy, low, high) in [
            (Remedy::Reconnect, 0, 30),
            (Remedy::ReturnSoon, 1, 5),
            (Remedy::Retry, 1, 10),
            (Remedy::BackOff, 2, 60),
            (Remedy::Refresh, 2, 60),
            (Remedy::SlowDown, 15, 120),
            (Remedy::WaitForRoom, 30, 120),
            (Remedy::GiveUp, 240, 360),
        ] {
            let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(7));
            let delays: Vec<_> = (0..200).map(|_| backoff.delay(remedy, &mut jitter)).collect();
            assert!(delays.iter().all(|d| *d >= secs(low) && *d <= secs(high)), "{remedy:?} {delays:?}");
            let other = Backoff::default().delay(remedy, &mut Jitter::new(8));
            assert_ne!(delays[0], other, "{remedy:?}");
        }
    }

    #[test]
    fn the_first_reconnect_is_within_half_a_second_and_the_later_ones_spread_to_30() {
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(1));
        assert!(backoff.delay(Remedy::Reconnect, &mut jitter) <= Duration::from_millis(500));
        let later: Vec<_> = (0..100).map(|_| backoff.delay(Remedy::Reconnect, &mut jitter)).collect();
        assert!(later.iter().any(|d| *d > secs(25)) && later.iter().any(|d| *d < secs(5)), "{later:?}");
        backoff.reset();
        assert!(backoff.delay(Remedy::Reconnect, &mut jitter) <= Duration::from_millis(500));
    }
}
