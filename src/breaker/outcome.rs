//! What the breaker is told, and the closed lists of causes. Own-side causes have a type of their own, so that no
//! caller can count them against Realtime by mistake.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::state::Probe;

/// One thing that happened on the way to Realtime and back.
///
/// A sample is one batch round trip. Report each batch once: [`ReadBack`](Self::ReadBack) when it came back, however
/// late, or [`Failed`](Self::Failed) when it was refused or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A batch (or a sentinel) was read back unharmed. Late ones are slow, not bad.
    ReadBack {
        /// From publish to read-back.
        took: Duration,
    },
    /// A batch is lost to Realtime's account: a bad sample.
    Failed(Fault),
    /// How long the same traffic took on the legacy leg; feeds the latency baseline.
    LegacyLeg {
        /// From the read at the service to the write at the client.
        took: Duration,
    },
    /// A connection or join attempt failed on Realtime's side.
    ConnectFailed,
    /// A connection was made and joined.
    Connected,
    /// How many published batches are not read back now. Report every change of the number.
    Waiting {
        /// Published and not read back.
        batches: u32,
        /// When anything was read back for the last time.
        last_readback: Option<Instant>,
    },
    /// Pairs the validator has compared since its last report.
    Compared {
        /// Equal on both sides.
        matched: u64,
        /// Missing, altered, duplicated or out of order.
        mismatched: u64,
    },
    /// A probe has ended.
    Probe {
        /// Which one; an outdated one is ignored.
        probe: Probe,
        /// How it ended.
        end: ProbeEnd,
    },
    /// Our own fault. Counted apart and never held against Realtime.
    Own(OwnFault),
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeEnd {
    /// Read back unharmed inside the probe's deadline.
    Good,
    /// Refused, altered or not back in time.
    Bad(Fault),
    /// Says nothing, because the cause is on our side; the breaker asks for another one.
    Void(OwnFault),
}

/// Why a sample is bad. All of these are Realtime's doing as far as one can see from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Realtime answered the push with an error.
    Refused,
    /// Not read back, given up.
    NotReadBack,
    /// Read back with another length or checksum.
    Altered,
    /// The connection went away with the batch in flight.
    Disconnected,
}

impl Fault {
    /// Every fault, in label order.
    pub const ALL: [Self; 4] = [Self::Refused, Self::NotReadBack, Self::Altered, Self::Disconnected];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotReadBack => "not_read_back",
            Self::Altered => "altered",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Causes on our own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnFault {
    /// A wrong key, topic or address.
    Configuration,
    /// A role that may not write the topic.
    Authorization,
    /// Waited too long in our own queue.
    Queue,
    /// Over the plan's limit: we sent too much.
    Quota,
    /// The spool's disk.
    Disk,
}

impl OwnFault {
    /// Every own-side cause, in label order.
    pub const ALL: [Self; 5] =
        [Self::Configuration, Self::Authorization, Self::Queue, Self::Quota, Self::Disk];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Authorization => "authorization",
            Self::Queue => "own_queue",
            Self::Quota => "quota",
            Self::Disk => "disk",
        }
    }
}

/// What opened the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Too many bad samples over the long window.
    ErrorRatio,
    /// Most samples of the short window are bad.
    FastBurn,
    /// Nothing comes back while batches wait.
    Stall,
    /// p95 is far above the baseline.
    Latency,
    /// Connection attempts keep failing.
    Connect,
    /// The validator's match figure is below the gate.
    Match,
    /// A probe failed in half-open.
    Probe,
    /// Half-open found no end in its time.
    HalfOpenExpired,
    /// A person opened it.
    Forced,
    /// Enough breakers of other pods tripped at once.
    Fleet,
}

impl Trigger {
    /// Every trigger, in label order.
    pub const ALL: [Self; 10] = [
        Self::ErrorRatio,
        Self::FastBurn,
        Self::Stall,
        Self::Latency,
        Self::Connect,
        Self::Match,
        Self::Probe,
        Self::HalfOpenExpired,
        Self::Forced,
        Self::Fleet,
    ];

    /// Whether traffic of this pod made it fire: neither a person, nor the fleet, nor probing on after an opening.
    #[must_use]
    pub const fn is_evidence(self) -> bool {
        !matches!(self, Self::Probe | Self::HalfOpenExpired | Self::Forced | Self::Fleet)
    }

    /// The metric label and the word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErrorRatio => "error_ratio",
            Self::FastBurn => "fast_burn",
            Self::Stall => "stall",
            Self::Latency => "latency",
            Self::Connect => "connect",
            Self::Match => "match",
            Self::Probe => "probe",
            Self::HalfOpenExpired => "half_open_expired",
            Self::Forced => "forced",
            Self::Fleet => "fleet",
        }
    }
}

/// A trigger that fired, with the figures that made it fire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trip {
    /// Which trigger.
    pub trigger: Trigger,
    /// What was measured: a ratio, or seconds for `stall`, `latency` and `connect`; 0 where there is no figure.
    pub measured: f64,
    /// What it was compared with, in the same unit.
    pub limit: f64,
    /// How many samples stand behind it.
    pub samples: u64,
}

impl Trip {
    pub(super) const fn bare(trigger: Trigger) -> Self {
        Self { trigger, measured: 0.0, limit: 0.0, samples: 0 }
    }
}
