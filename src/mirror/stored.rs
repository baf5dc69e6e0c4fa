//! The publisher and the spool: what cannot be published is given away instead of shed, what was stored comes back.
//! A stored batch is an envelope as it lies on disk; it is published under its own name and compared as a whole.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::batch::{BATCH_BYTES_MAX, Batch};
use super::flight::{Content, Flight};
use super::parts::cut;
use super::publish::Publisher;
use super::record::LIST_SHARE;
use super::report::{PubEvent, StoredEnd};
use crate::envelope::{
    Class, ENVELOPE_OVERHEAD, Envelope, Header, MESSAGE_OVERHEAD, Message, Part, To, Writer, carried_len,
    crc32, decode, escaped_len, recipient_len,
};
use crate::ledger::{Entry, Shed};

/// A batch of the backlog.
#[derive(Debug)]
pub struct Stored {
    /// Its name.
    pub batch: Ulid,
    /// Its messages by recipient.
    pub messages: u64,
    /// The envelope, marked as replay.
    pub body: Bytes,
}

/// A batch on its way to the disk.
#[derive(Debug)]
pub struct ForDisk {
    /// Its name, now and when it comes back.
    pub batch: Ulid,
    /// The most urgent class in it.
    pub class: Class,
    /// When its oldest message was seen, in Unix milliseconds.
    pub at_ms: u64,
    /// Its messages by recipient that are not settled.
    pub messages: u64,
    /// The envelope, marked as replay.
    pub body: Bytes,
}

/// A batch that the publisher has given up, with its tokens.
#[derive(Debug)]
pub struct Given {
    /// What is to be stored.
    pub record: ForDisk,
    /// Whether a copy was asked for before ([`Publisher::copy`]), and the copy says the same.
    pub copied: bool,
    /// The tokens; to be settled by whoever takes this.
    pub tokens: Vec<Entry>,
    /// Why it was given up.
    pub why: Shed,
}

/// Whether the spool is the better place for what is given up for this reason.
pub(super) const fn is_for_disk(why: Shed) -> bool {
    matches!(
        why,
        Shed::BreakerOpen
            | Shed::Disconnected
            | Shed::Denied
            | Shed::Shutdown
            | Shed::QueueFull
            | Shed::Quota
    )
}

impl Stored {
    /// The same messages in batches of at most `limit_bytes`, for what was stored as a whole or under a larger limit.
    /// Names follow from the batch and the cuts, so that they are the same each time. Nothing if it cannot be cut.
    #[must_use]
    pub fn cut(&self, limit_bytes: u32) -> Vec<Self> {
        let room = (limit_bytes.min(BATCH_BYTES_MAX) as usize).saturating_sub(ENVELOPE_OVERHEAD);
        let Ok(whole) = decode(&self.body) else { return Vec::new() };
        let mut out = Vec::new();
        for received in &whole.messages {
            let message = &received.message;
            let Some(cuts) = cuts(message, room) else { return Vec::new() };
            for to in lists(&message.to, room / LIST_SHARE) {
                out.extend(cuts.iter().map(|cut| self.piece(&whole, (message, to), cut)));
            }
        }
        out
    }

    fn piece(&self, whole: &Envelope<'_>, (message, to): (&Message<'_>, &[To]), cut: &Cut) -> Self {
        let body = message.body.get(cut.at.clone()).unwrap_or_default();
        let first = to.first().map_or((0, 0), |to| (to.0.0, to.1.0));
        let hash = Sha256::new()
            .chain_update(self.batch.0.to_le_bytes())
            .chain_update(format!("{first:?} {:?} {:?} {:?}", message.dir, cut.at, cut.part));
        let random = hash.finalize().iter().take(10).fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        let batch = Ulid::from_parts(self.batch.timestamp_ms(), random);
        let header = Header { batch, ..whole.header.clone() };
        let mut writer = Writer::new(Vec::with_capacity(body.len() + ENVELOPE_OVERHEAD), &header);
        let part = cut.part.or(message.part);
        writer.message(&Message {
            to: to.into(),
            body: body.into(),
            crc: crc32(body),
            part,
            ..message.clone()
        });
        let messages = if part.is_none_or(|part| part.0 == 1) { to.len() as u64 } else { 0 };
        Self { batch, messages, body: Bytes::from(writer.finish()) }
    }

    /// Whether an envelope that came back is this one.
    pub(super) fn is_proved_by(&self, got: &Envelope<'_>) -> bool {
        decode(&self.body).is_ok_and(|sent| sent.header == got.header && sent.messages == got.messages)
    }
}

/// A piece of a message, or all of it.
struct Cut {
    at: Range<usize>,
    part: Option<Part>,
}

/// How a message is cut so that its pieces and a part of its list fit into `room`.
fn cuts(message: &Message<'_>, room: usize) -> Option<Vec<Cut>> {
    let names = escaped_len(message.kind.as_bytes()) + escaped_len(message.path.as_bytes());
    let room = (room - room / LIST_SHARE).checked_sub(MESSAGE_OVERHEAD + names)?;
    if carried_len(message.op, &message.body) <= room {
        return Some(vec![Cut { at: 0..message.body.len(), part: None }]);
    }
    let cuts = cut(message.op, &message.body, room).filter(|_| message.part.is_none())?;
    let count = u16::try_from(cuts.len()).ok()?;
    let piece = |(at, number)| Cut { at, part: Some(Part(number, count)) };
    Some(cuts.into_iter().zip(1..).map(piece).collect())
}

/// A list of recipients in parts of at most `room` bytes, with each session once: otherwise the second
/// message's first piece would come before the first one's last.
fn lists(to: &[To], room: usize) -> Vec<&[To]> {
    let mut out = Vec::new();
    let mut rest = to;
    while !rest.is_empty() {
        let (mut left, mut sessions) = (room, HashSet::new());
        let fits = |to: &&To| {
            let less = left.checked_sub(recipient_len(**to)).filter(|_| sessions.insert(to.0));
            less.map(|less| left = less).is_some()
        };
        let (front, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        out.push(front);
        rest = after;
    }
    out
}

impl Publisher {
    /// Gives a batch to the spool that was never to be published live; poll [`poll_given`](Self::poll_given).
    pub fn divert(&mut self, batch: Batch, why: Shed, now: Instant) {
        let at_ms = self.epoch.unix_ms(now);
        let id = self.ids.next(at_ms);
        let flight = Flight::new(id, Content::Live(batch), at_ms, now);
        self.given.push_back((flight, why));
    }

    /// What was given up and not yet fetched, in batches.
    #[must_use]
    pub fn given(&self) -> usize {
        self.given.len()
    }

    /// The next batch for the spool. What waits here keeps its payloads: fetch it when the disk has room.
    pub fn poll_given(&mut self) -> Option<Given> {
        while let Some((mut flight, why)) = self.given.pop_front() {
            flight.shed_pieces(why);
            let whole = flight.messages();
            let Some(record) = flight.for_disk(&self.settings.src, &self.epoch) else { continue };
            let tokens = flight.take_tokens();
            let copied = flight.copied && tokens.len() as u64 == whole;
            return Some(Given { record, copied, tokens, why });
        }
        None
    }

    /// Sheds what nobody will fetch.
    pub fn shed_given(&mut self) -> u64 {
        self.given.drain(..).map(|(mut flight, why)| flight.shed(why).1).sum()
    }

    /// A copy of a batch that is about to be published, for the disk; its end is told by [`PubEvent::Settled`] or by
    /// [`poll_given`](Self::poll_given).
    pub fn copy(&mut self, batch: Ulid) -> Option<ForDisk> {
        let flight = self.flights.iter_mut().find(|flight| flight.id == batch)?;
        let record = flight.for_disk(&self.settings.src, &self.epoch)?;
        flight.copied = true;
        Some(record)
    }

    /// Takes a batch of the backlog on. It ends with [`PubEvent::Stored`].
    pub fn submit_stored(&mut self, stored: Stored, now: Instant) {
        let batch = stored.batch;
        if self.flights.iter().any(|flight| flight.id == batch) {
            self.events.push_back(PubEvent::Stored { batch, end: StoredEnd::Back });
            return;
        }
        let at_ms = self.epoch.unix_ms(now);
        self.flights.push_back(Flight::new(batch, Content::Stored(stored), at_ms, now));
    }

    /// Batches of the backlog that are not settled.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.flights.iter().filter(|flight| flight.is_stored()).count()
    }

    /// What becomes of a flight that leaves without having arrived; how many messages are lost with it.
    pub(super) fn let_go(&mut self, mut flight: Flight, why: Shed) -> u64 {
        let batch = flight.id;
        if flight.is_stored() {
            let messages = flight.messages();
            let end = if is_for_disk(why) { StoredEnd::Back } else { StoredEnd::Lost(why) };
            self.events.push_back(PubEvent::Stored { batch, end });
            return messages;
        }
        if self.settings.spools && is_for_disk(why) {
            let awaited = flight.unawait();
            self.events.extend(awaited.into_iter().map(|key| PubEvent::Shed { key, why }));
            if !flight.is_settled() {
                self.given.push_back((flight, why));
            } else if flight.copied {
                self.events.push_back(PubEvent::Settled { batch });
            }
            return 0;
        }
        if flight.copied {
            self.events.push_back(PubEvent::Settled { batch });
        }
        let (awaited, lost) = flight.shed(why);
        self.events.extend(awaited.into_iter().map(|key| PubEvent::Shed { key, why }));
        lost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::Check;
    use crate::session::{Direction, Opcode, Seq, SessionNo};

    fn stored(body: &[u8], recipients: u32, is_text: bool) -> Stored {
        let to: Vec<To> = (0..recipients).map(|n| To(SessionNo(n), Seq(7))).collect();
        let message = Message {
            to: to.into(),
            dir: Direction::Down,
            op: if is_text { Opcode::Text } else { Opcode::Binary },
            kind: "tick".into(),
            class: Class::High,
            path: "/ws".into(),
            at_ms: 5,
            id: "0123456789abcdef".into(),
            body: body.into(),
            crc: crc32(body),
            part: None,
            redacted: false,
        };
        let header = Header { src: "pod".into(), batch: Ulid(77 << 80 | 1), at_ms: 9, replay: true };
        let mut writer = Writer::new(Vec::new(), &header);
        writer.message(&message);
        Stored { batch: header.batch, messages: u64::from(recipients), body: writer.finish().into() }
    }

    proptest! {
        #[test]
        fn pieces_fit_keep_their_names_and_make_the_whole(
            body in "[a-z\u{1}\"äß漢]{0,9000}", recipients in 1u32..300, limit in 3_000u32..9_000, is_text in any::<bool>(),
        ) {
            let whole = stored(body.as_bytes(), recipients, is_text);
            let pieces = whole.cut(limit);
            prop_assert!(!pieces.is_empty());
            let again: Vec<Ulid> = whole.cut(limit).iter().map(|one| one.batch).collect();
            let names: std::collections::BTreeSet<Ulid> = again.iter().copied().collect();
            prop_assert!(pieces.iter().map(|one| one.batch).eq(again.iter().copied()));
            prop_assert!(names.len() == pieces.len() && !names.contains(&whole.batch));
            prop_assert_eq!(pieces.iter().map(|one| one.messages).sum::<u64>(), whole.messages);
            let mut bodies = std::collections::HashMap::<To, (Vec<u8>, u16)>::new();
            for piece in &pieces {
                prop_assert!(piece.body.len() <= limit as usize, "{} of {limit}", piece.body.len());
                let envelope = decode(&piece.body).unwrap();
                prop_assert!(envelope.header.replay && envelope.header.batch == piece.batch);
                for received in &envelope.messages {
                    prop_assert_eq!(received.check, Check::Verified);
                    let part = received.message.part.unwrap_or(Part(1, 1));
                    for to in received.message.to.iter() {
                        let (body, last) = bodies.entry(*to).or_default();
                        prop_assert_eq!(part.0, *last + 1);
                        *last = part.0;
                        body.extend(&*received.message.body);
                    }
                }
            }
            prop_assert_eq!(bodies.len(), recipients as usize);
            prop_assert!(bodies.values().all(|(whole, _)| whole == body.as_bytes()));
        }
    }

    #[test]
    fn what_cannot_be_cut_is_said_to_be_so() {
        assert!(stored(&[0xff; 200_000], 1, false).cut(1_500).is_empty());
        assert!(
            Stored { batch: Ulid(1), messages: 1, body: Bytes::from_static(b"no envelope") }
                .cut(9)
                .is_empty()
        );
    }
}
