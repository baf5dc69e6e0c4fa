//! From the families to Prometheus' own types, and to the document.
//! Collecting reads the snapshot once per scrape; nothing is kept between scrapes.

use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Error, Registry};

use super::histogram::Spread;
use super::metrics::{Family, LABELS_MAX, Samples, Scrape, Snapshot, families};
use super::process;

/// Shows a snapshot to Prometheus; the closure is asked once per scrape.
pub struct SnapshotCollector<F> {
    snapshot: F,
    descs: Vec<Desc>,
}

impl<F> fmt::Debug for SnapshotCollector<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotCollector({} families)", self.descs.len())
    }
}

impl<F: Fn() -> Snapshot + Send + Sync> SnapshotCollector<F> {
    /// A collector over `snapshot`.
    ///
    /// # Errors
    /// A family has a name or label that Prometheus refuses: a bug of ours.
    pub fn new(snapshot: F) -> Result<Self, Error> {
        let desc = |family: &Family| {
            let labels = Some(family.label).filter(|label| !label.is_empty()).map(str::to_owned);
            let none = std::collections::HashMap::default();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels.into_iter().collect(), none)
        };
        let descs = families().map(desc).collect::<Result<_, _>>()?;
        Ok(Self { snapshot, descs })
    }
}

impl<F: Fn() -> Snapshot + Send + Sync> Collector for SnapshotCollector<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (snapshot, process) = ((self.snapshot)(), process::read());
        let scrape = Scrape { snapshot: &snapshot, process: &process };
        families().map(|family| family.collect(&scrape)).collect()
    }
}

/// A registry with every family of ours.
///
/// # Errors
/// See [`SnapshotCollector::new`].
pub fn registry(snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Result<Registry, Error> {
    let registry = Registry::new();
    registry.register(Box::new(SnapshotCollector::new(snapshot)?))?;
    Ok(registry)
}

impl Family {
    fn collect(&self, scrape: &Scrape<'_>) -> MetricFamily {
        let metrics = match (self.read)(scrape) {
            Samples::One(value) => value.map(|value| self.metric(None, value)).into_iter().collect(),
            Samples::Labelled(rows) => rows
                .into_iter()
                .take(LABELS_MAX)
                .map(|(label, value)| self.metric(Some(label), value))
                .collect(),
            Samples::Latency(readings) => vec![histogram(&readings.into())],
            Samples::Spread(spread) => vec![histogram(&spread)],
        };
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    fn metric(&self, label: Option<&str>, value: f64) -> proto::Metric {
        let pair = |text: &str| {
            let mut pair = proto::LabelPair::default();
            pair.set_name(self.label.to_owned());
            pair.set_value(text.to_owned());
            pair
        };
        let mut metric = proto::Metric::from_label(label.map(pair).into_iter().collect());
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

fn histogram(spread: &Spread) -> proto::Metric {
    let bucket = |(edge, below)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(edge);
        bucket.set_cumulative_count(below);
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(spread.cumulative().map(bucket).collect());
    histogram.set_sample_count(spread.count());
    histogram.set_sample_sum(spread.sum());
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    metric
}

/// The whole of `docs/metrics.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(MARKDOWN_HEAD);
    for family in families() {
        let kind = match family.kind {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        let label = if family.label.is_empty() { "" } else { &format!("`{}`", family.label) };
        out.push_str(&format!("| `{}` | {kind} | {label} | {} |\n", family.name, family.help));
    }
    out
}

const MARKDOWN_HEAD: &str = "# Metrics

<!-- Generated from the families in src/admin/ by `BLESS=1 cargo test --test docs`. Do not edit. -->

`GET /metrics` on `CROSSFADE_METRICS_LISTEN` answers in the Prometheus text format. Units are base units (seconds,
bytes); counters end in `_total`. Label values are words of closed lists: never a user, a session, a topic, an
address or a path. One process shows at most 1,000 series. Every histogram of seconds has edges at 0.1 s and 0.5 s.
Alerts, what to do about them, and what we promise: [runbook.md](runbook.md).

| metric | type | label | meaning |
| --- | --- | --- | --- |
";

/// Label values that a scrape leaves out.
pub(super) fn overflow(scrape: &Scrape<'_>) -> u64 {
    let s = scrape.snapshot;
    [
        &s.sessions,
        &s.sessions_total,
        &s.upgrades,
        &s.handshakes,
        &s.upstream_handshakes,
        &s.faults,
        &s.messages,
        &s.bytes,
        &s.mirror_messages,
        &s.mirror_shed,
        &s.table_rows,
        &s.table_requests,
        &s.events.outcomes,
        &s.breaker_trips,
    ]
    .iter()
    .map(|labelled| labelled.len().saturating_sub(LABELS_MAX) as u64)
    .sum()
}
