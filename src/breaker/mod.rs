//! The breaker: may Realtime be used now?
//!
//! # Problem
//!
//! Realtime can refuse, lose, delay or alter what we publish, and it can do so for an hour or for a second. Users
//! must be back on the legacy service before they notice, and must not be thrown to and fro while Realtime
//! recovers. Most breakers in the field either wait for volume that a quiet service never has, get stuck
//! half-open, count the proxy's own limits against the far side, or return everybody at once.
//!
//! # Decision
//!
//! [`Breaker`] is a pure machine: it is told [`Outcome`]s, asked [`Breaker::admits`], and time is an argument. It
//! opens on its own, from memory, and needs nothing outside the process for it.
//!
//! - **Evidence.** One sample is one batch round trip, published and read back. The triggers are [`Trigger`]; their
//!   numbers are [`Config`]. A late read-back is slow, not bad: it moves p95, not the error ratio. Sentinel messages
//!   keep samples coming when traffic is thin; below the minimum number of samples a ratio says nothing.
//! - **Whose fault.** Causes on our side have their own type, [`OwnFault`]. They are counted and shown, and no code
//!   path leads from them to a trip. A probe that fails for such a cause is void: neither good nor bad. A topic that our
//!   role may not write cannot be probed; half-open waits for it.
//! - **Latency baseline.** `max(p95 of the legacy leg over the same window, learnt)`, where `learnt` is the first
//!   p95 with enough samples and then follows healthy windows by an eighth of the difference, never above
//!   `baseline_max` (250 ms, so that twice the baseline is the 500 ms of the rollout's gate). p95 comes from a
//!   sketch that is at most 6.25 % off; no sample is stored.
//! - **Open.** `cooldown × 2ⁿ` with jitter, n = openings in a row without a complete return. A trip is a move from
//!   closed to open; failed probes lengthen the same outage and are no trips. The third trip in 24 h latches.
//! - **Half-open.** Every start begins here. One probe at a time, ten good ones in a row close, a bad one opens,
//!   a probe without an answer is bad, and 15 minutes without a decision open as well: it cannot stick.
//! - **Closed.** After an opening the return is paced in steps of the cohort. A process that starts and probes well
//!   returns nobody, so it is not paced, unless the saved state says that the process before it was in an outage.
//! - **A person.** `forced_open` opens, and after it the breaker probes before it closes. `forced_closed` and
//!   `observe_only` lie above the machine, which goes on with its states underneath; `observe_only` reports what
//!   would have tripped, at most once per cool-down. Reset ends a latch or a cool-down in probing, never in closed.
//! - **Saved state** ([`Saved`]) can delay a return and keep a latch. A lost, stale or corrupt file starts
//!   half-open, like no file.
//!
//! # Limits
//!
//! - About 150 KB whatever the traffic: rings of at most 3,600 cells, two sketches of 60 cells. At most 64 untold
//!   changes; the oldest is dropped and counted ([`Breaker::changes_lost`]).
//! - A window of n cells covers between n − 1 and n cells of time: 299 to 300 s for the error ratio.
//! - A stall is judged by what the caller has reported. A caller that is stuck itself must not blame Realtime: it
//!   reports what it has received before it lets time pass.
//! - One breaker for the whole pod, not one per class: all classes share a topic (record 0028). Topics of *events* have a
//!   small one each ([`topic`]). The fleet's word ([`fleet`]) can only open it.

mod config;
mod evidence;
pub mod fleet;
mod latency;
mod machine;
mod outcome;
mod past;
mod person;
mod sabotage;
mod saved;
mod state;
pub mod topic;
pub mod tuning;
mod window;

#[cfg(test)]
mod tests;

pub use config::{Config, Step};
pub use evidence::Figures;
pub use machine::Breaker;
pub use outcome::{Fault, Outcome, OwnFault, ProbeEnd, Trigger, Trip};
pub use saved::{Mark, SAVED_BYTES_MAX, SAVED_VERSION, Saved, SavedError, SavedOpen};
pub use state::{Admission, Change, Force, Mode, Phase, Probe, Publish, State};
