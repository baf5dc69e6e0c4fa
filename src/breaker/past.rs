//! What the breaker remembers of earlier openings: how long the next cool-down is, whether the next return is
//! paced, and which trips count for the latch.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::config::{Config, LONGEST, Step};
use super::sabotage::{Sabotage, Sabotaged};
use super::saved::Saved;

/// Doubling stops here: far beyond any `cooldown_max`.
const DOUBLINGS_MAX: u32 = 20;
/// Whole share of the cohort, in 0.1 %.
pub(super) const FULL: u16 = 1_000;

/// Memory of openings.
#[derive(Debug)]
pub(super) struct Past {
    seed: u64,
    /// Openings in a row without a complete return.
    openings: u32,
    /// The next closing is a return and therefore paced.
    pub(super) paced: bool,
    /// When each counted trip stops counting, oldest first; at most `latch_trips` of them.
    trips: VecDeque<Instant>,
    pub(super) sabotaged: Sabotaged,
}

impl Past {
    pub(super) fn new(seed: u64) -> Self {
        let sabotaged = Sabotaged::default();
        Self { seed, openings: 0, paced: false, trips: VecDeque::new(), sabotaged }
    }

    /// Notes a trip; true when it is the one that latches.
    pub(super) fn trip_latches(&mut self, config: &Config, now: Instant) -> bool {
        let enough = config.latch_trips.max(1);
        self.trips.retain(|ends| *ends > now);
        self.trips.push_back(now + config.latch_window);
        while self.trips.len() > enough {
            self.trips.pop_front();
        }
        self.trips.len() >= enough && !self.sabotaged.is(Sabotage::NeverLatches)
    }

    /// Notes an opening and draws its cool-down: `cooldown × 2ⁿ`, capped, then changed by up to ± `jitter`.
    pub(super) fn opening(&mut self, config: &Config) -> Duration {
        let grows = !self.sabotaged.is(Sabotage::CooldownNeverGrows);
        let doublings = if grows { self.openings.min(DOUBLINGS_MAX) } else { 0 };
        self.openings = self.openings.saturating_add(1);
        self.paced = true;
        let max = config.cooldown_max;
        let plain = config.cooldown.checked_mul(1 << doublings).map_or(max, |long| long.min(max));
        plain.mul_f64(1.0 + config.jitter * (2.0 * self.draw() - 1.0))
    }

    /// A return is complete: the next opening is a first one.
    pub(super) fn returned(&mut self) {
        self.openings = 0;
        self.paced = false;
    }

    /// A person has looked at it.
    pub(super) fn reset(&mut self) {
        self.openings = 0;
        self.trips.clear();
    }

    /// Openings in a row, how many trips are counted, and until when the last one is.
    pub(super) fn counted(&self) -> (u32, (usize, Option<Instant>)) {
        (self.openings, (self.trips.len(), self.trips.back().copied()))
    }

    /// Trips that count for the latch at `now`, those of earlier processes included.
    pub(super) fn trips_at(&self, now: Instant) -> usize {
        self.trips.iter().filter(|ends| **ends > now).count()
    }

    /// Fills in its part of what is saved.
    pub(super) fn save(&self, saved: &mut Saved, config: &Config, now: Instant) {
        let window = config.latch_window;
        let age = |ends: &Instant| window.saturating_sub(ends.saturating_duration_since(now));
        saved.openings = self.openings;
        saved.trips_ago_ms = self.trips.iter().map(age).map(super::saved::millis).collect();
    }

    /// Adds what an earlier process remembered; it can only grow.
    pub(super) fn restore(&mut self, saved: &Saved, config: &Config, (age, now): (Duration, Instant)) {
        let window = config.latch_window;
        self.openings = self.openings.max(saved.openings.min(DOUBLINGS_MAX));
        self.paced |= saved.paced;
        let ages = saved.trips_ago_ms.iter().take(config.latch_trips);
        let left = ages.map(|ms| window.saturating_sub(Duration::from_millis(*ms).saturating_add(age)));
        self.trips.extend(left.filter(|left| !left.is_zero()).map(|left| now + left));
        self.trips.make_contiguous().sort_unstable();
    }

    /// A number in [0, 1) out of the seed (splitmix64).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The share that a return has reached after `elapsed`.
pub(super) fn share_after(steps: &[Step], elapsed: Duration) -> u16 {
    let mut left = elapsed;
    for step in steps {
        if left < step.hold {
            return step.share_permille.min(FULL);
        }
        left -= step.hold;
    }
    FULL
}

/// How long after its begin the return moves on next, or ends; `None` when it is over.
pub(super) fn next_step_after(steps: &[Step], elapsed: Duration) -> Option<Duration> {
    let mut at = Duration::ZERO;
    steps.iter().find_map(|step| {
        at = at.saturating_add(step.hold).min(LONGEST);
        (at > elapsed).then_some(at)
    })
}
