//! Each row both ways, and no verdict from what nobody has seen.

use serde_json::{Value, json};

use super::page::Verdict;
use super::*;
use crate::cli::look::Look;

const DAY_MS: u64 = 86_400_000;

/// What the API of a process says that has everybody native and everything proved, as one document.
fn proved() -> Value {
    json!({
        "status": {
            "at": 100 * DAY_MS, "service": "chat", "pod": "chat-0", "uptime_s": 400_000.0,
            "sessions": { "opened_total": 40 },
            "breaker": { "state": "closed", "mode": "auto", "trigger": null, "trips_24h": 0, "saves": 7 },
            "rollout": {
                "percent": 100.0, "effective_percent": 100.0, "lane": "native", "tier": "env", "scope": "this_pod",
                "native_offers_ratio": 1.0, "emergency": [],
            },
            "mirror": { "seen": 5_000, "unconfirmed": 0, "shed": { "skipped": 3 } },
            "parity": { "checks": { "agree": 30, "over": 0, "under": 0, "unknown": 2 } },
            "quota": { "used_ratio": 0.2, "refusals": 0, "hot_refused": null },
            "spool": { "records": 0, "lost_at_most": 0 },
        },
        "sessions": { "sessions": [
            { "lane": "native", "reason": "in_cohort", "path": "/ws", "messages_up": 0 },
            { "lane": "native", "reason": "in_cohort", "path": "/feed", "messages_up": 0 },
        ], "next": null },
        "rollout": { "rules": [{ "name": "staff", "then": "allow", "percent": null, "lane": null }] },
        "plan": { "phase": "done", "step": 3 },
        "types": { "types": [{ "type": "price", "class": "high" }], "untracked": 0 },
        "drill": { "drills": [{ "at_ms": 99 * DAY_MS, "outcome": "passed", "moved": 9, "to_legacy_ms": 20.5 }] },
        "config": { "settings": [
            { "name": "CROSSFADE_MIRROR_PERCENT", "value": "100", "source": "default" },
            { "name": "CROSSFADE_MIRROR_FORMAT", "value": "messages", "source": "default" },
            { "name": "CROSSFADE_PODS", "value": "1", "source": "environment" },
        ] },
        "reports": { "reports": [
            { "id": "step-1", "span": "step", "percent": 50.0, "from_ms": 80 * DAY_MS, "to_ms": 90 * DAY_MS },
        ] },
        "rolling": {
            "id": "rolling", "types": { "price": { "pairs": 9, "bad": 0 } },
            "match": { "verdict": "match", "pairs": 3_000, "needed": 2_995, "ratio": 1.0, "coverage": 1.0 },
        },
    })
}

fn evidence(all: &Value) -> Evidence {
    let part = |name: &str| Some(all[name].clone()).filter(|part| !part.is_null());
    Evidence {
        status: part("status"),
        sessions: part("sessions").map(|page| {
            let mut sessions = Sessions::default();
            sessions.take(&page);
            sessions
        }),
        rollout: part("rollout"),
        plan: part("plan"),
        types: part("types"),
        drills: part("drill"),
        config: part("config"),
        reports: part("reports"),
        read: part("rolling").into_iter().collect(),
    }
}

fn row(all: &Value, name: &str) -> Row {
    let rows = rows(&evidence(all), &[]);
    rows.into_iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"))
}

/// The document with other values at these places.
fn with(places: &[(&str, Value)]) -> Value {
    let mut all = proved();
    for (pointer, value) in places {
        match all.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => panic!("{pointer} is not there"),
        }
    }
    all
}

fn session(lane: &str, reason: &str, said: u64) -> Value {
    json!({ "sessions": [{ "lane": lane, "reason": reason, "path": "/ws", "messages_up": said }], "next": null })
}

/// Row, place, what stands there, and a word of the evidence.
type Case = (&'static str, &'static str, Value, &'static str);

fn opened() -> Vec<Case> {
    vec![
        ("share", "/status/rollout/percent", json!(99.9), "99.9 %"),
        ("share", "/status/rollout/effective_percent", json!(1.0), "the breaker leaves 1 %"),
        ("share", "/status/rollout/emergency", json!(["file"]), "(file)"),
        ("rules", "/rollout/rules/0/then", json!("deny"), "staff"),
        ("rules", "/rollout/rules/0", json!({ "name": "eu", "then": "percent", "percent": 99.0 }), "eu"),
        ("rules", "/rollout/rules/0/lane", json!("legacy"), "staff"),
        ("legacy_sessions", "/sessions", session("legacy", "no_key", 0), "1 open session: 1 no_key"),
        ("hot_sessions", "/sessions", session("hot", "in_cohort", 0), "1 open session on the hot lane"),
        ("hot_sessions", "/status/rollout/lane", json!("hot"), "lane is hot"),
        ("paths", "/sessions/sessions/1/lane", json!("legacy"), "/feed (1)"),
        ("client_messages", "/sessions", session("hot", "in_cohort", 3), "1 client said"),
        ("client_messages", "/sessions", session("legacy", "denied", 1), "1 client said"),
        ("cold_sessions", "/sessions", session("cold", "in_cohort", 0), "1 open session"),
        ("cold_sessions", "/status/rollout/lane", json!("cold"), "lane is cold"),
        ("native_clients", "/status/rollout/native_offers_ratio", json!(0.25), "25.0 %"),
        ("match", "/rolling/match/verdict", json!("mismatch"), "3000 pairs"),
        ("event_types", "/types/types/0/class", json!(null), "price"),
        ("event_types", "/rolling/types/price/bad", json!(1), "price"),
        ("event_types", "/rolling/types/price/pairs", json!(0), "never compared: price"),
        ("left_out", "/status/mirror/shed", json!({ "unsampled": 4 }), "4 messages"),
        ("left_out", "/config/settings/0/value", json!("10"), "10 %"),
        ("presence", "/types/types/0/type", json!("presence_diff"), "presence_diff"),
        ("ledger", "/status/mirror/unconfirmed", json!(2), "2 were never confirmed"),
        ("ledger", "/status/mirror/shed", json!({ "budget": 8 }), "8 budget"),
        ("parity", "/status/parity/checks/over", json!(1), "1 may read more"),
        ("parity", "/status/parity/checks/under", json!(1), "1 less"),
        ("breaker", "/status/breaker/state", json!("open"), "open"),
        ("breaker", "/status/breaker/state", json!("half_open"), "half_open"),
        ("breaker", "/status/breaker/trips_24h", json!(1), "1 trip"),
        ("drill", "/drill/drills/0/outcome", json!("stuck_hot"), "stuck_hot"),
        ("quota", "/status/quota/refusals", json!(1), "1 refusal"),
        ("quota", "/status/quota/used_ratio", json!(0.81), "81 %"),
        ("quota", "/status/quota/hot_refused", json!("300 ms"), "300 ms"),
        ("spool", "/status/spool/records", json!(5), "5 messages"),
        ("spool", "/status/spool/lost_at_most", json!(5), "at most 5"),
        ("plan", "/plan/phase", json!("running"), "running at step 3"),
        ("plan", "/plan/phase", json!("aborted"), "aborted"),
        ("through_the_sidecar", "/status/sessions/opened_total", json!(1), "1 upgrade"),
    ]
}

fn not_known() -> Vec<Case> {
    vec![
        ("share", "/status/rollout/percent", json!(null), "no share"),
        ("rules", "/rollout", json!(null), "could not be read"),
        ("legacy_sessions", "/sessions", json!(null), "could not be read"),
        ("legacy_sessions", "/sessions/sessions", json!([]), "nothing is shown"),
        ("legacy_sessions", "/sessions/next", json!(7), "more sessions than were read"),
        ("hot_sessions", "/sessions/next", json!(7), "not all"),
        ("hot_sessions", "/status/rollout/lane", json!(null), "not all"),
        ("paths", "/sessions/next", json!(7), "not all"),
        ("client_messages", "/sessions/sessions/0/messages_up", json!(3), "1 client talk"),
        ("client_messages", "/sessions/sessions/0/messages_up", json!(null), "1 client talk"),
        ("fleet", "/config/settings/2/value", json!("3"), "CROSSFADE_PODS is 3"),
        ("fleet", "/config/settings/2/source", json!("default"), "by default"),
        ("cold_sessions", "/sessions/next", json!(7), "not all"),
        ("native_clients", "/status/rollout/native_offers_ratio", json!(null), "not configured"),
        ("match", "/rolling", json!(null), "no report"),
        ("match", "/rolling/match/verdict", json!("not_enough_data"), "2995 pairs are needed"),
        ("event_types", "/types", json!(null), "not known"),
        ("event_types", "/types/types", json!([]), "no event"),
        ("event_types", "/rolling", json!(null), "no report"),
        ("event_types", "/types/untracked", json!(2), "2 messages"),
        ("left_out", "/config", json!(null), "not set"),
        ("left_out", "/status/mirror", json!(null), "not set"),
        ("presence", "/types/types", json!([]), "no event"),
        ("presence", "/types/untracked", json!(2), "not all found room"),
        ("left_out", "/status/mirror/shed", json!(null), "not set"),
        ("left_out", "/config/settings/0/value", json!(null), "not set"),
        ("ledger", "/status/mirror", json!(null), "not set"),
        ("ledger", "/status/mirror/shed", json!(null), "not set"),
        ("ledger", "/status/mirror/seen", json!(0), "no message"),
        ("parity", "/status/parity", json!(null), "not compared"),
        ("parity", "/status/parity/checks/agree", json!(0), "nothing was compared"),
        ("breaker", "/status/breaker", json!(null), "no breaker"),
        ("breaker", "/status/breaker/mode", json!("forced_closed"), "forced_closed"),
        ("drill", "/drill/drills", json!([]), "no drill"),
        ("drill", "/drill/drills/0/outcome", json!("empty"), "shows nothing"),
        ("quota", "/status/quota", json!(null), "not known"),
        ("spool", "/status/spool/records", json!(null), "does not say"),
        ("plan", "/plan", json!(null), "could not be read"),
        ("through_the_sidecar", "/status/sessions/opened_total", json!(null), "does not count"),
    ]
}

#[test]
fn each_row_is_open_for_what_still_depends_on_the_service() {
    for (name, place, value, word) in opened() {
        let found = row(&with(&[(place, value.clone())]), name);
        assert_eq!(found.state, State::Open, "{name} with {place} = {value}: {found:?}");
        assert!(found.evidence.contains(word), "{word:?} in {:?}", found.evidence);
        assert!(!found.remedy.is_empty(), "{name}");
    }
}

#[test]
fn each_row_is_unknown_where_nobody_can_tell() {
    for (name, place, value, word) in not_known() {
        let found = row(&with(&[(place, value.clone())]), name);
        assert_eq!(found.state, State::Unknown, "{name} with {place} = {value}: {found:?}");
        assert!(found.evidence.contains(word), "{word:?} in {:?}", found.evidence);
        assert!(!found.remedy.is_empty(), "{name}");
    }
}

#[test]
fn each_row_is_done_on_its_own_evidence_and_has_both_other_ways_above() {
    /// What no sidecar can see.
    const NEVER_DONE: [&str; 2] = ["producers", "http"];
    let mut all = proved();
    all["status"]["sessions"]["opened_total"] = json!(0);
    let (opened, unknown) = (opened(), not_known());
    for row in rows(&evidence(&all), &[]) {
        let wanted = if NEVER_DONE.contains(&row.name) { State::Unknown } else { State::Done };
        assert_eq!(row.state, wanted, "{row:?}");
        if !NEVER_DONE.contains(&row.name) {
            assert!(
                opened.iter().any(|case| case.0 == row.name) || row.name == "fleet",
                "{} has no open case",
                row.name
            );
            assert!(unknown.iter().any(|case| case.0 == row.name), "{} has no unknown case", row.name);
        }
    }
}

#[test]
fn nothing_is_done_without_evidence() {
    let nothing = rows(&Evidence::default(), &[]);
    assert!(nothing.len() > 15);
    for row in &nothing {
        assert_eq!(row.state, State::Unknown, "{row:?}");
    }
    assert_eq!(Verdict::of(&nothing), Verdict::NotYet);
    assert_eq!(Verdict::of(&[]), Verdict::NotYet, "no row is no proof");
    // A status without a single field is no evidence either.
    let empty = rows(&Evidence { status: Some(json!({})), ..Evidence::default() }, &[]);
    assert!(empty.iter().all(|row| row.state == State::Unknown), "{empty:?}");
}

#[test]
fn the_verdict_needs_every_row_and_a_person_can_vouch_for_the_unknown_alone() {
    let vouch = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let of = |all: &Value, names: &[&str]| Verdict::of(&rows(&evidence(all), &vouch(names)));
    let all = proved();
    assert_eq!(of(&all, &[]), Verdict::NotYet, "who fills the topics is not known");
    assert_eq!(of(&all, &["producers"]), Verdict::LegacyMayLoseItsFeed);
    assert_eq!(of(&all, &["producers", "http"]), Verdict::LegacyMayLoseItsFeed, "40 upgrades came here");
    let mut rest = all.clone();
    rest["status"]["sessions"]["opened_total"] = json!(0);
    assert_eq!(of(&rest, &["producers"]), Verdict::LegacyMayLoseItsFeed);
    assert_eq!(of(&rest, &["producers", "http"]), Verdict::TheSidecarMayGo);
    // Open is open, whatever a person says.
    for (name, place, value, _) in opened() {
        let all = with(&[(place, value.clone())]);
        let wanted = match row(&all, name).blocks {
            Blocks::Feed => Verdict::NotYet,
            Blocks::Sidecar => Verdict::LegacyMayLoseItsFeed,
        };
        // Some cases also open or close other rows, so all the others are vouched for.
        let names: Vec<&str> = rows(&evidence(&all), &[]).iter().map(|row| row.name).collect();
        assert!(
            of(&all, &names) == wanted || of(&all, &names) == Verdict::NotYet,
            "{name} at {place} = {value}"
        );
        assert_ne!(of(&all, &names), Verdict::TheSidecarMayGo, "{name} at {place} = {value}");
    }
    let vouched = rows(&evidence(&all), &vouch(&["producers", "share"]));
    let marked: Vec<&str> = vouched.iter().filter(|row| row.vouched).map(|row| row.name).collect();
    assert_eq!(marked, ["producers"], "what is seen needs nobody's word");
}

#[test]
fn the_share_holds_since_the_end_of_the_last_other_step() {
    let held = |places: &[(&str, Value)]| evidence(&with(places)).share_holds_s();
    assert_eq!(held(&[]), Some(10.0 * 86_400.0), "the step at 50 % ended ten days ago");
    assert_eq!(held(&[("/reports", json!(null))]), Some(400_000.0), "without reports: since the start");
    let later = json!([
        { "span": "step", "percent": 50.0, "from_ms": 80 * DAY_MS, "to_ms": 90 * DAY_MS },
        { "span": "step", "percent": 100.0, "from_ms": 95 * DAY_MS, "to_ms": 99 * DAY_MS },
    ]);
    assert_eq!(held(&[("/reports/reports", later)]), Some(5.0 * 86_400.0), "nobody saw the days between");
    assert!(row(&proved(), "share").evidence.contains("at least 10.0 d"));
}

#[test]
fn nobody_connecting_for_a_day_is_evidence_and_for_an_hour_is_none() {
    let quiet = |up: f64| {
        with(&[
            ("/sessions/sessions", json!([])),
            ("/status/sessions/opened_total", json!(0)),
            ("/status/uptime_s", json!(up)),
        ])
    };
    for (up, wanted) in [(3_600.0, State::Unknown), (90_000.0, State::Done)] {
        assert_eq!(row(&quiet(up), "legacy_sessions").state, wanted);
        assert_eq!(row(&quiet(up), "through_the_sidecar").state, wanted);
    }
}

#[test]
fn the_page_has_rows_steps_and_the_verdict_within_the_width() {
    let seen = evidence(&with(&[("/sessions", session("legacy", "no_key", 0))]));
    let rows = rows(&seen, &["producers".to_owned()]);
    for width in [80, 100, 120] {
        let told = page::text(&seen, &rows, Look { width, ..Look::PLAIN });
        assert!(told.lines().all(|line| line.chars().count() <= width), "{told}");
        assert!(
            told.starts_with("What still depends on legacy: chat, as the pod chat-0 sees it\n"),
            "{told}"
        );
        assert!(told.contains("open     legacy_sessions"), "{told}");
        assert!(told.contains("vouched  producers"), "{told}");
        assert!(told.contains("3. open"), "{told}");
        let last = told.lines().last().unwrap();
        assert!(last.starts_with("not yet: ") && last.ends_with(", 1 row vouched for by a person"), "{last}");
    }
    let told: Value = serde_json::from_str(&page::json(&seen, &rows)).unwrap();
    assert_eq!(told["verdict"], "not_yet");
    assert_eq!((&told["vouched"], &told["pod"]), (&json!(["producers"]), &json!("chat-0")));
    let all = told["rows"].as_array().unwrap();
    assert_eq!(
        all.len() as u64,
        told["done"].as_u64().unwrap() + told["open"].as_u64().unwrap() + told["unknown"].as_u64().unwrap()
    );
    for step in told["steps"].as_array().unwrap() {
        for waits in step["waits_for"].as_array().unwrap() {
            assert!(all.iter().any(|row| row["name"] == *waits), "{waits}");
        }
    }
}

#[test]
fn every_row_belongs_to_a_step_of_the_way_out() {
    let all = rows(&Evidence::default(), &[]);
    let told: Value = serde_json::from_str(&page::json(&Evidence::default(), &all)).unwrap();
    let waits: Vec<&Value> = told["steps"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|step| step["waits_for"].as_array().unwrap())
        .collect();
    for row in &all {
        assert_eq!(waits.iter().filter(|name| **name == row.name).count(), 1, "{}", row.name);
    }
}
