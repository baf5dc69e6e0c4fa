//! What the disk thread shows to whoever draws pictures of it.
//! Plain counters; no lock is ever waited for.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::envelope::Class;

/// How the spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It stores and hands out.
    Ok,
    /// The disk has no room; appends fail, the rest works.
    Full,
    /// A sync or write failed: nothing more is stored until the process starts anew.
    Broken,
    /// There are records that the key does not open: nothing is handed out.
    Sealed,
}

impl State {
    /// Every state, in label order.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Full, Self::Broken, Self::Sealed];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::Broken => "broken",
            Self::Sealed => "sealed",
        }
    }
}

/// Written by the disk thread alone.
#[derive(Debug, Default)]
pub struct Figures {
    state: AtomicU8,
    pub(super) bytes: AtomicU64,
    pub(super) messages: [AtomicU64; Class::ALL.len()],
    pub(super) oldest_ms: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) syncs: AtomicU64,
}

impl Figures {
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        State::ALL.get(usize::from(self.state.load(Ordering::Relaxed))).copied().unwrap_or(State::Broken)
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
