//! What passes between the publisher and its shell: pushes, Realtime's answers, and events for windows and breaker.
//! Closed lists, each the source of its metric labels.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ulid::Ulid;

use crate::ledger::Shed;
use crate::session::Key;

/// A broadcast to send.
#[derive(Clone, Debug)]
pub struct Push {
    /// The batch.
    pub batch: Ulid,
    /// 1 for the first transmission.
    pub attempt: u8,
    /// The envelope, for event `messages`.
    pub body: Bytes,
}

/// Realtime's answer to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Taken and handed on. Not: delivered.
    Ok,
    /// Not taken.
    Refused(Refusal),
    /// No answer in time.
    Timeout,
}

/// Why a push was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `payload_size_exceeded`: our limit is set too high.
    TooLarge,
    /// `unmatched topic`: the server has dropped the channel. Like a lost link, until it is joined again.
    NotJoined,
    /// Anything else: for good.
    Other,
}

/// Why a sample is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Not back within the deadline.
    Timeout,
    /// Refused.
    Refused,
    /// Came back different.
    Altered,
    /// The link broke while it was on its way.
    LinkLost,
    /// Larger than the server takes: our own configuration.
    TooLarge,
    /// Swallowed: our role may not write the topic.
    Denied,
}

impl Cause {
    /// Every cause, in label order.
    pub const ALL: [Self; 6] =
        [Self::Timeout, Self::Refused, Self::Altered, Self::LinkLost, Self::TooLarge, Self::Denied];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Altered => "altered",
            Self::LinkLost => "link_lost",
            Self::TooLarge => "too_large",
            Self::Denied => "denied",
        }
    }
}

/// How one batch's round trip went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// All of it came back unaltered.
    Good {
        /// From transmission to read-back.
        rtt: Duration,
    },
    /// It did not.
    Bad(Cause),
    /// Our own fault: nothing for the breaker.
    Excluded(Cause),
}

/// What a hot session's window is told of a message it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Length, checksum and recipients are those that were sent.
    Matched,
    /// Something came back that is not what was sent.
    Altered,
}

/// What the publisher has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PubEvent {
    /// An awaited message came back. At most one of these and [`Shed`](Self::Shed) per message.
    Returned {
        /// The message.
        key: Key,
        /// In what shape.
        proof: Returned,
    },
    /// An awaited message will not come back.
    Shed {
        /// The message.
        key: Key,
        /// Why.
        why: Shed,
    },
    /// The one sample of a batch, for the breaker.
    Outcome {
        /// The batch.
        batch: Ulid,
        /// How it went.
        sample: Sample,
    },
    /// A batch came back after its bad sample: slow rather than lost.
    Late {
        /// The batch.
        batch: Ulid,
        /// From first transmission to read-back.
        rtt: Duration,
    },
    /// A batch was published [`REPUBLISH_MAX`](super::publish::REPUBLISH_MAX) times more and did not come back: alert.
    Unconfirmed {
        /// The batch.
        batch: Ulid,
        /// Its messages that are lost.
        messages: u64,
    },
    /// A batch of which the disk has a copy needs it no more.
    Settled {
        /// The batch.
        batch: Ulid,
    },
    /// A batch of the backlog has ended.
    Stored {
        /// The batch.
        batch: Ulid,
        /// How.
        end: StoredEnd,
    },
}

/// How a batch of the backlog has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredEnd {
    /// It came back unaltered.
    Arrived,
    /// It will never arrive.
    Lost(Shed),
    /// It could not be published now.
    Back,
}

/// What waits for its read-back, for the breaker's stall trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Batches that were sent and are not read back.
    pub batches: usize,
    /// Since when nothing came although something was waited for.
    pub quiet_since: Option<Instant>,
}
