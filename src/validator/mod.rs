//! The validator: is what Realtime gives back what went in?
//!
//! **Problem.** "99.9 % match" can be had cheaply: count what arrives, divide by what arrives. A figure that somebody
//! moves users by must say what it was compared with, what it did not look at, how sure it is, and that it would
//! have noticed. And a message that is late, or that we published twice ourselves, is not lost or doubled by Realtime.
//!
//! **Decision.** A pure machine beside the publisher, with books of its own: [`Validator::sent`] is told what each
//! transmission holds (from the records, not from the encoded text), [`Validator::returned`] what came back, and time
//! is an argument. Each message ends as exactly one of these:
//!
//! | kind | when | mismatch |
//! |---|---|---|
//! | `matched` | came back as it was sent, within 10 s, in the order of its session and direction | no |
//! | `late` | the same, after 10 s and before 60 s; also what came back only because it was published again | no |
//! | `missing` | not back after 60 s | yes |
//! | `reordered` | as sent, but after a message of its session and direction that was sent later | yes |
//! | `altered` | other bytes, length, recipients, type or path; a later repetition does not heal it | yes |
//!
//! and besides these, two that have no partner: `duplicate` (came back more often than it was published) and `extra`
//! (was never published by us). Bytes that differ are looked at once more under the [`noise`] rules. What cannot be
//! judged fairly is counted as [`NotCompared`] and lowers the coverage, not the match.
//!
//! The verdict is exact-binomial at 95 % ([`verdict`]): 2,995 pairs without a mismatch prove 99.9 %. Figures are kept
//! by minute ([`tally`]) and become hourly, rolling and per-step reports ([`report`], [`page`]). A copy of the machine
//! is given known faults every minute ([`self_test`]), with the noise rules in force, so that a rule which hides
//! everything is found out. [`natural`] compares what two legacy sessions were told, to learn what differs anyway.
//!
//! **Limits.** [`MESSAGES_MAX`] messages and [`BATCHES_MAX`] batches wait; beyond, batches are not compared, and say so.
//! Once a whole batch is back only its name is kept, to see duplicates for 60 s. Order is known for
//! [`order::SESSIONS_MAX`] directions. Samples: [`samples::PER_KIND`] of each kind, 2 KiB each, redacted.
//! The legacy leg ends where the tap stands, behind the write to the client: `behind` counts from there.
//!
//! **Not here.** What never reached a batch (the ledger's `shed`), what nobody reads back, rows of the table
//! (`crossfade reconcile`), sockets, files. Whether a *user* would be let in by the channel's policies is asked with his
//! own token, where that is switched on ([`parity`]).

mod judging;
pub mod natural;
pub mod noise;
pub mod order;
pub mod page;
pub mod pairing;
pub mod parity;
pub mod report;
pub mod samples;
pub mod self_test;
pub mod tally;
pub mod verdict;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use pairing::{BATCHES_MAX, EXPIRY, LATENESS, MESSAGES_MAX, Sent, Validator};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Came back as it was sent, in time and in order.
    Matched,
    /// Came back as it was sent, after the lateness window.
    Late,
    /// Did not come back.
    Missing,
    /// Came back after what was sent later.
    Reordered,
    /// Came back otherwise.
    Altered,
    /// Came back more often than it was published.
    Duplicate,
    /// Came back and was never published.
    Extra,
}

impl Kind {
    /// Every kind, in label order.
    pub const ALL: [Self; 7] = [
        Self::Matched,
        Self::Late,
        Self::Missing,
        Self::Reordered,
        Self::Altered,
        Self::Duplicate,
        Self::Extra,
    ];

    /// The metric label and the word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Late => "late",
            Self::Missing => "missing",
            Self::Reordered => "reordered",
            Self::Altered => "altered",
            Self::Duplicate => "duplicate",
            Self::Extra => "extra",
        }
    }

    /// Whether it speaks against Realtime.
    #[must_use]
    pub const fn is_mismatch(self) -> bool {
        !matches!(self, Self::Matched | Self::Late)
    }
}

/// Why a message was not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotCompared {
    /// Outside the mirror's share: it was never published.
    Unsampled,
    /// Nobody reads its topic back (`CROSSFADE_READBACK`).
    Unread,
    /// The validator's memory was full.
    Full,
    /// Our own read-back was interrupted after it was sent, and it was not sent again.
    Gap,
    /// Realtime refused it: it never went in.
    Refused,
    /// Backlog from the disk.
    Replay,
    /// Came back after it had been given up, or under a name that was forgotten.
    Stale,
}

impl NotCompared {
    /// Every reason, in label order.
    pub const ALL: [Self; 7] =
        [Self::Unsampled, Self::Unread, Self::Full, Self::Gap, Self::Refused, Self::Replay, Self::Stale];

    /// The metric label and the word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsampled => "unsampled",
            Self::Unread => "unread",
            Self::Full => "full",
            Self::Gap => "gap",
            Self::Refused => "refused",
            Self::Replay => "replay",
            Self::Stale => "stale",
        }
    }
}

/// One rule of the validator broken on purpose; the self-test must notice each.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// What came back is believed without looking.
    TrustBytes,
    /// Nobody looks at the order.
    ForgetOrder,
    /// A second copy is taken for a repetition of ours.
    ForgiveCopies,
    /// What does not come back is forgotten.
    ForgetMissing,
    /// What nobody sent is passed over.
    PassStrangers,
    /// Late is as good as in time.
    ForgetClock,
}
