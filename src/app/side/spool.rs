//! The side thread and the disk: what cannot be published goes there, what is there comes back beside live traffic.
//! Nothing here waits for the disk; only the end of the process does, for a bounded time.

use std::time::{Duration, Instant};

use ulid::Ulid;

use super::disk::{Spool, Twin};
use super::{Side, clock};
use crate::breaker::Publish;
use crate::envelope::Class;
use crate::hot::Direct;
use crate::ledger::Shed;
use crate::mirror::batch::Batch;
use crate::mirror::divert::Divert;
use crate::mirror::governor::Relief;
use crate::mirror::shard::Shard;
use crate::proxy::News;
use crate::spool::disk::Command;

/// Publishing that has been impossible for so long sends what is due to the disk; a reconnect is usually shorter.
const BLOCKED_MAX: Duration = Duration::from_secs(2);
/// Batches that wait for the disk in the publisher; more stay in the batcher, where they collapse.
const GIVEN_MAX: usize = 8;
/// Messages without room in the batcher that wait for a disk that is behind.
const OVERFLOW_MAX: usize = 1_024;
/// Unsettled batches of the backlog.
const STORED_MAX: usize = 8;
/// How often an empty backlog is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest wait for the disk at the end.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// Both topics; without a second one its parts are those of the first.
const SHARDS: [Shard; 2] = [Shard::ReadBack, Shard::Acked];

impl Side {
    pub(super) const fn spools(&self) -> bool {
        self.spool.is_some()
    }

    /// Everything between this thread and the disk that does not wait.
    pub(super) fn spool_turn(&mut self, now: Instant) {
        self.hear_disk();
        self.divert(now);
        self.give();
        self.send_backlog(now);
        let Some(spool) = &mut self.spool else { return };
        if now >= spool.look_at {
            spool.look_at = now + LOOK_EVERY;
            spool.more = true;
        }
        spool.keep_account(self.intake.sessions(), now);
    }

    fn hear_disk(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        while let Some(report) = spool.port.try_report() {
            spool.hear(report);
        }
        spool.flush();
        if spool.port.is_gone() {
            tracing::error!("the spool's thread has ended; going on without a spool");
            self.lose_spool();
        }
    }

    fn lose_spool(&mut self) {
        if let Some(spool) = self.spool.take() {
            spool.end();
        }
        self.intake.set_spools(false);
        for shard in SHARDS {
            let publisher = self.parts(shard).1;
            publisher.set_spools(false);
            publisher.shed_given();
        }
        if self.state.mode == Some(Publish::Nothing) {
            self.state.mode = None; // the view is followed anew: the tap shuts, what waits is settled
        }
    }

    /// Sends to the disk what has to leave memory although it cannot be published.
    fn divert(&mut self, now: Instant) {
        let can_publish = self.state.mode == Some(Publish::All) && self.links.publish && self.links.readback;
        let Some(spool) = &mut self.spool else { return };
        if can_publish {
            spool.blocked_since = None;
        }
        let blocked = (!can_publish).then(|| *spool.blocked_since.get_or_insert(now));
        let is_long = blocked.is_some_and(|since| now.saturating_duration_since(since) >= BLOCKED_MAX);
        for record in self.intake.take_overflow() {
            if self.publisher.given() >= OVERFLOW_MAX {
                // Whoever waited for it was told when it found no room.
                record.shed(Shed::SpoolBusy);
                continue;
            }
            let batch = Batch::of(record);
            self.events.iter_mut().for_each(|events| events.divert(&batch));
            self.publisher.divert(batch, Shed::QueueFull, now);
        }
        let nothing = self.state.mode == Some(Publish::Nothing);
        for shard in SHARDS {
            if is_long || nothing {
                self.divert_batches(shard, Divert::Due, Shed::Disconnected, now);
            } else if self.is_short_of_room(shard) {
                self.divert_batches(shard, Divert::Dullest, Shed::QueueFull, now);
            }
            if self.acked.is_none() {
                return;
            }
        }
    }

    /// The batcher fills, or the plan's spacing makes it fill.
    fn is_short_of_room(&mut self, shard: Shard) -> bool {
        let batcher = self.parts(shard).0;
        let (crowded, waiting, capacity) =
            (batcher.is_crowded(), batcher.waiting_bytes(), batcher.capacity());
        crowded || self.governor.relief(waiting, capacity) != Relief::None
    }

    /// A hot session never waits for the disk.
    pub(super) fn unawait(&mut self) {
        for key in self.batcher.unawait() {
            self.tell(key, News::TurnedAway(Direct::Shed));
        }
    }

    /// What waits for the disk in both publishers.
    fn given(&self) -> usize {
        self.publisher.given() + self.acked.as_ref().map_or(0, |acked| acked.publisher.given())
    }

    fn divert_batches(&mut self, shard: Shard, which: Divert, why: Shed, now: Instant) {
        if which != Divert::Dullest && shard == Shard::ReadBack {
            self.unawait();
        }
        let limit = self.limit_bytes;
        while self.given() < GIVEN_MAX || which == Divert::All {
            let Some(batch) = self.parts(shard).0.divert(limit, which, now) else { return };
            if let Some(events) = &mut self.events {
                events.divert(&batch);
            }
            self.parts(shard).1.divert(batch, why, now);
            if which == Divert::Dullest && !self.is_short_of_room(shard) {
                return;
            }
        }
    }

    /// Hands over what the publisher has given up, as far as the disk has room.
    fn give(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        while spool.has_room() {
            let acked = || self.acked.as_mut().and_then(|acked| acked.publisher.poll_given());
            let Some(given) = self.publisher.poll_given().or_else(acked) else { return };
            spool.take(given);
        }
    }

    /// A live batch was submitted: what is critical goes to the disk at the same time.
    pub(super) fn submitted(&mut self, shard: Shard, batch: Ulid, is_critical: bool, now: Instant) {
        let Some(spool) = &mut self.spool else { return };
        spool.share.live(now);
        let publisher = match (shard, &mut self.acked) {
            (Shard::Acked, Some(acked)) => &mut acked.publisher,
            _ => &mut self.publisher,
        };
        if is_critical
            && spool.has_room()
            && let Some(record) = publisher.copy(batch)
        {
            spool.twins.insert(batch, Twin::default());
            spool.store(record, true);
        }
    }

    /// A batch has arrived, and its copy on disk is not needed any more.
    pub(super) fn copy_settled(&mut self, batch: Ulid) {
        if let Some(spool) = &mut self.spool {
            spool.settled(batch);
        }
    }

    /// Publishes from the backlog where live traffic leaves room.
    fn send_backlog(&mut self, now: Instant) {
        let live_due = SHARDS.into_iter().any(|shard| self.due_at(shard).is_some_and(|at| at <= now));
        let may = self.may_fill()
            && self.publisher.slots_free() > 1
            && self.publisher.stored() < STORED_MAX
            && self.governor.backlog_slots(live_due, now) > 0;
        let Some(spool) = &mut self.spool else { return };
        if may
            && !spool.stopping
            && spool.is_ready()
            && spool.share.may_send(live_due, now)
            && let Some(stored) = spool.next_stored(self.limit_bytes)
        {
            spool.share.sent(now);
            self.publisher.submit_stored(stored, now);
        }
        if may && !spool.is_ready() && spool.more && !spool.asked && !spool.stopping {
            spool.asked = true;
            spool.send(Command::Next);
        }
    }

    /// When the backlog has something to send.
    pub(super) fn backlog_at(&self) -> Option<Instant> {
        let spool = self.spool.as_ref().filter(|spool| spool.is_ready())?;
        let may = self.may_fill() && self.publisher.stored() < STORED_MAX;
        spool.share.poll_timeout().filter(|_| may).map(|at| at.max(self.governor.free_at()))
    }

    /// Whether nothing is between this thread and the disk.
    pub(super) fn is_spooled(&self) -> bool {
        self.given() == 0 && self.spool.as_ref().is_none_or(Spool::is_idle)
    }

    /// Nothing is taken from the backlog any more.
    pub(super) fn stop_backlog(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.stopping = true;
        }
    }

    /// Writes down what is left in memory, says what remains on disk, ends.
    pub(super) async fn close_spool(&mut self) {
        let until = clock() + CLOSE_MAX;
        loop {
            let now = clock();
            self.drain_tap(now);
            for shard in SHARDS {
                self.divert_batches(shard, Divert::All, Shed::Shutdown, now);
            }
            self.divert(now);
            self.hear_disk();
            self.give();
            let given = self.given();
            let Some(spool) = &mut self.spool else { return };
            if given == 0 && spool.is_idle() && spool.outbox.is_empty() {
                break;
            }
            match tokio::time::timeout_at(until.into(), spool.port.next_report()).await {
                Ok(Some(report)) => spool.hear(report),
                Ok(None) => return self.lose_spool(),
                Err(_) => break,
            }
        }
        let late = SHARDS.into_iter().map(|shard| self.parts(shard).1.shed_given()).sum::<u64>();
        let Some(spool) = &mut self.spool else { return };
        if late > 0 {
            tracing::error!(messages = late, "the disk was too slow at the end: these messages are lost");
        }
        // What is handed out stays on disk for the next process.
        spool.send(spool.moment(0, true));
        spool.send(Command::Close);
        while spool.closed.is_none() {
            match tokio::time::timeout_at(until.into(), spool.port.next_report()).await {
                Ok(Some(report)) => spool.hear(report),
                _ => break,
            }
        }
        match spool.closed {
            Some(messages) => tracing::info!(
                messages,
                "what remains in the spool; the next process with this directory publishes it"
            ),
            None => tracing::error!("the spool did not close in time"),
        }
        if let Some(spool) = self.spool.take() {
            spool.end();
        }
    }
}

/// Whether the disk gets a copy of a batch while it is published.
pub(super) fn is_critical(batch: &Batch) -> bool {
    batch.records().iter().any(|record| record.facts().class == Class::Critical)
}
