//! The figures and families of the plan's budget: what Realtime counts, what is left, what a month will cost.

use prometheus::proto::MetricType;

use super::metrics::{Family, Samples, Scrape, counts, one};

/// What the governor counts and forecasts.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    /// Part of this pod's share of the plan's limit that is used; 1 is all of it.
    pub used_ratio: f64,
    /// This pod's budget, in messages per second.
    pub budget: f64,
    /// From one publish to the next at full use.
    pub spacing_seconds: f64,
    /// What Realtime has counted of this pod, `send` and `delivery`.
    pub messages: Vec<(&'static str, u64)>,
    /// Times that a batch was withheld.
    pub deferred: u64,
    /// `Too many messages per second`.
    pub refusals: u64,
    /// Whether the hot lane is refused because publishes are too far apart.
    pub hot_refused: bool,
    /// Messages of the project in 30 days at the present rate, if all pods are alike.
    pub month_messages: f64,
    /// What those beyond the included ones cost, in US dollars; `None` where the plan sells none.
    pub month_cost: Option<f64>,
}

const fn family(
    name: &'static str,
    kind: MetricType,
    label: &'static str,
    help: &'static str,
    read: fn(&Scrape<'_>) -> Samples,
) -> Family {
    Family { name, kind, label, help, read }
}

fn some(scrape: &Scrape<'_>, of: fn(&Quota) -> f64) -> Samples {
    Samples::One(scrape.snapshot.quota.as_ref().map(of))
}

/// Every family of the budget; without Supabase settings they have no samples.
pub(super) static FAMILIES: [Family; 9] = [
    family(
        "crossfade_quota_used_ratio",
        MetricType::GAUGE,
        "",
        "Part of this pod's share of the plan's messages per second that is used, over a minute.",
        |s| some(s, |quota| quota.used_ratio),
    ),
    family(
        "crossfade_quota_budget_messages_per_second",
        MetricType::GAUGE,
        "",
        "What this pod lets itself use of the plan: sends and deliveries per second.",
        |s| some(s, |quota| quota.budget),
    ),
    family(
        "crossfade_publish_spacing_seconds",
        MetricType::GAUGE,
        "",
        "From one publish to the next at full use of the budget.",
        |s| some(s, |quota| quota.spacing_seconds),
    ),
    family(
        "crossfade_quota_messages_total",
        MetricType::COUNTER,
        "kind",
        "Messages of this pod as Realtime counts them: broadcasts sent, and their deliveries.",
        |s| s.snapshot.quota.as_ref().map_or(Samples::One(None), |quota| counts(&quota.messages)),
    ),
    family(
        "crossfade_publish_deferred_total",
        MetricType::COUNTER,
        "",
        "Times that a due batch was withheld to keep the budget.",
        |s| some(s, |quota| quota.deferred as f64),
    ),
    family(
        "crossfade_quota_refusals_total",
        MetricType::COUNTER,
        "",
        "Times that Realtime threw our channel out for too many messages; must stay at zero.",
        |s| some(s, |quota| quota.refusals as f64),
    ),
    family(
        "crossfade_hot_refused_by_quota",
        MetricType::GAUGE,
        "",
        "1 while the hot lane is refused because the plan lets publishes go too far apart.",
        |s| some(s, |quota| f64::from(u8::from(quota.hot_refused))),
    ),
    family(
        "crossfade_forecast_month_messages",
        MetricType::GAUGE,
        "",
        "Messages of the project in 30 days at the present rate, if all pods are like this one.",
        |s| some(s, |quota| quota.month_messages),
    ),
    family(
        "crossfade_forecast_month_dollars",
        MetricType::GAUGE,
        "",
        "Price of those beyond the plan's included messages; no sample where the plan sells none.",
        |s| s.snapshot.quota.as_ref().and_then(|quota| quota.month_cost).map_or(Samples::One(None), one),
    ),
];
