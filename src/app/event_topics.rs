//! The topics of events, each with a small breaker of its own: what the events' thread asks before it sends, and what
//! it tells when Realtime has decided about an event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::breaker::topic::{Topics, Turn};
use crate::sinks::broadcast::{BroadcastSink, Parcel};

/// Figures for metrics and status.
#[derive(Debug, Default)]
pub(crate) struct TopicReadings {
    stopped: AtomicU64,
    stops: AtomicU64,
    withheld: AtomicU64,
}

impl TopicReadings {
    /// Topics that are stopped now.
    pub(crate) fn stopped(&self) -> u64 {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Stops since the start.
    pub(crate) fn stops(&self) -> u64 {
        self.stops.load(Ordering::Relaxed)
    }

    /// Events that were not sent for that reason.
    pub(crate) fn withheld(&self) -> u64 {
        self.withheld.load(Ordering::Relaxed)
    }
}

/// The thread's own.
#[derive(Default)]
pub(super) struct Guard {
    topics: Topics,
    /// The log has been told that there is no more room.
    is_full: bool,
}

impl Guard {
    /// Hands an event to the sink, unless its topic is stopped.
    pub(super) fn push(
        &mut self,
        parcel: Parcel,
        machine: &mut BroadcastSink,
        readings: &TopicReadings,
        now: Instant,
    ) {
        if self.topics.admits(&parcel.message.topic, now) {
            return machine.push(parcel);
        }
        // The envelope and the table have the message; its event is dropped here.
        readings.withheld.fetch_add(1, Ordering::Relaxed);
    }

    /// Hears what became of events. Topics may hold names of users, so the log counts them and names none.
    pub(super) fn hear(&mut self, machine: &mut BroadcastSink, readings: &TopicReadings, now: Instant) {
        while let Some((topic, good)) = machine.poll_end() {
            let turn = self.topics.record(&topic, good, now);
            let stopped = self.topics.figures().stopped;
            match turn {
                Some(Turn::Stopped(lasts)) => {
                    let for_s = lasts.as_secs();
                    tracing::warn!(
                        for_s,
                        stopped,
                        "events of one topic fail: no events go there for a while"
                    );
                }
                Some(Turn::Resumed) => tracing::info!(stopped, "a topic of events works again"),
                None => {}
            }
        }
        let figures = self.topics.figures();
        if figures.untracked > 0 && !self.is_full {
            self.is_full = true;
            tracing::warn!("too many topics of events fail: further ones are not stopped");
        }
        readings.stopped.store(figures.stopped as u64, Ordering::Relaxed);
        readings.stops.store(figures.stops, Ordering::Relaxed);
    }
}
