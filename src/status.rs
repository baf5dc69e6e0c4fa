//! One look at the whole process: what the terminal view, the metrics and the final account are drawn from.

use std::time::Duration;

use crate::breaker::{Phase, Trigger};
use crate::hot::{Direct, Fallback};
use crate::ledger::Account;
use crate::mirror::governor::{self, Spacing};
use crate::proxy::{EndCause, Lane};

/// The figures of one moment. Counters count from the start of the process.
#[derive(Clone, Debug)]
pub struct Status {
    /// Sessions open now, by [`Lane::ALL`].
    pub open: [i64; Lane::ALL.len()],
    /// Sessions opened, by the lane of the upgrade.
    pub opened: [u64; Lane::ALL.len()],
    /// Sessions ended, by [`EndCause::ALL`].
    pub ended: [u64; EndCause::ALL.len()],
    /// Bytes up and down.
    pub bytes: [u64; 2],
    /// Data messages up and down.
    pub messages: [u64; 2],
    /// The hot lane.
    pub hot: HotFigures,
    /// The mirror.
    pub mirror: MirrorFigures,
    /// The plan's budget.
    pub quota: QuotaFigures,
    /// The ledger.
    pub ledger: Account,
    /// The breaker.
    pub breaker: BreakerFigures,
    /// The wanted share, in 0.001 %.
    pub share: u32,
}

/// How messages reached hot clients, and how sessions moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotFigures {
    /// Released by their read-back.
    pub via_realtime: u64,
    /// Released at the deadline.
    pub rescued: u64,
    /// Realtime delivered something else; the original was delivered.
    pub altered: u64,
    /// Written from memory at a switch back.
    pub switched_back: u64,
    /// Read back after they had been delivered.
    pub late: u64,
    /// Did not travel through Realtime, by [`Direct::ALL`].
    pub direct: [u64; Direct::ALL.len()],
    /// Moves to the hot lane.
    pub moved_to_hot: u64,
    /// Moves back, by [`Fallback::ALL`].
    pub moved_back: [u64; Fallback::ALL.len()],
    /// Panics inside the tap (must be zero).
    pub tap_panics: u64,
}

/// What the mirror has published and got back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorFigures {
    /// Both links are joined.
    pub connected: bool,
    /// Our role may read a topic of ours and not write it.
    pub write_denied: bool,
    /// Batches handed to the link.
    pub batches: u64,
    /// Messages (by recipient) in acknowledged batches.
    pub acknowledged: u64,
    /// Messages whose read-back differed.
    pub altered: u64,
    /// Read-backs of something already settled.
    pub duplicates: u64,
    /// Batches waiting for their read-back now.
    pub waiting: u32,
    /// Bytes paid for by the budget now.
    pub buffered: u64,
    /// Round trip, publish to read-back: median.
    pub rtt_p50: Duration,
    /// Round trip: 95th percentile.
    pub rtt_p95: Duration,
    /// Round trip: 99th percentile.
    pub rtt_p99: Duration,
}

/// What the governor counts, and what it forecasts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuotaFigures {
    /// Budget, use, spacing, and the month at this rate.
    pub governor: governor::Figures,
    /// Why the hot lane is refused, while it is: `to_string()` shows the arithmetic.
    pub hot_refused: Option<Spacing>,
}

/// Where the breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerFigures {
    /// The state.
    pub phase: Phase,
    /// Until when, where that is known.
    pub left: Option<Duration>,
    /// The share of the cohort that the paced return has reached, in 0.1 %.
    pub share_permille: u16,
    /// Good probes in a row.
    pub probes_good: u32,
    /// Trips since the start.
    pub trips: u64,
    /// What caused the last one.
    pub last_trip: Option<Trigger>,
    /// From the last trip to the last session back on legacy.
    pub return_to_legacy: Option<Duration>,
}
