//! A message on its way into Realtime: bytes, what is known of them, and the ledger tokens they stand for.
//! Collapsing adds tokens to a record, splitting takes them off its front; none is ever dropped.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::classify::Marks;
use super::event_type::EventType;
use super::parts::cut;
use super::recipient::Recipient;
use crate::budget::Payload;
use crate::envelope::{Class, MESSAGE_OVERHEAD, Part, carried_len, crc32, escaped_len, recipient_len};
use crate::ledger::{Entry, Shed};
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
    /// What a rule says about its event and its row.
    pub marks: Marks,
    /// Whether its bytes are not the original ones.
    pub redacted: bool,
}

/// One message, or several identical ones.
pub struct Record {
    payload: Payload,
    facts: Facts,
    dir: Direction,
    crc: u32,
    /// The piece that this record carries.
    piece: Option<Piece>,
    pub(super) to: Vec<Recipient>,
    /// Upper bound of the encoded length without `to`.
    base_len: usize,
    to_len: usize,
}

/// A piece leaves this part of a batch to the list of its recipients, so that a large message to many travels once.
pub(super) const LIST_SHARE: usize = 4;

/// A piece of a split message.
#[derive(Clone, Debug)]
struct Piece {
    part: Part,
    at: Range<usize>,
    /// Names the whole message.
    id: Arc<str>,
}

impl Record {
    /// A record of one message. `awaited` = a hot session holds the original until this returns.
    #[must_use]
    pub fn new(payload: Payload, facts: Facts, entry: Entry, awaited: bool) -> Self {
        let key = entry.key();
        let recipient = Recipient::new(entry, awaited);
        let base_len = MESSAGE_OVERHEAD
            + escaped_len(facts.kind.as_bytes())
            + escaped_len(facts.path.as_bytes())
            + carried_len(facts.op, &payload);
        let crc = crc32(&payload);
        let to_len = recipient_len(recipient.to());
        Self { payload, facts, dir: key.dir, crc, piece: None, to: vec![recipient], base_len, to_len }
    }

    /// The bytes as carried; of a split message, those of this piece.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.piece {
            None => &self.payload,
            Some(piece) => self.payload.get(piece.at.clone()).unwrap_or_default(),
        }
    }

    /// All bytes of the message, of which this record may carry a piece.
    #[must_use]
    pub fn whole(&self) -> &[u8] {
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
    pub fn part(&self) -> Option<Part> {
        self.piece.as_ref().map(|piece| piece.part)
    }

    /// Whether this is a message, or the first piece of one: what is counted or told once.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.part().is_none_or(|part| part.0 == 1)
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
    /// name on purpose: equal content of different moments shares it. The event's own id where a rule knows it.
    #[must_use]
    pub fn id(&self) -> String {
        if let Some(piece) = &self.piece {
            return piece.id.to_string();
        }
        if let Some(own) = &self.facts.marks.event_id {
            return own.to_string();
        }
        let hash = Sha256::new()
            .chain_update(self.facts.kind.as_bytes())
            .chain_update([0])
            .chain_update(&*self.payload);
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Nobody waits for it any more; who did.
    pub(super) fn unawait(&mut self) -> Vec<Key> {
        self.to.iter_mut().filter_map(|to| to.take_awaited().then_some(to.key)).collect()
    }

    /// Settles every open token as lost; the awaited messages among them, for their windows.
    pub fn shed(mut self, why: Shed) -> Vec<Key> {
        let settled = self.to.iter_mut().filter_map(|to| to.shed(why).then_some(to));
        settled.filter_map(|to| to.awaited.then_some(to.key)).collect()
    }

    /// Whether both would be the same message on the wire, apart from `to`.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        let (a, b) = (&self.facts, &other.facts);
        self.crc == other.crc
            && self.dir == other.dir
            && (a.op, a.class, a.shared, a.redacted, &a.marks)
                == (b.op, b.class, b.shared, b.redacted, &b.marks)
            && a.kind == b.kind
            && a.path == b.path
            && self.part() == other.part()
            && self.piece.as_ref().map(|piece| &piece.id) == other.piece.as_ref().map(|piece| &piece.id)
            && self.payload() == other.payload()
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
        Some(self.same_for(front))
    }

    /// Takes off the end of the list what begins with a session that is in it already: pieces for both would come in
    /// turn, the second message's first piece before the first one's last.
    pub(super) fn split_repeated(&mut self) -> Option<Self> {
        let mut sessions = HashSet::new();
        let at = self.to.iter().position(|to| !sessions.insert(to.key.session))?;
        let rest = self.to.split_off(at);
        Some(self.same_for(rest))
    }

    /// The same message for recipients that were taken off the list.
    fn same_for(&mut self, to: Vec<Recipient>) -> Self {
        let to_len = to.iter().map(|to| recipient_len(to.to())).sum();
        self.to_len -= to_len;
        Self {
            payload: self.payload.clone(),
            facts: self.facts.clone(),
            dir: self.dir,
            crc: self.crc,
            piece: self.piece.clone(),
            to,
            base_len: self.base_len,
            to_len,
        }
    }

    fn cuts(&self, room: usize) -> Option<Vec<Range<usize>>> {
        let first = self.to.first().map_or(0, |to| recipient_len(to.to()));
        let frame = self.base_len - carried_len(self.facts.op, &self.payload);
        let room = (room - room / LIST_SHARE).checked_sub(frame + first).filter(|_| self.piece.is_none())?;
        cut(self.facts.op, &self.payload, room)
    }

    /// Whether it can be cut into pieces that fit into `room` bytes each.
    pub(super) fn can_be_cut(&self, room: usize) -> bool {
        self.cuts(room).is_some()
    }

    /// The same message in pieces that fit into `room` bytes each, in order. They share its ledger tokens.
    ///
    /// # Errors
    /// The record itself, if it is a piece already or cannot be cut so small.
    pub(super) fn into_pieces(self, room: usize) -> Result<Vec<Self>, Box<Self>> {
        let frame = self.base_len - carried_len(self.facts.op, &self.payload);
        let cuts = self.cuts(room);
        let Some((cuts, count)) = cuts.and_then(|cuts| u16::try_from(cuts.len()).ok().map(|n| (cuts, n)))
        else {
            return Err(Box::new(self));
        };
        let id: Arc<str> = self.id().into();
        let mut recipients: Vec<Vec<Recipient>> = cuts.iter().map(|_| Vec::new()).collect();
        for recipient in self.to {
            let shares = recipient.split(count);
            recipients.iter_mut().zip(shares).for_each(|(list, share)| list.push(share));
        }
        let pieces = cuts.into_iter().zip(recipients).zip(1..).map(|((at, to), number)| {
            let body = self.payload.get(at.clone()).unwrap_or_default();
            Self {
                crc: crc32(body),
                base_len: frame + carried_len(self.facts.op, body),
                payload: self.payload.clone(),
                facts: self.facts.clone(),
                dir: self.dir,
                piece: Some(Piece { part: Part(number, count), at, id: Arc::clone(&id) }),
                to,
                to_len: self.to_len,
            }
        });
        Ok(pieces.collect())
    }

    /// Whether nothing is left to prove: another piece of the same message was lost, or proved to be altered.
    pub(super) fn is_moot(&self) -> bool {
        self.piece.is_some() && !self.to.iter().any(Recipient::is_open)
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
