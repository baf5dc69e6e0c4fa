//! The publisher and the spool: what cannot be published is given away instead of shed, what was stored comes back.
//! A stored batch is an envelope as it lies on disk; it is published under its own name and compared as a whole.

use std::time::Instant;

use bytes::Bytes;
use ulid::Ulid;

use super::batch::Batch;
use super::flight::{Content, Flight};
use super::publish::Publisher;
use super::report::{PubEvent, StoredEnd};
use crate::envelope::{Class, Envelope, decode};
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
    /// Whether an envelope that came back is this one.
    pub(super) fn is_proved_by(&self, got: &Envelope<'_>) -> bool {
        decode(&self.body).is_ok_and(|sent| sent.header == got.header && sent.messages == got.messages)
    }
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
