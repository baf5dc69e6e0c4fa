//! A message on its way into Realtime: bytes, what is known of them, and the ledger tokens they stand for.
//! Collapsing adds tokens to a record, splitting takes them off its front; none is ever dropped.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::event_type::EventType;
use crate::budget::Payload;
use crate::envelope::{Class, MESSAGE_OVERHEAD, Part, To, carried_len, crc32, escaped_len, recipient_len};
use crate::ledger::{Entry, Proof, Shed};
use crate::session::{Direction, Key, Opcode};

/// What is known of a message besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its opcode.
    pub op: Opcode,
    /// Its event type.
    pub kind: EventType,
    /// Its class.
    pub class: Class,
    /// Route of the session: path without query, shared by all records of that route.
    pub path: Arc<str>,
    /// When the tap saw it.
    pub at: Instant,
    /// Whether a rule marked it shared.
    pub shared: bool,
    /// Whether its bytes are not the original ones.
    pub redacted: bool,
}

/// One ledger token of a record, and whether a hot session waits for its return.
#[derive(Debug)]
pub(super) struct Recipient {
    pub(super) key: Key,
    pub(super) awaited: bool,
    /// Taken when the token is settled; the key stays, for repetitions carry the same list.
    entry: Option<Entry>,
}

impl Recipient {
    pub(super) const fn to(&self) -> To {
        To(self.key.session, self.key.seq)
    }

    /// Settles as proved; whether it had been open.
    pub(super) fn confirm(&mut self, how: Proof) -> bool {
        self.entry.take().map(|entry| entry.confirm(how)).is_some()
    }

    /// Settles as lost; whether it had been open.
    pub(super) fn shed(&mut self, why: Shed) -> bool {
        self.entry.take().map(|entry| entry.shed(why)).is_some()
    }

    /// Takes the token out; the caller settles it.
    pub(super) const fn take_token(&mut self) -> Option<Entry> {
        self.entry.take()
    }

    pub(super) const fn is_open(&self) -> bool {
        self.entry.is_some()
    }
}

/// One message, or several identical ones.
pub struct Record {
    payload: Payload,
    facts: Facts,
    dir: Direction,
    crc: u32,
    part: Option<Part>,
    pub(super) to: Vec<Recipient>,
    /// Upper bound of the encoded length without `to`.
    base_len: usize,
    to_len: usize,
}

impl Record {
    /// A record of one message. `awaited` = a hot session holds the original until this returns.
    #[must_use]
    pub fn new(payload: Payload, facts: Facts, entry: Entry, awaited: bool) -> Self {
        let key = entry.key();
        let recipient = Recipient { key, awaited, entry: Some(entry) };
        let base_len = MESSAGE_OVERHEAD
            + escaped_len(facts.kind.as_bytes())
            + escaped_len(facts.path.as_bytes())
            + carried_len(facts.op, &payload);
        let crc = crc32(&payload);
        let to_len = recipient_len(recipient.to());
        Self { payload, facts, dir: key.dir, crc, part: None, to: vec![recipient], base_len, to_len }
    }

    /// The bytes as carried.
    #[must_use]
    pub const fn payload(&self) -> &Payload {
        &self.payload
    }

    /// What is known of them.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Which way they went.
    #[must_use]
    pub const fn dir(&self) -> Direction {
        self.dir
    }

    /// CRC-32 of the bytes as carried.
    #[must_use]
    pub const fn crc(&self) -> u32 {
        self.crc
    }

    /// Set on a piece of a split message.
    #[must_use]
    pub const fn part(&self) -> Option<Part> {
        self.part
    }

    /// The messages this record stands for.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.to.iter().map(|recipient| recipient.key)
    }

    /// Whether any hot session waits for it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.to.iter().any(|recipient| recipient.awaited)
    }

    /// Upper bound of the length of the encoded message, in bytes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        self.base_len + self.to_len
    }

    /// Names type and content: the first 16 hex digits of SHA-256 of the type, a zero byte and the bytes. A weak
    /// name on purpose: equal content of different moments shares it.
    #[must_use]
    pub fn id(&self) -> String {
        let hash = Sha256::new()
            .chain_update(self.facts.kind.as_bytes())
            .chain_update([0])
            .chain_update(&*self.payload);
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Nobody waits for it any more; who did.
    pub(super) fn unawait(&mut self) -> Vec<Key> {
        let waiting = self.to.iter_mut().filter(|to| to.awaited);
        waiting
            .map(|to| {
                to.awaited = false;
                to.key
            })
            .collect()
    }

    /// Settles every open token as lost; the awaited messages among them, for their windows.
    pub fn shed(mut self, why: Shed) -> Vec<Key> {
        let settled = self.to.iter_mut().filter_map(|to| to.shed(why).then_some((to.key, to.awaited)));
        settled.filter_map(|(key, awaited)| awaited.then_some(key)).collect()
    }

    /// Whether both would be the same message on the wire, apart from `to`.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        let (a, b) = (&self.facts, &other.facts);
        self.crc == other.crc
            && self.dir == other.dir
            && (a.op, a.class, a.shared, a.redacted) == (b.op, b.class, b.shared, b.redacted)
            && a.kind == b.kind
            && a.path == b.path
            && (self.part, other.part) == (None, None)
            && **self.payload() == **other.payload()
    }

    /// Takes over the tokens of a record with the same content.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.to_len += other.to_len;
        self.to.append(&mut other.to);
    }

    /// Takes off the front what fits into `room` bytes; the rest stays, under the same id. `None` if not even one
    /// recipient fits, or all do.
    pub(super) fn split_front(&mut self, room: usize) -> Option<Self> {
        let mut left = room.checked_sub(self.base_len)?;
        let fit = self
            .to
            .iter()
            .take_while(|to| left.checked_sub(recipient_len(to.to())).map(|rest| left = rest).is_some());
        let fit = fit.count();
        if fit == 0 || fit >= self.to.len() {
            return None;
        }
        let rest = self.to.split_off(fit);
        let front = std::mem::replace(&mut self.to, rest);
        let front_len = front.iter().map(|to| recipient_len(to.to())).sum();
        self.to_len -= front_len;
        Some(Self {
            payload: self.payload.clone(),
            facts: self.facts.clone(),
            dir: self.dir,
            crc: self.crc,
            part: self.part,
            to: front,
            base_len: self.base_len,
            to_len: front_len,
        })
    }

    /// Whether it fits into `room` bytes with the first recipient alone.
    pub(super) fn could_fit(&self, room: usize) -> bool {
        let first = self.to.first().map_or(0, |to| recipient_len(to.to()));
        self.base_len + first <= room
    }
}

impl fmt::Debug for Record {
    /// Type, path and bytes stay out of logs (invariant 7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?} {} to {})", self.payload, self.dir.as_str(), self.to.len())
    }
}
