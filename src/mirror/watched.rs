//! What the publisher shows to whoever keeps books beside it, and read-backs as they come off the wire.

use std::time::Instant;

use ulid::Ulid;

use super::flight::Content;
use super::publish::Publisher;
use super::record::Record;
use crate::envelope::decode;

impl Publisher {
    /// When the oldest message that is not settled passed the tap.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.flights.iter().filter_map(|flight| flight.oldest).min()
    }

    /// A broadcast of event `messages` on our own topic.
    pub fn handle_readback(&mut self, bytes: &[u8], now: Instant) {
        match decode(bytes) {
            Ok(envelope) => self.handle_envelope(envelope, now),
            Err(_) => self.handle_malformed(),
        }
    }

    /// A broadcast that is no envelope.
    pub const fn handle_malformed(&mut self) {
        self.tally.malformed += 1;
    }

    /// The records of a batch that is not settled; none of one that lay on disk.
    #[must_use]
    pub fn records(&self, batch: Ulid) -> &[Record] {
        let flight = self.flights.iter().find(|flight| flight.id == batch);
        match flight.map(|flight| &flight.content) {
            Some(Content::Live(batch)) => batch.records(),
            _ => &[],
        }
    }
}
