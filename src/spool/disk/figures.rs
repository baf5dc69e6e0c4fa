//! What the disk thread shows to whoever draws pictures of it.
//! Plain counters; no lock is ever waited for.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::checkpoint::Crash;
use crate::envelope::Class;
use crate::spool::promise::Promise;

/// How the spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It stores and hands out.
    Ok,
    /// The disk has no room; appends fail, the rest works.
    Full,
    /// The disk takes no writes; appends fail, the rest works.
    ReadOnly,
    /// The disk has been busy with one turn for longer than a second.
    Slow,
    /// A sync or write failed: nothing more is stored until the process starts anew.
    Broken,
    /// There are records that the key does not open: nothing is handed out.
    Sealed,
}

impl State {
    /// Every state, in label order.
    pub const ALL: [Self; 6] = [Self::Ok, Self::Full, Self::ReadOnly, Self::Slow, Self::Broken, Self::Sealed];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Sealed => "sealed",
        }
    }
}

impl State {
    /// What a failed write says about the disk. A full or read-only one may change its mind; anything else is final.
    pub(super) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full,
            ReadOnlyFilesystem | PermissionDenied => Self::ReadOnly,
            _ => Self::Broken,
        }
    }
}

/// A turn that takes longer than this is slow, in milliseconds.
const SLOW_MS: u64 = 1_000;

/// Written by the disk thread alone.
#[derive(Debug, Default)]
pub struct Figures {
    state: AtomicU8,
    /// When the turn began that is not over, in Unix milliseconds; 0 between turns.
    busy_since: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) messages: [AtomicU64; Class::ALL.len()],
    pub(super) oldest_ms: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) syncs: AtomicU64,
    /// Of the newest promise: when to make the next, and what a kill takes along.
    promise: [AtomicU64; 2],
    /// What the process before this one took along at most; 0 if it ended in order.
    crash: AtomicU64,
}

impl Figures {
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn set_busy(&self, since_ms: u64) {
        self.busy_since.store(since_ms, Ordering::Relaxed);
    }

    /// How it is at this time, in Unix milliseconds. A thread that hangs in a write cannot say so itself.
    #[must_use]
    pub fn state(&self, unix_ms: u64) -> State {
        let state = usize::from(self.state.load(Ordering::Relaxed));
        let busy = self.busy_since.load(Ordering::Relaxed);
        match State::ALL.get(state).copied().unwrap_or(State::Broken) {
            State::Ok if busy > 0 && unix_ms.saturating_sub(busy) > SLOW_MS => State::Slow,
            other => other,
        }
    }

    pub(super) fn set_promise(&self, promise: &Promise) {
        let ahead = promise.seen_max.saturating_sub(promise.seen);
        let now = [promise.seen.saturating_add(ahead / 2), promise.lost_at_most()];
        self.promise.iter().zip(now).for_each(|(shown, value)| shown.store(value, Ordering::Relaxed));
    }

    pub(super) fn set_crash(&self, crash: Option<&Crash>) {
        let most = crash.map_or(0, |crash| crash.lost_at_most.unwrap_or(crash.messages));
        self.crash.store(most, Ordering::Relaxed);
    }

    /// The level of seen messages at which the next promise is due.
    #[must_use]
    pub fn promise_due(&self) -> u64 {
        self.promise.first().map_or(0, |due| due.load(Ordering::Relaxed))
    }

    /// What a kill of this process would take along at most, by its newest promise.
    #[must_use]
    pub fn at_risk(&self) -> u64 {
        self.promise.get(1).map_or(0, |most| most.load(Ordering::Relaxed))
    }

    /// What the process before this one took along at most, if it ended without a word.
    #[must_use]
    pub fn lost_at_most(&self) -> u64 {
        self.crash.load(Ordering::Relaxed)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Messages that wait, by class.
    #[must_use]
    pub fn messages(&self) -> [u64; Class::ALL.len()] {
        std::array::from_fn(|place| self.messages.get(place).map_or(0, |count| count.load(Ordering::Relaxed)))
    }

    /// Age of the oldest that waits, in milliseconds; 0 if none does.
    #[must_use]
    pub fn oldest_age_ms(&self, unix_ms: u64) -> u64 {
        match self.oldest_ms.load(Ordering::Relaxed) {
            0 => 0,
            at => unix_ms.saturating_sub(at),
        }
    }

    /// Ranges and records that were damaged.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}
