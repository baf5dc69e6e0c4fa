//! The figures and families of the rollout: the share that is wanted, the share that is live, and what lies between.

use super::metrics::{Family, Samples, Scrape, counter, counts, gauge};

/// What the rollout shows besides its stores.
#[derive(Clone, Debug, Default)]
pub struct RolloutReadings {
    /// Open sessions that the rollout wants on a Realtime lane, by lane.
    pub wanted: Vec<(&'static str, f64)>,
    /// The part of them that is there; a lane that nobody is wanted on is left out.
    pub adoption: Vec<(&'static str, f64)>,
    /// Open sessions that wait for their turn to be moved, by where to.
    pub moving: Vec<(&'static str, f64)>,
    /// Upgrades by whether they offer what the native lane needs.
    pub offers: Vec<(&'static str, u64)>,
    /// Exposures to experiments by what became of them.
    pub exposures: Vec<(&'static str, u64)>,
}

fn floats(of: &[(&'static str, f64)]) -> Samples {
    Samples::Labelled(of.to_vec())
}

fn of<'a>(scrape: &Scrape<'a>) -> &'a RolloutReadings {
    &scrape.snapshot.rollout
}

/// Every family of the rollout but those of its stores.
pub(super) static FAMILIES: [Family; 7] = [
    gauge(
        "crossfade_rollout_percent",
        "",
        "Effective share of the users on the Realtime side, in percent.",
        |s| Samples::One(Some(s.snapshot.rollout_percent)),
    ),
    gauge(
        "crossfade_rollout_live_percent",
        "",
        "Share of the open sessions with a rollout key that Realtime feeds, in percent.",
        |s| Samples::One(s.snapshot.rollout_live_percent),
    ),
    gauge(
        "crossfade_rollout_wanted_sessions",
        "lane",
        "Open sessions that the rollout alone wants on this Realtime lane.",
        |s| floats(&of(s).wanted),
    ),
    gauge(
        "crossfade_rollout_adoption_ratio",
        "lane",
        "The part of the open sessions wanted on this lane that is on it; no sample while nobody is.",
        |s| floats(&of(s).adoption),
    ),
    gauge(
        "crossfade_rollout_moving_sessions",
        "to",
        "Open sessions that wait for their turn to change lanes because the rollout says so.",
        |s| floats(&of(s).moving),
    ),
    counter(
        "crossfade_native_offers_total",
        "offer",
        "Upgrades by whether the client offers the subprotocol that the native lane needs.",
        |s| counts(&of(s).offers),
    ),
    counter(
        "crossfade_exposures_total",
        "outcome",
        "Sessions opened in an arm of an experiment, by what became of the line in the exposure log.",
        |s| counts(&of(s).exposures),
    ),
];
