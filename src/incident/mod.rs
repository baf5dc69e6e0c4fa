//! The flight recorder: the last minutes of decisions and outcomes, saved when the breaker trips.
//!
//! **Problem.** Who is woken by an alert asks what happened in the minutes before, how many sessions were moved and
//! how long that took. Metrics are too coarse for it, logs are elsewhere or gone, and the process that knows may be
//! restarted by the time that somebody looks.
//!
//! **Decision.** A [`Recorder`] keeps two bounded rings in memory: every decision (breaker, links, settings, people,
//! drills) as an [`Entry`], and one line of figures for each [`Second`] in which anything came from Realtime. It is
//! pure: it is told what happened and when. At a trip out of closed it makes an [`Incident`]; when the last session
//! is back on legacy, or after a minute, the same incident is made again, complete. Somebody else writes the files.
//! [`page`] makes it readable.
//!
//! **Limits.** 600 seconds and 256 decisions: about 120 KB in memory and less than 200 KB as a file, whatever the
//! traffic. No payload, no session, no key, no address is in it: counts, times and words of closed enums only.
//!
//! **Not covered.** Openings out of half-open (a failed probe, an expired half-open) are the same outage and make no
//! incident of their own; they are entries of the next one.

mod page;
mod recorder;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use page::page;
pub use recorder::{Figures, Recorder, Trip};

/// Seconds that are kept.
pub const SECONDS_MAX: usize = 600;
/// Decisions that are kept.
pub const ENTRIES_MAX: usize = 256;
/// The form of the document.
pub const FORM: u32 = 1;

/// One trip and what came before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// [`FORM`].
    pub form: u32,
    /// `TIME-TRIGGER`: the name of its file.
    pub id: String,
    /// When the breaker opened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who: the service, the pod, and the program's version.
    pub service: String,
    /// See [`service`](Self::service).
    pub pod: String,
    /// See [`service`](Self::service).
    pub version: String,
    /// What opened the breaker.
    pub trigger: String,
    /// What was measured: a ratio, or seconds for `stall`, `latency` and `connect`.
    pub measured: f64,
    /// What it was compared with.
    pub limit: f64,
    /// How many samples stand behind it.
    pub samples: u64,
    /// The cool-down, in milliseconds.
    pub open_for_ms: u64,
    /// Only a person can end it.
    pub latched: bool,
    /// Hot sessions in the last moment in which Realtime might be used.
    pub hot_before: u64,
    /// Hot sessions when this was written.
    pub hot_left: u64,
    /// Sessions that left the hot lane since that moment, by reason.
    pub moved_back: BTreeMap<String, u64>,
    /// From the moment in which Realtime might no longer be used to the last session on legacy, in milliseconds;
    /// null while some are hot.
    pub returned_ms: Option<f64>,
    /// Nothing will be added. If not, the process had no time to complete it, or has not yet.
    pub complete: bool,
    /// Decisions, oldest first.
    pub decisions: Vec<Entry>,
    /// Seconds in which anything came from Realtime, oldest first.
    pub seconds: Vec<Second>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Hot sessions then.
    pub hot: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What was decided, or what it was decided by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Event {
    /// The breaker opened.
    Opened {
        /// Why.
        trigger: String,
        /// With which figure.
        measured: f64,
        /// Against which limit.
        limit: f64,
        /// Only a person can end it.
        latched: bool,
    },
    /// Probing begins.
    HalfOpened,
    /// Realtime may be used.
    Closed {
        /// By this part of the cohort, in 0.1 %.
        share_permille: u16,
    },
    /// The paced return has reached its next step.
    Share {
        /// In 0.1 %.
        share_permille: u16,
    },
    /// It would have opened, but a person has said `observe_only`.
    WouldTrip {
        /// Why.
        trigger: String,
    },
    /// Who decides has changed.
    Mode {
        /// The breaker's mode.
        mode: String,
    },
    /// A person has spoken to the breaker.
    Person {
        /// What was asked for.
        word: String,
    },
    /// Our sockets to Realtime.
    Links {
        /// The one that publishes is joined.
        publish: bool,
        /// The one that reads back is joined.
        readback: bool,
    },
    /// Realtime threw our channel out for too many messages.
    Quota,
    /// The plan allows too few publishes for the hot lane, or enough again.
    Spacing {
        /// Too few.
        refused: bool,
    },
    /// Enough pods have tripped at once.
    Fleet {
        /// So many.
        tripped: u64,
        /// Of so many.
        live: u64,
    },
    /// The rollout's settings have changed.
    Settings,
    /// A drill has ended.
    Drill {
        /// How.
        outcome: String,
        /// Sessions that it moved.
        moved: u64,
    },
    /// The last session is back on legacy.
    Returned {
        /// After so many milliseconds.
        took_ms: f64,
    },
}

/// What came from Realtime in one second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it began, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Hot sessions then.
    pub hot: u64,
    /// Batches that were read back.
    pub returned: u64,
    /// Their mean round trip, in milliseconds; null when there were none.
    pub mean_ms: Option<f64>,
    /// Their longest round trip, in milliseconds.
    pub max_ms: f64,
    /// Batches that were refused, altered, lost or given up.
    pub failed: u64,
    /// The most batches that waited for their read-back.
    pub waiting: u32,
    /// Connections that failed.
    pub connect_failed: u64,
    /// Probes that ended well.
    pub probes_good: u64,
    /// Probes that did not.
    pub probes_bad: u64,
    /// Our own faults, never held against Realtime.
    pub own: u64,
}
