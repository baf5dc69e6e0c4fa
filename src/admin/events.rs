//! The figures and families of the `events` format.

use super::metrics::{Family, counter, counts, float, gauge, one};

/// What became of events.
#[derive(Clone, Debug, Default)]
pub struct EventReadings {
    /// By outcome.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Requests to Realtime's HTTP broadcast.
    pub requests: u64,
    /// Bytes that wait.
    pub waiting_bytes: u64,
    /// Topics to which nothing is sent now, because it failed.
    pub topics_stopped: u64,
    /// Stops of topics since the start.
    pub topic_stops: u64,
}

pub(super) static FAMILIES: [Family; 5] = [
    counter(
        "crossfade_events_total",
        "outcome",
        "Messages with a topic of their own, by what became of their event.",
        |s| counts(&s.snapshot.events.outcomes),
    ),
    counter("crossfade_events_requests_total", "", "Requests that carried events.", |s| {
        one(float(s.snapshot.events.requests))
    }),
    gauge("crossfade_events_waiting_bytes", "", "Bytes of events that wait for Realtime.", |s| {
        one(float(s.snapshot.events.waiting_bytes))
    }),
    gauge(
        "crossfade_events_topics_stopped",
        "",
        "Topics of events that are stopped because theirs failed.",
        |s| one(float(s.snapshot.events.topics_stopped)),
    ),
    counter("crossfade_events_topic_stops_total", "", "Times that a topic of events was stopped.", |s| {
        one(float(s.snapshot.events.topic_stops))
    }),
];
