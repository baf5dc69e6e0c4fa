//! Figures of the rollout: who is really where the rollout wants him, who waits to be moved, who could be native, who
//! was exposed to an experiment.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::admin::RolloutReadings;
use crate::proxy::SessionCounters;
use crate::rollout::RealtimeLane;

/// What became of an exposure to an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposed {
    /// Written down.
    Written,
    /// It was before.
    Repeated,
    /// Too many waited for the disk.
    Dropped,
    /// The disk refused it.
    Failed,
}

impl Exposed {
    const ALL: [Self; 4] = [Self::Written, Self::Repeated, Self::Dropped, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Repeated => "repeated",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// Written by the workers and the thread of the exposure log.
#[derive(Debug, Default)]
pub(super) struct RolloutFigures {
    /// Upgrades without and with the subprotocol that native needs.
    offers: [AtomicU64; 2],
    exposures: [AtomicU64; Exposed::ALL.len()],
}

impl RolloutFigures {
    /// An upgrade offers what native needs, or does not.
    pub(super) fn offered(&self, offers: bool) {
        self.offers[usize::from(offers)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn exposed(&self, what: Exposed) {
        self.exposures[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn exposures(&self, what: Exposed) -> u64 {
        self.exposures[what as usize].load(Ordering::Relaxed)
    }

    /// Upgrades that offer what native needs, and all that were looked at.
    pub(super) fn native_offers(&self) -> (u64, u64) {
        let [missing, offered] = [0, 1].map(|at| self.offers[at].load(Ordering::Relaxed));
        (offered, offered + missing)
    }

    /// `None` before the first upgrade that was looked at.
    pub(super) fn native_offers_ratio(&self) -> Option<f64> {
        let (offered, all) = self.native_offers();
        (all > 0).then(|| offered as f64 / all as f64)
    }

    /// As the metrics want them.
    pub(super) fn readings(&self, sessions: &[Arc<SessionCounters>]) -> RolloutReadings {
        let (offered, all) = self.native_offers();
        let [to_hot, back] = moving(sessions).map(|waiting| waiting as f64);
        let adoptions = adoptions(sessions);
        RolloutReadings {
            wanted: adoptions.iter().map(|one| (one.lane, one.wanted as f64)).collect(),
            adoption: adoptions.iter().filter_map(|one| Some((one.lane, one.ratio()?))).collect(),
            moving: vec![("hot", to_hot), ("legacy", back)],
            offers: vec![("present", offered), ("missing", all - offered)],
            exposures: Exposed::ALL.map(|what| (what.as_str(), self.exposures(what))).to_vec(),
        }
    }
}

/// Open sessions that wait to be moved: to hot, and back.
pub(super) fn moving(sessions: &[Arc<SessionCounters>]) -> [u64; 2] {
    [0, 1].map(|at| sessions.iter().map(|one| one.moves_waiting[at].load(Ordering::Relaxed)).sum())
}

/// Open sessions that the rollout wants on a lane, and those of them that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adoption {
    pub(super) lane: &'static str,
    pub(super) wanted: u64,
    pub(super) there: u64,
}

impl Adoption {
    /// `None` when nobody is wanted there.
    pub(super) fn ratio(self) -> Option<f64> {
        (self.wanted > 0).then(|| (self.there as f64 / self.wanted as f64).min(1.0))
    }
}

/// For each Realtime lane.
pub(super) fn adoptions(sessions: &[Arc<SessionCounters>]) -> [Adoption; RealtimeLane::ALL.len()] {
    let sum = |of: fn(&SessionCounters) -> &[AtomicI64; RealtimeLane::ALL.len()], lane: RealtimeLane| {
        let all: i64 = sessions.iter().map(|one| of(one)[lane as usize].load(Ordering::Relaxed)).sum();
        u64::try_from(all).unwrap_or(0)
    };
    RealtimeLane::ALL.map(|lane| Adoption {
        lane: lane.as_str(),
        wanted: sum(|one| &one.wanted, lane),
        there: sum(|one| &one.adopted, lane),
    })
}
