//! Names of batches: ULIDs made of a given time and a given seed, rising strictly within a process.
//! The seed keeps two pods, and two lives of one pod, apart; it is not a secret.

use ulid::Ulid;

const RANDOM_BITS: u32 = 80;

/// A source of batch names.
#[derive(Clone, Copy, Debug)]
pub struct BatchIds {
    state: u64,
    last: Ulid,
}

impl BatchIds {
    /// Names that follow from `seed`, which should be random.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, last: Ulid(0) }
    }

    /// The next name. If the clock stands or goes back, the last name plus one.
    pub fn next(&mut self, unix_ms: u64) -> Ulid {
        let random = (u128::from(self.draw()) << 64 | u128::from(self.draw())) & ((1 << RANDOM_BITS) - 1);
        let fresh = Ulid::from_parts(unix_ms, random);
        self.last = if fresh.timestamp_ms() > self.last.timestamp_ms() {
            fresh
        } else {
            Ulid(self.last.0.wrapping_add(1))
        };
        self.last
    }

    /// SplitMix64: small, seeded, good enough to tell names apart.
    const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_rise_whatever_the_clock_does_and_differ_by_seed() {
        let mut ids = BatchIds::new(7);
        let names: Vec<Ulid> = [5, 5, 5, 9, 3, 9, 10].into_iter().map(|ms| ids.next(ms)).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert_eq!(names[6].timestamp_ms(), 10);
        assert_eq!(BatchIds::new(7).next(5), names[0]);
        assert_ne!(BatchIds::new(8).next(5), names[0]);
    }
}
