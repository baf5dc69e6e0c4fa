//! The account of every mirrored message.
//!
//! **Problem.** "Nothing was lost" is only worth something if it can be checked. Counting attempts (pushes,
//! retries, acks) does not say whether *this* message arrived.
//!
//! **Decision.** A message that the tap has seen opens one linear token, an [`Entry`]. Whoever holds it must
//! settle it exactly once: [`Entry::confirm`] with a proof, or [`Entry::shed`] with a reason. The token cannot be
//! cloned; dropping it unsettled is a bug of ours that settles it as `shed(internal)` and raises
//! [`Account::internal`], which must read zero.
//!
//! **The equation.** `seen + inherited = confirmed + acked_only + in_flight + spooled + shed`, at rest exactly, live
//! within the few counters that are being moved at that moment; `unconfirmed` is a reason of `shed`. What a disk has
//! is *spooled* and needs no token: the disk's own records are counted. *Inherited* is what earlier processes left:
//! messages on disk, and those that its last account knew to be in memory only when it was killed, which are shed as
//! `crash` at once. What it saw after that account is in no figure, but in a bound: [`Account::lost_at_most`].
//!
//! **A second way.** A message that also goes into the table has a [`Second`] chance: shedding its token then waits
//! for the table's answer, which confirms it ([`Proof::Table`]) or lets the first reason stand. It is settled once.
//!
//! **Limits.** Counters live in memory; the spool, where there is one, keeps a copy that is at most a second old.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::session::Key;

/// What proved that a message has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Our own subscription delivered it with the right length and checksum.
    ReadBack,
    /// Realtime said ok and nobody reads this topic back. Shown apart: accepted is not delivered.
    AckedOnly,
    /// Realtime did not deliver it, but the table has stored it. Counted as confirmed, and shown apart.
    Table,
}

/// Why a message that the tap saw is not in Realtime. The label of the metric, the word in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shed {
    /// The queue between data thread and side thread was full.
    QueueFull,
    /// The byte budget of the pod was used up.
    Budget,
    /// Larger than what the mirror copies.
    TooLarge,
    /// The tap lost track of the stream (compression, protocol violation).
    Lost,
    /// A rule says that the mirror leaves it out.
    Skipped,
    /// Outside the mirror's share: of its session, its path or its class.
    Unsampled,
    /// The breaker was open: Realtime may not be used.
    BreakerOpen,
    /// Realtime was not joined and the backlog was full or too old.
    Disconnected,
    /// Over the plan's message budget.
    Quota,
    /// Realtime refused the batch for good.
    Refused,
    /// Our role may read the topic and not write it: no policy lets it.
    Denied,
    /// Published and acknowledged three times and never read back.
    Unconfirmed,
    /// The spool was full, or its disk; the dullest and oldest gives way.
    SpoolFull,
    /// The disk was too slow for what was to be spooled.
    SpoolBusy,
    /// A write to the spool's disk failed.
    SpoolBroken,
    /// What was spooled cannot be read any more.
    SpoolDamaged,
    /// The process was stopping and the flush had no time left.
    Shutdown,
    /// The process before this one ended without settling it.
    Crash,
    /// A token was dropped unsettled: a bug of ours.
    Internal,
}

impl Shed {
    /// Every reason, in label order.
    pub const ALL: [Self; 19] = [
        Self::QueueFull,
        Self::Budget,
        Self::TooLarge,
        Self::Lost,
        Self::Skipped,
        Self::Unsampled,
        Self::BreakerOpen,
        Self::Disconnected,
        Self::Quota,
        Self::Refused,
        Self::Denied,
        Self::Unconfirmed,
        Self::SpoolFull,
        Self::SpoolBusy,
        Self::SpoolBroken,
        Self::SpoolDamaged,
        Self::Shutdown,
        Self::Crash,
        Self::Internal,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Budget => "budget",
            Self::TooLarge => "too_large",
            Self::Lost => "lost",
            Self::Skipped => "skipped",
            Self::Unsampled => "unsampled",
            Self::BreakerOpen => "breaker_open",
            Self::Disconnected => "disconnected",
            Self::Quota => "quota",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Unconfirmed => "unconfirmed",
            Self::SpoolFull => "spool_full",
            Self::SpoolBusy => "spool_busy",
            Self::SpoolBroken => "spool_broken",
            Self::SpoolDamaged => "spool_damaged",
            Self::Shutdown => "shutdown",
            Self::Crash => "crash",
            Self::Internal => "internal",
        }
    }
}

/// The account of one process.
#[derive(Debug, Default)]
pub struct Ledger {
    seen: AtomicU64,
    confirmed: AtomicU64,
    acked_only: AtomicU64,
    by_table: AtomicU64,
    spooled: AtomicU64,
    inherited: AtomicU64,
    lost_at_most: AtomicU64,
    shed: [AtomicU64; Shed::ALL.len()],
    open: AtomicU64,
}

impl Ledger {
    /// An empty account.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Opens the token of a message that the tap has just seen.
    pub fn open(self: &Arc<Self>, key: Key) -> Entry {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.seen.fetch_add(1, Ordering::Relaxed);
        Entry { key, ledger: Some(Arc::clone(self)), second: None }
    }

    /// Takes over what an earlier process left: messages on disk, and at most so many that died with it.
    pub fn inherit(&self, spooled: u64, crashed: u64) {
        self.spooled.fetch_add(spooled, Ordering::Relaxed);
        self.count_shed(Shed::Crash, crashed);
        self.inherited.fetch_add(spooled + crashed, Ordering::Relaxed);
    }

    /// The process before this one was killed, and took along at most so many messages. Outside the equation: a bound
    /// counts messages that may never have been there.
    pub fn declare(&self, lost_at_most: u64) {
        self.lost_at_most.fetch_add(lost_at_most, Ordering::Relaxed);
    }

    /// Messages of a session that is outside the mirror's share have passed: nobody has copied them.
    pub fn unsampled(&self, messages: u64) {
        self.seen.fetch_add(messages, Ordering::Relaxed);
        self.count_shed(Shed::Unsampled, messages);
    }

    /// Messages that the tap has seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Spooled messages have arrived.
    pub fn confirm_spooled(&self, messages: u64, how: Proof) {
        let counter = match how {
            Proof::ReadBack | Proof::Table => &self.confirmed,
            Proof::AckedOnly => &self.acked_only,
        };
        counter.fetch_add(messages, Ordering::Relaxed);
        self.spooled.fetch_sub(messages, Ordering::Relaxed);
    }

    /// Spooled messages are lost.
    pub fn shed_spooled(&self, messages: u64, why: Shed) {
        self.count_shed(why, messages);
        self.spooled.fetch_sub(messages, Ordering::Relaxed);
    }

    fn count_shed(&self, why: Shed, messages: u64) {
        if let Some(counter) = self.shed.get(why as usize) {
            counter.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// The figures of this moment.
    #[must_use]
    pub fn account(&self) -> Account {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Account {
            seen: read(&self.seen),
            confirmed: read(&self.confirmed),
            acked_only: read(&self.acked_only),
            by_table: read(&self.by_table),
            in_flight: read(&self.open),
            spooled: read(&self.spooled),
            inherited: read(&self.inherited),
            lost_at_most: read(&self.lost_at_most),
            shed: std::array::from_fn(|i| read(&self.shed[i])),
        }
    }
}

/// One message's token. Not `Clone`; settle it by [`confirm`](Self::confirm) or [`shed`](Self::shed).
#[derive(Debug)]
#[must_use = "an entry that is dropped unsettled counts as a bug of ours"]
pub struct Entry {
    key: Key,
    ledger: Option<Arc<Ledger>>,
    second: Option<Arc<Mutex<Course>>>,
}

impl Entry {
    /// Whose token this is.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Settles: the message arrived.
    pub fn confirm(mut self, how: Proof) {
        if let Some(ledger) = self.ledger.take() {
            let counter = match how {
                Proof::ReadBack => &ledger.confirmed,
                Proof::AckedOnly => &ledger.acked_only,
                Proof::Table => {
                    ledger.by_table.fetch_add(1, Ordering::Relaxed);
                    &ledger.confirmed
                }
            };
            counter.fetch_add(1, Ordering::Relaxed);
            ledger.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Settles: the disk has it for good. From now on the disk's records are counted.
    pub fn spool(mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.spooled.fetch_add(1, Ordering::Relaxed);
            ledger.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Settles: the message is not in Realtime, and this is why. With a second way, its outcome decides.
    pub fn shed(mut self, why: Shed) {
        if let Some(second) = self.second.take() {
            let mut course = second.lock().unwrap_or_else(PoisonError::into_inner);
            match &*course {
                Course::Stored => return self.confirm(Proof::Table),
                Course::Open => return *course = Course::Waits(self, why),
                Course::Failed | Course::Waits(..) => {}
            }
        }
        self.settle_as(why);
    }

    /// Opens a second way for the message to arrive. Opening another one gives this one up.
    pub fn second(&mut self) -> Second {
        let course = Arc::new(Mutex::new(Course::Open));
        self.second = Some(Arc::clone(&course));
        Second(course)
    }

    fn settle_as(&mut self, why: Shed) {
        if let Some(ledger) = self.ledger.take() {
            ledger.shed[why as usize].fetch_add(1, Ordering::Relaxed);
            ledger.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.settle_as(Shed::Internal);
    }
}

/// Where the second way of a message stands.
#[derive(Debug)]
enum Course {
    /// Neither way has ended.
    Open,
    /// The table has it.
    Stored,
    /// The table will not have it.
    Failed,
    /// Realtime has failed, and this token waits for the table.
    Waits(Entry, Shed),
}

/// The second way's end of a message's token. Dropped without a word, the way has failed.
#[derive(Debug)]
#[must_use = "dropping it says that the second way has failed"]
pub struct Second(Arc<Mutex<Course>>);

impl Second {
    /// The message has arrived this way.
    pub fn stored(self) {
        self.conclude(Course::Stored);
    }

    fn conclude(&self, end: Course) {
        let mut course = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *course, end) {
            Course::Waits(entry, _) if matches!(*course, Course::Stored) => entry.confirm(Proof::Table),
            Course::Waits(entry, why) => entry.shed(why),
            Course::Stored => *course = Course::Stored, // `stored` was called, and now it is dropped
            Course::Open | Course::Failed => {}
        }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.conclude(Course::Failed);
    }
}

/// The ledger's figures at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Messages that the tap saw and that the mirror was asked to carry.
    pub seen: u64,
    /// Read back.
    pub confirmed: u64,
    /// Acknowledged where nobody reads back.
    pub acked_only: u64,
    /// Of the confirmed, those that only the table has.
    pub by_table: u64,
    /// Tokens that are open now.
    pub in_flight: u64,
    /// Messages that the disk has.
    pub spooled: u64,
    /// Messages that earlier processes left, on disk or lost.
    pub inherited: u64,
    /// What the process before this one took along at most when it was killed. An upper bound, in no equation.
    pub lost_at_most: u64,
    shed: [u64; Shed::ALL.len()],
}

impl Account {
    /// Messages shed for this reason.
    #[must_use]
    pub const fn shed(&self, why: Shed) -> u64 {
        self.shed[why as usize]
    }

    /// Messages shed for any reason.
    #[must_use]
    pub fn shed_total(&self) -> u64 {
        self.shed.iter().sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn shed_by_reason(&self) -> impl Iterator<Item = (Shed, u64)> + '_ {
        Shed::ALL.into_iter().map(|why| (why, self.shed(why))).filter(|(_, count)| *count > 0)
    }

    /// What the equation lacks: zero at rest.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let settled = self.confirmed + self.acked_only + self.in_flight + self.spooled + self.shed_total();
        i64::try_from(i128::from(self.seen) + i128::from(self.inherited) - i128::from(settled))
            .unwrap_or(i64::MAX)
    }

    /// Tokens that were dropped unsettled: must be zero.
    #[must_use]
    pub const fn internal(&self) -> u64 {
        self.shed(Shed::Internal)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
