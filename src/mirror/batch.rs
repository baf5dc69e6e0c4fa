//! Collects records into batches: what a hot session awaits goes at once, the rest by the age and size of its
//! class, identical messages once. Bounded; the caller settles what it refuses.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::record::Record;
use crate::envelope::{Class, ENVELOPE_OVERHEAD, NOTE_OVERHEAD, SessionNote, escaped_len};
use crate::ledger::Shed;
use crate::session::Key;

/// No batch is larger, encoded, whatever the plan allows.
pub const BATCH_BYTES_MAX: u32 = 1 << 20;
/// What one waiting message costs of [`Limits::bytes`] besides its payload, collapsed or not.
pub const RECIPIENT_COST: u64 = 64;
/// How many session notes may wait; the oldest gives way, for notes repeat each minute.
pub const NOTES_MAX: usize = 4096;
/// How long a session note waits for a batch to ride on.
const NOTE_AGE: Duration = Duration::from_millis(500);
/// Notes take at most this part of a batch.
pub(super) const NOTES_SHARE: usize = 8;
/// A lane whose front found no room in so many batches goes first once, so that size cannot starve it.
const PASSED_OVER_MAX: u8 = 8;
const LANES: usize = 1 + Class::ALL.len();

/// What may wait in the batcher.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Payload bytes and [`RECIPIENT_COST`] of everything waiting. `low` may fill half of it, `medium` three
    /// quarters, `high` nine tenths, `critical` and awaited messages all: the dull is refused first.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 20 }
    }
}

/// A record that found no room, and the reason to settle it with.
#[derive(Debug)]
pub struct Refused {
    /// The record.
    pub record: Record,
    /// Why: `QueueFull` or `TooLarge`.
    pub why: Shed,
}

impl Refused {
    /// Settles it; the awaited messages in it, for their windows.
    pub fn shed(self) -> Vec<Key> {
        self.record.shed(self.why)
    }
}

/// What one broadcast will carry.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) notes: Vec<SessionNote<'static>>,
    /// Upper bound of the encoded length, in bytes.
    pub(super) len: usize,
}

impl Batch {
    /// A batch without messages: its round trip is a sample when traffic is thin.
    #[must_use]
    pub fn sentinel() -> Self {
        Self::default()
    }

    /// A batch of one record.
    #[must_use]
    pub fn of(record: Record) -> Self {
        let mut batch = Self::default();
        batch.add(record);
        batch
    }

    /// The records in the order in which they are sent.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Upper bound of the encoded length, in bytes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        ENVELOPE_OVERHEAD + self.len
    }

    pub(super) fn add(&mut self, record: Record) {
        self.len += record.encoded_len();
        self.records.push(record);
    }
}

/// Figures of the batcher since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// Batches taken.
    pub batches: u64,
    /// Records taken.
    pub records: u64,
    /// Messages that travelled on another one's bytes.
    pub collapsed: u64,
    /// Records whose list of recipients continued in a later batch.
    pub continued: u64,
    /// Messages that were larger than a batch and travel in pieces.
    pub split: u64,
    /// Session notes that gave way to newer ones.
    pub notes_dropped: u64,
}

/// The queues between classification and publishing. Drop it only empty: see [`shed_all`](Self::shed_all).
#[derive(Debug)]
pub struct Batcher {
    /// Awaited first, then the classes: the order of service.
    pub(super) lanes: [Lane; LANES],
    pub(super) limits: Limits,
    pub(super) waiting: u64,
    /// The last known limit of a batch.
    batch_len_max: usize,
    oversize: VecDeque<Refused>,
    notes: VecDeque<SessionNote<'static>>,
    notes_since: Option<Instant>,
    counts: BatchCounts,
    #[cfg(test)]
    pub(super) sabotage: Option<super::Sabotage>,
}

impl Batcher {
    /// An empty batcher.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let lane = |class: Class| {
            let (count, age) = pace(class);
            Lane::new(count, age)
        };
        let [critical, high, medium, low] = Class::ALL.map(lane);
        Self {
            lanes: [Lane::new(1, Duration::ZERO), critical, high, medium, low],
            limits,
            waiting: 0,
            batch_len_max: BATCH_BYTES_MAX as usize,
            oversize: VecDeque::new(),
            notes: VecDeque::new(),
            notes_since: None,
            counts: BatchCounts::default(),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// Queues a record.
    ///
    /// # Errors
    /// The record, if it cannot be cut so that its pieces fit, or the share of its class is used up; the caller settles it.
    pub fn push(&mut self, record: Record, now: Instant) -> Result<(), Box<Refused>> {
        if self.waiting + cost(&record) > self.share(&record) {
            return Err(Box::new(Refused { record, why: Shed::QueueFull }));
        }
        let room = self.batch_len_max.saturating_sub(ENVELOPE_OVERHEAD);
        if !record.could_fit(room) && !record.can_be_cut(room) {
            return Err(Box::new(Refused { record, why: Shed::TooLarge }));
        }
        // It is cut when its turn has come: until then it may go to the disk as a whole.
        self.enqueue(record, now);
        Ok(())
    }

    /// Cuts the front of a lane into pieces that fit.
    fn cut_front(&mut self, lane: usize, room: usize) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        let Some((came, mut record)) = lane.front_came().zip(lane.pop()) else { return };
        self.waiting = self.waiting.saturating_sub(cost(&record));
        if let Some(rest) = record.split_repeated() {
            self.waiting += cost(&rest);
            lane.cut_front(vec![rest], came);
        }
        match record.into_pieces(room) {
            Ok(pieces) => {
                self.counts.split += 1;
                #[cfg(test)]
                if self.sabotage == Some(super::Sabotage::TrustFirstPiece) {
                    let all = pieces.iter().flat_map(|piece| &piece.to);
                    all.for_each(super::recipient::Recipient::trust_next_piece);
                }
                self.waiting += pieces.iter().map(cost).sum::<u64>();
                lane.cut_front(pieces, came);
            }
            Err(record) => self.oversize.push_back(Refused { record: *record, why: Shed::TooLarge }),
        }
    }

    /// The limit of a batch before the first [`take`](Self::take) says it: what cannot be cut to it is refused.
    pub fn expect_limit(&mut self, limit_bytes: u32) {
        self.batch_len_max = limit_bytes.min(BATCH_BYTES_MAX) as usize;
    }

    fn enqueue(&mut self, record: Record, now: Instant) {
        let cost = cost(&record);
        let recipients = record.to.len() as u64;
        let lane = if record.is_awaited() { 0 } else { 1 + record.facts().class as usize };
        if let Some(lane) = self.lanes.get_mut(lane) {
            let collapsed = lane.push(record, now);
            // The bytes of a collapsed message are freed at once; only its recipient waits.
            self.waiting += if collapsed { RECIPIENT_COST * recipients } else { cost };
            self.counts.collapsed += u64::from(collapsed);
        }
    }

    /// Queues what is to be told about a session.
    pub fn announce(&mut self, note: SessionNote<'static>, now: Instant) {
        if self.notes.len() >= NOTES_MAX {
            self.notes.pop_front();
            self.counts.notes_dropped += 1;
        }
        self.notes.push_back(note);
        self.notes_since.get_or_insert(now);
    }

    /// The next batch, if one is due and a slot is free. `limit_bytes` is the plan's payload limit.
    ///
    /// Lanes that are not due do not ride along: the age of a class is also the window in which it collapses.
    /// While no slot is free due lanes grow, so the batch after a wait is larger (group commit).
    pub fn take(&mut self, slots_free: usize, limit_bytes: u32, now: Instant) -> Option<Batch> {
        self.batch_len_max = limit_bytes.min(BATCH_BYTES_MAX) as usize;
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        if slots_free == 0 || !due {
            return None;
        }
        let room = self.batch_len_max.saturating_sub(ENVELOPE_OVERHEAD);
        let mut batch = Batch::default();
        self.fill_notes(&mut batch, room / NOTES_SHARE);
        let starved = self.lanes.iter().position(|lane| lane.passed_over >= PASSED_OVER_MAX);
        for lane in starved.into_iter().chain(0..LANES) {
            self.fill_from(lane, &mut batch, room, now);
        }
        if batch.records.is_empty() && batch.notes.is_empty() {
            return None;
        }
        self.counts.batches += 1;
        self.counts.records += batch.records.len() as u64;
        Some(batch)
    }

    /// Records that turned out to be larger than the limit given to [`take`](Self::take).
    pub fn poll_refused(&mut self) -> Option<Refused> {
        self.oversize.pop_front()
    }

    /// When [`take`](Self::take) has something to give; only of interest while a slot is free.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let notes = self.notes_since.map(|since| since + NOTE_AGE);
        self.lanes.iter().filter_map(Lane::due_at).chain(notes).min()
    }

    /// Settles everything that waits, for an open breaker or at the end; the awaited messages, for their windows.
    pub fn shed_all(&mut self, why: Shed) -> Vec<Key> {
        let mut awaited = Vec::new();
        for lane in &mut self.lanes {
            while let Some(record) = lane.pop() {
                awaited.append(&mut record.shed(why));
            }
        }
        for refused in self.oversize.drain(..) {
            awaited.append(&mut refused.shed());
        }
        self.waiting = 0;
        awaited
    }

    /// When the oldest record that waits came.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(Lane::front_came).min()
    }

    /// What waits, by the measure of [`Limits::bytes`].
    #[must_use]
    pub const fn waiting_bytes(&self) -> u64 {
        self.waiting
    }

    /// What may wait, by the same measure.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.limits.bytes
    }

    /// Records that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.iter().map(Lane::len).sum()
    }

    /// Whether no record waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Figures since the start.
    #[must_use]
    pub const fn counts(&self) -> BatchCounts {
        self.counts
    }

    fn share(&self, record: &Record) -> u64 {
        let percent = match record.facts().class {
            _ if record.is_awaited() => 100,
            Class::Critical => 100,
            Class::High => 90,
            Class::Medium => 75,
            Class::Low => 50,
        };
        self.limits.bytes / 100 * percent
    }

    pub(super) fn fill_notes(&mut self, batch: &mut Batch, room: usize) {
        while let Some(note) = self.notes.front() {
            let len = NOTE_OVERHEAD + escaped_len(note.path.as_bytes());
            if batch.len + len > room && !batch.notes.is_empty() {
                return;
            }
            batch.len += len;
            batch.notes.extend(self.notes.pop_front());
        }
        self.notes_since = None;
    }

    pub(super) fn fill_from(&mut self, place: usize, batch: &mut Batch, room: usize, now: Instant) {
        if self.lanes.get(place).and_then(Lane::due_at).is_none_or(|at| at > now) {
            return;
        }
        while let Some(lane) = self.lanes.get_mut(place)
            && let Some(front) = lane.front_mut()
        {
            if front.is_moot() {
                self.waiting = self.waiting.saturating_sub(lane.pop().as_ref().map_or(0, cost));
            } else if batch.len + front.encoded_len() <= room {
                let Some(record) = lane.pop() else { return };
                lane.passed_over = 0;
                self.waiting = self.waiting.saturating_sub(cost(&record));
                batch.add(record);
            } else if !batch.records.is_empty() || (batch.len > 0 && front.could_fit(room)) {
                lane.passed_over = lane.passed_over.saturating_add(1);
                return;
            } else if let Some(part) = lane.split_front(room.saturating_sub(batch.len)) {
                self.waiting = self.waiting.saturating_sub(RECIPIENT_COST * part.to.len() as u64);
                self.counts.continued += 1;
                batch.add(part);
                #[cfg(test)]
                if self.sabotage == Some(super::Sabotage::DropContinuation) {
                    drop(lane.pop());
                }
                return;
            } else {
                self.cut_front(place, room);
            }
        }
    }
}

/// How many records of a class are a batch, and how long the first of them may wait.
#[must_use]
pub const fn pace(class: Class) -> (usize, Duration) {
    match class {
        Class::Critical => (1, Duration::ZERO),
        Class::High => (100, Duration::from_millis(100)),
        Class::Medium => (50, Duration::from_millis(500)),
        Class::Low => (10, Duration::from_secs(2)),
    }
}

pub(super) fn cost(record: &Record) -> u64 {
    record.payload().len() as u64 + RECIPIENT_COST * record.to.len() as u64
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
