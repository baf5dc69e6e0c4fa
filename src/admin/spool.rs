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
}

pub(super) static FAMILIES: [Family; 6] = [
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
];

fn spool(scrape: &Scrape<'_>, read: fn(&SpoolReadings) -> f64) -> Samples {
    Samples::One(scrape.snapshot.spool.as_ref().map(read))
}
