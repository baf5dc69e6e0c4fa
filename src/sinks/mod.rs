//! Ways for a message to leave besides the publish link: rows of a table, and broadcasts over HTTP.
//!
//! **Problem.** Some messages must be found again months later, and some must be kept while Realtime is down. A table
//! does both, but a database is slower than a broadcast, refuses whole batches for one bad row, may be misconfigured
//! for days, and costs by the row. And topics that are known only when a message names its user cannot be joined
//! beforehand; for them Realtime has an HTTP form, whose 202 proves little.
//!
//! **Decision.** Three pure machines, each driven by the same thin shell (`app`) on a thread of its own: what they are
//! asked, they answer with a [`Post`](crate::realtime::http::Post); what the server said is judged in one place each.
//! * [`table`]: rows through PostgREST. A row's key follows from the message alone ([`row`]), so that a repetition,
//!   after whatever uncertainty, leaves one row. A batch that is refused is halved until the bad row stands alone;
//!   that one is tried without its `data`, then given to the quarantine; the others arrive.
//!   What the table has confirmed is accounted for by the minute ([`account`]), for `crossfade reconcile`.
//! * [`reports`]: the validator's reports, one row each, for whoever wants them beside the service's data.
//! * [`broadcast`]: single messages and batches; what was accepted is confirmed by a read-back where there is one, and
//!   is `acked_only` elsewhere.
//!
//! **Limits.** Rows per second ([`pace`]), bytes that wait (a [`Budget`](crate::budget::Budget) of the sink's own, so
//! that a stuck database cannot use up the mirror's), one request at a time. When full, the duller classes are refused
//! first, and what is refused is counted. Nothing here waits, and nothing here tells the breaker anything.
//!
//! **Not here.** Sockets, clocks, files; which messages are wanted (the wiring asks [`Wanted`]); retention and access,
//! which are SQL (`deploy/supabase`).

pub mod account;
pub mod answer;
pub mod broadcast;
pub mod pace;
mod parcel;
pub mod reconcile;
pub mod reports;
pub mod row;
pub mod table;

#[cfg(test)]
mod broadcast_tests;
#[cfg(test)]
mod table_tests;

use std::time::Duration;

use crate::envelope::Class;

/// Which classes a sink is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Off,
    /// `critical`.
    Critical,
    /// `critical` and `high`.
    High,
    /// Every class.
    All,
}

impl Wanted {
    /// Whether messages of this class are wanted.
    #[must_use]
    pub const fn wants(self, class: Class) -> bool {
        match self {
            Self::Off => false,
            Self::Critical => matches!(class, Class::Critical),
            Self::High => matches!(class, Class::Critical | Class::High),
            Self::All => true,
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The server answered.
    Answer {
        /// The status.
        status: u16,
        /// What it asks us to wait.
        retry_after: Option<Duration>,
        /// The beginning of the body.
        body: String,
    },
    /// No answer: not connected, cut off, or too late. The request may have had its effect.
    Unknown,
}
