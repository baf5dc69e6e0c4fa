//! Figures that the side thread leaves for whoever draws pictures of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::admin::{EDGES, Published, Spread};
use crate::mirror::batch::BatchCounts;
use crate::mirror::frequency::Seen;
use crate::mirror::governor;
use crate::mirror::publish::Publisher;
use crate::mirror::tally::Tally;

use super::ops::Links;

/// Written by the side thread, read by the ops thread.
#[derive(Debug, Default)]
pub(crate) struct SideFigures {
    connected: AtomicBool,
    write_denied: AtomicBool,
    batches: AtomicU64,
    published: Mutex<Published>,
    acknowledged: AtomicU64,
    waiting: AtomicU64,
    notices_lost: AtomicU64,
    words_lost: AtomicU64,
    tally: Mutex<Tally>,
    quota: Mutex<governor::Figures>,
    kinds: Mutex<Kinds>,
    sizes: Mutex<Sizes>,
    /// Microseconds: how old the oldest unsettled message in memory was at the last turn.
    oldest_us: AtomicU64,
}

/// How much one broadcast carries, and how long Realtime takes to answer.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) messages: Spread,
    pub(crate) bytes: Spread,
    pub(crate) answers: Spread,
}

/// Messages of one broadcast.
const MESSAGES: [f64; 11] = [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0, 4000.0];
/// Bytes of one; no broadcast exceeds a MiB.
const BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 524_288.0, 1_048_576.0];

impl Default for Sizes {
    fn default() -> Self {
        let over = Spread::over;
        Self { messages: over(&MESSAGES), bytes: over(&BYTES), answers: over(&EDGES) }
    }
}

/// The event types of this pod, and the messages whose type found no room in the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds {
    /// The most frequent first.
    pub(crate) seen: Arc<[Seen]>,
    pub(crate) untracked: u64,
}

/// A copy of the figures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SideSnapshot {
    pub(crate) connected: bool,
    pub(crate) write_denied: bool,
    pub(crate) batches: u64,
    pub(crate) published: Published,
    pub(crate) acknowledged: u64,
    pub(crate) waiting: u64,
    pub(crate) tally: Tally,
    pub(crate) quota: governor::Figures,
}

impl SideFigures {
    /// A broadcast of so many bytes goes out.
    pub(super) fn batch(&self, bytes: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.published.lock().unwrap_or_else(PoisonError::into_inner).bytes += bytes as u64;
        self.size(|sizes| sizes.bytes.observe(bytes as f64));
    }

    /// A batch of so many messages was closed.
    pub(super) fn closed(&self, recipients: u64, counts: [BatchCounts; 2]) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.recipients += recipients;
        published.collapsed = counts.iter().map(|one| one.collapsed).sum();
        published.split = counts.iter().map(|one| one.split).sum();
        drop(published);
        self.size(|sizes| sizes.messages.observe(recipients as f64));
    }

    /// Realtime has answered a push.
    pub(super) fn answered(&self, took: Duration) {
        self.size(|sizes| sizes.answers.observe(took.as_secs_f64()));
    }

    /// How old the oldest unsettled message in memory is.
    pub(super) fn note_oldest(&self, age: Duration) {
        self.oldest_us.store(u64::try_from(age.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn oldest(&self) -> Duration {
        Duration::from_micros(self.oldest_us.load(Ordering::Relaxed))
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn size(&self, note: impl FnOnce(&mut Sizes)) {
        note(&mut self.sizes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn acknowledged(&self, messages: u64) {
        self.acknowledged.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn notices_lost(&self) {
        self.notices_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn words_lost(&self) {
        self.words_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note(
        &self,
        publisher: &Publisher,
        (links, denied): (Links, bool),
        quota: governor::Figures,
    ) {
        self.write_denied.store(denied, Ordering::Relaxed);
        self.connected.store(links.publish && links.readback, Ordering::Relaxed);
        self.waiting.store(publisher.waiting().batches as u64, Ordering::Relaxed);
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = *publisher.tally();
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    /// What was seen, once a second.
    pub(super) fn note_kinds(&self, kinds: Kinds) {
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = kinds;
    }

    pub(crate) fn kinds(&self) -> Kinds {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn snapshot(&self) -> SideSnapshot {
        SideSnapshot {
            connected: self.connected.load(Ordering::Relaxed),
            write_denied: self.write_denied.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            published: *self.published.lock().unwrap_or_else(PoisonError::into_inner),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            tally: *self.tally.lock().unwrap_or_else(PoisonError::into_inner),
            quota: *self.quota.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
