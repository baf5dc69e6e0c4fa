//! A small breaker for each topic of events, beside the one of the whole pod: a topic whose publishes fail stops alone.
//!
//! Only topics that have failed lately are known here, so that a healthy pod keeps nothing. A topic stops when at
//! least five of its events failed within 30 s and these are more than half. It stays stopped for `60 s × 2ⁿ`, 30 min at
//! most; then one event is let through, and what becomes of that decides.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Topics that may be known at once. A further one that fails is not stopped (counted): it fails as before.
pub const TOPICS_MAX: usize = 256;
/// Failures count together for so long.
const WINDOW: Duration = Duration::from_secs(30);
/// Fewer failures say nothing about a topic.
const BAD_MIN: u32 = 5;
const COOLDOWN: Duration = Duration::from_secs(60);
const COOLDOWN_MAX: Duration = Duration::from_secs(30 * 60);
/// An event that was let through and of which nothing is heard: the next one may go.
const TRIAL_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Stand {
    Watched { since: Instant, good: u32, bad: u32 },
    Stopped { until: Instant },
    Trying { since: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Topic {
    stand: Stand,
    /// Stops in a row.
    stops: u32,
}

/// What changed by a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The topic stops, for so long.
    Stopped(Duration),
    /// It goes on.
    Resumed,
}

/// Figures of all topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicFigures {
    /// Stopped now, those on trial included.
    pub stopped: usize,
    /// Stops since the start.
    pub stops: u64,
    /// Failures of topics for which there was no room.
    pub untracked: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Topics {
    known: BTreeMap<Box<str>, Topic>,
    stops: u64,
    untracked: u64,
}

impl Topics {
    /// Whether an event may go to this topic now.
    pub fn admits(&mut self, topic: &str, now: Instant) -> bool {
        let Some(found) = self.known.get_mut(topic) else { return true };
        match found.stand {
            Stand::Watched { .. } => true,
            Stand::Stopped { until } if now < until => false,
            Stand::Trying { since } if now < since + TRIAL_MAX => false,
            Stand::Stopped { .. } | Stand::Trying { .. } => {
                found.stand = Stand::Trying { since: now };
                true
            }
        }
    }

    /// What became of an event on this topic.
    pub fn record(&mut self, topic: &str, good: bool, now: Instant) -> Option<Turn> {
        let Some(found) = self.known.get_mut(topic) else {
            if !good {
                self.watch(topic, now);
            }
            return None;
        };
        match (&mut found.stand, good) {
            (Stand::Trying { .. }, true) => {
                self.known.remove(topic);
                Some(Turn::Resumed)
            }
            (Stand::Trying { .. }, false) => Some(self.stop(topic, now)),
            // What was under way when it stopped says nothing new.
            (Stand::Stopped { .. }, _) => None,
            (Stand::Watched { since, good: well, bad }, _) => {
                if now.saturating_duration_since(*since) >= WINDOW {
                    (*since, *well, *bad) = (now, 0, 0);
                }
                if good {
                    *well = well.saturating_add(1);
                } else {
                    *bad = bad.saturating_add(1);
                }
                (*bad >= BAD_MIN && *bad > *well).then(|| self.stop(topic, now))
            }
        }
    }

    /// The figures at this moment.
    #[must_use]
    pub fn figures(&self) -> TopicFigures {
        let stopped = self.known.values().filter(|one| !matches!(one.stand, Stand::Watched { .. })).count();
        TopicFigures { stopped, stops: self.stops, untracked: self.untracked }
    }

    /// A first failure. Makes room where an old failure was the last that was heard of a topic.
    fn watch(&mut self, topic: &str, now: Instant) {
        if self.known.len() >= TOPICS_MAX {
            let old = |stand: Stand| matches!(stand, Stand::Watched { since, .. } if now.saturating_duration_since(since) >= WINDOW);
            self.known.retain(|_, one| !old(one.stand));
        }
        if self.known.len() >= TOPICS_MAX {
            self.untracked = self.untracked.saturating_add(1);
            return;
        }
        let stand = Stand::Watched { since: now, good: 0, bad: 1 };
        self.known.insert(topic.into(), Topic { stand, stops: 0 });
    }

    fn stop(&mut self, topic: &str, now: Instant) -> Turn {
        self.stops = self.stops.saturating_add(1);
        let mut lasts = COOLDOWN;
        if let Some(found) = self.known.get_mut(topic) {
            lasts = (COOLDOWN * 2_u32.pow(found.stops.min(5))).min(COOLDOWN_MAX);
            *found =
                Topic { stand: Stand::Stopped { until: now + lasts }, stops: found.stops.saturating_add(1) };
        }
        Turn::Stopped(lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    /// A topic that has just stopped.
    fn stopped(now: Instant) -> Topics {
        let mut topics = Topics::default();
        let turns: Vec<_> = (0..5).filter_map(|_| topics.record("room:a", false, now)).collect();
        assert_eq!(turns, [Turn::Stopped(COOLDOWN)]);
        topics
    }

    #[test]
    fn a_topic_that_fails_stops_alone() {
        let now = origin();
        let mut topics = stopped(now);
        assert!(!topics.admits("room:a", now));
        assert!(topics.admits("room:b", now), "its neighbour goes on");
        assert_eq!(topics.figures(), TopicFigures { stopped: 1, stops: 1, untracked: 0 });
    }

    #[test]
    fn four_failures_or_the_smaller_part_or_old_ones_stop_nothing() {
        let now = origin();
        let mut topics = Topics::default();
        for _ in 0..4 {
            assert_eq!(topics.record("few", false, now), None);
        }
        for _ in 0..50 {
            assert_eq!(topics.record("third", false, now), None);
            assert_eq!(topics.record("third", true, now), None);
            assert_eq!(topics.record("third", true, now), None);
        }
        for second in 0..1_000 {
            assert_eq!(topics.record("rare", false, now + 8 * second * SECOND), None);
        }
        assert_eq!(topics.figures().stopped, 0);
    }

    #[test]
    fn one_event_tries_and_decides() {
        let now = origin();
        let mut topics = stopped(now);
        let after = now + COOLDOWN;
        assert!(!topics.admits("room:a", after - SECOND));
        assert!(topics.admits("room:a", after) && !topics.admits("room:a", after), "one at a time");
        assert_eq!(topics.record("room:a", false, after), Some(Turn::Stopped(2 * COOLDOWN)));
        assert_eq!(topics.record("room:a", true, after), None, "a late word about an earlier one");
        let after = after + 2 * COOLDOWN;
        assert!(topics.admits("room:a", after));
        assert!(topics.admits("room:a", after + TRIAL_MAX), "nothing was heard of it: the next one");
        assert_eq!(topics.record("room:a", true, after + TRIAL_MAX), Some(Turn::Resumed));
        assert!(topics.known.is_empty(), "what is well is forgotten");
    }

    #[test]
    fn the_wait_grows_to_half_an_hour_and_no_further() {
        let mut now = origin();
        let mut topics = stopped(now);
        let mut last = COOLDOWN;
        for _ in 0..40 {
            now += last;
            assert!(topics.admits("room:a", now));
            let Some(Turn::Stopped(next)) = topics.record("room:a", false, now) else { break };
            assert!(next == (last * 2).min(COOLDOWN_MAX), "{last:?} then {next:?}");
            last = next;
        }
        assert_eq!(last, COOLDOWN_MAX);
    }

    #[test]
    fn topics_are_bounded_and_old_failures_make_room() {
        let now = origin();
        let mut topics = Topics::default();
        for number in 0..TOPICS_MAX + 10 {
            topics.record(&format!("room:{number}"), false, now);
            topics.record(&format!("well:{number}"), true, now);
        }
        assert_eq!((topics.known.len(), topics.figures().untracked), (TOPICS_MAX, 10));
        topics.record("late", false, now + WINDOW);
        assert_eq!(topics.known.len(), 1);
    }
}
