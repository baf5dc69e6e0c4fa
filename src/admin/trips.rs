//! The families of the flight recorder, of drills, and of a latch.

use prometheus::proto::MetricType;

use super::metrics::{Family, Samples, counter, counts, float, gauge, one};

/// What is kept of trips and drills.
#[derive(Clone, Debug, Default)]
pub struct TripReadings {
    /// Incidents that the flight recorder has made.
    pub incidents: u64,
    /// Incidents and drills that the disk did not take.
    pub lost: u64,
    /// Drills by outcome.
    pub drills: Vec<(&'static str, u64)>,
    /// Seconds since the last drill that passed began; nothing while there is none.
    pub age_seconds: Option<f64>,
    /// What the last drill that passed took: to legacy, and back.
    pub took_seconds: Vec<(&'static str, f64)>,
    /// Whether the breaker is latched open; nothing where there is none.
    pub latched: Option<bool>,
}

pub(super) static FAMILIES: [Family; 6] = [
    counter("crossfade_incidents_total", "", "Trips that the flight recorder has kept.", |s| {
        one(float(s.snapshot.trips.incidents))
    }),
    counter(
        "crossfade_records_lost_total",
        "",
        "Incidents and drills that could not be written to CROSSFADE_STATE_DIR.",
        |s| one(float(s.snapshot.trips.lost)),
    ),
    counter("crossfade_drills_total", "outcome", "Drills that have ended, and how.", |s| {
        counts(&s.snapshot.trips.drills)
    }),
    gauge(
        "crossfade_drill_age_seconds",
        "",
        "Time since the last drill that passed; absent while there is none.",
        |s| Samples::One(s.snapshot.trips.age_seconds),
    ),
    Family {
        name: "crossfade_drill_seconds",
        kind: MetricType::GAUGE,
        label: "way",
        help: "What the last drill that passed took: until the last session was on legacy, and until it was hot again.",
        read: |s| Samples::Labelled(s.snapshot.trips.took_seconds.clone()),
    },
    gauge(
        "crossfade_breaker_latched",
        "",
        "1 while the breaker is latched open: it waits for a person's reset, not for Realtime.",
        |s| Samples::One(s.snapshot.trips.latched.map(|latched| f64::from(u8::from(latched)))),
    ),
];
