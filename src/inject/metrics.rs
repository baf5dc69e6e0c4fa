//! What the webhook counts, and how it is shown: every label value is there from the start, so that the first failure
//! is an increase and not a new series.

use prometheus::{Error, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::refuse::Reason;
use super::review::Outcome;

/// Name, type, label and meaning of each family.
const FAMILIES: [(&str, &str, &str, &str); 5] = [
    (REVIEWS, "counter", "outcome", "Questions of the API server, by what became of them."),
    (REFUSED, "counter", "reason", "Pods that start without a sidecar, by reason."),
    (
        RELOADS,
        "counter",
        "outcome",
        "Changes of certificate and template: applied, or refused while the last good one stays.",
    ),
    (EXPIRY, "gauge", "", "When the webhook's certificate expires, as Unix time."),
    (BUILD, "gauge", "version", "Always 1; the label tells the version. Of the proxy, too."),
];
const REVIEWS: &str = "crossfade_inject_reviews_total";
const REFUSED: &str = "crossfade_inject_refused_total";
const RELOADS: &str = "crossfade_inject_reloads_total";
const EXPIRY: &str = "crossfade_inject_certificate_expiry_seconds";
const BUILD: &str = "crossfade_build_info";

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// With a sidecar.
    Injected,
    /// It had one.
    Already,
    /// The pod does not ask for one.
    NotAsked,
    /// Without a sidecar.
    Refused,
    /// It was no question.
    Invalid,
    /// Over [`BODY_BYTES_MAX`](super::server::BODY_BYTES_MAX), or cut off.
    TooLarge,
    /// Neither in time nor before the API server went away.
    Unanswered,
}

impl Answered {
    const ALL: [Self; 7] = [
        Self::Injected,
        Self::Already,
        Self::NotAsked,
        Self::Refused,
        Self::Invalid,
        Self::TooLarge,
        Self::Unanswered,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Already => "already",
            Self::NotAsked => "not_asked",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Unanswered => "unanswered",
        }
    }
}

impl From<Outcome> for Answered {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Injected => Self::Injected,
            Outcome::Already => Self::Already,
            Outcome::NotAsked => Self::NotAsked,
            Outcome::Refused(_) => Self::Refused,
        }
    }
}

/// What came of a change of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// A certificate is in use.
    TlsApplied,
    /// A certificate is not; the last good one stays.
    TlsRefused,
    /// A template is in use.
    TemplateApplied,
    /// A template is not; the last good one stays.
    TemplateRefused,
}

impl Reload {
    const ALL: [Self; 4] = [Self::TlsApplied, Self::TlsRefused, Self::TemplateApplied, Self::TemplateRefused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::TlsApplied => "tls_applied",
            Self::TlsRefused => "tls_refused",
            Self::TemplateApplied => "template_applied",
            Self::TemplateRefused => "template_refused",
        }
    }
}

/// The webhook's figures. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    registry: Registry,
    reviews: IntCounterVec,
    refused: IntCounterVec,
    reloads: IntCounterVec,
    expiry: IntGauge,
}

impl Figures {
    /// All at zero.
    ///
    /// # Errors
    /// A name or label that Prometheus refuses: a bug of ours.
    pub(super) fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let counter = |name: &str, values: &[&str]| -> Result<IntCounterVec, Error> {
            let (opts, label) = about(name);
            let counter = IntCounterVec::new(opts, &[label])?;
            for value in values {
                counter.get_metric_with_label_values(&[value])?;
            }
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let reviews = counter(REVIEWS, &Answered::ALL.map(Answered::as_str))?;
        let refused = counter(REFUSED, &Reason::ALL.map(Reason::as_str))?;
        let reloads = counter(RELOADS, &Reload::ALL.map(Reload::as_str))?;
        let expiry = IntGauge::with_opts(about(EXPIRY).0)?;
        registry.register(Box::new(expiry.clone()))?;
        let (opts, label) = about(BUILD);
        let build = IntGaugeVec::new(opts, &[label])?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        registry.register(Box::new(build))?;
        Ok(Self { registry, reviews, refused, reloads, expiry })
    }

    /// A question that is being read; it counts as unanswered until [`Question::answered`] is called.
    pub(super) fn question(&self) -> Question<'_> {
        Question { figures: self, answered: Answered::Unanswered }
    }

    pub(super) fn refused(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }

    pub(super) fn reload(&self, reload: Reload) {
        self.reloads.with_label_values(&[reload.as_str()]).inc();
    }

    /// The document for Prometheus. `expires`: Unix seconds.
    ///
    /// # Errors
    /// It cannot be written: a bug of ours.
    pub(super) fn text(&self, expires: Option<u64>) -> Result<String, Error> {
        self.expiry.set(expires.and_then(|at| i64::try_from(at).ok()).unwrap_or_default());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Counts when it is dropped: also when the deadline or the API server ends the work on it.
#[derive(Debug)]
pub(super) struct Question<'a> {
    figures: &'a Figures,
    answered: Answered,
}

impl Question<'_> {
    pub(super) fn answered(mut self, answered: Answered) {
        self.answered = answered;
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.figures.reviews.with_label_values(&[self.answered.as_str()]).inc();
    }
}

/// Its help and its label.
fn about(name: &str) -> (Opts, &'static str) {
    let found = FAMILIES.iter().find(|family| family.0 == name);
    let (label, help) = found.map_or(("", ""), |family| (family.2, family.3));
    (Opts::new(name, help), label)
}

/// The webhook's part of `docs/metrics.md`.
#[must_use]
pub fn metrics_markdown() -> String {
    let mut out = String::from(MARKDOWN_HEAD);
    for (name, kind, label, help) in FAMILIES.iter().filter(|family| family.0 != BUILD) {
        let label = if label.is_empty() { String::new() } else { format!("`{label}`") };
        out.push_str(&format!("| `{name}` | {kind} | {label} | {help} |\n"));
    }
    out
}

const MARKDOWN_HEAD: &str = "
## The webhook

`crossfade inject` shows these on the same listener, and `crossfade_build_info`.

| metric | type | label | meaning |
| --- | --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, series: &str) -> Option<String> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }

    #[test]
    fn every_word_is_shown_before_anything_happens() {
        let text = Figures::new().unwrap().text(Some(1_900_000_000)).unwrap();
        for (name, kind, _, help) in FAMILIES {
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}: {text}");
            assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name}: {text}");
        }
        for answered in Answered::ALL {
            let series = format!("{REVIEWS}{{outcome=\"{}\"}}", answered.as_str());
            assert_eq!(value(&text, &series).as_deref(), Some("0"), "{series}");
        }
        for reason in Reason::ALL {
            let series = format!("{REFUSED}{{reason=\"{}\"}}", reason.as_str());
            assert_eq!(value(&text, &series).as_deref(), Some("0"), "{series}");
        }
        assert_eq!(value(&text, EXPIRY).as_deref(), Some("1900000000"));
        assert!(text.len() < 8192, "{} bytes", text.len());
    }

    #[test]
    fn a_question_counts_once_and_a_dropped_one_as_unanswered() {
        let figures = Figures::new().unwrap();
        figures.question().answered(Outcome::Injected.into());
        figures.question().answered(Outcome::Refused(Reason::Mesh).into());
        figures.refused(Reason::Mesh);
        drop(figures.question());
        figures.reload(Reload::TlsRefused);
        let text = figures.text(None).unwrap();
        for (series, wanted) in [
            (r#"crossfade_inject_reviews_total{outcome="injected"}"#, "1"),
            (r#"crossfade_inject_reviews_total{outcome="refused"}"#, "1"),
            (r#"crossfade_inject_reviews_total{outcome="unanswered"}"#, "1"),
            (r#"crossfade_inject_reviews_total{outcome="invalid"}"#, "0"),
            (r#"crossfade_inject_refused_total{reason="mesh"}"#, "1"),
            (r#"crossfade_inject_reloads_total{outcome="tls_refused"}"#, "1"),
            ("crossfade_inject_certificate_expiry_seconds", "0"),
        ] {
            assert_eq!(value(&text, series).as_deref(), Some(wanted), "{series}");
        }
    }
}
