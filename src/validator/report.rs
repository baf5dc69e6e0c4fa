//! A report: what was compared over a span of time, how sure that makes us, and what was not looked at. JSON is its
//! form for machines ([`Report`] reads what it writes); [`page`](super::page) makes it readable.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::natural::Natural;
use super::noise::RuleUse;
use super::samples::Discrepancy;
use super::tally::{Part, SIZE_EDGES, Tally};
use super::verdict::{self, Verdict};
use super::{Kind, NotCompared};
use crate::envelope::Class;
use crate::mirror::tally::{EDGES_MS, Histogram};

/// The version of the format.
pub const VERSION: u32 = 1;

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// An hour of the wall clock, or the part of it in which the process ran.
    Hourly,
    /// The last sixty minutes; written over each minute.
    Rolling,
    /// A step of the rollout: between two changes of its settings.
    Step,
}

impl Span {
    /// The word in names and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Rolling => "rolling",
            Self::Step => "step",
        }
    }
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub v: u32,
    /// Its name: span and begin; also the file's.
    pub id: String,
    /// What it is about.
    pub span: Span,
    /// The service.
    pub service: String,
    /// The pod.
    pub pod: String,
    /// From, in milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// To.
    pub to_ms: u64,
    /// The rollout's share in percent, where the report is about one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// The match.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// What was not compared, by reason.
    pub not_compared: BTreeMap<String, u64>,
    /// By class.
    pub classes: BTreeMap<String, Share>,
    /// By size of the message.
    pub sizes: BTreeMap<String, Share>,
    /// By event type.
    pub types: BTreeMap<String, Share>,
    /// Both legs.
    pub latency: Latency,
    /// The noise rules, and what natural differences the legacy leg shows.
    pub noise: NoiseReport,
    /// Whether known faults are seen.
    pub self_test: SelfTest,
    /// Some of the discrepancies, with secrets taken out.
    #[serde(default)]
    pub samples: Vec<Discrepancy>,
}

/// The match figure and what stands behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// The matching part; absent without a pair.
    pub ratio: Option<f64>,
    /// What was judged.
    pub pairs: u64,
    /// Pairs that would prove the gate with these mismatches.
    pub needed: u64,
    /// The part that must match.
    pub gate: f64,
    /// How sure the verdict is.
    pub confidence: f64,
    /// The verdict.
    pub verdict: Verdict,
    /// By kind.
    pub kinds: BTreeMap<String, u64>,
    /// The compared part of what was published; absent when nothing was.
    pub coverage: Option<f64>,
    /// Matched by a noise rule.
    pub by_noise: u64,
    /// Came back only after another publication.
    pub repeated: u64,
    /// Copies that our own repetitions explain.
    pub echoes: u64,
    /// Read-backs that were no envelope.
    pub malformed: u64,
}

/// A part of the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Judged.
    pub pairs: u64,
    /// Speaks against Realtime.
    pub bad: u64,
    /// Not judged.
    pub not_compared: u64,
    /// The judged part.
    pub coverage: Option<f64>,
}

/// Latency, in milliseconds. Quantiles are upper edges of buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Upper edges of the buckets; one more is open above.
    pub edges_ms: Vec<u64>,
    /// Tap to publish: our own queue.
    pub queue: Leg,
    /// Publish to read-back.
    pub realtime: Leg,
    /// How long after the legacy client a reader of Realtime has it.
    pub behind_legacy: Leg,
}

/// One leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Median.
    pub p50_ms: Option<u64>,
    /// 95th percentile.
    pub p95_ms: Option<u64>,
    /// 99th percentile.
    pub p99_ms: Option<u64>,
    /// Counts by bucket.
    pub counts: Vec<u64>,
}

/// Noise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseReport {
    /// The rules in force.
    pub rules: Vec<RuleUse>,
    /// Legacy against legacy.
    pub natural: Vec<Natural>,
}

/// The self-test since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// Tests made.
    pub runs: u64,
    /// Tests in which a known fault went unseen.
    pub failures: u64,
    /// Whether the last one passed.
    pub passed: bool,
}

/// What a report is made of besides its figures.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is about.
    pub span: Span,
    /// The service.
    pub service: String,
    /// The pod.
    pub pod: String,
    /// From and to, in milliseconds since the Unix epoch.
    pub ms: (u64, u64),
    /// The rollout's share, of a step.
    pub percent: Option<f64>,
    /// Noise.
    pub noise: NoiseReport,
    /// The self-test.
    pub self_test: SelfTest,
    /// Samples of that time.
    pub samples: Vec<Discrepancy>,
}

impl Report {
    /// Makes the report of these figures.
    #[must_use]
    pub fn new(frame: Frame, tally: &Tally) -> Self {
        let (from_ms, to_ms) = frame.ms;
        let id = if frame.span == Span::Rolling {
            frame.span.as_str().to_owned()
        } else {
            format!("{}-{}", frame.span.as_str(), stamp(from_ms))
        };
        let words = |list: &[(&'static str, u64)]| {
            list.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect::<BTreeMap<_, _>>()
        };
        let left_out = NotCompared::ALL.map(|why| (why.as_str(), tally.left_out(why)));
        let classes = Class::ALL.map(Class::as_str).into_iter().zip(tally.classes);
        let sizes = SIZE_NAMES.into_iter().zip(tally.sizes);
        let shares = |parts: &mut dyn Iterator<Item = (String, Part)>| {
            parts.map(|(name, part)| (name, share(part))).collect()
        };
        Self {
            v: VERSION,
            id,
            span: frame.span,
            service: frame.service,
            pod: frame.pod,
            from_ms,
            to_ms,
            percent: frame.percent,
            matching: Matching::of(tally),
            not_compared: words(&left_out),
            classes: shares(&mut classes.map(|(name, part)| (name.to_owned(), part))),
            sizes: shares(&mut sizes.map(|(name, part)| (name.to_owned(), part))),
            types: shares(&mut tally.types.iter().map(|(name, part)| (name.to_string(), *part))),
            latency: Latency {
                edges_ms: EDGES_MS.to_vec(),
                queue: leg(&tally.queue),
                realtime: leg(&tally.realtime),
                behind_legacy: leg(&tally.behind),
            },
            noise: frame.noise,
            self_test: frame.self_test,
            samples: frame.samples.into_iter().filter(|one| (from_ms..=to_ms).contains(&one.at_ms)).collect(),
        }
    }
}

impl Report {
    /// Whether it is kept as a row: the rolling one is written over each minute, and is for those who look now.
    #[must_use]
    pub const fn is_row(&self) -> bool {
        matches!(self.span, Span::Hourly | Span::Step)
    }

    /// The report as an array of one row of `crossfade_reports`. Samples stay where the pod keeps them: a table has
    /// more readers than a folder of mode 0700.
    ///
    /// # Errors
    /// Never, with figures that are finite.
    pub fn row(&self, instance: &str) -> Result<Vec<u8>, serde_json::Error> {
        let report = Self { samples: Vec::new(), ..self.clone() };
        serde_json::to_vec(&[serde_json::json!({
            "service": self.service,
            "instance": instance,
            "kind": self.span.as_str(),
            "period_start": instant(self.from_ms),
            "period_end": instant(self.to_ms.max(self.from_ms)),
            "verdict": self.matching.verdict.as_str(),
            "report": report,
        })])
    }
}

impl Matching {
    /// The match of these figures, at the contract's gate.
    #[must_use]
    pub fn of(tally: &Tally) -> Self {
        let (pairs, bad) = (tally.pairs(), tally.bad());
        Self {
            ratio: tally.ratio(),
            pairs,
            needed: verdict::needed(bad, verdict::GATE),
            gate: verdict::GATE,
            confidence: verdict::CONFIDENCE,
            verdict: verdict::judge(pairs, bad, verdict::GATE),
            kinds: Kind::ALL.map(|kind| (kind.as_str().to_owned(), tally.of(kind))).into(),
            coverage: tally.coverage(),
            by_noise: tally.by_noise,
            repeated: tally.repeated,
            echoes: tally.echoes,
            malformed: tally.malformed,
        }
    }
}

/// What the sizes are called, by [`SIZE_EDGES`].
const SIZE_NAMES: [&str; SIZE_EDGES.len() + 1] =
    ["up to 1 KiB", "up to 16 KiB", "up to 256 KiB", "above 256 KiB"];

fn share(part: Part) -> Share {
    let all = part.pairs + part.not_compared;
    let coverage = (all > 0).then(|| part.pairs as f64 / all as f64);
    Share { pairs: part.pairs, bad: part.bad, not_compared: part.not_compared, coverage }
}

fn leg(histogram: &Histogram) -> Leg {
    Leg {
        p50_ms: histogram.quantile_ms(0.50),
        p95_ms: histogram.quantile_ms(0.95),
        p99_ms: histogram.quantile_ms(0.99),
        counts: histogram.counts().to_vec(),
    }
}

/// A time as part of a file's name: `20261121T081500Z`.
#[must_use]
pub fn stamp(unix_ms: u64) -> String {
    let text = time(unix_ms);
    let whole = text.split('.').next().unwrap_or(&text);
    format!("{}Z", whole.trim_end_matches('Z').replace(['-', ':'], ""))
}

/// A time as RFC 3339 writes it, to the millisecond.
fn instant(unix_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(253_402_300_799_000));
    humantime::format_rfc3339_millis(at).to_string()
}

/// A time as RFC 3339 writes it, to the second.
#[must_use]
pub fn time(unix_ms: u64) -> String {
    // The last second with a four-digit year bounds what a broken clock can do.
    let at = UNIX_EPOCH + Duration::from_secs((unix_ms / 1_000).min(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string()
}
