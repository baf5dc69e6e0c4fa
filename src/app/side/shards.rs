//! The two topics of a pod: the one that is read back, and the one that costs no delivery. Each has a batcher and a
//! publisher; the governor decides when either may publish.

use std::time::{Duration, Instant};

use super::spool::is_critical;
use super::{EVENT, Side};
use crate::app::ops::Word;
use crate::breaker::Publish;
use crate::hot::Direct;
use crate::mirror::batch::{BatchCounts, Batcher};
use crate::mirror::governor::{Governor, Relief, Verdict};
use crate::mirror::publish::Publisher;
use crate::mirror::report::PubEvent;
use crate::mirror::shard::Shard;
use crate::proxy::News;
use crate::realtime::link::{Push, PushRef, TopicNo};
use crate::realtime::message::Encoding;
use crate::session::Key;

/// The channel of the read-back topic on each link.
pub(crate) const TOPIC: TopicNo = TopicNo(0);
/// The channel of the other topic, on the publishing link alone.
pub(crate) const ACKED_TOPIC: TopicNo = TopicNo(1);

/// What is read back goes first, unless the other shard's batch has been due for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shard that nobody reads back, where there is one.
pub(crate) struct Acked {
    pub(crate) batcher: Batcher,
    pub(crate) publisher: Publisher,
}

/// The queues of both shards, for the intake.
pub(crate) struct Queues<'a> {
    pub(super) read_back: &'a mut Batcher,
    pub(super) acked: Option<&'a mut Batcher>,
    pub(super) governor: &'a mut Governor,
}

impl Queues<'_> {
    pub(super) fn of(&mut self, shard: Shard) -> &mut Batcher {
        match (shard, &mut self.acked) {
            (Shard::Acked, Some(acked)) => acked,
            _ => self.read_back,
        }
    }

    /// Notes about sessions go where they cost least.
    pub(super) fn notes(&mut self) -> &mut Batcher {
        self.of(Shard::Acked)
    }

    /// What the governor's spacing asks for in a shard.
    pub(super) fn relief(&mut self, shard: Shard) -> Relief {
        let batcher = self.of(shard);
        let (waiting, capacity) = (batcher.waiting_bytes(), batcher.capacity());
        self.governor.relief(waiting, capacity)
    }
}

const fn topic(shard: Shard) -> TopicNo {
    match shard {
        Shard::ReadBack => TOPIC,
        Shard::Acked => ACKED_TOPIC,
    }
}

impl Side {
    /// Sends what is queued, then closes batches, each when the governor lets it.
    pub(super) fn publish_due(&mut self, now: Instant) {
        loop {
            self.transmit(now);
            if !self.fill(now) {
                break;
            }
        }
        let others = self.acked.iter_mut().map(|acked| &mut acked.batcher);
        let mut too_large = Vec::new();
        for batcher in std::iter::once(&mut self.batcher).chain(others) {
            while let Some(refused) = batcher.poll_refused() {
                too_large.append(&mut refused.shed());
            }
        }
        for key in too_large {
            self.tell(key, News::TurnedAway(Direct::TooLarge));
        }
    }

    /// Closes one batch, if one is due and may go. Withheld batches stay open and grow.
    fn fill(&mut self, now: Instant) -> bool {
        let Some(shard) = self.next_shard(now) else { return false };
        if self.governor.verdict(now) != Verdict::Publish {
            return false;
        }
        let limit = self.limit_bytes;
        let (batcher, publisher) = self.parts(shard);
        let Some(batch) = batcher.take(publisher.slots_free(), limit, now) else { return false };
        let first = || batch.records().iter().filter(|record| record.is_first());
        let messages = first().map(|record| record.keys().count() as u64).sum();
        let awaited: Vec<Key> = first().filter(|record| record.is_awaited()).flat_map(|r| r.keys()).collect();
        let critical = is_critical(&batch);
        if let Some(events) = &mut self.events {
            events.offer(&batch, now);
        }
        let publisher = self.parts(shard).1;
        let id = publisher.submit(batch, now);
        let counts = self.acked.as_ref().map_or_else(BatchCounts::default, |acked| acked.batcher.counts());
        self.figures.closed(messages, [self.batcher.counts(), counts]);
        self.state.unacked.insert(id, messages);
        self.submitted(shard, id, critical, now);
        for key in awaited {
            self.tell(key, News::Published);
        }
        true
    }

    /// The shard whose batch is to go next.
    fn next_shard(&self, now: Instant) -> Option<Shard> {
        let due = |shard| self.due_at(shard).filter(|at| *at <= now);
        match (due(Shard::ReadBack), due(Shard::Acked)) {
            (Some(_), Some(acked)) if acked + PATIENCE <= now => Some(Shard::Acked),
            (Some(_), _) => Some(Shard::ReadBack),
            (None, Some(_)) => Some(Shard::Acked),
            (None, None) => None,
        }
    }

    /// When a shard has a batch to close, while it may.
    pub(super) fn due_at(&self, shard: Shard) -> Option<Instant> {
        let (batcher, publisher) = match (shard, &self.acked) {
            (Shard::ReadBack, _) => (&self.batcher, &self.publisher),
            (Shard::Acked, Some(acked)) => (&acked.batcher, &acked.publisher),
            (Shard::Acked, None) => return None,
        };
        let may = self.state.mode == Some(Publish::All) && publisher.slots_free() > 0;
        batcher.poll_timeout().filter(|_| may)
    }

    /// When the next publish is due: its own time or the governor's, whichever is later.
    pub(super) fn publish_at(&self) -> Option<Instant> {
        let publishers = std::iter::once(&self.publisher).chain(self.acked.iter().map(|one| &one.publisher));
        let free = self.governor.free_at();
        let queued = publishers.into_iter().any(Publisher::wants_to_transmit).then_some(free);
        let due = [Shard::ReadBack, Shard::Acked].into_iter().filter_map(|shard| self.due_at(shard)).min();
        [due.map(|at| at.max(free)), queued].into_iter().flatten().min()
    }

    /// Sends what is queued, as far as the governor lets it.
    pub(super) fn transmit(&mut self, now: Instant) {
        for shard in [Shard::ReadBack, Shard::Acked] {
            while self.parts(shard).1.wants_to_transmit() && self.governor.verdict(now) == Verdict::Publish {
                if !self.transmit_one(shard, now) {
                    break;
                }
            }
            if self.acked.is_none() {
                return;
            }
        }
    }

    fn transmit_one(&mut self, shard: Shard, now: Instant) -> bool {
        let Some(push) = self.parts(shard).1.poll_transmit(now) else { return false };
        let reference = PushRef(self.state.next_push);
        self.state.next_push += 1;
        let (batch, attempt) = (push.batch, push.attempt);
        self.figures.batch(push.body.len());
        let push = Push {
            id: reference,
            topic: topic(shard),
            event: EVENT.to_owned(),
            body: push.body,
            encoding: Encoding::Json,
        };
        if self.publish.try_push(push).is_err() {
            // The link's queue is full or its task gone: as if the link were down until it says otherwise.
            self.parts(shard).1.handle_link_down(now);
            return false;
        }
        if self.spool.as_ref().is_some_and(|spool| spool.is_backlog(batch)) {
            self.governor.spend_backlog(shard == Shard::ReadBack, now);
        } else {
            self.governor.spend(shard == Shard::ReadBack, now);
        }
        self.state.pushes.insert(reference, (shard, batch, now));
        self.parts(shard).1.handle_sent(batch);
        self.watch_sent(shard, (batch, attempt), now);
        true
    }

    /// Batcher and publisher of a shard; of the read-back one where there is no other.
    pub(super) fn parts(&mut self, shard: Shard) -> (&mut Batcher, &mut Publisher) {
        match (shard, &mut self.acked) {
            (Shard::Acked, Some(acked)) => (&mut acked.batcher, &mut acked.publisher),
            _ => (&mut self.batcher, &mut self.publisher),
        }
    }

    /// What the unread shard has to say: its oks prove no delivery, so that it gives no samples to the breaker.
    pub(super) fn report_acked(&mut self) {
        let mut lost = 0;
        while let Some(event) = self.acked.as_mut().and_then(|acked| acked.publisher.poll_event()) {
            match event {
                PubEvent::Unconfirmed { messages, .. } => lost += messages,
                PubEvent::Settled { batch } => self.copy_settled(batch),
                _ => {}
            }
        }
        if lost > 0 {
            tracing::error!(messages = lost, "published four times and never acknowledged: unconfirmed");
        }
    }

    /// Both shards are empty.
    pub(super) fn is_at_rest(&self) -> bool {
        let acked = self.acked.as_ref();
        self.batcher.is_empty()
            && self.publisher.is_empty()
            && acked.is_none_or(|acked| acked.batcher.is_empty() && acked.publisher.is_empty())
    }

    /// Tells the ops thread whether the plan allows hot sessions, until it has heard it.
    pub(super) fn tell_spacing(&mut self) {
        let spacing = self.governor.hot().err();
        if self.state.spacing_told != Some(spacing) && self.ops.try_send(Word::Spacing(spacing)).is_ok() {
            self.state.spacing_told = Some(spacing);
        }
    }
}
