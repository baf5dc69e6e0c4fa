//! The figures and families of the spool: what waits on disk, how old it is, what was damaged.

use super::metrics::{Family, Samples, Scrape, counter, float, floats, gauge};

/// What the spool's disk shows.
#[derive(Clone, Debug, Default)]
pub struct SpoolReadings {
    /// Its state.
    pub state: &'static str,
    /// Every state.
    pub states: Vec<&'static str>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Messages that wait, by class.
    pub messages: Vec<(&'static str, u64)>,
    /// Age of the oldest, in seconds.
    pub oldest_seconds: f64,
    /// Records and ranges that were damaged.
    pub damaged: u64,
    /// Groups of appends that were synced.
    pub syncs: u64,
    /// What the process before this one took along at most.
    pub lost_at_most: u64,
    /// What a kill of this one would take along at most.
    pub at_risk: u64,
}

pub(super) static FAMILIES: [Family; 8] = [
    gauge("crossfade_spool_state", "state", "1 for the state that the spool is in.", |s| {
        let on = |spool: &SpoolReadings| {
            let is = |state: &&'static str| (*state, f64::from(u8::from(*state == spool.state)));
            spool.states.iter().map(is).collect()
        };
        Samples::Labelled(s.snapshot.spool.as_ref().map(on).unwrap_or_default())
    }),
    gauge("crossfade_spool_bytes", "", "Bytes of the spool on disk.", |s| spool(s, |one| float(one.bytes))),
    gauge("crossfade_spool_messages", "class", "Messages in the spool.", |s| {
        Samples::Labelled(s.snapshot.spool.as_ref().map(|one| floats(&one.messages)).unwrap_or_default())
    }),
    gauge("crossfade_spool_oldest_seconds", "", "Age of the oldest message in the spool.", |s| {
        spool(s, |one| one.oldest_seconds)
    }),
    counter("crossfade_spool_damaged_total", "", "Records and ranges of the spool that were damaged.", |s| {
        spool(s, |one| float(one.damaged))
    }),
    counter("crossfade_spool_syncs_total", "", "Groups of appends that the disk has synced.", |s| {
        spool(s, |one| float(one.syncs))
    }),
    gauge(
        "crossfade_spool_lost_at_most",
        "",
        "Upper bound of the messages that the process before this one took along when it was killed; 0 = it was not.",
        |s| spool(s, |one| float(one.lost_at_most)),
    ),
    gauge(
        "crossfade_spool_at_risk",
        "",
        "Upper bound of the messages that a kill of this process would take along.",
        |s| spool(s, |one| float(one.at_risk)),
    ),
];

fn spool(scrape: &Scrape<'_>, read: fn(&SpoolReadings) -> f64) -> Samples {
    Samples::One(scrape.snapshot.spool.as_ref().map(read))
}
