//! The figures and families of the rollout's stores: what each has said last, how long ago, and what was refused.

use prometheus::proto::MetricType;

use super::metrics::{Family, Samples, Scrape, counts};

/// What the configured stores have done, by tier.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// 1 with a good value, 0 while silent.
    pub known: Vec<(&'static str, f64)>,
    /// Seconds since the value was last confirmed.
    pub age_seconds: Vec<(&'static str, f64)>,
    /// Documents taken.
    pub taken: Vec<(&'static str, u64)>,
    /// Documents refused.
    pub refused: Vec<(&'static str, u64)>,
    /// Times that the store could not be asked.
    pub failed: Vec<(&'static str, u64)>,
    /// Live pods that share the Redis.
    pub fleet_pods: Option<f64>,
    /// Those that tripped within the last minute.
    pub fleet_tripped: Option<f64>,
    /// 1 in the pod that drives the plan.
    pub plan_driver: Option<f64>,
    /// The step, from 1; 0 before the start.
    pub plan_step: Option<f64>,
    /// 1 while it runs.
    pub plan_running: Option<f64>,
    /// 1 when every gate passes.
    pub plan_gate: Option<f64>,
}

const fn family(
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    read: fn(&Scrape<'_>) -> Samples,
) -> Family {
    Family { name, kind, label: "tier", help, read }
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Scrape<'_>) -> Samples) -> Family {
    Family { name, kind: MetricType::GAUGE, label: "", help, read }
}

/// Every family of the stores; without one they have no samples.
pub(super) static FAMILIES: [Family; 11] = [
    family(
        "crossfade_rollout_tier_known",
        MetricType::GAUGE,
        "1 when the store has a good value, 0 while it is silent: then it puts nobody on Realtime.",
        |s| Samples::Labelled(s.snapshot.tiers.known.clone()),
    ),
    family(
        "crossfade_rollout_tier_age_seconds",
        MetricType::GAUGE,
        "Since the store's value was last confirmed.",
        |s| Samples::Labelled(s.snapshot.tiers.age_seconds.clone()),
    ),
    family("crossfade_rollout_tier_taken_total", MetricType::COUNTER, "Flags documents taken.", |s| {
        counts(&s.snapshot.tiers.taken)
    }),
    family(
        "crossfade_rollout_tier_refused_total",
        MetricType::COUNTER,
        "Flags documents refused: garbage, or older than what holds. The log names the reason.",
        |s| counts(&s.snapshot.tiers.refused),
    ),
    family(
        "crossfade_rollout_tier_failures_total",
        MetricType::COUNTER,
        "Times that the store could not be asked.",
        |s| counts(&s.snapshot.tiers.failed),
    ),
    gauge("crossfade_fleet_pods", "Live pods that share this pod's Redis, as of its last heartbeat.", |s| {
        Samples::One(s.snapshot.tiers.fleet_pods)
    }),
    gauge(
        "crossfade_fleet_tripped_pods",
        "Those of them whose own evidence opened their breaker within a minute.",
        |s| Samples::One(s.snapshot.tiers.fleet_tripped),
    ),
    gauge("crossfade_plan_driver", "1 in the pod that drives the plan.", |s| {
        Samples::One(s.snapshot.tiers.plan_driver)
    }),
    gauge("crossfade_plan_step", "The plan's step, from 1; 0 before the start.", |s| {
        Samples::One(s.snapshot.tiers.plan_step)
    }),
    gauge(
        "crossfade_plan_running",
        "1 while the plan runs, 0 while it is paused, done or not started.",
        |s| Samples::One(s.snapshot.tiers.plan_running),
    ),
    gauge("crossfade_plan_gate_pass", "1 when every gate of the plan passes.", |s| {
        Samples::One(s.snapshot.tiers.plan_gate)
    }),
];
