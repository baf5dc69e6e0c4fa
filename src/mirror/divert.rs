//! What leaves the batcher for the spool instead of Realtime, and what becomes of those who waited for it.

use std::time::{Duration, Instant};

use super::batch::{BATCH_BYTES_MAX, Batch, Batcher, NOTES_SHARE, cost};
use super::lane::Lane;
use crate::envelope::ENVELOPE_OVERHEAD;
use crate::session::Key;

/// A batch for the spool is closed at this length: when it comes back, it must not hold up live traffic.
const DIVERTED_LEN: usize = 128 << 10;

/// A message that is larger than a broadcast goes to the disk as a whole, up to this length of its envelope; the disk
/// takes 8 MiB.
const WHOLE_MAX: usize = (8 << 20) - ENVELOPE_OVERHEAD;

/// Which records go to the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divert {
    /// What would be published now.
    Due,
    /// Everything.
    All,
    /// What matters least.
    Dullest,
}

impl Batcher {
    /// A batch of one class for the spool: what is due, or whatever waits (`all`). The urgent first, or the dullest
    /// where there is too much of everything; what a hot session awaits then stays.
    pub fn divert(&mut self, limit_bytes: u32, which: Divert, now: Instant) -> Option<Batch> {
        let room = (limit_bytes.min(BATCH_BYTES_MAX) as usize).saturating_sub(ENVELOPE_OVERHEAD);
        let ever = now + Duration::from_secs(3600);
        let (lanes, due): (&[usize], Instant) = match which {
            Divert::Due => (&[0, 1, 2, 3, 4], now),
            Divert::All => (&[0, 1, 2, 3, 4], ever),
            Divert::Dullest => (&[4, 3, 2, 1], ever),
        };
        let is_due =
            |lane: &&usize| self.lanes.get(**lane).and_then(Lane::due_at).is_some_and(|at| at <= due);
        let chosen = *lanes.iter().find(is_due)?;
        let mut batch = Batch::default();
        self.fill_notes(&mut batch, room / NOTES_SHARE);
        while batch.len < DIVERTED_LEN
            && let Some(lane) = self.lanes.get_mut(chosen)
            && let Some(front) = lane.front_mut()
            && batch.len + front.encoded_len() <= room
            && let Some(record) = lane.pop()
        {
            self.waiting = self.waiting.saturating_sub(cost(&record));
            batch.add(record);
        }
        if batch.records.is_empty() && !self.divert_whole(chosen, &mut batch, room) {
            // Its list of recipients has to be continued.
            self.fill_from(chosen, &mut batch, room, due);
        }
        Some(batch)
    }

    /// Takes a message that is larger than a broadcast, uncut: it is cut when it comes back.
    fn divert_whole(&mut self, chosen: usize, batch: &mut Batch, room: usize) -> bool {
        let Some(lane) = self.lanes.get_mut(chosen) else { return false };
        let is_whole = |front: &&mut super::record::Record| {
            front.part().is_none() && !front.could_fit(room) && batch.len + front.encoded_len() <= WHOLE_MAX
        };
        if lane.front_mut().filter(is_whole).is_none() {
            return false;
        }
        let Some(record) = lane.pop() else { return false };
        self.waiting = self.waiting.saturating_sub(cost(&record));
        batch.add(record);
        true
    }

    /// No hot session waits for anything in here any more; the messages that were awaited.
    pub fn unawait(&mut self) -> Vec<Key> {
        self.lanes.iter_mut().flat_map(Lane::unawait).collect()
    }

    /// Whether more than four tenths of the room are used.
    #[must_use]
    pub const fn is_crowded(&self) -> bool {
        self.waiting > self.limits.bytes / 10 * 4
    }
}
