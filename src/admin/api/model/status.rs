//! What is looked at: the process, its parts, its history, its variables.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts by the words of a closed list.
pub type Counts = BTreeMap<&'static str, u64>;

/// The whole process at one moment: `GET /api/v1/status`, and the event `status`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// Unix time in milliseconds.
    pub at: u64,
    /// Of crossfade.
    pub version: &'static str,
    /// `CROSSFADE_SERVICE`.
    pub service: String,
    /// `CROSSFADE_POD`.
    pub pod: String,
    /// Differs with each start.
    pub instance: String,
    /// Since the start.
    pub uptime_s: f64,
    /// `running` or `draining`.
    pub phase: &'static str,
    /// The legacy service.
    pub upstream: Upstream,
    /// Sessions.
    pub sessions: Sessions,
    /// What passes, averaged over the last five seconds.
    pub flow: Flow,
    /// The breaker; null without Supabase settings.
    pub breaker: Option<Breaker>,
    /// Who is to be fed by Realtime.
    pub rollout: RolloutBrief,
    /// The mirror; null without Supabase settings.
    pub mirror: Option<Mirror>,
    /// Of both legs, over the last minute.
    pub latency: Latency,
    /// What the validator has compared in the last hour; null until it has looked.
    pub r#match: Option<serde_json::Value>,
    /// Who may read on Realtime against who receives on legacy; null where that is not compared.
    pub parity: Option<Parity>,
    /// The plan's limits; null without Supabase settings.
    pub quota: Option<Quota>,
    /// The disk queue; null without one.
    pub spool: Option<Spool>,
    /// Where the rollout's settings come from, highest first.
    pub tiers: Vec<Tier>,
}

/// See [`Status::parity`]. Counts are since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Parity {
    /// Sampled sessions now.
    pub watched: u64,
    /// By verdict, `unknown` among them.
    pub checks: Counts,
    /// Without a verdict, by reason.
    pub unknown: Counts,
    /// Pairs of session and topic, by what became of them.
    pub pairs: Counts,
    /// Since the last comparison.
    pub last_check_s: Option<f64>,
}

/// See [`Status::upstream`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Upstream {
    /// As configured.
    pub address: String,
    /// At the last look.
    pub reachable: bool,
}

/// See [`Status::sessions`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sessions {
    /// Now, by lane.
    pub open: Counts,
    /// Those with a rollout key.
    pub keyed: u64,
    /// Since the start.
    pub opened_total: u64,
    /// Since the start, by cause.
    pub ended: Counts,
    /// Moved to the hot lane since the start.
    pub moved_to_hot: u64,
    /// Moved back since the start, by reason.
    pub moved_back: Counts,
}

/// See [`Status::flow`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Flow {
    /// Data messages from clients.
    pub messages_up_per_s: f64,
    /// Data messages to clients.
    pub messages_down_per_s: f64,
    /// Bytes from clients.
    pub bytes_up_per_s: f64,
    /// Bytes to clients.
    pub bytes_down_per_s: f64,
}

/// See [`Status::breaker`] and `GET /api/v1/breaker`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// `auto`, `forced_open`, `forced_closed` or `observe_only`.
    pub mode: &'static str,
    /// What opened it last.
    pub trigger: Option<&'static str>,
    /// What was measured then.
    pub measured: Option<f64>,
    /// What it was compared with.
    pub limit: Option<f64>,
    /// From how many samples.
    pub samples: Option<u64>,
    /// In this state.
    pub since_s: f64,
    /// Until it leaves this state by itself.
    pub left_s: Option<f64>,
    /// Only a person ends it.
    pub latched: bool,
    /// What the paced return admits of the rollout's share.
    pub share_percent: f64,
    /// Good probes in a row.
    pub probes_good: u32,
    /// Good probes that close it.
    pub probes_needed: u32,
    /// Since the start.
    pub trips: u64,
    /// In the last 24 hours, as far as this process remembers.
    pub trips_24h: u64,
    /// From the last trip to the last session back on legacy.
    pub return_to_legacy_ms: Option<f64>,
    /// What it looks at.
    pub triggers: Vec<Trigger>,
    /// What the 95 % of a healthy round trip are taken to be; null until enough was learnt.
    pub baseline_ms: Option<f64>,
    /// 95 % of the legacy leg inside this process over the same window; null with too few samples.
    pub legacy_p95_ms: Option<f64>,
    /// Topics of events that are stopped now, each by a breaker of its own.
    pub topics_stopped: u64,
    /// States written for the next process; null where nothing is kept.
    pub saves: Option<u64>,
    /// Writes of it that failed.
    pub saves_failed: Option<u64>,
    /// The numbers that hold, as the tuning file would spell them.
    pub numbers: BTreeMap<&'static str, String>,
}

/// One thing that the breaker looks at.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trigger {
    /// The trigger's word.
    pub name: &'static str,
    /// Now, in `unit`.
    pub value: Option<f64>,
    /// Opens above this (`match`: below).
    pub limit: f64,
    /// `ratio`, `s` or `failures`.
    pub unit: &'static str,
    /// Behind `value`; null where it does not count any.
    pub samples: Option<u64>,
    /// Below which it says nothing.
    pub min_samples: Option<u64>,
    /// Trips by it since the start.
    pub trips: u64,
}

/// See [`Status::rollout`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct RolloutBrief {
    /// What the deciding tier says.
    pub percent: f64,
    /// What the breaker leaves of it now.
    pub effective_percent: f64,
    /// The lane of the cohort.
    pub lane: &'static str,
    /// Who decides.
    pub tier: &'static str,
    /// How old the deciding tier's word is; null for what cannot grow old.
    pub tier_age_s: Option<f64>,
    /// `this_pod` or `fleet`.
    pub scope: &'static str,
    /// Share of the open keyed sessions that Realtime feeds; null when there are none.
    pub live_percent: Option<f64>,
    /// For each Realtime lane: who is wanted there, and who is there.
    pub adoption: Vec<Adoption>,
    /// The part of all upgrades that offer what the native lane needs; null where native is not configured.
    pub native_offers_ratio: Option<f64>,
    /// Open sessions that wait for their turn to be moved.
    pub moving: u64,
    /// For `If-Match`.
    pub version: String,
    /// Whose hands are on the emergency switch.
    pub emergency: Vec<&'static str>,
}

/// See [`RolloutBrief::adoption`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Adoption {
    /// The lane.
    pub lane: &'static str,
    /// Open sessions that the rollout alone wants there.
    pub wanted: u64,
    /// Those of them that are there.
    pub there: u64,
    /// The part; null when nobody is wanted there.
    pub ratio: Option<f64>,
}

/// See [`Status::mirror`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mirror {
    /// Both links are joined.
    pub connected: bool,
    /// Realtime lets our role read a topic of ours and not write it: a policy is missing.
    pub write_denied: bool,
    /// Messages in the ledger.
    pub seen: u64,
    /// Proved to have arrived.
    pub confirmed: u64,
    /// Acknowledged, not read back.
    pub acked_only: u64,
    /// On their way.
    pub in_flight: u64,
    /// On disk; null without a spool.
    pub spooled: Option<u64>,
    /// Acknowledged and never read back.
    pub unconfirmed: u64,
    /// Given up, by reason.
    pub shed: Counts,
    /// Must be 0.
    pub imbalance: i64,
    /// Waiting in memory.
    pub buffered_bytes: u64,
    /// At most.
    pub buffer_limit_bytes: u64,
    /// Published since the start.
    pub batches: u64,
    /// Batches waiting for their read-back.
    pub unacked: u64,
}

/// See [`Status::latency`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Of the legacy leg, inside this process alone: from reading what has come to its peer's socket having taken it, as
    /// `crossfade_overhead_seconds` samples it. No network and no service is in it. Null without a sample in the last minute.
    pub legacy: Option<Quantiles>,
    /// From the publish to the read-back; null without a sample in the last minute.
    pub realtime: Option<Quantiles>,
}

/// Of a latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50_ms: f64,
    /// 95 %.
    pub p95_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
}

/// One place that the rollout's settings can come from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tier {
    /// Its word.
    pub tier: &'static str,
    /// In use.
    pub configured: bool,
    /// `known`, `silent` or `not_configured`.
    pub state: &'static str,
    /// Since it was last confirmed.
    pub age_s: Option<f64>,
    /// What it says.
    pub percent: Option<f64>,
    /// It is the one that decides.
    pub decides: bool,
}

/// One variable of `GET /api/v1/config`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// Its heading.
    pub group: &'static str,
    /// What applies; null where nothing does. Secrets are never shown.
    pub value: Option<String>,
    /// `environment`, `file` or `default`.
    pub source: &'static str,
    /// Its value is hidden.
    pub secret: bool,
    /// What it does.
    pub doc: &'static str,
}

/// `GET /api/v1/history`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// Between two points.
    pub step_s: u64,
    /// Oldest first.
    pub points: Vec<Point>,
}

/// One point of the history.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Point {
    /// Unix time in milliseconds.
    pub at: u64,
    /// See [`Latency::legacy`].
    pub legacy_p95_ms: Option<f64>,
    /// See [`Latency::realtime`], over this step.
    pub realtime_p95_ms: Option<f64>,
    /// On the hot and native lanes.
    pub sessions_hot: u64,
    /// On all lanes.
    pub sessions_open: u64,
    /// Both directions.
    pub messages_per_s: f64,
    /// Its state; null without Supabase settings.
    pub breaker: Option<&'static str>,
}

/// See [`Status::quota`] and `GET /api/v1/quota`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quota {
    /// As configured.
    pub plan: String,
    /// This pod's.
    pub budget_per_s: f64,
    /// This pod's, over a minute.
    pub used_per_s: f64,
    /// Of this pod's equal share of the plan's limit.
    pub used_ratio: f64,
    /// From one publish to the next at full use.
    pub spacing_ms: f64,
    /// `Too many messages per second`, since the start.
    pub refusals: u64,
    /// Batches withheld, since the start.
    pub deferred: u64,
    /// The arithmetic, while the hot lane is refused because publishes are too far apart.
    pub hot_refused: Option<String>,
    /// Of the project at this rate, if all pods are alike.
    pub month_messages: f64,
    /// Beyond the included ones; null where the plan sells none.
    pub month_cost_usd: Option<f64>,
}

/// See [`Status::spool`] and `GET /api/v1/spool`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Spool {
    /// `ok`, `full`, `read_only`, `slow`, `broken` or `sealed`.
    pub state: &'static str,
    /// Messages on disk.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// At most.
    pub limit_bytes: Option<u64>,
    /// Of the oldest one.
    pub oldest_age_s: Option<f64>,
    /// Records skipped as damaged.
    pub damaged: u64,
    /// Upper bound of what the process before this one took along when it was killed; 0 = it was not.
    pub lost_at_most: u64,
    /// Upper bound of what a kill of this process would take along.
    pub at_risk: u64,
}
