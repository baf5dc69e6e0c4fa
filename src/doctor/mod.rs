//! `crossfade check`: what works for the configured project, what does not, and what to change.
//!
//! **Problem.** A key of another project, an expired token, a missing policy or a suspended project all look alike
//! from outside: nothing is mirrored. The running proxy keeps trying, as it must; a person wants one answer, now.
//!
//! **Decision.** The same way as the mirror: the same configuration, the same endpoint forms, the same link on the
//! same private topic, one broadcast that must come back. Each step is one [`Finding`] with a verdict, what was seen,
//! and for everything that is not fine a remedy. What is seen (`shell/`) is kept apart from what it means
//! (`judge.rs`, pure), so that every judgement is tested without a network.
//!
//! **Order.** A step that needs one which failed is skipped and says so: the first failure in the table is the cause.
//! The join and the round trip use the topic of this pod, for that is what policies are written for; listeners of it
//! see one broadcast of the event `check`, which is no envelope and is ignored by crossfade.
//!
//! **Exit code.** 64 if something of ours must change (settings, key, policies), else 69 if something is not there
//! or broken on the other side, else 0. Warnings do not count.
//!
//! **Secrets.** A finding names kind, role and expiry of a key, never the key. Texts of servers are not repeated;
//! their meaning is.
//!
//! **Nothing is left behind.** A payload limit shows only when something is sent: up to two large broadcasts go to a topic
//! of their own, `…:limits`, that nobody listens to. Whether a table takes rows shows only when rows are offered: two rows
//! without an id, which a primary key refuses after permission was judged, and which the server takes back otherwise
//! because one was asked for.
//!
//! **Limits.** One attempt a step, each within the patience that the caller gives. The rate limit is what the server
//! says of itself; connections, joins and the monthly quota are not seen.

mod date;
mod finding;
mod judge;
mod judge_rows;
mod shell;

#[cfg(test)]
mod tests;

pub use finding::{Blame, Check, Finding, Report, Verdict};
pub(crate) use shell::request_once;
pub use shell::{Asked, examine};

use crate::config::Problems;

/// The report where the configuration cannot be read: one finding per problem, and nothing was tried.
#[must_use]
pub fn unreadable(problems: &Problems) -> Report {
    let broken = problems.0.iter().map(|problem| {
        let found = format!("{} {}", problem.name, problem.what);
        Finding::fails(Check::Configuration, Blame::Ours, found, problem.example.clone())
    });
    let rest = Check::ALL.into_iter().filter(|check| *check != Check::Configuration);
    let skipped = rest.map(|check| Finding::skipped(check, "needs a configuration"));
    Report { findings: broken.chain(skipped).collect() }
}
