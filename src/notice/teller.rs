//! When a state is told: once, when it was entered and has lasted.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Kind, Subject};

/// A state that was told. The key makes two of a kind differ: a step of a plan, a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Which.
    pub kind: Kind,
    /// Of what.
    pub key: String,
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is to be told.
    Tell(Told),
    /// It has lasted, and there is nothing to say about it; `None`: nothing is there any more.
    Quiet(Option<Told>),
}

#[derive(Clone, Debug, Default)]
struct Slot {
    told: Option<Told>,
    /// What is seen instead of it, and since when.
    seen: Option<(Option<Told>, Instant)>,
    /// Whether it was ever looked at.
    known: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Teller {
    wanted: Vec<Kind>,
    slots: [Slot; Subject::ALL.len()],
}

impl Teller {
    /// One that tells these kinds and goes on from what was told before a restart.
    #[must_use]
    pub fn new(wanted: Vec<Kind>, told: Vec<Told>) -> Self {
        let mut teller = Self { wanted, slots: Default::default() };
        for one in told {
            let slot = &mut teller.slots[one.kind.subject() as usize];
            (slot.told, slot.known) = (Some(one), true);
        }
        teller
    }

    /// What a subject is in now; `None`: in nothing that could be told. `lasts`: for how long it must have been seen.
    /// Returns each state once, when it has.
    pub fn observe(
        &mut self,
        subject: Subject,
        state: Option<Told>,
        lasts: Duration,
        now: Instant,
    ) -> Option<Heard> {
        let slot = &mut self.slots[subject as usize];
        let is_first = !std::mem::replace(&mut slot.known, true);
        // What nobody wants to hear of is as if it were not there: it neither ends nor begins anything.
        let unwanted = state.as_ref().is_some_and(|state| !self.wanted.contains(&state.kind));
        if unwanted || state == slot.told {
            slot.seen = None;
            return None;
        }
        if is_first && state.as_ref().is_some_and(|state| state.kind == Kind::PlanAdvanced) {
            // A plan that runs when the process starts has not just advanced.
            slot.told.clone_from(&state);
            return Some(Heard::Quiet(state));
        }
        let since = match &slot.seen {
            Some((seen, since)) if *seen == state => *since,
            _ => {
                slot.seen = Some((state.clone(), now));
                now
            }
        };
        if now.saturating_duration_since(since) < lasts {
            return None;
        }
        slot.seen = None;
        let before = std::mem::replace(&mut slot.told, state.clone());
        let nothing_ends = before.is_none_or(|before| before.kind.is_calm());
        Some(match state {
            Some(state) if !(state.kind.is_calm() && nothing_ends) => Heard::Tell(state),
            quiet => Heard::Quiet(quiet),
        })
    }

    /// What was told, to be remembered.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.slots.iter().filter_map(|slot| slot.told.clone()).collect()
    }
}
