//! What is managed: sessions, the rollout, and what people have done.

use serde::Serialize;

use super::Tier;

/// One row of `GET /api/v1/sessions`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionRow {
    /// Its name to the outside.
    pub id: String,
    /// Its number in this process.
    pub no: u32,
    /// What feeds the client now.
    pub lane: &'static str,
    /// Without the query.
    pub path: String,
    /// Since the 101.
    pub age_s: f64,
    /// Data messages from the client.
    pub messages_up: u64,
    /// Data messages to the client.
    pub messages_down: u64,
    /// Why it is on this lane.
    pub reason: &'static str,
}

/// `GET /api/v1/sessions`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionList {
    /// In the order of their numbers.
    pub sessions: Vec<SessionRow>,
    /// For `after`; null at the end.
    pub next: Option<u32>,
}

/// `GET /api/v1/sessions/{id}`: why is it here?
#[derive(Clone, Debug, Default, Serialize)]
pub struct Session {
    /// As in the list.
    #[serde(flatten)]
    pub row: SessionRow,
    /// From the client.
    pub bytes_up: u64,
    /// To the client.
    pub bytes_down: u64,
    /// What the rollout says.
    pub decision: Option<Decision>,
    /// The breaker's state.
    pub breaker: &'static str,
    /// Why it left the hot lane last.
    pub left_hot_because: Option<&'static str>,
    /// The lane that a person has put it on.
    pub pinned: Option<&'static str>,
    /// In plain English.
    pub sentence: String,
    /// What waits for its read-back.
    pub window: Window,
    /// Whether it is copied.
    pub mirror: SessionMirror,
    /// The W3C trace of its upgrade.
    pub trace_id: Option<String>,
}

/// See [`Session::decision`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Decision {
    /// What the rollout alone wants.
    pub lane: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The rule that decided.
    pub rule: Option<String>,
    /// 0 to 99,999; null without a key.
    pub bucket: Option<u32>,
    /// What the bucket was compared with.
    pub percent: f64,
    /// What the paced return leaves of it.
    pub admitted_percent: f64,
    /// Who says so.
    pub tier: &'static str,
    /// A keyed hash of the key, with a token alone.
    pub key: Option<String>,
}

/// See [`Session::window`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Window {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// See [`Session::mirror`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SessionMirror {
    /// On the legacy lane too; hot sessions always are.
    pub mirrored: bool,
    /// The bucket that chooses, in percent.
    pub percent_bucket: Option<f64>,
}

/// `GET /api/v1/rollout`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rollout {
    /// For `If-Match`.
    pub version: String,
    /// What the deciding tier says.
    pub percent: f64,
    /// What the breaker leaves of it now.
    pub effective_percent: f64,
    /// Of the open keyed sessions.
    pub live_percent: Option<f64>,
    /// The lane of the cohort.
    pub lane: &'static str,
    /// Before the percentage; first match wins.
    pub rules: Vec<Rule>,
    /// The deciding tier.
    pub tier: &'static str,
    /// All tiers, highest first.
    pub tiers: Vec<Tier>,
    /// Whose hands are on the emergency switch.
    pub emergency: Vec<&'static str>,
    /// `this_pod` or `fleet`.
    pub scope: &'static str,
    /// Tells whether two pods deal users alike, without telling the salt.
    pub salt_fingerprint: String,
}

/// A rule, without the keys that it lists.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Keys in its list; null for a segment.
    pub keys: Option<usize>,
    /// The kinds of its conditions.
    pub when: Vec<&'static str>,
    /// `deny`, `allow` or `percent`.
    pub then: &'static str,
    /// Of a segment.
    pub percent: Option<f64>,
    /// If it is not the rollout's.
    pub lane: Option<&'static str>,
}

/// `POST /api/v1/rollout/preview`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Preview {
    /// Open sessions that would become hot.
    pub moves_to_realtime: u64,
    /// Open sessions that would go back to legacy.
    pub moves_to_legacy: u64,
    /// All open sessions.
    pub of_open: u64,
    /// To publish in addition on this pod, before batching; null while the sessions that would move are too young.
    pub messages_per_s_more: Option<f64>,
    /// Of the plan's limit, at most; null without evidence: young sessions, no plan, or a lane that new connections
    /// take.
    pub quota_ratio: Option<f64>,
    /// US dollars in 30 days, at most; likewise, and null where the plan sells no more messages.
    pub month_cost_usd: Option<f64>,
    /// How long moving them to Realtime takes; null where no rate is stated, or nobody moves.
    pub takes_s: Option<f64>,
    /// What to know before.
    pub warnings: Vec<String>,
    /// In plain English.
    pub sentence: String,
    /// What it was compared with.
    pub version: String,
}

/// The answer to a change.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changed {
    /// What held.
    pub before: serde_json::Value,
    /// What holds.
    pub after: serde_json::Value,
    /// What to know.
    pub warnings: Vec<String>,
}

/// `GET /api/v1/audit`, newest first; and the event `audit`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audit {
    /// Unix time in milliseconds.
    pub at: u64,
    /// Rises by one.
    pub no: u64,
    /// Whose token.
    pub role: &'static str,
    /// From where.
    pub remote: Option<String>,
    /// What was asked for.
    pub action: &'static str,
    /// Of what, where there are several.
    pub subject: Option<String>,
    /// What held.
    pub before: Option<serde_json::Value>,
    /// What holds.
    pub after: Option<serde_json::Value>,
    /// The person's words.
    pub reason: Option<String>,
    /// `done`, or the word of the refusal.
    pub outcome: &'static str,
}
