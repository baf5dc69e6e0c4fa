//! The figures and families of the validator: what matches, how sure that is, and whether it would notice.

use super::metrics::{Family, Samples, Scrape, counter, counts, float, gauge};

/// What the validator shows.
#[derive(Clone, Debug, Default)]
pub struct MatchReadings {
    /// Messages by what became of them.
    pub kinds: Vec<(&'static str, u64)>,
    /// Messages that were not compared, by reason.
    pub not_compared: Vec<(&'static str, u64)>,
    /// The matching part of the last hour; none without a pair.
    pub ratio: Option<f64>,
    /// Pairs of the last hour.
    pub pairs: u64,
    /// Pairs that would prove the gate.
    pub needed: u64,
    /// The compared part of what was published in the last hour.
    pub coverage: Option<f64>,
    /// The words of all verdicts …
    pub verdicts: Vec<&'static str>,
    /// … and the one of the last hour.
    pub verdict: &'static str,
    /// Self-tests by result.
    pub self_tests: Vec<(&'static str, u64)>,
    /// Noise rules that have never met their place.
    pub dead_rules: u64,
    /// Reports that could not be written.
    pub reports_lost: u64,
    /// Authorization, where it is compared.
    pub parity: Option<super::ParityReadings>,
}

fn some(scrape: &Scrape<'_>, of: fn(&MatchReadings) -> Option<f64>) -> Samples {
    Samples::One(scrape.snapshot.matching.as_ref().and_then(of))
}

fn words(scrape: &Scrape<'_>, of: fn(&MatchReadings) -> &Vec<(&'static str, u64)>) -> Samples {
    scrape.snapshot.matching.as_ref().map_or(Samples::Labelled(Vec::new()), |one| counts(of(one)))
}

/// Every family of the validator.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().chain(&super::parity::FAMILIES)
}

static FAMILIES: [Family; 10] = [
    counter(
        "crossfade_match_messages_total",
        "kind",
        "Messages by what became of them between publish and read-back; all but `matched` and `late` are mismatches.",
        |s| words(s, |one| &one.kinds),
    ),
    counter(
        "crossfade_match_not_compared_total",
        "reason",
        "Messages that the validator did not compare.",
        |s| words(s, |one| &one.not_compared),
    ),
    gauge(
        "crossfade_match_ratio",
        "",
        "The matching part of the pairs of the last hour; no sample without a pair.",
        |s| some(s, |one| one.ratio),
    ),
    gauge("crossfade_match_pairs", "", "Pairs of the last hour.", |s| some(s, |one| Some(float(one.pairs)))),
    gauge(
        "crossfade_match_pairs_needed",
        "",
        "Pairs that would prove 99.9 % at 95 % confidence with the mismatches of the last hour.",
        |s| some(s, |one| Some(float(one.needed))),
    ),
    gauge(
        "crossfade_match_coverage_ratio",
        "",
        "The part of what passed the tap in the last hour, left out by a share or published, that was compared.",
        |s| some(s, |one| one.coverage),
    ),
    gauge(
        "crossfade_match_verdict",
        "verdict",
        "1 for what the last hour proves about 99.9 % at 95 % confidence.",
        |s| {
            let on = |one: &MatchReadings| {
                let is = |word: &&'static str| (*word, f64::from(u8::from(*word == one.verdict)));
                one.verdicts.iter().map(is).collect()
            };
            Samples::Labelled(s.snapshot.matching.as_ref().map(on).unwrap_or_default())
        },
    ),
    counter(
        "crossfade_self_tests_total",
        "result",
        "Tests of the validator with known faults; while `failed` rises, no match figure means anything.",
        |s| words(s, |one| &one.self_tests),
    ),
    gauge(
        "crossfade_noise_rules_dead",
        "",
        "Noise rules that no live sample has ever had the place for.",
        |s| some(s, |one| Some(float(one.dead_rules))),
    ),
    counter(
        "crossfade_reports_lost_total",
        "",
        "Reports that could not be written to CROSSFADE_STATE_DIR, or never became a row of crossfade_reports.",
        |s| some(s, |one| Some(float(one.reports_lost))),
    ),
];
