//! The plan: who moves the fader, when, and what must be true before.
//!
//! # Problem
//!
//! A rollout that a person pushes by hand is pushed on Friday evening and on a green dashboard that shows nothing.
//! A rollout that a program pushes goes on while nobody has any evidence, fights the person who pulls the fader
//! down, and after a restart begins anew.
//!
//! # Decision
//!
//! - **Data.** A [`Plan`] is steps with bake times and [`Gates`]; three of them lie in `deploy/plans`.
//! - **Evidence is optional.** A gate passes, fails or has no data, and no data holds: the plan goes on only when
//!   every gate that it names passes ([`judge`]).
//! - **Baking.** Only watched time counts: at most 30 s between two looks. A failing gate starts the step's bake
//!   anew, a gate without data stops its clock. Nothing is ever rolled back by a gate.
//! - **Restart-safe.** [`Progress`] is all there is to remember; it is written with the flags in one stroke.
//! - **People win.** If the percentage is not what the plan wrote, somebody else moved it, and the plan pauses. A
//!   fleet trip pauses too. A breaker never writes a flag: it clamps, and the plan waits.
//! - **Pure.** [`Runner`] gets wall-clock milliseconds, because its time must outlive the process.
//!
//! # Limits
//!
//! - A clock that goes back gives no credit; one that jumps ahead gives 30 s.
//! - `abort` writes 0 %; to stay where it is, pause.
//! - One plan for a service. Who drives it among several pods is the shell's matter (a lease with a fencing token).

mod gate;
mod runner;
mod text;

#[cfg(test)]
mod tests;

pub use gate::{Evidence, Gate, GateReport, Gates, Match, Verdict, judge};
pub use runner::{Command, Phase, Progress, Refused, Runner, Why};
pub use text::{Plan, PlanError, Step};
