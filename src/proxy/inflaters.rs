//! The decompressors of one worker's mirrored sessions: each costs 56 KiB while it is in memory, and most sessions are
//! silent most of the time.
//!
//! A decompressor is listed when a message wakes it. The worker's beat, which comes anyway, looks at a few of the list
//! and puts those to sleep that have been idle, so that no session is woken for it; what stays is the window of at
//! most 32 KiB that the next message may refer to. All sessions pay from one byte budget. Beyond half of it nobody
//! may idle, and who wakes when it is full takes the room of those that were used longest ago. Windows stay, so that
//! they may only fill three quarters: a direction that would be more is not read (counted as lost), and those that
//! have begun can go on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::session_counters::SessionCounters;
use crate::budget::Budget;
use crate::ws::{Assembler, INFLATER_BYTES};

/// So long a decompressor may be idle while there is room.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// So many are looked at in one beat of a worker: 1,000 in a second.
const LOOKS: usize = 256;
/// So many are asked to make room for one that wakes.
const ASKED: usize = 16;

/// One direction's assembler, where the worker can reach it too.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(crate) assembler: RefCell<Assembler>,
    used: Cell<Option<Instant>>,
    listed: Cell<bool>,
}

impl Sleeper {
    pub(crate) fn new(assembler: Assembler) -> Rc<Self> {
        Rc::new(Self { assembler: RefCell::new(assembler), used: Cell::new(None), listed: Cell::new(false) })
    }

    fn is_awake(&self) -> bool {
        self.assembler.try_borrow().is_ok_and(|assembler| assembler.is_awake())
    }

    fn hibernate(&self) -> bool {
        self.assembler.try_borrow_mut().is_ok_and(|mut assembler| assembler.hibernate())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Inflaters {
    awake: RefCell<VecDeque<Weak<Sleeper>>>,
    budget: Arc<Budget>,
    counters: Arc<SessionCounters>,
}

impl Inflaters {
    pub(crate) fn new(budget: Arc<Budget>, counters: Arc<SessionCounters>) -> Self {
        Self { awake: RefCell::default(), budget, counters }
    }

    /// What decompressors and windows are paid from.
    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Before `sleeper` sees bytes: makes room for it if they may wake it.
    pub(crate) fn before(&self, sleeper: &Sleeper) {
        let begins = sleeper.assembler.try_borrow().is_ok_and(|assembler| assembler.lacks_window());
        let limit = if begins { self.budget.limit() / 4 * 3 } else { self.budget.limit() };
        let full = || self.budget.used() + u64::from(INFLATER_BYTES) > limit;
        if !full() || sleeper.is_awake() {
            return;
        }
        let mut awake = self.awake.borrow_mut();
        for _ in 0..ASKED.min(awake.len()) {
            if let Some(other) = awake.pop_front() {
                self.keep_unless(&mut awake, other, Sleeper::hibernate);
            }
            if !full() {
                return;
            }
        }
        if begins && let Ok(mut assembler) = sleeper.assembler.try_borrow_mut() {
            assembler.refuse_window();
        }
    }

    /// After `sleeper` has seen bytes: lists it if they have woken it.
    pub(crate) fn after(&self, sleeper: &Rc<Sleeper>, now: Instant) {
        sleeper.used.set(Some(now));
        if !sleeper.listed.get() && sleeper.is_awake() {
            sleeper.listed.set(true);
            self.awake.borrow_mut().push_back(Rc::downgrade(sleeper));
        }
    }

    /// Puts some of those to sleep that have been idle.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut awake = self.awake.borrow_mut();
        for _ in 0..LOOKS.min(awake.len()) {
            let scarce = self.budget.used() > self.budget.limit() / 2;
            let Some(sleeper) = awake.pop_front() else { return };
            self.keep_unless(&mut awake, sleeper, |sleeper| {
                let used = sleeper.used.get();
                let idle = used.is_none_or(|used| now.saturating_duration_since(used) >= IDLE_MAX);
                (scarce || idle) && sleeper.hibernate()
            });
        }
    }

    /// Puts an entry back at the end, unless its session has ended, its decompressor is gone, or it goes to sleep.
    fn keep_unless(
        &self,
        awake: &mut VecDeque<Weak<Sleeper>>,
        entry: Weak<Sleeper>,
        sleeps: impl FnOnce(&Sleeper) -> bool,
    ) {
        let Some(sleeper) = entry.upgrade() else { return };
        if !sleeper.is_awake() {
            sleeper.listed.set(false);
        } else if sleeps(&sleeper) {
            sleeper.listed.set(false);
            self.counters.hibernated.fetch_add(1, Ordering::Relaxed);
        } else {
            awake.push_back(entry);
        }
    }

    #[cfg(test)]
    pub(super) fn listed_for_tests(&self) -> usize {
        self.awake.borrow().len()
    }
}
