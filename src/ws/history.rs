//! The last 32 KiB that a direction's messages inflated to: what DEFLATE calls the window. Kept outside the
//! decompressor, so that one can be dropped while the session is idle, and replaced after a final block.

use std::sync::Arc;

use super::paid::{PaidBuf, Unpaid};
use crate::budget::Budget;

/// The largest window of RFC 1951, and of RFC 7692 with 15 window bits.
pub(super) const WINDOW_BYTES: usize = 32 * 1024;

/// A ring of at most [`WINDOW_BYTES`], paid for in full before its first byte: running out of budget half-way would
/// cost the direction.
#[derive(Debug, Default)]
pub(super) struct History {
    ring: PaidBuf,
    /// Where the oldest byte is, once the ring is full.
    oldest: usize,
}

impl History {
    /// Makes and pays the room; does nothing when that has been done.
    pub(super) fn reserve(&mut self, budget: &Arc<Budget>) -> Result<(), Unpaid> {
        self.ring.grow(WINDOW_BYTES - self.ring.len(), WINDOW_BYTES, budget)
    }

    /// No room was made yet.
    pub(super) fn is_unpaid(&self) -> bool {
        self.ring.capacity() == 0
    }

    /// Appends what was inflated; only the end of it matters.
    pub(super) fn push(&mut self, out: &[u8]) {
        let out = out.get(out.len().saturating_sub(WINDOW_BYTES)..).unwrap_or(out);
        let (fill, wrap) = out.split_at(out.len().min(WINDOW_BYTES - self.ring.len()));
        self.ring.bytes_mut().extend_from_slice(fill);
        let ring = self.ring.bytes_mut();
        let room = WINDOW_BYTES - self.oldest;
        let (end, start) = wrap.split_at(wrap.len().min(room));
        for (from, at) in [(end, self.oldest), (start, 0)] {
            if let Some(slots) = ring.get_mut(at..at + from.len()) {
                slots.copy_from_slice(from);
            }
        }
        self.oldest = (self.oldest + wrap.len()) % WINDOW_BYTES;
    }

    /// The window in order, oldest byte first.
    pub(super) fn window(&mut self) -> &[u8] {
        let ring = self.ring.bytes_mut();
        let oldest = self.oldest.min(ring.len());
        ring.rotate_left(oldest);
        self.oldest = 0;
        ring
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_the_end_of_everything_pushed(
            sizes in proptest::collection::vec(
                prop_oneof![0usize..300, 8_000usize..9_000, 32_000usize..70_000], 0..12),
            look in any::<u16>(),
        ) {
            let budget = Budget::new(1 << 20);
            let mut history = History::default();
            history.reserve(&budget).unwrap();
            history.reserve(&budget).unwrap();
            let mut all: Vec<u8> = Vec::new();
            for (i, size) in sizes.into_iter().enumerate() {
                let piece: Vec<u8> = (0..size).map(|at| (at * 7 + all.len() * 13 + i) as u8).collect();
                all.extend(&piece);
                history.push(&piece);
                if look & (1 << i) != 0 {
                    let tail = &all[all.len().saturating_sub(WINDOW_BYTES)..];
                    prop_assert!(history.window() == tail);
                }
            }
            prop_assert!(history.window() == &all[all.len().saturating_sub(WINDOW_BYTES)..]);
            prop_assert_eq!(budget.used(), WINDOW_BYTES as u64);
            prop_assert_eq!(history.ring.bytes_mut().capacity(), WINDOW_BYTES);
        }
    }
}
