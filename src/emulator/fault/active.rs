//! The faults that are armed, what they have counted, and what they hold back.
//! Everything held back is bounded: beyond the limits it goes through untouched and is counted as shed.

use super::super::channel::Room;
use super::super::codec::{Broadcast, Message};
use super::super::config::fits;
use super::super::json::Json;
use super::super::machine::ConnId;
use super::{Fault, FaultKind, Who};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Most messages held back by `slow` and `stall` together.
pub(super) const DEFERRED_MAX: usize = 65_536;
/// Most rooms with a delivery held back by `reorder`.
pub(super) const HELD_ROOMS_MAX: usize = 1_024;
/// A reordered delivery waits no longer than this for its successor.
pub(super) const REORDER_WAITS: Duration = Duration::from_millis(200);

/// What the armed faults do to one push.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Effects {
    pub swallow: bool,
    pub lose: bool,
    pub nack: bool,
    pub duplicate: bool,
    pub reorder: bool,
    pub corrupt: bool,
    pub over_limit: bool,
    pub cut: Option<Who>,
    pub reset: Option<Who>,
    /// Happens after the push was answered.
    pub then: Vec<Fault>,
}

/// When a held message goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Wait {
    At(Instant),
    Fault(u64),
}

/// A message that a fault holds back.
#[derive(Debug)]
pub(super) struct Deferred {
    pub wait: Wait,
    pub id: ConnId,
    pub message: Message,
    pub effects: Effects,
}

/// A delivery that waits for its successor.
pub(super) struct HeldDelivery {
    pub broadcast: Broadcast,
    pub skip: Option<u64>,
    pub until: Instant,
}

/// One armed fault.
#[derive(Debug)]
pub(super) struct Armed {
    pub number: u64,
    pub fault: Fault,
    pub begins: Instant,
    pub ends: Option<Instant>,
    /// A timer for the end exists.
    pub end_timed: bool,
    seen: u64,
    acted: u64,
}

impl Armed {
    fn covers(&self, name: Option<&str>) -> bool {
        match (&self.fault.topic, name) {
            (None, _) => true,
            (Some(pattern), Some(name)) => fits(pattern, name),
            (Some(_), None) => false,
        }
    }

    fn over(&self, now: Instant) -> bool {
        let timed_out = self.ends.is_some_and(|end| end <= now);
        // A stall that caught its share still holds it until its time is over.
        let used_up = self.acted >= self.fault.times() && self.fault.kind != FaultKind::Stall;
        timed_out || used_up
    }

    fn running(&self, now: Instant) -> bool {
        self.begins <= now && self.seen >= self.fault.after_pushes && !self.over(now)
    }

    /// Counts a matching push; true when the fault acts on it.
    pub(super) fn meets(&mut self, now: Instant) -> bool {
        if self.begins > now {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen <= self.fault.after_pushes || self.over(now) || self.acted >= self.fault.times() {
            return false;
        }
        self.act(now);
        true
    }

    fn act(&mut self, now: Instant) {
        self.acted = self.acted.saturating_add(1);
        if let Some(ms) = self.fault.for_ms {
            self.ends.get_or_insert(now + Duration::from_millis(ms));
        }
    }
}

/// All armed faults and what they hold.
#[derive(Default)]
pub(in super::super) struct Faults {
    pub(super) armed: Vec<Armed>,
    pub(super) deferred: VecDeque<Deferred>,
    pub(super) held: HashMap<Room, HeldDelivery>,
    made: u64,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault, now: Instant) -> u64 {
        self.made += 1;
        let begins = now + Duration::from_millis(fault.after_ms);
        let mut armed =
            Armed { number: self.made, fault, begins, ends: None, end_timed: false, seen: 0, acted: 0 };
        if armed.fault.after_pushes == 0 {
            armed.ends = armed.fault.for_ms.map(|ms| begins + Duration::from_millis(ms));
        }
        self.armed.push(armed);
        self.made
    }

    /// Nothing is armed and nothing is held: the usual case, and the cheap one.
    pub(super) fn idle(&self) -> bool {
        self.armed.is_empty() && self.deferred.is_empty()
    }

    /// What happens to a push on `name`, and whether it has to wait.
    pub(in super::super) fn on_push(&mut self, name: &str, now: Instant) -> (Effects, Option<Wait>) {
        let mut effects = Effects::default();
        let mut wait = None;
        for armed in self.armed.iter_mut().filter(|armed| armed.covers(Some(name))) {
            if matches!(armed.fault.kind, FaultKind::RefuseConnects { .. })
                || armed.fault.kind.of_requests()
                || armed.fault.at_once()
                || !armed.meets(now)
            {
                continue;
            }
            match armed.fault.kind {
                FaultKind::Stall => wait = Some(Wait::Fault(armed.number)),
                FaultKind::Slow { delay_ms } => {
                    wait = wait.or(Some(Wait::At(now + Duration::from_millis(delay_ms))))
                }
                FaultKind::Drop => effects.swallow = true,
                FaultKind::Lose => effects.lose = true,
                FaultKind::Nack => effects.nack = true,
                FaultKind::Duplicate => effects.duplicate = true,
                FaultKind::Reorder => effects.reorder = true,
                FaultKind::Corrupt => effects.corrupt = true,
                FaultKind::RateLimit => effects.over_limit = true,
                FaultKind::Reset { of } => effects.reset = Some(of),
                FaultKind::Cut { of } => effects.cut = Some(of),
                FaultKind::Restart { .. } | FaultKind::Expire => effects.then.push(armed.fault.clone()),
                _ => {}
            }
        }
        (effects, wait)
    }

    /// Whether everything stands still.
    pub(super) fn frozen(&self, now: Instant) -> Option<Wait> {
        let stall = |armed: &&Armed| armed.fault.kind == FaultKind::Stall && armed.fault.topic.is_none();
        self.armed
            .iter()
            .filter(stall)
            .find(|armed| armed.running(now))
            .map(|armed| Wait::Fault(armed.number))
    }

    /// What the last held message of this channel waits for: later ones queue behind it.
    pub(super) fn behind(&self, id: ConnId, topic: &Json) -> Option<Wait> {
        let same = |held: &&Deferred| held.id == id && held.message.topic == *topic;
        self.deferred.iter().rev().find(same).map(|held| held.wait)
    }

    /// The status new upgrades are refused with.
    pub(in super::super) fn refusing(&mut self, now: Instant) -> Option<u16> {
        for armed in &mut self.armed {
            if let FaultKind::RefuseConnects { status } = armed.fault.kind
                && armed.running(now)
            {
                armed.act(now);
                return Some(status);
            }
        }
        None
    }

    pub(in super::super) fn holds(&self, room: &Room) -> bool {
        self.held.contains_key(room)
    }

    pub(in super::super) fn take_held(&mut self, room: &Room) -> Option<(Broadcast, Option<u64>)> {
        self.held.remove(room).map(|held| (held.broadcast, held.skip))
    }

    /// The faults that happen by themselves and are due, taken out.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Fault> {
        let due = |armed: &Armed| armed.fault.at_once() && armed.begins <= now;
        let found = self.armed.iter().filter(|armed| due(armed)).map(|armed| armed.fault.clone()).collect();
        self.armed.retain(|armed| !due(armed) && !armed.over(now));
        found
    }

    /// The held messages that may go on now, in order.
    pub(super) fn take_deferred(&mut self, now: Instant) -> Vec<Deferred> {
        let mut go = Vec::new();
        let mut stay = VecDeque::new();
        for held in std::mem::take(&mut self.deferred) {
            let free = match held.wait {
                Wait::At(at) => at <= now,
                Wait::Fault(number) => !self.armed.iter().any(|armed| armed.number == number),
            };
            if free {
                go.push(held);
            } else {
                stay.push_back(held);
            }
        }
        self.deferred = stay;
        go
    }
}
