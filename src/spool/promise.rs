//! What a kill takes along at most, written ahead: "no more than N messages will have been seen". Whoever finds the
//! last promise of a process that ended without a word knows an upper bound of what died with it.
//!
//! Two slots in one small file are overwritten in turn, so that a torn write leaves the older one, and a full disk has
//! room for both.

use crate::envelope::crc32;

/// Bytes of one slot.
pub const SLOT_LEN: usize = 48;
/// The last byte is the version.
const MAGIC: [u8; 4] = [0xFF, b'C', b'P', 1];
/// Messages that may be seen before the next promise, at least.
const AHEAD_MIN: u64 = 2_048;
/// The busiest span between two accounts (a quarter of a second) fits so often.
const AHEAD_SPANS: u64 = 16;
/// The busiest span is forgotten by this part at each account.
const FADE: u64 = 64;

/// One promise. Counts are messages by recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Rising by one with each.
    pub number: u64,
    /// So many will have been seen at most before the next promise is on the disk.
    pub seen_max: u64,
    /// Seen when it was made.
    pub seen: u64,
    /// Of these, in memory only, or given up by the disk and in no account yet.
    pub at_risk: u64,
}

impl Promise {
    /// What a kill takes along at most. What is on disk as well is counted, too: it may be settled by then.
    #[must_use]
    pub const fn lost_at_most(&self) -> u64 {
        self.at_risk.saturating_add(self.seen_max.saturating_sub(self.seen))
    }

    /// Where it is written, and what.
    #[must_use]
    pub fn slot(&self) -> (u64, [u8; SLOT_LEN]) {
        let mut out = [0; SLOT_LEN];
        let fields = [self.number, self.seen_max, self.seen, self.at_risk].map(u64::to_le_bytes);
        let bytes = MAGIC.into_iter().chain([0; 4]).chain(fields.into_iter().flatten());
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        let crc = crc32(out.get(..SLOT_LEN - 4).unwrap_or_default());
        if let Some(last) = out.last_chunk_mut::<4>() {
            *last = crc.to_le_bytes();
        }
        (self.number % 2 * SLOT_LEN as u64, out)
    }

    /// The newest whole promise of a file.
    #[must_use]
    pub fn newest(file: &[u8]) -> Option<Self> {
        file.chunks_exact(SLOT_LEN).filter_map(Self::decode).max_by_key(|one| one.number)
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let (body, crc) = slot.split_last_chunk::<4>()?;
        let fields = body.strip_prefix(&MAGIC)?.get(4..)?;
        if crc != &crc32(body).to_le_bytes() {
            return None;
        }
        let mut fields = fields.chunks_exact(8).map(|one| one.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || fields.next();
        Some(Self { number: next()?, seen_max: next()?, seen: next()?, at_risk: next()? })
    }
}

/// How far ahead a promise reaches: far enough for a disk that is slow for two seconds, or for one message to every
/// open session at once; no farther, because all of it is declared lost after a kill.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    seen: u64,
    busiest: u64,
}

impl Ahead {
    /// An account has come: so many were seen by now, and so many sessions are open. How many more are promised.
    pub fn account(&mut self, seen: u64, sessions: u64) -> u64 {
        let span = seen.saturating_sub(self.seen);
        self.seen = seen;
        self.busiest = (self.busiest - self.busiest / FADE).max(span);
        AHEAD_MIN.max(sessions.saturating_mul(2)).max(self.busiest.saturating_mul(AHEAD_SPANS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_slot_counts_and_a_torn_one_leaves_the_older() {
        let mut file = [0; 2 * SLOT_LEN];
        assert_eq!(Promise::newest(&file), None);
        let promise = |number| Promise { number, seen_max: 900 + number, seen: 400, at_risk: 7 };
        for number in 1..=5 {
            let (at, slot) = promise(number).slot();
            let at = usize::try_from(at).unwrap();
            file[at..at + SLOT_LEN].copy_from_slice(&slot);
            assert_eq!(Promise::newest(&file), Some(promise(number)));
        }
        assert_eq!(promise(5).lost_at_most(), 512);
        for byte in SLOT_LEN..file.len() {
            let mut torn = file;
            torn[byte] ^= 1;
            assert_eq!(Promise::newest(&torn), Some(promise(4)), "byte {byte}");
        }
        assert_eq!(Promise::newest(&file[..SLOT_LEN]), Some(promise(4)), "a file that was cut off");
    }

    #[test]
    fn it_reaches_farther_while_more_is_seen_and_comes_back() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.account(0, 0), 2_048);
        assert_eq!(ahead.account(0, 10_000), 20_000, "one message to every session");
        assert_eq!(ahead.account(5_000, 1), 80_000, "four seconds of it");
        let after = (0..1_000).map(|_| ahead.account(5_000, 1)).last();
        assert_eq!(after, Some(2_048), "all but forgotten");
    }
}
