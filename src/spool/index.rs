//! What lies where: segments by class, what of them is settled, and who gives way when the spool is full.
//! Records themselves are not held in memory: a segment costs a few dozen bytes and one bit for each record.

use std::collections::VecDeque;

use crate::envelope::Class;

/// Bytes of one entry of a segment's list of settled records.
pub const ACK_LEN: u64 = 12;

/// One append-only file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first record; its name.
    pub base: u64,
    /// Bytes of records.
    pub len: u64,
    /// Bytes of `len` that the disk has.
    pub synced: u64,
    /// Records that are not settled.
    pub open: u64,
    /// Messages in them.
    pub messages: u64,
    /// Time of its oldest message, in Unix milliseconds.
    pub oldest_ms: u64,
    /// Entries in the list of settled records.
    acks: u64,
    settled: Vec<u64>,
}

impl Segment {
    /// An empty one.
    #[must_use]
    pub const fn new(base: u64) -> Self {
        let settled = Vec::new();
        Self { base, len: 0, synced: 0, open: 0, messages: 0, oldest_ms: u64::MAX, acks: 0, settled }
    }

    fn bit(&self, seq: u64) -> Option<(usize, u64)> {
        let place = seq.checked_sub(self.base)?;
        Some((usize::try_from(place / 64).ok()?, 1 << (place % 64)))
    }

    /// Whether a record is settled.
    #[must_use]
    pub fn is_settled(&self, seq: u64) -> bool {
        let bit = self.bit(seq);
        bit.is_some_and(|(word, mask)| self.settled.get(word).is_some_and(|bits| bits & mask != 0))
    }

    /// Marks a record as settled, as far as this segment can hold it; whether it had been open.
    fn mark(&mut self, seq: u64) -> bool {
        let Some((word, mask)) = self.bit(seq) else { return false };
        if self.settled.len() <= word {
            self.settled.resize(word + 1, 0);
        }
        let Some(bits) = self.settled.get_mut(word) else { return false };
        let was_open = *bits & mask == 0;
        *bits |= mask;
        was_open
    }

    /// A record was found in it or added to it.
    pub fn add(&mut self, header: &super::record::Header) {
        self.open += 1;
        self.messages += u64::from(header.messages);
        self.oldest_ms = self.oldest_ms.min(header.at_ms);
    }

    /// Bytes on disk.
    #[must_use]
    pub const fn disk_bytes(&self) -> u64 {
        self.len + self.acks * ACK_LEN
    }
}

/// How much the spool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All files together, in bytes.
    pub total: u64,
    /// One segment, in bytes; what gives way goes in pieces of this size.
    pub segment: u64,
}

impl Limits {
    /// A thirty-second of the whole for each segment, within 64 KiB and 8 MiB.
    #[must_use]
    pub fn of(total: u64) -> Self {
        Self { total, segment: (total / 32).clamp(64 << 10, 8 << 20) }
    }
}

/// What an append needs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: append to the last segment of its class.
    Here,
    /// A new segment.
    NewSegment,
    /// The oldest segment of this class has to go.
    Evict(Class),
    /// Everything there is more urgent than this.
    Refused,
}

/// All segments.
#[derive(Debug)]
pub struct Index {
    limits: Limits,
    series: [VecDeque<Segment>; Class::ALL.len()],
    /// By class, so that the numbers of a segment have no gaps and its bits stay few.
    next_seq: [u64; Class::ALL.len()],
    #[cfg(test)]
    pub(super) sabotage: Option<super::Sabotage>,
}

impl Index {
    /// An empty spool.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            series: Default::default(),
            next_seq: [1; Class::ALL.len()],
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// The number of the next record of a class.
    #[must_use]
    pub fn next_seq(&self, class: Class) -> u64 {
        self.next_seq.get(class as usize).copied().unwrap_or(1)
    }

    fn raise_seq(&mut self, class: Class, at_least: u64) {
        if let Some(next) = self.next_seq.get_mut(class as usize) {
            *next = at_least.max(*next);
        }
    }

    /// Takes a segment over that was found on disk, in the order of the names. Nothing is appended to it any more.
    pub fn adopt(&mut self, class: Class, segment: Segment, last_seq: u64) {
        self.raise_seq(class, last_seq.saturating_add(1).max(segment.base.saturating_add(1)));
        self.series_mut(class).push_back(segment);
    }

    /// What has to happen before `len` bytes of this class can be appended. Ask again after each step.
    #[must_use]
    pub fn room_for(&self, class: Class, len: u64, fresh: bool) -> Room {
        if len > self.limits.total {
            return Room::Refused; // nothing needs to give way for what will never fit
        }
        if self.bytes() + len > self.limits.total {
            return self.victim(class);
        }
        match self.series(class).back() {
            // A record that is larger than a segment has one of its own.
            Some(last) if !fresh && (last.len == 0 || last.len + len <= self.limits.segment) => Room::Here,
            _ => Room::NewSegment,
        }
    }

    /// The dullest class that has anything gives way, unless all of it is more urgent than the new one.
    fn victim(&self, class: Class) -> Room {
        let dullest = Class::ALL.into_iter().rev().find(|one| !self.series(*one).is_empty());
        #[cfg(test)]
        let dullest = match self.sabotage {
            Some(super::Sabotage::EvictUrgentFirst) => {
                Class::ALL.into_iter().find(|one| !self.series(*one).is_empty())
            }
            _ => dullest,
        };
        match dullest {
            Some(victim) if victim >= class => Room::Evict(victim),
            _ => Room::Refused,
        }
    }

    /// Opens a new segment for a class; its base.
    pub fn open_segment(&mut self, class: Class) -> u64 {
        let base = self.next_seq(class);
        self.series_mut(class).push_back(Segment::new(base));
        base
    }

    /// A record was written to the last segment of its class.
    pub fn appended(&mut self, header: &super::record::Header) {
        self.raise_seq(header.class, header.seq + 1);
        if let Some(last) = self.series_mut(header.class).back_mut() {
            last.len += header.record_len();
            last.add(header);
        }
    }

    /// The disk has everything that was written to this class.
    pub fn synced(&mut self, class: Class) {
        if let Some(last) = self.series_mut(class).back_mut() {
            last.synced = last.len;
        }
    }

    /// Takes the oldest segment out, which is deleted.
    pub fn evict(&mut self, class: Class) -> Option<Segment> {
        self.series_mut(class).pop_front()
    }

    /// Takes the newest segment out: it could not be created.
    pub fn forget_newest(&mut self, class: Class) -> Option<Segment> {
        self.series_mut(class).pop_back()
    }

    /// A record is settled; whether it had been open.
    pub fn settle(&mut self, class: Class, base: u64, seq: u64, messages: u32) -> bool {
        let Some(segment) = self.series_mut(class).iter_mut().find(|one| one.base == base) else {
            return false;
        };
        let was_open = segment.mark(seq);
        if was_open {
            segment.acks += 1;
            segment.open = segment.open.saturating_sub(1);
            segment.messages = segment.messages.saturating_sub(u64::from(messages));
        }
        was_open
    }

    /// Of the open records and messages of a segment only `known` are still to be found; how many messages are not.
    pub fn write_off(&mut self, class: Class, base: u64, known: (u64, u64)) -> u64 {
        let Some(segment) = self.series_mut(class).iter_mut().find(|one| one.base == base) else { return 0 };
        let lost = segment.messages.saturating_sub(known.1);
        (segment.open, segment.messages) = (segment.open.min(known.0), segment.messages.min(known.1));
        lost
    }

    /// A segment without an open record, which may be deleted. `keep_newest` spares what is being written.
    pub fn take_settled(&mut self, class: Class, keep_newest: bool) -> Option<Segment> {
        let series = self.series_mut(class);
        let usable = series.len() - usize::from(keep_newest && !series.is_empty());
        let place = series.iter().take(usable).position(|one| one.open == 0)?;
        series.remove(place)
    }

    /// The segments of a class, oldest first.
    #[must_use]
    pub fn series(&self, class: Class) -> &VecDeque<Segment> {
        let [critical, high, medium, low] = &self.series;
        match class {
            Class::Critical => critical,
            Class::High => high,
            Class::Medium => medium,
            Class::Low => low,
        }
    }

    fn series_mut(&mut self, class: Class) -> &mut VecDeque<Segment> {
        let [critical, high, medium, low] = &mut self.series;
        match class {
            Class::Critical => critical,
            Class::High => high,
            Class::Medium => medium,
            Class::Low => low,
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.series.iter().flatten().map(Segment::disk_bytes).sum()
    }

    /// Open records and their messages of one class.
    #[must_use]
    pub fn open(&self, class: Class) -> (u64, u64) {
        self.series(class)
            .iter()
            .fold((0, 0), |(records, messages), one| (records + one.open, messages + one.messages))
    }

    /// Time of the oldest message that may be unsettled, in Unix milliseconds; exact to a segment.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        self.series.iter().flatten().filter(|one| one.open > 0).map(|one| one.oldest_ms).min()
    }
}

/// Adds what a segment's list of settled records says; damaged entries are passed over (a batch is then published
/// once more, under its own name).
pub fn settled_by(list: &[u8]) -> impl Iterator<Item = u64> + '_ {
    list.chunks_exact(12).filter_map(|entry| {
        let (seq, crc) = entry.split_first_chunk::<8>()?;
        (crc == crate::envelope::crc32(seq).to_le_bytes()).then(|| u64::from_le_bytes(*seq))
    })
}

/// One entry of that list.
#[must_use]
pub fn settled_entry(seq: u64) -> [u8; 12] {
    let mut out = [0; 12];
    let bytes = seq.to_le_bytes();
    for (to, from) in
        out.iter_mut().zip(bytes.into_iter().chain(crate::envelope::crc32(&bytes).to_le_bytes()))
    {
        *to = from;
    }
    out
}

impl Segment {
    /// Marks what the list of an earlier process says, before records are added.
    pub fn preset(&mut self, settled: impl Iterator<Item = u64>, max: u64) {
        let base = self.base;
        for seq in settled.filter(|seq| *seq >= base && *seq - base < max) {
            self.mark(seq);
            self.acks += 1;
        }
    }
}
