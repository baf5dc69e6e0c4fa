//! One batch between submission and settlement: what is to be sent, how far it is, what came back.
//! The bytes are not kept after sending: a repetition is encoded again, from payloads that the budget has paid for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ulid::Ulid;

use super::batch::Batch;
use super::record::Record;
use super::stored::{ForDisk, Stored};
use crate::envelope::{Check, Class, Envelope, Header, Message, Received, To, Writer};
use crate::ledger::{Entry, Proof, Shed};
use crate::session::Key;

/// The wall-clock time of one instant: turns the machine's instants into Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// An instant …
    pub at: Instant,
    /// … and what the wall clock showed then, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Epoch {
    /// The wall-clock time of any instant.
    #[must_use]
    pub fn unix_ms(&self, at: Instant) -> u64 {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let after = millis(at.saturating_duration_since(self.at));
        let before = millis(self.at.saturating_duration_since(at));
        self.unix_ms.saturating_add(after).saturating_sub(before)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for its turn, the first or a repetition.
    Queued,
    /// Handed to the link; `written` = its socket took it.
    Sent { written: bool },
    /// Realtime said ok, or gave something back.
    Accepted,
}

/// What flies.
#[derive(Debug)]
pub(super) enum Content {
    /// Records with their tokens.
    Live(Batch),
    /// An envelope that lay on disk.
    Stored(Stored),
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: Ulid,
    pub(super) state: State,
    /// Transmissions so far.
    pub(super) attempt: u8,
    pub(super) first_sent: Option<Instant>,
    /// When the oldest of its messages passed the tap; none in a sentinel or in what comes from the disk.
    pub(super) oldest: Option<Instant>,
    /// When the current state began.
    pub(super) since: Instant,
    /// Whether the breaker has had its one sample.
    pub(super) sampled: bool,
    /// The disk has been given a copy.
    pub(super) copied: bool,
    pub(super) content: Content,
    at_ms: u64,
}

/// What one read-back said about a flight.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) matched: u64,
    pub(super) altered: u64,
    /// Awaited messages and whether they came back unaltered.
    pub(super) returned: Vec<(Key, bool)>,
}

impl Flight {
    pub(super) fn new(id: Ulid, content: Content, at_ms: u64, now: Instant) -> Self {
        Self {
            oldest: ages(&content).min(),
            id,
            state: State::Queued,
            attempt: 0,
            first_sent: None,
            since: now,
            sampled: false,
            copied: false,
            content,
            at_ms,
        }
    }

    pub(super) fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    pub(super) fn encode(&self, src: &str, epoch: &Epoch) -> Bytes {
        match &self.content {
            Content::Live(batch) => self.write(batch, (src, false), epoch),
            Content::Stored(stored) => stored.body.clone(),
        }
    }

    fn write(&self, batch: &Batch, (src, replay): (&str, bool), epoch: &Epoch) -> Bytes {
        let header = Header { src: src.into(), batch: self.id, at_ms: self.at_ms, replay };
        let mut writer = Writer::new(Vec::with_capacity(batch.encoded_len()), &header);
        let mut to = Vec::new();
        for record in &batch.records {
            to.clear();
            to.extend(record.to.iter().map(super::recipient::Recipient::to));
            writer.message(&message(record, &to, epoch));
        }
        for note in &batch.notes {
            writer.note(note);
        }
        Bytes::from(writer.finish())
    }

    /// Holds what came back against what was sent, message by message, and settles what is proved.
    pub(super) fn compare(&mut self, envelope: &Envelope<'_>) -> Compared {
        let mut out = Compared::default();
        let batch = match &mut self.content {
            Content::Live(batch) => batch,
            Content::Stored(stored) => {
                let proved = stored.is_proved_by(envelope);
                *(if proved { &mut out.matched } else { &mut out.altered }) = stored.messages;
                return out;
            }
        };
        let same_count = envelope.messages.len() == batch.records.len();
        for (index, record) in batch.records.iter_mut().enumerate() {
            let got = envelope.messages.get(index).filter(|_| same_count);
            let proved = got.is_some_and(|got| proves(got, record));
            settle(record, proved, &mut out);
        }
        out
    }

    /// Settles everything at Realtime's word, where nobody reads back.
    pub(super) fn settle_acked(&mut self, how: Proof) -> Compared {
        let mut out = Compared::default();
        for to in self.recipients_mut() {
            let whole = to.confirm(how);
            if std::mem::take(&mut to.awaited) && whole {
                out.returned.push((to.key, true));
            }
        }
        out
    }

    /// Settles what is still open as lost; the awaited messages among it, and how many there were.
    pub(super) fn shed(&mut self, why: Shed) -> (Vec<Key>, u64) {
        let (mut awaited, mut count) = (Vec::new(), 0);
        for to in self.recipients_mut() {
            if to.shed(why) {
                count += 1;
                awaited.extend(to.awaited.then_some(to.key));
            }
        }
        (awaited, count)
    }

    /// When each of its records passed the tap.
    pub(super) fn passed(&self) -> impl Iterator<Item = Instant> {
        ages(&self.content)
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.recipients().any(super::recipient::Recipient::is_open)
    }

    fn recipients(&self) -> impl Iterator<Item = &super::recipient::Recipient> {
        let records = match &self.content {
            Content::Live(batch) => &batch.records[..],
            Content::Stored(_) => &[],
        };
        records.iter().flat_map(|record| &record.to)
    }

    fn recipients_mut(&mut self) -> impl Iterator<Item = &mut super::recipient::Recipient> {
        let records = match &mut self.content {
            Content::Live(batch) => &mut batch.records[..],
            Content::Stored(_) => &mut [],
        };
        records.iter_mut().flat_map(|record| record.to.iter_mut())
    }

    pub(super) const fn is_stored(&self) -> bool {
        matches!(self.content, Content::Stored(_))
    }

    /// Its messages by recipient, settled or not.
    pub(super) fn messages(&self) -> u64 {
        match &self.content {
            Content::Live(_) => self.recipients().count() as u64,
            Content::Stored(stored) => stored.messages,
        }
    }

    /// As it will lie on disk; nothing if no token is open.
    pub(super) fn for_disk(&self, src: &str, epoch: &Epoch) -> Option<ForDisk> {
        let Content::Live(batch) = &self.content else { return None };
        let messages = self.recipients().filter(|to| to.is_open() && !to.is_piece()).count() as u64;
        let at = batch.records.iter().map(|record| record.facts().at).min()?;
        let class = batch.records.iter().map(|record| record.facts().class).min().unwrap_or(Class::Low);
        let record = || ForDisk {
            batch: self.id,
            class,
            at_ms: epoch.unix_ms(at),
            messages,
            body: self.write(batch, (src, true), epoch),
        };
        (messages > 0).then(record)
    }

    /// Settles pieces of split messages as lost: a piece alone is of no use on disk, and the others may be elsewhere.
    pub(super) fn shed_pieces(&mut self, why: Shed) {
        self.recipients_mut().filter(|to| to.is_piece()).for_each(|to| {
            to.shed(why);
        });
    }

    /// The open tokens; to be settled by the caller.
    pub(super) fn take_tokens(&mut self) -> Vec<Entry> {
        self.recipients_mut().filter_map(super::recipient::Recipient::take_token).collect()
    }

    /// Nobody waits for it any more; who did.
    pub(super) fn unawait(&mut self) -> Vec<Key> {
        let open = self.recipients_mut().filter(|to| to.is_open());
        open.filter_map(|to| to.take_awaited().then_some(to.key)).collect()
    }
}

fn ages(content: &Content) -> impl Iterator<Item = Instant> {
    let records = match content {
        Content::Live(batch) => &batch.records[..],
        Content::Stored(_) => &[],
    };
    records.iter().map(|record| record.facts().at)
}

fn message<'a>(record: &'a Record, to: &'a [To], epoch: &Epoch) -> Message<'a> {
    let facts = record.facts();
    Message {
        to: to.into(),
        dir: record.dir(),
        op: facts.op,
        kind: (&*facts.kind).into(),
        class: facts.class,
        path: (&*facts.path).into(),
        at_ms: epoch.unix_ms(facts.at),
        id: record.id().into(),
        body: record.payload().into(),
        crc: record.crc(),
        part: record.part(),
        redacted: facts.redacted,
    }
}

fn proves(got: &Received<'_>, sent: &Record) -> bool {
    let (message, facts) = (&got.message, sent.facts());
    got.check == Check::Verified
        && message.crc == sent.crc()
        && message.body.len() == sent.payload().len()
        && (message.dir, message.op, message.class) == (sent.dir(), facts.op, facts.class)
        && message.kind == *facts.kind
        && message.path == *facts.path
        && (message.part, message.redacted) == (sent.part(), facts.redacted)
        && message.to.iter().copied().eq(sent.to.iter().map(super::recipient::Recipient::to))
}

fn settle(record: &mut Record, proved: bool, out: &mut Compared) {
    for to in &mut record.to {
        if !to.is_open() {
            continue;
        }
        if proved {
            out.matched += u64::from(to.confirm(Proof::ReadBack));
        } else {
            out.altered += 1;
        }
        // A window is told once: what was altered is released there, whatever a repetition brings.
        if to.take_awaited() {
            out.returned.push((to.key, proved));
        }
    }
}
