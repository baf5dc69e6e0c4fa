//! The figures and families of authorization parity: who receives on the legacy leg against who may read on Realtime.

use super::metrics::{Family, Samples, Scrape, counter, counts, float, gauge};

/// What the comparison shows.
#[derive(Clone, Debug, Default)]
pub struct ParityReadings {
    /// Questions by verdict, `unknown` among them.
    pub checks: Vec<(&'static str, u64)>,
    /// Questions without a verdict, by reason.
    pub unknown: Vec<(&'static str, u64)>,
    /// Pairs of session and topic: listed, unproven, left.
    pub pairs: Vec<(&'static str, u64)>,
    /// Sampled sessions now.
    pub watched: u64,
    /// How long ago the last question was settled; none before the first.
    pub last_check_seconds: Option<f64>,
}

fn readings<'a>(scrape: &Scrape<'a>) -> Option<&'a ParityReadings> {
    scrape.snapshot.matching.as_ref()?.parity.as_ref()
}

fn words(scrape: &Scrape<'_>, of: fn(&ParityReadings) -> &Vec<(&'static str, u64)>) -> Samples {
    readings(scrape).map_or(Samples::Labelled(Vec::new()), |one| counts(of(one)))
}

fn some(scrape: &Scrape<'_>, of: fn(&ParityReadings) -> Option<f64>) -> Samples {
    Samples::One(readings(scrape).and_then(of))
}

/// Every family; none has a sample while authorization is not compared.
pub(super) static FAMILIES: [Family; 5] = [
    counter(
        "crossfade_parity_checks_total",
        "verdict",
        "Users and topics compared: `over` may read on Realtime what legacy did not send, `under` would lose it.",
        |s| words(s, |one| &one.checks),
    ),
    counter(
        "crossfade_parity_unknown_total",
        "reason",
        "Comparisons that came to no verdict, and why.",
        |s| words(s, |one| &one.unknown),
    ),
    counter(
        "crossfade_parity_pairs_total",
        "state",
        "Pairs of sampled session and topic: to be asked, `unproven` (not asked), or `left` for want of time.",
        |s| words(s, |one| &one.pairs),
    ),
    gauge("crossfade_parity_watched_sessions", "", "Open sessions whose authorization is compared.", |s| {
        some(s, |one| Some(float(one.watched)))
    }),
    gauge(
        "crossfade_parity_last_check_seconds",
        "",
        "Since the last comparison; no sample before the first.",
        |s| some(s, |one| one.last_check_seconds),
    ),
];
