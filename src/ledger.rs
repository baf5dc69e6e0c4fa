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
//! **The equation.** `seen = confirmed + acked_only + in_flight + spooled + unconfirmed + shed`, at rest exactly,
//! live within the few counters that are being moved at that moment.
//!
//! **A second way.** A message that also goes into the table has a [`Second`] chance: shedding its token then waits
//! for the table's answer, which confirms it ([`Proof::Table`]) or lets the first reason stand. Whichever ends first,
//! the token is settled once.
//!
//! **Limits.** Counters live in memory and are lost with the process.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The breaker was open: Realtime may not be used.
    BreakerOpen,
    /// Realtime was not joined and the backlog was full or too old.
    Disconnected,
    /// Over the plan's message budget.
    Quota,
    /// Realtime refused the batch for good.
    Refused,
    /// Published and acknowledged three times and never read back.
    Unconfirmed,
    /// The process was stopping and the flush had no time left.
    Shutdown,
    /// The process before this one ended without settling it.
    Crash,
    /// A token was dropped unsettled: a bug of ours.
    Internal,
}

impl Shed {
    /// Every reason, in label order.
    pub const ALL: [Self; 13] = [
        Self::QueueFull,
        Self::Budget,
        Self::TooLarge,
        Self::Lost,
        Self::Skipped,
        Self::BreakerOpen,
        Self::Disconnected,
        Self::Quota,
        Self::Refused,
        Self::Unconfirmed,
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
            Self::BreakerOpen => "breaker_open",
            Self::Disconnected => "disconnected",
            Self::Quota => "quota",
            Self::Refused => "refused",
            Self::Unconfirmed => "unconfirmed",
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
        let settled = self.confirmed + self.acked_only + self.in_flight + self.shed_total();
        i64::try_from(i128::from(self.seen) - i128::from(settled)).unwrap_or(i64::MAX)
    }

    /// Tokens that were dropped unsettled: must be zero.
    #[must_use]
    pub const fn internal(&self) -> u64 {
        self.shed(Shed::Internal)
    }
}

impl Serialize for Shed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Direction, Seq, SessionNo};

    fn key(seq: u64) -> Key {
        Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) }
    }

    #[test]
    fn every_way_to_settle_closes_the_account() {
        let ledger = Ledger::new();
        let entries: Vec<Entry> = (1..=4).map(|seq| ledger.open(key(seq))).collect();
        assert_eq!(ledger.account().in_flight, 4);
        let mut entries = entries.into_iter();
        entries.next().unwrap().confirm(Proof::ReadBack);
        entries.next().unwrap().confirm(Proof::AckedOnly);
        entries.next().unwrap().shed(Shed::Quota);
        assert_eq!(ledger.account().imbalance(), 0);
        drop(entries);
        let account = ledger.account();
        assert_eq!((account.seen, account.confirmed, account.acked_only, account.in_flight), (4, 1, 1, 0));
        assert_eq!(account.shed(Shed::Quota), 1);
        assert_eq!(account.internal(), 1, "the fourth was dropped unsettled");
        assert_eq!(account.imbalance(), 0);
    }

    #[test]
    fn a_second_way_settles_once_whichever_ends_first() {
        // (realtime's word, table's word, which is first) to (confirmed, by table, shed as quota)
        for (confirmed, stored, table_first, expected) in [
            (true, true, true, (1, 0, 0)),
            (true, true, false, (1, 0, 0)),
            (true, false, true, (1, 0, 0)),
            (true, false, false, (1, 0, 0)),
            (false, true, true, (1, 1, 0)),
            (false, true, false, (1, 1, 0)),
            (false, false, true, (0, 0, 1)),
            (false, false, false, (0, 0, 1)),
        ] {
            let ledger = Ledger::new();
            let mut entry = ledger.open(key(1));
            let second = entry.second();
            let table = || if stored { second.stored() } else { drop(second) };
            let realtime =
                || if confirmed { entry.confirm(Proof::ReadBack) } else { entry.shed(Shed::Quota) };
            if table_first {
                table();
                assert_eq!(ledger.account().in_flight, 1, "the table alone settles nothing");
                realtime();
            } else {
                realtime();
                assert_eq!(ledger.account().in_flight, u64::from(!confirmed), "a shed token waits");
                table();
            }
            let account = ledger.account();
            assert_eq!((account.confirmed, account.by_table, account.shed(Shed::Quota)), expected);
            assert_eq!((account.in_flight, account.internal(), account.imbalance()), (0, 0, 0));
        }
    }

    #[test]
    fn a_token_dropped_unsettled_is_a_bug_whatever_the_table_says() {
        let ledger = Ledger::new();
        let mut entry = ledger.open(key(1));
        let second = entry.second();
        drop(entry);
        second.stored();
        assert_eq!((ledger.account().internal(), ledger.account().imbalance()), (1, 0));
    }

    #[test]
    fn the_index_of_a_reason_is_its_place_in_the_list() {
        for (place, why) in Shed::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
    }
}
