//! Events of the records that are published: made here, paid from the governor's budget, sent by a thread of their own.

use std::time::Instant;

use crate::app::events::EventOffer;
use crate::mirror::batch::Batch;
use crate::mirror::events::Events;
use crate::mirror::flight::Epoch;
use crate::mirror::governor::{Governor, Verdict};

/// The machine that makes events, and where they go.
pub(crate) struct Publisher {
    events: Events,
    epoch: Epoch,
    offer: EventOffer,
}

impl Publisher {
    pub(crate) const fn new(events: Events, epoch: Epoch, offer: EventOffer) -> Self {
        Self { events, epoch, offer }
    }

    /// A batch is about to be published for the first time.
    pub(super) fn offer(&mut self, batch: &Batch, now: Instant) {
        for record in batch.records() {
            self.events.offer(record, &self.epoch, now);
        }
    }

    /// A batch goes to the disk instead.
    pub(super) fn divert(&mut self, batch: &Batch) {
        for record in batch.records() {
            self.events.divert(record);
        }
    }

    /// Hands over what the governor lets go; each event is a broadcast, delivered to us where events are read back.
    pub(super) fn drain(&mut self, governor: &mut Governor, now: Instant) {
        while !self.events.is_empty() && governor.verdict(now) == Verdict::Publish {
            let Some(event) = self.events.poll_transmit(now) else { break };
            governor.spend(self.offer.reads_back(), now);
            self.offer.offer(event);
        }
        self.offer.figures().note(self.events.counts());
    }
}
