//! `openapi.json` is made here, from examples of the very structs that answer, and the router is asked every path.

mod rows;

use serde_json::{Map, Value, json};

use super::model::*;
use super::tests::{OPERATE, access, api, ask, echo, request};
use rows::rows;

/// The schema of what these examples have in common: a field that is null in one of them may be null.
fn schema(examples: &[&Value]) -> Value {
    let nullable = examples.iter().any(|example| example.is_null());
    let some: Vec<&Value> = examples.iter().copied().filter(|example| !example.is_null()).collect();
    let Some(first) = some.first() else { return json!({}) };
    let mut found = match first {
        Value::Object(fields) => {
            let field = |name: &String| {
                let values: Vec<&Value> = some.iter().filter_map(|example| example.get(name)).collect();
                (name.clone(), schema(&values))
            };
            let required: Vec<&String> =
                fields.keys().filter(|name| some.iter().all(|one| one.get(*name).is_some())).collect();
            let properties: Map<String, Value> = fields.keys().map(field).collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
        Value::Array(_) => {
            let items: Vec<&Value> = some.iter().filter_map(|one| one.as_array()).flatten().collect();
            json!({ "type": "array", "items": schema(&items) })
        }
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(n) if n.is_f64() => json!({ "type": "number" }),
        Value::Number(_) => json!({ "type": "integer" }),
        _ => json!({ "type": "string" }),
    };
    if nullable {
        found["type"] = json!([found["type"], "null"]);
    }
    found
}

/// Both a full and an empty example, as one schema.
fn of<T: serde::Serialize + Default>(full: T) -> Value {
    let (full, empty) = (json!(full), json!(T::default()));
    json!({ "schema": schema(&[&full, &empty]), "example": full })
}

fn counts(words: &[&'static str]) -> Counts {
    words.iter().enumerate().map(|(at, word)| (*word, at as u64)).collect()
}

fn quota() -> Option<Quota> {
    Some(Quota { hot_refused: Some("why".to_owned()), month_cost_usd: Some(25.0), ..Quota::default() })
}

fn spool() -> Option<Spool> {
    Some(Spool { state: "ok", limit_bytes: Some(1), oldest_age_s: Some(1.5), ..Spool::default() })
}

fn types() -> Option<TypeList> {
    let row = TypeRow {
        share: 0.5,
        class: Some("high"),
        rule: Some(1),
        proposed: Some("skip"),
        ..TypeRow::default()
    };
    let proposed = "[[rule]]\nevent = \"price\"\nclass = \"high\"\n".to_owned();
    Some(TypeList { types: vec![row, TypeRow::default()], proposed, ..TypeList::default() })
}

fn noise() -> Option<NoiseList> {
    let rule = NoiseRule { tolerance: Some(0.5), r#type: Some("quote".to_owned()), ..NoiseRule::default() };
    let proposed = Proposed { pointers: vec!["/sent_at".to_owned()], ..Proposed::default() };
    Some(NoiseList {
        rules: vec![rule, NoiseRule::default()],
        proposed: vec![proposed],
        ..NoiseList::default()
    })
}

fn breaker() -> Breaker {
    Breaker {
        state: "half_open",
        mode: "auto",
        trigger: Some("stall"),
        measured: Some(2.1),
        limit: Some(2.0),
        samples: Some(4),
        left_s: Some(12.5),
        return_to_legacy_ms: Some(41.5),
        triggers: vec![Trigger {
            name: "error_ratio",
            value: Some(0.01),
            limit: 0.05,
            unit: "ratio",
            samples: Some(500),
            min_samples: Some(20),
            trips: 1,
        }],
        ..Breaker::default()
    }
}

fn tier() -> Tier {
    Tier {
        tier: "env",
        configured: true,
        state: "known",
        age_s: Some(1.5),
        percent: Some(25.0),
        decides: true,
    }
}

fn status() -> Status {
    let quantiles = Quantiles { p50_ms: 1.5, p95_ms: 4.5, p99_ms: 9.5 };
    Status {
        version: "0.1.0",
        phase: "running",
        sessions: Sessions {
            open: counts(&["legacy", "hot", "native"]),
            ended: counts(&["finished", "client_reset", "upstream_reset", "drained", "cut", "idle"]),
            moved_back: counts(&["breaker", "rollout", "person"]),
            ..Sessions::default()
        },
        breaker: Some(breaker()),
        rollout: RolloutBrief {
            lane: "hot",
            tier: "env",
            tier_age_s: Some(1.5),
            scope: "this_pod",
            live_percent: Some(24.5),
            adoption: vec![
                Adoption { lane: "hot", wanted: 4, there: 2, ratio: Some(0.5) },
                Adoption::default(),
            ],
            native_offers_ratio: Some(0.25),
            emergency: vec!["api"],
            ..RolloutBrief::default()
        },
        mirror: Some(Mirror { spooled: Some(0), shed: counts(&["budget"]), ..Mirror::default() }),
        latency: Latency { legacy: Some(quantiles), realtime: Some(quantiles) },
        r#match: Some(matching()),
        parity: Some(Parity {
            checks: counts(&["agree", "over", "under", "unknown"]),
            unknown: counts(&["expired"]),
            pairs: counts(&["listed", "unproven", "left"]),
            last_check_s: Some(1.5),
            ..Parity::default()
        }),
        quota: quota(),
        spool: spool(),
        tiers: vec![tier(), Tier::default()],
        ..Status::default()
    }
}

fn session() -> Session {
    let decision = Decision {
        lane: "hot",
        reason: "in_cohort",
        rule: Some("beta".to_owned()),
        bucket: Some(12_345),
        key: Some("k:0123456789abcdef".to_owned()),
        tier: "env",
        ..Decision::default()
    };
    Session {
        decision: Some(decision),
        left_hot_because: Some("window_full"),
        pinned: Some("legacy"),
        mirror: SessionMirror { mirrored: true, percent_bucket: Some(12.5) },
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        ..Session::default()
    }
}

fn rollout() -> Rollout {
    let rule = Rule {
        name: "beta".to_owned(),
        keys: Some(12),
        when: vec!["path"],
        then: "percent",
        percent: Some(50.0),
        lane: Some("hot"),
    };
    Rollout {
        live_percent: Some(24.5),
        rules: vec![rule, Rule::default()],
        tiers: vec![tier(), Tier::default()],
        emergency: vec!["file"],
        ..Rollout::default()
    }
}

fn plan() -> Plan {
    let gate = Gate { name: "match", value: Some(0.9995), limit: 0.999, verdict: "pass", ..Gate::default() };
    Plan {
        phase: "paused",
        why: Some("person"),
        name: Some("two-weeks".to_owned()),
        steps: vec![Step { percent: 25.0, bake_s: 259_200, state: "current" }, Step::default()],
        step: Some(1),
        left_s: Some(1.5),
        kept_in: Some("redis"),
        scope: "fleet",
        gates: vec![gate, Gate::default()],
        holds: vec!["a person has paused it".to_owned()],
        ..Plan::default()
    }
}

fn audit() -> Audit {
    Audit {
        role: "operate",
        remote: Some("127.0.0.1:50000".to_owned()),
        action: "rollout",
        subject: Some("0123456789abcdef0123456789abcdef".to_owned()),
        before: Some(json!({})),
        after: Some(json!({})),
        reason: Some("step 2 of the plan".to_owned()),
        outcome: "done",
        ..Audit::default()
    }
}

fn incidents() -> Value {
    let full = json!({ "incidents": ["20261122T004100Z-stall"] });
    json!({ "schema": schema(&[&full]), "example": full })
}

fn drills() -> Value {
    let timed = json!({
        "number": 1, "at_ms": 1_795_308_060_000_u64, "cause": "person", "percent": 1.0, "hot": 900, "moved": 9,
        "to_legacy_ms": 20.5, "to_hot_ms": 40.5, "left": 0, "outcome": "passed",
    });
    let mut aborted = timed.clone();
    (aborted["to_legacy_ms"], aborted["to_hot_ms"]) = (Value::Null, Value::Null);
    let full = json!({ "drills": [timed, aborted] });
    json!({ "schema": schema(&[&full]), "example": full })
}

fn list<T: serde::Serialize + Default>(name: &str, one: T) -> Value {
    let full = json!({ name: [one, T::default()] });
    json!({ "schema": schema(&[&full]), "example": full })
}

/// Written out: the structs are the validator's, a room that this one does not know.
fn matching() -> Value {
    json!({
        "ratio": 0.9999, "pairs": 3000, "needed": 2995, "gate": 0.999, "confidence": 0.95, "verdict": "match",
        "kinds": { "matched": 3000 }, "coverage": 0.98, "by_noise": 0, "repeated": 0, "echoes": 0, "malformed": 0,
    })
}

fn reports() -> Value {
    let matching = matching();
    let of = |percent| json!({ "id": "rolling", "span": "rolling", "from_ms": 0, "to_ms": 3_600_000, "percent": percent, "match": matching });
    let full = json!({ "reports": [of(json!(12.5)), of(Value::Null)] });
    json!({ "schema": schema(&[&full, &Value::Null]), "example": full })
}

fn discrepancies() -> Value {
    let one = json!({
        "at_ms": 0, "kind": "altered", "session": 1, "dir": "down", "seq": 17, "type": "price", "class": "high",
        "messages": 1, "len": [12, 12], "differs": ["/price"], "sent": "{\"price\":1}", "got": "{\"price\":2}",
    });
    let full = json!({ "at_ms": 0, "discrepancies": [one] });
    json!({ "schema": schema(&[&full, &Value::Null]), "example": full })
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for row in rows() {
        let mut operation = json!({
            "summary": row.summary,
            "responses": {
                "200": { "description": "The answer", "content": { "application/json": row.answered } },
                "default": { "$ref": "#/components/responses/Problem" },
            },
        });
        if let Some(sent) = row.sent {
            let content = json!({ "application/json": { "schema": schema(&[&sent]), "example": sent } });
            operation["requestBody"] = json!({ "content": content });
            // Nothing that a request names is required but what the handler says.
            operation["requestBody"]["content"]["application/json"]["schema"]["required"] = json!([]);
        }
        let mut parameters = Vec::new();
        if row.path.contains("{id}") {
            parameters.push(
                json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }),
            );
        }
        if operation.get("requestBody").is_some() && !row.path.ends_with("/preview") {
            parameters.push(json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        let methods = paths.entry(row.path).or_insert_with(|| json!({}));
        methods[row.method] = operation;
    }
    paths.insert(
        "/api/v1/events".to_owned(),
        json!({ "get": {
            "summary": "Server-sent events: status (each second), breaker, audit",
            "responses": { "200": { "description": "A stream", "content": { "text/event-stream": {} } } },
        }}),
    );
    let problem =
        json!({ "error": { "code": "invalid_value", "message": "what is wrong", "field": "percent" } });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "crossfade admin API", "version": "1", "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "servers": [{ "url": "http://127.0.0.1:9465" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "parameters": { "IdempotencyKey": {
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": "Makes a change safe to repeat: the same key with the same request is answered as the first time \
                                (Idempotency-Replayed: true). Another change under it is 422, one under way 409.",
                "schema": { "type": "string", "minLength": 1, "maxLength": 200 },
            }},
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": { "Problem": { "description": "A refusal", "content": { "application/json": {
                "schema": schema(&[&problem]), "example": problem,
            }}}},
        },
    })
}

#[test]
fn the_document_is_the_checked_in_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/api/openapi.json");
    let actual = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &actual).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(actual == kept, "the API has changed: BLESS=1 writes openapi.json anew");
}

#[tokio::test]
async fn every_path_of_the_document_answers_and_no_other() {
    let router = api(access(), echo());
    let fields = [("authorization", OPERATE), ("content-type", "application/json"), ("if-match", "*")];
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if path.ends_with("/events") {
            continue; // it has no end; the tests on real processes listen
        }
        let asked = path.replace("{id}", "0123456789abcdef0123456789abcdef");
        for method in ["get", "post", "put", "delete", "patch"] {
            let body = if method == "get" { "" } else { "{}" };
            let (status, _, _) = ask(&router, request(&method.to_uppercase(), &asked, &fields, body)).await;
            let wanted = if methods.get(method).is_some() { 200 } else { 405 };
            assert_eq!(status, wanted, "{method} {path}");
        }
    }
}
