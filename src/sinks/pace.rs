//! How fast and how soon: a rate cap with a burst of one second, and back-off with jitter. Integers only, so that the
//! cap holds to the row over any time.

use std::time::{Duration, Instant};

/// What may be saved up: one second's worth.
const BURST_NS: u64 = 1_000_000_000;
/// The first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait of our own making.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest wait that a server may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// At most `rate` units in a second, and `rate` more at once after a pause.
#[derive(Clone, Debug)]
pub struct Pace {
    cost_ns: u64,
    credit_ns: u64,
    at: Instant,
}

impl Pace {
    /// A pace of `rate` (at least 1) units a second, its burst saved up.
    #[must_use]
    pub fn new(rate: u32, now: Instant) -> Self {
        Self { cost_ns: BURST_NS.div_ceil(u64::from(rate.max(1))), credit_ns: BURST_NS, at: now }
    }

    /// How many units may go now.
    pub fn free(&mut self, now: Instant) -> usize {
        let since = now.saturating_duration_since(self.at).as_nanos();
        self.credit_ns =
            self.credit_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)).min(BURST_NS);
        self.at = self.at.max(now);
        usize::try_from(self.credit_ns / self.cost_ns).unwrap_or(usize::MAX)
    }

    /// Takes units that [`free`](Self::free) has granted.
    pub fn take(&mut self, units: usize) {
        self.credit_ns = self.credit_ns.saturating_sub(self.cost_ns.saturating_mul(units as u64));
    }

    /// When at least one unit is free.
    #[must_use]
    pub fn next_at(&self) -> Instant {
        self.at + Duration::from_nanos(self.cost_ns.saturating_sub(self.credit_ns))
    }
}

/// Waits that double, each shortened by up to a half.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    state: u64,
}

impl Backoff {
    /// `seed` keeps pods apart.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { failures: 0, state: seed }
    }

    /// After a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// After a failure: how long to wait, and never less than what the server asked for.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let whole = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = u32::try_from((mixed ^ (mixed >> 31)) % 1000).unwrap_or(0);
        let own = whole / 2 + whole / 2 * part / 1000;
        asked.map_or(own, |asked| own.max(asked.min(RETRY_AFTER_MAX)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "any instant will do")]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_rate_and_the_burst(
            rate in 1_u32..5_000,
            steps in prop::collection::vec((0_u64..3_000, 0_usize..9_000), 1..60),
        ) {
            let start = Instant::now();
            let mut pace = Pace::new(rate, start);
            let (mut now, mut sent) = (start, Vec::new());
            for (millis, wish) in steps {
                now += Duration::from_millis(millis);
                let units = pace.free(now).min(wish);
                pace.take(units);
                sent.push((now, units as u64));
            }
            for (from, (begin, _)) in sent.iter().enumerate() {
                let mut sum = 0;
                for (at, units) in &sent[from..] {
                    sum += units;
                    let millis = u64::try_from((*at - *begin).as_millis()).unwrap();
                    prop_assert!(sum * 1000 <= u64::from(rate) * (millis + 1000));
                }
            }
        }

        #[test]
        fn waits_double_within_their_jitter_and_honour_the_server(seed: u64, asked in 0_u64..1_000) {
            let mut backoff = Backoff::new(seed);
            for step in 0..20 {
                let whole = (BACKOFF_FIRST * (1 << step.min(16))).min(BACKOFF_MAX);
                let wait = backoff.wait(None);
                prop_assert!(wait >= whole / 2 && wait <= whole, "{step}: {wait:?}");
            }
            let asked = Duration::from_secs(asked);
            prop_assert!(backoff.wait(Some(asked)) >= asked.min(RETRY_AFTER_MAX));
            backoff.reset();
            prop_assert!(backoff.wait(None) <= BACKOFF_FIRST);
        }
    }

    #[test]
    fn a_wait_is_exactly_until_the_next_unit() {
        let start = Instant::now();
        let mut pace = Pace::new(3, start);
        assert_eq!(pace.free(start), 2, "rounded down: 3 do not divide a second");
        pace.take(2);
        let at = pace.next_at();
        assert_eq!(pace.free(at - Duration::from_nanos(1)), 0);
        assert_eq!(pace.free(at), 1);
    }
}
