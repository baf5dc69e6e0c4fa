//! The figures and families of how long things take and how large they are: what we add to the way of the bytes,
//! what waits for a slow peer, what a broadcast carries, and how far the mirror lags behind.

use prometheus::proto::MetricType;

use super::histogram::Spread;
use super::metrics::{Family, Samples, Scrape, counter, counts, float, gauge};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// From an upgrade's head to its answer.
    pub upgrade: Spread,
    /// What a legacy session's turn takes.
    pub overhead: Spread,
    /// Seconds in which a side took nothing, by direction; what is over.
    pub backpressure: Vec<(&'static str, f64)>,
    /// Sessions of which a side takes nothing now, by direction.
    pub held: Vec<(&'static str, u64)>,
    /// The mirror's own; `None` without Supabase settings.
    pub mirror: Option<MirrorTimes>,
    /// From the last trip to the last session back on legacy; none before one.
    pub returned: Option<f64>,
    /// What the spool may hold in bytes; none without one.
    pub spool_limit: Option<u64>,
}

/// How long the mirror takes, and how much it carries.
#[derive(Clone, Debug, Default)]
pub struct MirrorTimes {
    /// From publishing a batch to Realtime's answer.
    pub publish: Spread,
    /// From the tap to the read-back.
    pub leg: Spread,
    /// Messages of sessions in a broadcast.
    pub batch_messages: Spread,
    /// Bytes of a broadcast.
    pub batch_bytes: Spread,
    /// Age of the oldest message in memory that is not settled.
    pub oldest: f64,
    /// Since the side thread was last heard of.
    pub silence: f64,
    /// What copied messages may take.
    pub buffer_limit: u64,
}

const fn histogram(name: &'static str, help: &'static str, read: fn(&Scrape<'_>) -> Samples) -> Family {
    Family { name, kind: MetricType::HISTOGRAM, label: "", help, read }
}

fn mirror(scrape: &Scrape<'_>, of: fn(&MirrorTimes) -> f64) -> Samples {
    Samples::One(scrape.snapshot.times.mirror.as_ref().map(of))
}

fn spread(scrape: &Scrape<'_>, of: fn(&MirrorTimes) -> &Spread) -> Samples {
    let found = scrape.snapshot.times.mirror.as_ref().map(of);
    found.map_or(Samples::One(None), |spread| Samples::Spread(spread.clone()))
}

pub(super) static FAMILIES: [Family; 14] = [
    histogram(
        "crossfade_upgrade_seconds",
        "From an upgrade request's head to the head of its answer, whatever the outcome.",
        |s| Samples::Spread(s.snapshot.times.upgrade.clone()),
    ),
    histogram(
        "crossfade_overhead_seconds",
        "The legacy leg: what we take to read, write on and copy what has come; one of 64 turns of legacy sessions, those that wait for a slow peer left out.",
        |s| Samples::Spread(s.snapshot.times.overhead.clone()),
    ),
    counter(
        "crossfade_backpressure_seconds_total",
        "direction",
        "Session-seconds in which bytes waited for a peer that took none; added when the wait is over.",
        |s| Samples::Labelled(s.snapshot.times.backpressure.clone()),
    ),
    gauge(
        "crossfade_backpressure_sessions",
        "direction",
        "Open sessions whose bytes wait for a peer that takes none: the service (up) or the client (down).",
        |s| counts(&s.snapshot.times.held),
    ),
    histogram("crossfade_readback_seconds", "From publishing a batch to reading it back.", |s| {
        Samples::Latency(s.snapshot.readback)
    }),
    histogram(
        "crossfade_realtime_leg_seconds",
        "The Realtime leg: from seeing a message pass to having it back, waiting and repetitions included.",
        |s| spread(s, |one| &one.leg),
    ),
    histogram("crossfade_publish_seconds", "From publishing a batch to Realtime's answer.", |s| {
        spread(s, |one| &one.publish)
    }),
    histogram("crossfade_mirror_batch_messages", "Messages of sessions in a broadcast.", |s| {
        spread(s, |one| &one.batch_messages)
    }),
    histogram("crossfade_mirror_batch_bytes", "Bytes of a broadcast.", |s| spread(s, |one| &one.batch_bytes)),
    gauge(
        "crossfade_mirror_oldest_seconds",
        "",
        "Age of the oldest message in memory that is not settled: how far the mirror lags behind.",
        |s| mirror(s, |one| one.oldest),
    ),
    gauge("crossfade_side_silence_seconds", "", "Since the side thread, which mirrors, last beat.", |s| {
        mirror(s, |one| one.silence)
    }),
    gauge("crossfade_mirror_buffer_limit_bytes", "", "What copied messages may take together.", |s| {
        mirror(s, |one| float(one.buffer_limit))
    }),
    gauge(
        "crossfade_breaker_return_seconds",
        "",
        "From the last loss of Realtime to the last hot session back on legacy; no sample before the first.",
        |s| Samples::One(s.snapshot.times.returned),
    ),
    gauge(
        "crossfade_spool_limit_bytes",
        "",
        "What the spool may hold on disk; no sample without one.",
        |s| Samples::One(s.snapshot.times.spool_limit.map(float)),
    ),
];
