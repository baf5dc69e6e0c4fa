//! What a worker counts about its sessions.

use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use super::cell::SessionCell;
use super::leg_clock::LegSamples;
use super::timing::Timing;
use super::tunnel::EndCause;
use super::{Lane, Policy};
use crate::hot::{Direct, Fallback};
use crate::rollout::RealtimeLane;

/// Figures of one worker's sessions. Written by that worker alone, so that no cache line is fought over; read and
/// summed up by the ops thread.
#[derive(Debug, Default)]
pub struct SessionCounters {
    /// Open now, by [`Lane::ALL`].
    pub open: [AtomicI64; Lane::ALL.len()],
    /// Open now with a rollout key.
    pub keyed: AtomicI64,
    /// Those of them that Realtime feeds.
    pub keyed_realtime: AtomicI64,
    /// Open now and wanted on a Realtime lane by the rollout, by [`RealtimeLane::ALL`] …
    pub wanted: [AtomicI64; RealtimeLane::ALL.len()],
    /// … and those of them that are on it.
    pub adopted: [AtomicI64; RealtimeLane::ALL.len()],
    /// Waiting for their turn to be moved by the rollout: to hot, and back.
    pub moves_waiting: [AtomicU64; 2],
    /// Opened so far, by the lane of the upgrade.
    pub opened: [AtomicU64; Lane::ALL.len()],
    /// Ended so far, by [`EndCause::ALL`].
    pub ended: [AtomicU64; EndCause::ALL.len()],
    /// Bytes up and down, counted while they pass.
    pub bytes: [AtomicU64; 2],
    /// Data messages up and down, counted while they pass.
    pub messages: [AtomicU64; 2],
    /// Microseconds in which bytes waited for a peer that took none, up and down.
    pub held_us: [AtomicU64; 2],
    /// Sessions whose bytes do so now.
    pub held: [AtomicI64; 2],
    /// Turns of legacy sessions …
    pub(super) turns: AtomicU64,
    /// … and what some of them took.
    pub overhead: Timing,
    /// Moves to the hot lane.
    pub moved_to_hot: AtomicU64,
    /// Moves back, by [`Fallback::ALL`].
    pub moved_back: [AtomicU64; Fallback::ALL.len()],
    /// Hot messages released by their read-back.
    pub via_realtime: AtomicU64,
    /// Hot messages released at the deadline.
    pub rescued: AtomicU64,
    /// Hot messages that Realtime altered (the original was delivered).
    pub altered: AtomicU64,
    /// Hot messages written from memory at a switch back.
    pub switched_back: AtomicU64,
    /// Read-backs of messages delivered before.
    pub late: AtomicU64,
    /// Hot messages that did not travel through Realtime, by [`Direct::ALL`].
    pub direct: [AtomicU64; Direct::ALL.len()],
    /// How long the legacy leg took, lately.
    pub legs: LegSamples,
    /// Decompressors put to sleep.
    pub hibernated: AtomicU64,
    /// Panics inside the tap (must be zero).
    pub tap_panics: AtomicU64,
    /// The drill.
    pub drill: DrillCounters,
}

/// What a worker counts about the drill under way. `turn` is written last.
#[derive(Debug, Default)]
pub struct DrillCounters {
    /// The half of which drill the others belong to ([`Slice::turn`](super::Slice::turn)).
    pub turn: AtomicU64,
    /// Sessions of the slice that are hot now.
    pub hot: AtomicU64,
    /// Sessions of the slice that should be hot again and are not.
    pub waiting: AtomicU64,
}

impl DrillCounters {
    /// Counts the sessions of the slice, while there is one.
    pub(super) fn count<'a>(
        &self,
        policy: Policy,
        cells: impl Iterator<Item = &'a Rc<SessionCell>>,
        now: Instant,
    ) {
        let Some(slice) = policy.drill else { return };
        let (mut hot, mut waiting) = (0, 0);
        for cell in cells.filter(|cell| slice.has(cell.no)) {
            match cell.lane() {
                Lane::Hot => hot += 1,
                // One whose window has overflowed returns in its own time.
                Lane::Legacy if cell.may_be_hot(now) && policy.wants_hot(cell.follows()).is_ok() => {
                    waiting += 1
                }
                _ => {}
            }
        }
        self.hot.store(hot, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
        self.turn.store(slice.turn(), Ordering::Release);
    }
}
