//! Plain atomics that the data threads add to and the metrics room reads. Relaxed order is enough: each figure
//! stands alone.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Fault;
use super::timing::Timing;
use super::tls::TlsCounters;
use super::verdict::Lane;

/// A figure that only rises, or a level that rises and falls.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away (levels only).
    pub fn sub(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds `n`.
    pub fn add_n(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The figure now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeOutcome {
    /// A verified 101; a session was opened.
    Tunnelled,
    /// The service (or Supabase) said no, and its answer was relayed.
    Refused,
    /// Not a valid upgrade; passed on for the service to refuse, never tunnelled.
    Malformed,
    /// One of [`Fault`], counted there by reason.
    Failed,
}

impl UpgradeOutcome {
    /// Every outcome, in label order.
    pub const ALL: [Self; 4] = [Self::Tunnelled, Self::Refused, Self::Malformed, Self::Failed];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tunnelled => "tunnelled",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
        }
    }
}

/// What the proxy counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub connections_total: Count,
    /// Connections open now, sessions included.
    pub connections_open: Count,
    /// Connections closed at once because their worker's inbox was full.
    pub connections_shed: Count,
    /// `accept` calls that failed (open-file limit, memory, aborted connections).
    pub accept_errors: Count,
    /// Requests that were not upgrades.
    pub plain_requests: Count,
    /// Upgrades by outcome, in the order of [`UpgradeOutcome::ALL`].
    upgrades: [Count; 4],
    /// From their heads to the heads of their answers.
    pub upgrade_times: Timing,
    /// Faults by reason, in the order of [`Fault::ALL`].
    faults: [Count; Fault::ALL.len()],
    /// TLS with clients.
    pub tls: TlsCounters,
    /// Sessions open now that are streams of HTTP/2.
    pub(super) http2_sessions: Count,
    /// Connections of HTTP/2 that carry nothing but sessions.
    pub(super) http2_carriers: Count,
    /// Sessions ever opened, by lane at the upgrade.
    sessions_total: [Count; Lane::ALL.len()],
    /// Sessions open now, by lane at the upgrade.
    sessions_open: [Count; Lane::ALL.len()],
}

impl Counters {
    /// Upgrades that ended so.
    #[must_use]
    pub fn upgrades(&self, outcome: UpgradeOutcome) -> &Count {
        &self.upgrades[outcome as usize]
    }

    /// Faults of this kind.
    #[must_use]
    pub fn faults(&self, fault: Fault) -> &Count {
        &self.faults[fault.index()]
    }

    /// Sessions ever opened on this lane.
    #[must_use]
    pub fn sessions_total(&self, lane: Lane) -> &Count {
        &self.sessions_total[lane.index()]
    }

    /// Sessions open now that began on this lane.
    #[must_use]
    pub fn sessions_open(&self, lane: Lane) -> &Count {
        &self.sessions_open[lane.index()]
    }

    /// Connections that are not there for sessions alone: for plain requests, or for nothing yet.
    pub(super) fn plain_connections(&self) -> u64 {
        let alone = self.sessions().saturating_sub(self.http2_sessions.value());
        let open = self.connections_open.value();
        open.saturating_sub(alone).saturating_sub(self.http2_carriers.value())
    }

    /// Sessions open now on any lane.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions_open.iter().map(Count::value).sum()
    }
}
