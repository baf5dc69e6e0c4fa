//! The figures and families of the cold lane.

use super::metrics::{Family, Samples, Scrape, counter, float, floats, gauge};

/// What the lane did. Without a cold lane nothing is shown.
#[derive(Clone, Debug, Default)]
pub struct ColdReadings {
    /// Upgrades by what became of them.
    pub upgrades: Vec<(&'static str, u64)>,
    /// Sessions that ended, by the reason that the client was told.
    pub endings: Vec<(&'static str, u64)>,
    /// Clients by what they were told about what they missed.
    pub resumes: Vec<(&'static str, u64)>,
    /// Messages.
    pub messages: Vec<(&'static str, u64)>,
    /// Channels that were interrupted.
    pub interruptions: u64,
    /// Topics joined, counted by token.
    pub topics: u64,
    /// Connections to Realtime.
    pub links: u64,
    /// Bytes kept for clients that come back.
    pub log_bytes: u64,
}

/// A family with a label.
fn labelled(scrape: &Scrape<'_>, of: impl Fn(&ColdReadings) -> &[(&'static str, u64)]) -> Samples {
    Samples::Labelled(scrape.snapshot.cold.as_ref().map(|cold| floats(of(cold))).unwrap_or_default())
}

/// A family without one.
fn one(scrape: &Scrape<'_>, of: impl Fn(&ColdReadings) -> u64) -> Samples {
    Samples::One(scrape.snapshot.cold.as_ref().map(|cold| float(of(cold))))
}

pub(super) static FAMILIES: [Family; 8] = [
    counter("crossfade_cold_upgrades_total", "outcome", "Upgrades at the cold lane's door.", |s| {
        labelled(s, |cold| &cold.upgrades)
    }),
    counter("crossfade_cold_ended_total", "reason", "Cold sessions that ended, by what was told.", |s| {
        labelled(s, |cold| &cold.endings)
    }),
    counter("crossfade_cold_resumes_total", "outcome", "Cold clients by X-Crossfade-Resume.", |s| {
        labelled(s, |cold| &cold.resumes)
    }),
    counter(
        "crossfade_cold_messages_total",
        "what",
        "Messages given to cold clients, and theirs that Realtime took or did not take.",
        |s| labelled(s, |cold| &cold.messages),
    ),
    counter(
        "crossfade_cold_interruptions_total",
        "",
        "Interruptions of a joined topic: its clients were closed, as messages may be missing.",
        |s| one(s, |cold| cold.interruptions),
    ),
    gauge("crossfade_cold_topics", "", "Topics that the cold lane has joined, counted by token.", |s| {
        one(s, |cold| cold.topics)
    }),
    gauge("crossfade_cold_links", "", "Connections to Realtime of the cold lane.", |s| {
        one(s, |cold| cold.links)
    }),
    gauge("crossfade_cold_log_bytes", "", "Bytes kept for cold clients that come back.", |s| {
        one(s, |cold| cold.log_bytes)
    }),
];
