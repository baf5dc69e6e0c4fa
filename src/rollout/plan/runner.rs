//! The machine: a plan, its progress, people's commands and the passing of watched time.

use serde::{Deserialize, Serialize};

use super::gate::{Evidence, judge};
use super::text::Plan;
use crate::rollout::Percent;

/// More time between two looks is not counted: nobody watched.
const WATCHED_MAX_MS: u64 = 30_000;

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not started.
    Idle,
    /// In a step.
    Running,
    /// Waits for a person.
    Paused(Why),
    /// The last step has baked.
    Done,
    /// A person has ended it at 0 %.
    Aborted,
}

/// Why it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A person said so.
    Person,
    /// Enough breakers tripped at once.
    FleetTrip,
    /// Somebody else changed the percentage.
    Moved,
}

/// What must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The step, from 0.
    pub step: usize,
    /// Where it stands.
    pub phase: Phase,
    /// Watched time with every gate passing, in milliseconds.
    pub baked_ms: u64,
    /// When it was looked at last, in milliseconds since 1970.
    pub seen_unix_ms: u64,
    /// Whether the step's percentage stands in the flags.
    pub written: bool,
}

impl Progress {
    /// Before the start.
    pub const IDLE: Self = Self { step: 0, phase: Phase::Idle, baked_ms: 0, seen_unix_ms: 0, written: true };
}

/// What a person can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Begins with the first step.
    Start,
    /// Stays where it is.
    Pause,
    /// Goes on; the step's percentage is written again and its bake begins anew.
    Resume,
    /// Goes to the next step now, gates or not.
    Promote,
    /// Writes 0 % and ends.
    Abort,
}

/// A command that makes no sense now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{command:?} is not possible while the plan is {phase:?}")]
pub struct Refused {
    /// What was asked.
    pub command: Command,
    /// Where it stands.
    pub phase: Phase,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Runner {
    plan: Plan,
    progress: Progress,
}

impl Runner {
    /// Goes on from a progress; one that does not fit the plan is as good as none.
    #[must_use]
    pub fn new(plan: Plan, progress: Progress) -> Self {
        let progress = if progress.step < plan.steps.len() { progress } else { Progress::IDLE };
        Self { plan, progress }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What must be remembered.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// What should be written into the flags and is not yet.
    #[must_use]
    pub fn order(&self) -> Option<Percent> {
        (!self.progress.written).then(|| self.wanted()).flatten()
    }

    /// The order stands in the flags.
    pub const fn written(&mut self) {
        self.progress.written = true;
    }

    /// The percentage of where it stands.
    fn wanted(&self) -> Option<Percent> {
        match self.progress.phase {
            Phase::Aborted => Some(Percent::ZERO),
            Phase::Running => self.plan.steps.get(self.progress.step).map(|step| step.percent),
            Phase::Idle | Phase::Paused(_) | Phase::Done => None,
        }
    }

    /// Does what a person says.
    ///
    /// # Errors
    /// [`Refused`] when it makes no sense now; nothing has changed then.
    pub fn command(&mut self, command: Command, now_unix_ms: u64) -> Result<(), Refused> {
        let phase = self.progress.phase;
        let refused = Err(Refused { command, phase });
        match (command, phase) {
            (Command::Start, Phase::Idle | Phase::Done | Phase::Aborted) => self.enter(0, now_unix_ms),
            (Command::Pause, Phase::Running) => self.progress.phase = Phase::Paused(Why::Person),
            (Command::Resume, Phase::Paused(_)) => self.enter(self.progress.step, now_unix_ms),
            (Command::Promote, Phase::Running) => self.next(now_unix_ms),
            (Command::Abort, Phase::Running | Phase::Paused(_)) => {
                self.progress.phase = Phase::Aborted;
                self.progress.written = false;
            }
            _ => return refused,
        }
        Ok(())
    }

    /// Lets watched time pass. `percent` is what the flags say now.
    pub fn watch(&mut self, evidence: &Evidence, percent: Percent, fleet_tripped: bool, now_unix_ms: u64) {
        if self.progress.phase != Phase::Running {
            return;
        }
        if fleet_tripped {
            self.progress.phase = Phase::Paused(Why::FleetTrip);
            return;
        }
        if !self.progress.written {
            self.progress.seen_unix_ms = now_unix_ms;
            return;
        }
        if self.wanted() != Some(percent) {
            self.progress.phase = Phase::Paused(Why::Moved);
            return;
        }
        let passed = now_unix_ms.saturating_sub(self.progress.seen_unix_ms).min(WATCHED_MAX_MS);
        self.progress.seen_unix_ms = now_unix_ms;
        let report = judge(&self.plan.gates, evidence);
        if report.fail {
            self.progress.baked_ms = 0;
        } else if report.pass {
            self.progress.baked_ms += passed;
            let needed = self.plan.steps.get(self.progress.step).map_or(0, |step| step.bake_seconds * 1_000);
            if self.progress.baked_ms >= needed {
                self.next(now_unix_ms);
            }
        }
    }

    fn next(&mut self, now_unix_ms: u64) {
        if self.progress.step + 1 < self.plan.steps.len() {
            self.enter(self.progress.step + 1, now_unix_ms);
        } else {
            self.progress.phase = Phase::Done;
        }
    }

    const fn enter(&mut self, step: usize, now_unix_ms: u64) {
        self.progress =
            Progress { step, phase: Phase::Running, baked_ms: 0, seen_unix_ms: now_unix_ms, written: false };
    }
}
