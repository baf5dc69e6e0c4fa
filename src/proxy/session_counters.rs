//! What a worker counts about its sessions.

use std::sync::atomic::{AtomicI64, AtomicU64};

use super::Lane;
use super::tunnel::EndCause;
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
    /// Decompressors put to sleep.
    pub hibernated: AtomicU64,
    /// Panics inside the tap (must be zero).
    pub tap_panics: AtomicU64,
}
