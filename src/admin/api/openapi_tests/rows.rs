//! Every path with an example of what is sent and what is answered.

use super::*;

/// Method, path, summary, what is sent, what is answered.
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) sent: Option<Value>,
    pub(super) answered: Value,
}

/// Every path.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = views();
    rows.extend(changes());
    rows.extend(plan_changes());
    rows
}

fn views() -> Vec<Row> {
    let row = |method, path, summary, answered| Row { method, path, summary, sent: None, answered };
    let point = Point {
        legacy_p95_ms: Some(2.5),
        realtime_p95_ms: Some(4.5),
        breaker: Some("closed"),
        ..Point::default()
    };
    let history = History { step_s: 5, points: vec![point, Point::default()] };
    let setting = Setting { value: Some("info".to_owned()), source: "default", ..Setting::default() };
    let page = SessionList { sessions: vec![SessionRow::default()], next: Some(100) };
    vec![
        row("get", "/api/v1/openapi.json", "This document", json!({ "schema": {} })),
        row("get", "/api/v1/status", "The whole process at this moment", of(status())),
        row("get", "/api/v1/history", "The last 15 minutes", of(history)),
        row(
            "get",
            "/api/v1/config",
            "Every variable as it applies, without secrets",
            list("settings", setting),
        ),
        row("get", "/api/v1/audit", "What people did, newest first", list("entries", audit())),
        row("get", "/api/v1/sessions", "Open sessions; query: lane, limit (1 to 500), after", of(page)),
        row("get", "/api/v1/sessions/{id}", "Why is it here?", of(session())),
        row("get", "/api/v1/rollout", "The rollout's settings; ETag is the version", of(rollout())),
        row(
            "get",
            "/api/v1/plan",
            "The plan, its steps and what its gates say; ETag is the version",
            of(plan()),
        ),
        row("get", "/api/v1/breaker", "The breaker and what it looks at", of(breaker())),
        row("get", "/api/v1/quota", "The plan's budget and its use; null without Supabase", of(quota())),
        row(
            "get",
            "/api/v1/types",
            "Event types seen, their classes and a proposed rule file; null without Supabase",
            of(types()),
        ),
        row("get", "/api/v1/noise", "The noise rules and their use; null without Supabase", of(noise())),
        row("get", "/api/v1/spool", "The disk queue; null without one", of(spool())),
        row(
            "get",
            "/api/v1/reports",
            "The validator's reports, oldest first; null without CROSSFADE_STATE_DIR",
            reports(),
        ),
        row(
            "get",
            "/api/v1/reports/{id}",
            "One report (docs/validator.md), for example `rolling`; samples need a token",
            json!({ "schema": { "type": "object" } }),
        ),
        row(
            "get",
            "/api/v1/discrepancies",
            "Samples of what did not match, without secrets; always needs a token",
            discrepancies(),
        ),
        row("get", "/api/v1/incidents", "What the flight recorder has kept, newest first", incidents()),
        row(
            "get",
            "/api/v1/incidents/{id}",
            "One incident, as its file has it",
            json!({ "schema": { "type": "object" } }),
        ),
        row("get", "/api/v1/drill", "The drills that are kept, newest first", drills()),
    ]
}

fn changed() -> Value {
    let full = Changed { before: json!({}), after: json!({}), warnings: vec!["what to know".to_owned()] };
    json!({ "schema": schema(&[&json!(full)]), "example": full })
}

fn plan_changes() -> Vec<Row> {
    let steps = json!([{ "percent": "25", "bake_seconds": 259_200 }]);
    let begin =
        json!({ "plan": { "schema": 1, "name": "two-weeks", "steps": steps }, "reason": "we are ready" });
    let said = json!({ "reason": "a look at Friday's figures" });
    let row =
        |path, summary, sent| Row { method: "post", path, summary, sent: Some(sent), answered: changed() };
    vec![
        row("/api/v1/plan/start", "Begins; needs If-Match; without a plan, with the one there", begin),
        row("/api/v1/plan/pause", "Stays where it is", said.clone()),
        row("/api/v1/plan/resume", "Goes on, the step anew; needs If-Match", said.clone()),
        row("/api/v1/plan/promote", "The next step now, gates or not; needs If-Match", said.clone()),
        row("/api/v1/plan/abort", "0 % and the end", said),
    ]
}

fn changes() -> Vec<Row> {
    let change =
        |method, path, summary, sent| Row { method, path, summary, sent: Some(sent), answered: changed() };
    let wanted = json!({ "percent": 25.0, "lane": "hot", "rules": [], "confirm": "25", "reason": "step 2 of the plan" });
    let preview = Preview {
        messages_per_s_more: Some(12.5),
        quota_ratio: Some(0.5),
        month_cost_usd: Some(25.0),
        takes_s: Some(8.0),
        warnings: vec!["what to know".to_owned()],
        ..Preview::default()
    };
    vec![
        change(
            "post",
            "/api/v1/sessions/{id}/move",
            "To hot (until the settings change), to legacy (until auto), or auto",
            json!({ "lane": "legacy", "reason": "a look" }),
        ),
        change(
            "post",
            "/api/v1/sessions/{id}/close",
            "Closes it with this code",
            json!({ "code": 1012, "reason": "a look" }),
        ),
        change("put", "/api/v1/rollout", "Changes it; needs If-Match; raising needs confirm", wanted.clone()),
        Row {
            method: "post",
            path: "/api/v1/rollout/preview",
            summary: "What a change would move",
            sent: Some(wanted),
            answered: of(preview),
        },
        change(
            "post",
            "/api/v1/rollout/emergency-off",
            "Everybody on legacy, or no longer as far as the API is concerned",
            json!({ "on": true, "reason": "a drill" }),
        ),
        change(
            "post",
            "/api/v1/breaker",
            "auto, forced_open, forced_closed or observe_only",
            json!({ "mode": "auto", "reason": "over" }),
        ),
        change(
            "post",
            "/api/v1/drill",
            "Rehearses the trip on a small part of the hot sessions; 409 says why not",
            json!({ "reason": "before the release" }),
        ),
        change(
            "post",
            "/api/v1/breaker/reset",
            "Ends a latch or a cool-down; it probes before it closes",
            json!({ "reason": "over" }),
        ),
    ]
}
