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
use crate::mirror::batch::{Batch, Divert};
use crate::mirror::stored::Stored;
use crate::proxy::News;
use crate::spool::disk::{Backlog, Command};

/// Publishing that has been impossible for so long sends what is due to the disk; a reconnect is usually shorter.
const BLOCKED_MAX: Duration = Duration::from_secs(2);
/// Batches that wait for the disk in the publisher; more stay in the batcher, where they collapse.
const GIVEN_MAX: usize = 8;
/// Unsettled batches of the backlog.
const STORED_MAX: usize = 8;
/// How often the account goes to the disk.
const ACCOUNT_EVERY: Duration = Duration::from_millis(250);
/// How often an empty backlog is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest wait for the disk at the end.
const CLOSE_MAX: Duration = Duration::from_secs(3);

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
        if now >= spool.account_at {
            spool.account_at = now + ACCOUNT_EVERY;
            let account = Box::new(spool.ledger.account());
            // The next one is as good.
            drop(spool.port.try_send(Command::Account(account)));
        }
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
        self.publisher.set_spools(false);
        self.intake.set_spools(false);
        self.publisher.shed_given();
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
            self.publisher.divert(Batch::of(record), Shed::QueueFull, now);
        }
        if is_long || self.state.mode == Some(Publish::Nothing) {
            self.divert_batches(Divert::Due, Shed::Disconnected, now);
        } else if self.batcher.is_crowded() {
            self.divert_batches(Divert::Dullest, Shed::QueueFull, now);
        }
    }

    fn divert_batches(&mut self, which: Divert, why: Shed, now: Instant) {
        if which != Divert::Dullest {
            // A hot session never waits for the disk.
            for key in self.batcher.unawait() {
                self.tell(key, News::TurnedAway(Direct::Shed));
            }
        }
        while self.publisher.given() < GIVEN_MAX || which == Divert::All {
            let Some(batch) = self.batcher.divert(self.limit_bytes, which, now) else { return };
            self.publisher.divert(batch, why, now);
            if which == Divert::Dullest && !self.batcher.is_crowded() {
                return;
            }
        }
    }

    /// Hands over what the publisher has given up, as far as the disk has room.
    fn give(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        while spool.has_room() {
            let Some(given) = self.publisher.poll_given() else { return };
            spool.take(given);
        }
    }

    /// A live batch was submitted: what is critical goes to the disk at the same time.
    pub(super) fn submitted(&mut self, batch: Ulid, is_critical: bool, now: Instant) {
        let Some(spool) = &mut self.spool else { return };
        spool.share.live(now);
        if is_critical
            && spool.has_room()
            && let Some(record) = self.publisher.copy(batch)
        {
            spool.twins.insert(batch, Twin::default());
            spool.store(record, true);
        }
    }

    /// Publishes from the backlog where live traffic leaves room.
    fn send_backlog(&mut self, now: Instant) {
        let live_due = self.batcher.poll_timeout().is_some_and(|at| at <= now);
        let may = self.may_fill() && self.publisher.slots_free() > 1 && self.publisher.stored() < STORED_MAX;
        let Some(spool) = &mut self.spool else { return };
        if may
            && !spool.stopping
            && spool.ready.is_some()
            && spool.share.may_send(live_due, now)
            && let Some(Backlog { ticket, batch, messages, body, .. }) = spool.ready.take()
        {
            spool.share.sent(now);
            spool.out.insert(batch, (ticket, u64::from(messages)));
            self.publisher.submit_stored(Stored { batch, messages: u64::from(messages), body }, now);
        }
        if may && spool.ready.is_none() && spool.more && !spool.asked && !spool.stopping {
            spool.asked = true;
            spool.send(Command::Next);
        }
    }

    /// When the backlog has something to send.
    pub(super) fn backlog_at(&self) -> Option<Instant> {
        let spool = self.spool.as_ref().filter(|spool| spool.ready.is_some())?;
        spool.share.poll_timeout().filter(|_| self.may_fill() && self.publisher.stored() < STORED_MAX)
    }

    /// Whether nothing is between this thread and the disk.
    pub(super) fn is_spooled(&self) -> bool {
        self.publisher.given() == 0 && self.spool.as_ref().is_none_or(Spool::is_idle)
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
            self.divert_batches(Divert::All, Shed::Shutdown, now);
            self.divert(now);
            self.hear_disk();
            self.give();
            let Some(spool) = &mut self.spool else { return };
            if self.publisher.given() == 0 && spool.is_idle() && spool.outbox.is_empty() {
                break;
            }
            match tokio::time::timeout_at(until.into(), spool.port.next_report()).await {
                Ok(Some(report)) => spool.hear(report),
                Ok(None) => return self.lose_spool(),
                Err(_) => break,
            }
        }
        let late = self.publisher.shed_given();
        let Some(spool) = &mut self.spool else { return };
        if late > 0 {
            tracing::error!(messages = late, "the disk was too slow at the end: these messages are lost");
        }
        // What is handed out stays on disk for the next process.
        spool.send(Command::Account(Box::new(spool.ledger.account())));
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
