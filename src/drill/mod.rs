//! Drills: the trip rehearsed on a small part of the hot sessions, timed and written down.
//!
//! **Problem.** The way back is used when something is on fire, and what is never used does not work when it must.
//! Waiting for an outage to learn how long the return takes is too late, and opening the breaker to find out puts
//! every user on legacy.
//!
//! **Decision.** A drill takes a stated part of the hot sessions (by their numbers, others each time) back to legacy
//! by the same order, window and writing as a trip does, waits until the last is there, and lets them return. The
//! clients' sockets stay open and nothing is lost: it is the leg switch, with another reason (`drill`). [`Drills`]
//! is pure: it is told what was seen, says which half is under way, and gives one [`Record`] at the end. It runs
//! every so often or when a person asks, and never while anything is wrong: [`Refused`] says why not. If the breaker
//! opens or read-back is lost meanwhile, the drill is over at once (`aborted`) and the real thing goes on unhindered.
//!
//! **Limits.** One drill at a time, at most one a minute, at most 20 % of the sessions. The way to legacy may take
//! 10 s, the way back 60 s; what is not done by then is a failed drill, and everybody is let go all the same. Times
//! are exact to 25 ms: the workers count every 20 ms.
//!
//! **Not shown.** Whether the breaker would notice: a drill begins where a trip has been decided.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The most that one drill may take, in 0.1 %.
pub const PERMILLE_MAX: u16 = 200;
/// Records that are kept.
pub const RECORDS_MAX: usize = 200;
/// How long the slice stays away after the last session is on legacy.
const STAY: Duration = Duration::from_secs(1);
/// The way to legacy may take this long. A trip promises half of it for everybody.
const BACK_MAX: Duration = Duration::from_secs(10);
/// The way to the hot lane may take this long; the moves are paced.
const RETURN_MAX: Duration = Duration::from_secs(60);
/// Between the end of one drill and the begin of the next.
const REST: Duration = Duration::from_secs(60);
/// A scheduled drill that was refused is tried again after this.
const RETRY: Duration = Duration::from_secs(300);
/// How often the machine wants to look while a drill is under way.
const LOOK: Duration = Duration::from_millis(5);

/// When and on how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// From one scheduled drill to the next; without it only a person begins one.
    pub every: Option<Duration>,
    /// How much of the sessions, in 0.1 %.
    pub permille: u16,
}

impl Default for Rules {
    fn default() -> Self {
        Self { every: None, permille: 10 }
    }
}

/// Who has asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The schedule.
    Scheduled,
    /// A person.
    Person,
}

impl Cause {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Person => "person",
        }
    }
}

/// Why no drill begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// One is under way.
    Running,
    /// The breaker is not closed.
    NotClosed,
    /// The paced return is not over.
    PacedReturn,
    /// Realtime cannot feed anybody now: not joined, over the plan, or spaced out.
    NotReady,
    /// No session is hot.
    NobodyHot,
    /// The last one ended less than a minute ago.
    TooSoon,
    /// The process is ending.
    Draining,
}

impl Refused {
    /// Every reason, in label order.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::NotClosed,
        Self::PacedReturn,
        Self::NotReady,
        Self::NobodyHot,
        Self::TooSoon,
        Self::Draining,
    ];

    /// The word for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::NotClosed => "not_closed",
            Self::PacedReturn => "paced_return",
            Self::NotReady => "realtime_not_ready",
            Self::NobodyHot => "nobody_hot",
            Self::TooSoon => "too_soon",
            Self::Draining => "draining",
        }
    }

    /// The sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Running => "a drill is under way: wait for its end",
            Self::NotClosed => "the breaker is not closed: the real thing needs no rehearsal",
            Self::PacedReturn => "the paced return after an outage is not over: wait until everybody is back",
            Self::NotReady => "Realtime cannot feed anybody now: nobody could return after the drill",
            Self::NobodyHot => "no session is hot: there is nobody to rehearse with",
            Self::TooSoon => "the last drill ended less than a minute ago",
            Self::Draining => "the process is ending",
        }
    }
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everybody was on legacy and is hot again, in time.
    Passed,
    /// No hot session was in the slice: nothing is shown.
    Empty,
    /// Some were still hot after 10 s. A bug, or a worker that hangs.
    StuckHot,
    /// Some were not hot again after 60 s.
    StuckLegacy,
    /// The breaker opened, or Realtime could not be used any more, meanwhile.
    Aborted,
}

impl Outcome {
    /// Every outcome, in label order.
    pub const ALL: [Self; 5] = [Self::Passed, Self::Empty, Self::StuckHot, Self::StuckLegacy, Self::Aborted];

    /// The metric label and the word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Empty => "empty",
            Self::StuckHot => "stuck_hot",
            Self::StuckLegacy => "stuck_legacy",
            Self::Aborted => "aborted",
        }
    }

    /// Whether the promise was shown to be broken.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::StuckHot | Self::StuckLegacy)
    }
}

/// One drill, as it is written down. Holds no key and no payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in this process, from 1.
    pub number: u32,
    /// When it began, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who asked for it.
    pub cause: Cause,
    /// How much of the sessions, in percent.
    pub percent: f64,
    /// Hot sessions when it began, all of them.
    pub hot: u64,
    /// Sessions that went to legacy.
    pub moved: u64,
    /// Until the last of them was there, in milliseconds; null when not all were.
    pub to_legacy_ms: Option<f64>,
    /// From the order to return until the last was hot again, in milliseconds; null when not all were.
    pub to_hot_ms: Option<f64>,
    /// Sessions that were not where they should be at the end.
    pub left: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// What speaks for or against a drill at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// The breaker is closed.
    pub closed: bool,
    /// The part of the cohort that its paced return has reached, in 0.1 %.
    pub share_permille: u16,
    /// Realtime may feed clients.
    pub ready: bool,
    /// Hot sessions.
    pub hot: u64,
    /// Moves to legacy for drills since the start.
    pub moved: u64,
    /// The process is ending.
    pub draining: bool,
}

/// What the workers say about the half that is under way; nothing while not all have counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Sessions of the slice that are hot.
    pub hot: u64,
    /// Sessions of the slice that should be hot again and are not.
    pub waiting: u64,
}

/// The half that is under way: what the workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    /// The drill's number.
    pub number: u32,
    /// How much of the sessions, in 0.1 %.
    pub permille: u16,
    /// To legacy; if not, back.
    pub away: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Told to leave.
    Leaving { since: Instant },
    /// All are on legacy.
    Staying { until: Instant },
    /// Told to return.
    Returning { since: Instant },
}

#[derive(Clone, Debug)]
struct Running {
    step: Step,
    record: Record,
    moved_before: u64,
}

/// See the room.
#[derive(Debug)]
pub struct Drills {
    rules: Rules,
    next: Option<Instant>,
    not_before: Option<Instant>,
    count: u32,
    running: Option<Running>,
    done: Option<Record>,
}

impl Drills {
    /// Nothing is under way; the first scheduled one comes a whole period after the start.
    #[must_use]
    pub fn new(rules: Rules, now: Instant) -> Self {
        let rules = Rules { permille: rules.permille.clamp(1, PERMILLE_MAX), ..rules };
        let next = rules.every.map(|every| now + every);
        Self { rules, next, not_before: None, count: 0, running: None, done: None }
    }

    /// Begins one, or says why not.
    ///
    /// # Errors
    /// Why not.
    pub fn ask(&mut self, cause: Cause, scene: Scene, at_ms: u64, now: Instant) -> Result<Half, Refused> {
        self.may_begin(scene, now)?;
        self.count = self.count.saturating_add(1);
        let record = Record {
            number: self.count,
            at_ms,
            cause,
            percent: f64::from(self.rules.permille) / 10.0,
            hot: scene.hot,
            moved: 0,
            to_legacy_ms: None,
            to_hot_ms: None,
            left: 0,
            outcome: Outcome::Aborted,
        };
        self.next = self.rules.every.map(|every| now + every);
        self.running =
            Some(Running { step: Step::Leaving { since: now }, record, moved_before: scene.moved });
        Ok(Half { number: self.count, permille: self.rules.permille, away: true })
    }

    fn may_begin(&self, scene: Scene, now: Instant) -> Result<(), Refused> {
        let reasons = [
            (self.running.is_some(), Refused::Running),
            (scene.draining, Refused::Draining),
            (!scene.closed, Refused::NotClosed),
            (scene.share_permille < 1_000, Refused::PacedReturn),
            (!scene.ready, Refused::NotReady),
            (scene.hot == 0, Refused::NobodyHot),
            (self.not_before.is_some_and(|then| now < then), Refused::TooSoon),
        ];
        reasons.iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, why)| Err(*why))
    }

    /// Lets time pass. `seen` belongs to the half of [`half`](Self::half), or is nothing.
    pub fn handle(&mut self, seen: Option<Seen>, scene: Scene, at_ms: u64, now: Instant) {
        if self.running.is_some() {
            self.follow(seen, scene, now);
        } else if self.next.is_some_and(|next| next <= now)
            && self.ask(Cause::Scheduled, scene, at_ms, now).is_err()
        {
            self.next = Some(now + RETRY);
        }
    }

    fn follow(&mut self, seen: Option<Seen>, scene: Scene, now: Instant) {
        let Some(running) = &mut self.running else { return };
        if !scene.closed || !scene.ready || scene.draining {
            return self.end(Outcome::Aborted, now);
        }
        match running.step {
            Step::Leaving { since } => {
                let took = now.saturating_duration_since(since);
                running.record.moved = scene.moved.saturating_sub(running.moved_before);
                if seen.is_some_and(|seen| seen.hot == 0) {
                    running.record.to_legacy_ms = Some(took.as_secs_f64() * 1e3);
                    running.step = Step::Staying { until: now + STAY };
                } else if took >= BACK_MAX {
                    running.record.left = seen.map_or(0, |seen| seen.hot);
                    self.end(Outcome::StuckHot, now);
                }
            }
            Step::Staying { until } if until <= now => running.step = Step::Returning { since: now },
            Step::Staying { .. } => {}
            Step::Returning { since } => {
                let took = now.saturating_duration_since(since);
                if seen.is_some_and(|seen| seen.waiting == 0) {
                    running.record.to_hot_ms = Some(took.as_secs_f64() * 1e3);
                    let moved = running.record.moved;
                    self.end(if moved == 0 { Outcome::Empty } else { Outcome::Passed }, now);
                } else if took >= RETURN_MAX {
                    running.record.left = seen.map_or(0, |seen| seen.waiting);
                    self.end(Outcome::StuckLegacy, now);
                }
            }
        }
    }

    fn end(&mut self, outcome: Outcome, now: Instant) {
        self.not_before = Some(now + REST);
        self.done = self.running.take().map(|running| Record { outcome, ..running.record });
    }

    /// The half that is under way.
    #[must_use]
    pub fn half(&self) -> Option<Half> {
        let running = self.running.as_ref()?;
        let away = !matches!(running.step, Step::Returning { .. });
        Some(Half { number: running.record.number, permille: self.rules.permille, away })
    }

    /// The record of a drill that has ended, once.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.done.take()
    }

    /// When [`handle`](Self::handle) should be called.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.running.is_some() { Some(now + LOOK) } else { self.next }
    }
}
