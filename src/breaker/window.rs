//! Sliding windows made of a ring of cells, one second each where the window is at least ten seconds long. A window
//! of n cells holds the current, partly filled cell and the n − 1 before it; memory never depends on traffic.

use std::mem;
use std::time::{Duration, Instant};

/// The most cells a ring may have; longer windows get wider cells.
const CELLS_MAX: u32 = 3_600;

/// A ring of cells that forgets what is older than its window.
#[derive(Debug)]
pub(super) struct Ring<T> {
    cells: Vec<T>,
    width: Duration,
    origin: Instant,
    newest: u64,
}

impl<T: Default> Ring<T> {
    /// A ring over `window` in cells of `width` (narrower for short windows, wider for very long ones).
    pub(super) fn new(window: Duration, width: Duration, origin: Instant) -> Self {
        let width = width.min(window / 10).max(window / CELLS_MAX).max(Duration::from_millis(1));
        let count = window.as_nanos().div_ceil(width.as_nanos()).clamp(1, u128::from(CELLS_MAX));
        let cells = (0..count).map(|_| T::default()).collect();
        Self { cells, width, origin, newest: 0 }
    }

    /// Moves the window to `now` and hands every cell that leaves it to `gone`. Time never runs backwards here.
    pub(super) fn advance(&mut self, now: Instant, mut gone: impl FnMut(T)) {
        let target = self.place(now);
        let Some(steps) = target.checked_sub(self.newest) else { return };
        for step in 1..=steps.min(self.cells.len() as u64) {
            let place = self.newest + step;
            if let Some(cell) = self.slot(place) {
                gone(mem::take(cell));
            }
        }
        self.newest = target;
    }

    /// The cell of the present.
    pub(super) fn current(&mut self) -> Option<&mut T> {
        self.slot(self.newest)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.cells.fill_with(T::default);
    }

    fn place(&self, now: Instant) -> u64 {
        let cells = now.saturating_duration_since(self.origin).as_nanos() / self.width.as_nanos().max(1);
        u64::try_from(cells).unwrap_or(u64::MAX)
    }

    fn slot(&mut self, place: u64) -> Option<&mut T> {
        let index = place % (self.cells.len() as u64).max(1);
        self.cells.get_mut(usize::try_from(index).ok()?)
    }
}

/// Good and bad samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Tally {
    pub(super) const fn total(self) -> u64 {
        self.good.saturating_add(self.bad)
    }

    /// The bad part, 0 when there is nothing.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts far below 2^52")]
    pub(super) fn bad_ratio(self) -> f64 {
        if self.total() == 0 { 0.0 } else { self.bad as f64 / self.total() as f64 }
    }

    /// The one-sided Wilson lower bound of the bad part.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts far below 2^52")]
    pub(super) fn bad_ratio_at_least(self, confidence: f64) -> f64 {
        let n = self.total() as f64;
        if n == 0.0 {
            return 0.0;
        }
        let (p, z) = (self.bad_ratio(), normal_quantile(confidence));
        let centre = p + z * z / (2.0 * n);
        let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        ((centre - spread) / (1.0 + z * z / n)).max(0.0)
    }
}

/// The upper quantile of the standard normal distribution for 0.5 ≤ `p` < 1, to about 0.0005 (Abramowitz and
/// Stegun, 26.2.23).
fn normal_quantile(p: f64) -> f64 {
    let tail = (1.0 - p.clamp(0.5, 0.999_999)).max(f64::MIN_POSITIVE);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

/// A sliding window of samples with its running total.
#[derive(Debug)]
pub(super) struct Window {
    ring: Ring<Tally>,
    total: Tally,
}

impl Window {
    pub(super) fn new(window: Duration, width: Duration, origin: Instant) -> Self {
        Self { ring: Ring::new(window, width, origin), total: Tally::default() }
    }

    /// Adds samples at `now`.
    pub(super) fn add(&mut self, samples: Tally, now: Instant) {
        self.advance(now);
        if let Some(cell) = self.ring.current() {
            cell.good = cell.good.saturating_add(samples.good);
            cell.bad = cell.bad.saturating_add(samples.bad);
            self.total.good = self.total.good.saturating_add(samples.good);
            self.total.bad = self.total.bad.saturating_add(samples.bad);
        }
    }

    /// What the window holds at `now`.
    pub(super) fn tally(&mut self, now: Instant) -> Tally {
        self.advance(now);
        self.total
    }

    /// What it held when it was last touched.
    pub(super) const fn last_tally(&self) -> Tally {
        self.total
    }

    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.total = Tally::default();
    }

    fn advance(&mut self, now: Instant) {
        let total = &mut self.total;
        self.ring.advance(now, |cell| {
            total.good = total.good.saturating_sub(cell.good);
            total.bad = total.bad.saturating_sub(cell.bad);
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_sample_leaves_when_its_second_has_left_the_window() {
        let start = origin();
        let mut window = Window::new(Duration::from_secs(30), SECOND, start);
        window.add(Tally { good: 0, bad: 7 }, start + Duration::from_millis(999));
        assert_eq!(window.tally(start + Duration::from_millis(29_999)).bad, 7);
        assert_eq!(window.tally(start + Duration::from_millis(30_000)).bad, 0);
    }

    #[test]
    fn a_short_window_gets_narrow_cells_and_a_long_one_wide_cells() {
        assert_eq!(Ring::<u8>::new(SECOND, SECOND, origin()).cells.len(), 10);
        assert_eq!(Ring::<u8>::new(300 * SECOND, SECOND, origin()).cells.len(), 300);
        assert_eq!(Ring::<u8>::new(7 * 86_400 * SECOND, SECOND, origin()).cells.len(), 3_600);
        assert_eq!(Ring::<u8>::new(Duration::ZERO, SECOND, origin()).cells.len(), 1);
    }

    #[test]
    fn the_wilson_bound_asks_for_nine_errors_in_a_hundred() {
        // The published table for 5 % at 95 %: 9 in 100, 34 in 500, 62 in 1,000.
        for (bad, total) in [(9, 100), (34, 500), (62, 1_000)] {
            assert!(Tally { good: total - bad, bad }.bad_ratio_at_least(0.95) > 0.05, "{bad} in {total}");
            assert!(Tally { good: total - bad + 1, bad: bad - 1 }.bad_ratio_at_least(0.95) <= 0.05);
        }
    }

    #[test]
    fn the_quantile_matches_the_known_values() {
        for (p, z) in [(0.5, 0.0), (0.9, 1.2816), (0.95, 1.6449), (0.99, 2.3263), (0.999, 3.0902)] {
            assert!((normal_quantile(p) - z).abs() < 6e-4, "{p}");
        }
    }

    proptest! {
        #[test]
        fn the_window_equals_a_recount_of_all_samples(
            moves in prop::collection::vec((0_u64..20_000, 0_u64..5, 0_u64..5), 1..200),
            seconds in 10_u32..60,
        ) {
            let start = origin();
            let mut window = Window::new(seconds * SECOND, SECOND, start);
            let mut all: Vec<(u64, Tally)> = Vec::new();
            let mut at_ms = 0;
            for (step_ms, good, bad) in moves {
                at_ms += step_ms;
                window.add(Tally { good, bad }, start + Duration::from_millis(at_ms));
                all.push((at_ms / 1_000, Tally { good, bad }));
                let held = all.iter().filter(|(second, _)| second + u64::from(seconds) > at_ms / 1_000);
                let (good, bad) = held.fold((0, 0), |(g, b), (_, t)| (g + t.good, b + t.bad));
                prop_assert_eq!(window.last_tally(), Tally { good, bad });
            }
        }
    }
}
