//! What was published, what came back, and what became of each message. It owns neither clock nor socket.
//! Call [`advance`](Validator::advance) before anything is reported, and about once a second.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulid::Ulid;

use super::judging::partner;
use super::noise::Noise;
use super::order::Order;
use super::samples::{Discrepancy, Samples};
use super::tally::{self, Book};
use super::{Kind, NotCompared};
use crate::envelope::{Class, Envelope, Part, crc32};
use crate::session::{Key, Opcode};

/// What comes back later than this is late.
pub const LATENESS: Duration = Duration::from_secs(10);
/// What does not come back within this is missing.
pub const EXPIRY: Duration = Duration::from_secs(60);
/// Messages that wait for their return at once.
pub const MESSAGES_MAX: usize = 64 * 1024;
/// Batches that are known at once, those that are back included.
pub const BATCHES_MAX: usize = 32 * 1024;
/// Names of batches that were given up, so that what comes much too late is nobody's invention.
pub(super) const GONE_MAX: usize = 8 * 1024;
/// Every so many records, the noise rules are tried on a live one.
pub(super) const TRY_EVERY: u64 = 16;

/// One record of a transmission.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The messages that it stands for, in the order of its list; all of one direction.
    pub keys: Vec<Key>,
    /// CRC-32 of the bytes as carried.
    pub crc: u32,
    /// Their length.
    pub len: u32,
    /// The opcode.
    pub op: Opcode,
    /// The class.
    pub class: Class,
    /// The event type.
    pub event: Arc<str>,
    /// See [`mark`].
    pub mark: u32,
    /// Whether something was taken out of it.
    pub redacted: bool,
    /// Which piece of a split message it is.
    pub part: Option<Part>,
    /// When the tap saw the first of them.
    pub at: Instant,
}

/// Stands for the type and the path of a message in comparisons.
#[must_use]
pub fn mark(event: &str, path: &str) -> u32 {
    crc32(event.as_bytes()) ^ crc32(path.as_bytes()).rotate_left(1)
}

/// How a transmission got on.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) no: u64,
    /// When it was published, or published again after our read-back had been away.
    pub(super) since: Instant,
    pub(super) transmissions: u32,
    pub(super) arrivals: u32,
    /// Our read-back was interrupted since the last transmission.
    pub(super) gap: bool,
    messages: u64,
    /// What is not judged yet; empty once everything is.
    pub(super) waiting: Vec<Option<Sent>>,
    /// Its messages count as not compared.
    blind: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Validator {
    pub(super) batches: HashMap<Ulid, Batch>,
    due: VecDeque<(Instant, Ulid)>,
    pub(super) gone: VecDeque<Ulid>,
    /// Until then there may be batches of ours that nobody remembers …
    pub(super) forgetful_until: Option<Instant>,
    /// … and until then what a process before this one has published may come back.
    pub(super) young_until: Instant,
    pub(super) order: Order,
    pub(super) noise: Noise,
    pub(super) book: Book,
    pub(super) samples: Samples,
    pub(super) src: Arc<str>,
    batch_no: u64,
    pub(super) waiting: usize,
    pub(super) records: u64,
    swept: Instant,
    /// Pairs for the breaker that it was not told: matching, not matching …
    evidence: (u64, u64),
    /// … of batches that were published since then.
    evidence_from: Instant,
    /// Whether the batch at hand is one of those.
    pub(super) fresh: bool,
    /// Milliseconds since the Unix epoch at an instant.
    clock: (Instant, u64),
    #[cfg(test)]
    pub(crate) sabotage: Option<super::Sabotage>,
}

impl Validator {
    /// A validator of what `src` publishes. `unix_ms` is the wall clock's time at `now`.
    #[must_use]
    pub fn new(src: &str, noise: Noise, (now, unix_ms): (Instant, u64)) -> Self {
        Self {
            batches: HashMap::new(),
            due: VecDeque::new(),
            gone: VecDeque::new(),
            forgetful_until: None,
            young_until: now + EXPIRY,
            order: Order::default(),
            noise,
            book: Book::new(now),
            samples: Samples::new(),
            src: Arc::from(src),
            batch_no: 0,
            waiting: 0,
            records: 0,
            swept: now,
            evidence: (0, 0),
            evidence_from: now,
            fresh: true,
            clock: (now, unix_ms),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// A batch was handed to the link, for the `attempt`th time.
    pub fn sent(&mut self, batch: Ulid, attempt: u8, records: Vec<Sent>, now: Instant) {
        if let Some(known) = self.batches.get_mut(&batch) {
            known.transmissions += 1;
            if known.gap || attempt <= 1 {
                (known.since, known.gap) = (now, false);
            }
            return;
        }
        let messages: u64 = records.iter().map(|record| record.keys.len() as u64).sum();
        if messages == 0 {
            return;
        }
        for record in &records {
            self.records += 1;
            self.book.minute.queue.record(now.saturating_duration_since(record.at));
        }
        if self.batches.len() >= BATCHES_MAX {
            self.forgetful_until = Some(now + EXPIRY);
            return records.iter().for_each(|record| self.leave_out(record, NotCompared::Full));
        }
        let blind = self.waiting + messages as usize > MESSAGES_MAX;
        let waiting = if blind {
            records.iter().for_each(|record| self.leave_out(record, NotCompared::Full));
            Vec::new()
        } else {
            self.waiting += messages as usize;
            records.into_iter().map(Some).collect()
        };
        self.batch_no += 1;
        self.due.push_back((now + EXPIRY, batch));
        let flight = Batch {
            no: self.batch_no,
            since: now,
            transmissions: u32::from(attempt).max(1),
            arrivals: 0,
            gap: false,
            messages,
            waiting,
            blind,
        };
        self.batches.insert(batch, flight);
    }

    /// So many messages were left out by the mirror's share.
    pub fn unsampled(&mut self, messages: u64) {
        if let Some(count) = self.book.minute.not_compared.get_mut(NotCompared::Unsampled as usize) {
            *count += messages;
        }
    }

    /// Published where nobody reads back.
    pub fn unread(&mut self, records: &[Sent]) {
        records.iter().for_each(|record| self.leave_out(record, NotCompared::Unread));
    }

    /// Realtime did not take the batch: it never went in.
    pub fn refused(&mut self, batch: Ulid) {
        let Some(known) = self.batches.get_mut(&batch) else { return };
        for record in std::mem::take(&mut known.waiting).into_iter().flatten() {
            self.waiting = self.waiting.saturating_sub(record.keys.len());
            self.leave_out(&record, NotCompared::Refused);
        }
    }

    /// Publishing or reading back is interrupted.
    pub fn interrupted(&mut self) {
        for batch in self.batches.values_mut().filter(|batch| !batch.waiting.is_empty()) {
            batch.gap = true;
        }
    }

    /// What came back is no envelope. Whose it was shows when it is missed.
    pub fn malformed(&mut self) {
        self.book.minute.malformed += 1;
    }

    /// A broadcast on our own topic. `body` gives the original bytes of the record at a place, while they are known.
    pub fn returned<'a>(
        &mut self,
        envelope: &Envelope<'_>,
        body: impl Fn(usize) -> Option<&'a [u8]>,
        now: Instant,
    ) {
        let id = envelope.header.batch;
        let Some(mut batch) = self.batches.remove(&id) else { return self.stranger(envelope, now) };
        batch.arrivals += 1;
        self.look_at(&batch);
        let copies = batch.arrivals > batch.transmissions && !self.forgives();
        if copies {
            self.judge_copy(envelope, now);
        } else if batch.waiting.is_empty() {
            self.book.minute.echoes += if batch.blind { 0 } else { batch.messages };
        } else {
            let same_count = envelope.messages.len() == batch.waiting.len();
            for (place, got) in envelope.messages.iter().enumerate() {
                let Some(place) = partner(&batch.waiting, place, &got.message, same_count) else {
                    self.judge_extra(got, now);
                    continue;
                };
                if let Some(sent) = batch.waiting.get_mut(place).and_then(Option::take) {
                    self.judge(&sent, got, (&batch, place, body(place)), now);
                }
            }
            if batch.waiting.iter().all(Option::is_none) {
                batch.waiting = Vec::new();
            }
        }
        self.batches.insert(id, batch);
    }

    /// Lets time pass: what is overdue is missing, minutes close.
    pub fn advance(&mut self, now: Instant) {
        while let Some((at, id)) = self.due.front().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_front();
            let since = self.batches.get(&id).map_or(at, |batch| batch.since);
            if since + EXPIRY > now {
                self.due.push_back((since + EXPIRY, id));
                continue;
            }
            if let Some(batch) = self.batches.remove(&id) {
                self.expire(id, batch, now);
            }
        }
        if now.saturating_duration_since(self.swept) >= EXPIRY {
            self.swept = now;
            self.order.sweep(now);
        }
        self.book.advance(now);
    }

    /// Pairs judged since the last call, matching and not, for the breaker.
    pub fn take_evidence(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.evidence)
    }

    /// What was published before this is no evidence any more: the breaker has judged it.
    pub const fn begin_evidence(&mut self, now: Instant) {
        self.evidence = (0, 0);
        self.evidence_from = now;
    }

    /// The figures.
    pub const fn book(&mut self) -> &mut Book {
        &mut self.book
    }

    /// The noise rules and what they have done.
    #[must_use]
    pub const fn noise(&self) -> &Noise {
        &self.noise
    }

    /// The samples that are kept.
    #[must_use]
    pub fn samples(&self) -> Vec<Discrepancy> {
        self.samples.iter().cloned().collect()
    }

    /// Messages that wait, batches and directions that are remembered.
    #[must_use]
    pub fn held(&self) -> [usize; 3] {
        [self.waiting, self.batches.len(), self.order.len()]
    }

    pub(super) fn unix_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.clock.0).as_millis();
        self.clock.1.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    pub(super) fn leave_out(&mut self, record: &Sent, why: NotCompared) {
        let messages = record.keys.len() as u64;
        let minute = &mut self.book.minute;
        if let Some(count) = minute.not_compared.get_mut(why as usize) {
            *count += messages;
        }
        let part = tally::Part { not_compared: messages, ..tally::Part::default() };
        minute.part(record.class, record.len, &record.event, part);
    }

    pub(super) fn look_at(&mut self, batch: &Batch) {
        self.fresh = batch.since >= self.evidence_from;
    }

    pub(super) fn count(&mut self, kind: Kind, messages: u64) {
        if self.fresh {
            let (good, bad) = &mut self.evidence;
            *(if kind.is_mismatch() { bad } else { good }) += messages;
        }
        if let Some(count) = self.book.minute.kinds.get_mut(kind as usize) {
            *count += messages;
        }
    }
}
