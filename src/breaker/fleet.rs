//! The fleet's breaker: what the other pods' trips mean for this one. It can only make a pod stricter, so that no
//! word from outside ever closes a breaker, and silence from outside changes nothing.

use std::time::{Duration, Instant};

use super::{Breaker, Mode, State, Trigger, Trip};

/// Trips within this count as one event.
pub const WITHIN: Duration = Duration::from_secs(60);
/// A pod that has not been heard for this long is gone.
pub const ALIVE: Duration = Duration::from_secs(20);
/// Never fewer than so many pods.
const PODS_MIN: u32 = 2;
/// One of so many live pods is enough: 20 %.
const ONE_OF: u32 = 5;

/// What one pod has said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How long ago it was heard.
    pub heard: Duration,
    /// How long ago its own evidence last opened its breaker. A trip for the fleet's sake does not count: it would
    /// feed itself.
    pub tripped: Option<Duration>,
}

/// The fleet at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Live pods.
    pub live: u32,
    /// Those of them that tripped by themselves within the last minute.
    pub tripped: u32,
    /// So many are enough.
    pub needed: u32,
}

impl Fleet {
    /// Sums the reports up.
    #[must_use]
    pub fn of(reports: &[Report]) -> Self {
        let count = |wanted: &dyn Fn(&Report) -> bool| {
            let found = reports.iter().filter(|report| report.heard < ALIVE && wanted(report)).count();
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        let live = count(&|_| true);
        // What the report said has grown older since.
        let fresh = |report: &Report| report.tripped.is_some_and(|ago| ago + report.heard < WITHIN);
        Self { live, tripped: count(&fresh), needed: live.div_ceil(ONE_OF).max(PODS_MIN) }
    }

    /// Whether every pod should open.
    #[must_use]
    pub const fn trips(&self) -> bool {
        self.tripped >= self.needed
    }
}

impl Breaker {
    /// The fleet has tripped: `tripped` of `live` pods, where `needed` are enough. It can only open what is not open
    /// already, and a person's word stands above it.
    pub fn fleet_trip(&mut self, (tripped, needed, live): (u32, u32, u32), now: Instant) {
        self.advance(now);
        if self.mode() != Mode::Auto || matches!(self.state(), State::Open { .. }) {
            return;
        }
        let (measured, limit) = (f64::from(tripped), f64::from(needed));
        self.open(Trip { trigger: Trigger::Fleet, measured, limit, samples: u64::from(live) }, now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(heard: u64, tripped: Option<u64>) -> Report {
        Report { heard: Duration::from_secs(heard), tripped: tripped.map(Duration::from_secs) }
    }

    fn fleet(live: usize, tripped: usize) -> Fleet {
        let pods = (0..live).map(|pod| report(1, (pod < tripped).then_some(5)));
        Fleet::of(&pods.collect::<Vec<_>>())
    }

    #[test]
    fn two_pods_or_a_fifth_whichever_is_more() {
        for (live, needed) in [(0, 2), (1, 2), (2, 2), (10, 2), (11, 3), (15, 3), (100, 20)] {
            assert!(!fleet(live, needed - 1).trips(), "{live}");
            assert!(live < needed || fleet(live, needed).trips(), "{live}");
        }
    }

    #[test]
    fn old_trips_and_lost_pods_do_not_count() {
        let trips = |reports: &[Report]| Fleet::of(reports).trips();
        assert!(trips(&[report(0, Some(10)), report(0, Some(50))]));
        assert!(!trips(&[report(0, Some(10)), report(0, Some(60))]));
        assert!(!trips(&[report(0, Some(10)), report(12, Some(50))]), "it has grown older since it was said");
        assert!(!trips(&[report(0, Some(10)), report(20, Some(10))]), "gone");
    }

    proptest! {
        #[test]
        fn one_more_trip_never_makes_it_milder(
            pods in prop::collection::vec((0_u64..30, prop::option::of(0_u64..90)), 1..40), which in 0_usize..40,
        ) {
            let mut reports: Vec<Report> = pods.iter().map(|(heard, tripped)| report(*heard, *tripped)).collect();
            let before = Fleet::of(&reports).trips();
            let place = which % reports.len();
            reports[place].tripped = Some(Duration::ZERO);
            prop_assert!(!before || Fleet::of(&reports).trips());
        }
    }
}
