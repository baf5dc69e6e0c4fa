//! What a worker counts about its sessions as they come, change lanes and go.

use std::sync::atomic::Ordering;

use super::Lane;
use super::cell::SessionCell;
use super::sessions::{Sessions, add};
use crate::hot::RelayStats;
use crate::rollout::RealtimeLane;

impl Sessions {
    pub(super) fn count_open(&self, cell: &SessionCell, lane: Lane, one: i64) {
        let counters = &self.counters;
        counters.open[lane as usize].fetch_add(one, Ordering::Relaxed);
        if cell.verdict.is_keyed() {
            counters.keyed.fetch_add(one, Ordering::Relaxed);
            if lane != Lane::Legacy {
                counters.keyed_realtime.fetch_add(one, Ordering::Relaxed);
            }
        }
    }

    /// Counts the session among those that the rollout wants on a lane, and among those that are on it.
    pub(super) fn count_adoption(&self, cell: &SessionCell, open: bool) {
        let wants = cell.wants().filter(|_| open);
        let now = wants.map(|lane| (lane, cell.lane().as_str() == lane.as_str()));
        let tell = |counted: Option<(RealtimeLane, bool)>, one: i64| {
            let Some((lane, there)) = counted else { return };
            let (wanted, adopted) = (&self.counters.wanted, &self.counters.adopted);
            wanted[lane as usize].fetch_add(one, Ordering::Relaxed);
            if there {
                adopted[lane as usize].fetch_add(one, Ordering::Relaxed);
            }
        };
        let before = cell.counted.replace(now);
        if before != now {
            tell(before, -1);
            tell(now, 1);
        }
    }

    /// Adds up what a relay has counted since the last time.
    pub(crate) fn add_up(&self, stats: &RelayStats) {
        let counters = &self.counters;
        add(&counters.via_realtime, stats.via_realtime);
        add(&counters.rescued, stats.rescued);
        add(&counters.altered, stats.altered);
        add(&counters.switched_back, stats.switched_back);
        add(&counters.late, stats.late);
        for (counter, n) in counters.direct.iter().zip(stats.direct) {
            add(counter, n);
        }
    }
}
