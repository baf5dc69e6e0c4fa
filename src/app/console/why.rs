//! "Why is it here?" in plain English. Pure: from what the worker knows and what holds now, to the words.

use std::time::Instant;

use crate::admin::api::model;
use crate::hot::Fallback;
use crate::lane::{self, Explanation};
use crate::proxy::{Facts, Lane};
use crate::rollout::Bucket;

/// The lane of an open session in the words of the decision.
pub(super) const fn lane_of(lane: Lane) -> lane::Lane {
    match lane {
        Lane::Legacy => lane::Lane::Legacy,
        Lane::Hot => lane::Lane::Hot,
        Lane::Cold => lane::Lane::Cold,
        Lane::Native => lane::Lane::Native,
    }
}

/// A row of the list.
pub(super) fn row(facts: &Facts, found: Option<&Explanation>, now: Instant) -> model::SessionRow {
    model::SessionRow {
        id: facts.id.to_string(),
        no: facts.no.0,
        lane: facts.lane.as_str(),
        path: facts.path.to_string(),
        age_s: now.saturating_duration_since(facts.opened_at).as_secs_f64(),
        messages_up: facts.passed[0].1,
        messages_down: facts.passed[1].1,
        reason: reason(facts, found),
    }
}

/// Why it is on its lane, in one word.
fn reason(facts: &Facts, found: Option<&Explanation>) -> &'static str {
    if facts.pinned == Some(facts.lane) {
        return Fallback::Person.as_str();
    }
    match found {
        None => facts.verdict.reason,
        // The lane could not take it at its upgrade, and an open socket cannot go there.
        Some(found) if found.reason == "next_connection" && facts.verdict.reason.starts_with("cold_") => {
            facts.verdict.reason
        }
        Some(found) if found.lane == facts.lane.as_str() => found.reason,
        // It is to be elsewhere. Either something of its own holds it back, or it is on its way.
        Some(_) => match (facts.lane, facts.fallback) {
            (Lane::Legacy, Some(why)) => why.as_str(),
            _ => "moving",
        },
    }
}

/// Everything about one session. The name of the key is for those with a token.
pub(super) fn session(
    facts: &Facts,
    found: Option<&Explanation>,
    with_key: bool,
    now: Instant,
) -> model::Session {
    let subject = facts.verdict.subject.as_ref();
    let decision = found.map(|found| model::Decision {
        lane: found.rollout_lane,
        reason: found.rollout_reason,
        rule: found.rule.clone(),
        bucket: found.bucket.map(Bucket::number),
        percent: super::status::units(found.percent),
        admitted_percent: super::status::units(found.admitted),
        tier: found.tier,
        key: found.key.clone().filter(|_| with_key),
    });
    model::Session {
        row: row(facts, found, now),
        bytes_up: facts.passed[0].0,
        bytes_down: facts.passed[1].0,
        decision,
        breaker: found.map_or("none", |found| found.breaker),
        left_hot_because: facts.fallback.map(Fallback::as_str),
        pinned: facts.pinned.map(Lane::as_str),
        sentence: sentence(facts, found),
        window: model::Window { messages: facts.window.0 as u64, bytes: facts.window.1 as u64 },
        mirror: model::SessionMirror {
            mirrored: facts.verdict.mirrored,
            percent_bucket: subject.map(|subject| f64::from(subject.mirror_bucket.number()) / 1000.0),
        },
        trace_id: facts.trace.map(|trace| trace.to_string()),
    }
}

fn sentence(facts: &Facts, found: Option<&Explanation>) -> String {
    let place = match facts.lane {
        Lane::Legacy => "The service feeds this client",
        Lane::Hot => "Realtime releases what this client sees",
        Lane::Cold => "A Realtime topic feeds this client",
        Lane::Native => "Supabase feeds this client",
    };
    let Some(found) = found else { return format!("{place}: it is passed through and not looked at.") };
    let because = match reason(facts, Some(found)) {
        "person" => "a person has put it here".to_owned(),
        "moving" => "it is about to move: sessions are moved at a bounded rate".to_owned(),
        word => words(word, found),
    };
    format!("{place}: {because}.")
}

fn words(word: &str, found: &Explanation) -> String {
    let bucket = found
        .bucket
        .map_or_else(String::new, |bucket| format!("{:.3} %", f64::from(bucket.number()) / 1000.0));
    let rule = found.rule.as_deref().unwrap_or("");
    match word {
        "emergency_off" => "the emergency switch is on".to_owned(),
        "tier_unknown" => {
            format!("the flag store ({}) has never answered, so nobody is in the cohort", found.tier)
        }
        "denied" => format!("the rule {rule:?} keeps it on legacy"),
        "allowed" => format!("the rule {rule:?} sends it to Realtime whatever the percentage is"),
        "in_segment" | "outside_segment" => {
            let side = if word == "in_segment" { "below" } else { "not below" };
            format!("its bucket, {bucket}, is {side} the {} % of the rule {rule:?}", found.percent)
        }
        "in_cohort" => format!("its bucket, {bucket}, is below the rollout's {} %", found.percent),
        "outside_cohort" => format!("its bucket, {bucket}, is not below the rollout's {} %", found.percent),
        "no_key" => "its upgrade had no rollout key (CROSSFADE_ROLLOUT_KEY)".to_owned(),
        "no_supabase" => "Supabase is not configured".to_owned(),
        "breaker_open" | "breaker" => "the breaker is open".to_owned(),
        "forced_open" => "a person holds the breaker open".to_owned(),
        "half_open" => "the breaker is probing Realtime and does not use it yet".to_owned(),
        "paced_return" => format!(
            "the return after a trip has reached {} % so far, and its bucket is {bucket}",
            found.admitted
        ),
        "realtime_not_ready" | "read_back_lost" => "Realtime cannot be read back now".to_owned(),
        "side_stalled" | "side_stuck" => "the thread behind the tap does not answer".to_owned(),
        "quota" => "the plan's message rate was hit".to_owned(),
        "mirror_off" => "the mirror is off, and hot needs it".to_owned(),
        "no_read_back" => "what it publishes is not read back, and hot needs that".to_owned(),
        "native_not_offered" => "its client does not offer the subprotocol `realtime`".to_owned(),
        "cold_not_configured" => "the cold lane is not configured (CROSSFADE_COLD_AUTH)".to_owned(),
        "cold_full" => "the cold lane had as many sessions or topics as it may have".to_owned(),
        "cold_not_ready" => "its topic was not joined in time at its upgrade".to_owned(),
        "cold_no_topic" => "no topic came of its upgrade (CROSSFADE_COLD_SOURCE)".to_owned(),
        "cold_gone" => "the cold lane's thread did not answer at its upgrade".to_owned(),
        "next_connection" => {
            "its open socket cannot change to the wanted lane; its next connection will".to_owned()
        }
        "window_full" => {
            "more waited for Realtime than its window holds; it is tried again after a minute".to_owned()
        }
        "untracked" => "the tap lost track of its stream, so that nothing can be proved identical".to_owned(),
        "closing" => "it is closing".to_owned(),
        "rollout" => "the rollout no longer chose it; it is about to move again".to_owned(),
        other => other.replace('_', " "),
    }
}
