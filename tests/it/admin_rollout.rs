//! The fader by API: open sessions follow it both ways, and no message is lost, doubled or reordered.

use serde_json::json;

use super::admin::OPERATE;
use super::process::{Emulator, until};
use super::stage::{HOT, LEGACY, Stage};

const CLIENTS: u64 = 60;
const FADER: (&str, &str) = ("PUT", "/api/v1/rollout");
const HELD: (&str, &str) = ("CROSSFADE_BREAKER", "forced_closed");

#[tokio::test]
async fn open_sessions_follow_the_fader_both_ways() {
    let emulator = Emulator::start(&[]);
    let stage = Stage::open(CLIENTS, Some(&emulator), &[HELD, OPERATE]).await;
    let (proxy, all) = (&stage.proxy, CLIENTS as f64);
    let first = proxy.shows("/api/v1/rollout").await;
    let version = first["version"].as_str().unwrap().to_owned();
    assert_eq!((&first["percent"], &first["live_percent"]), (&json!(0.0), &json!(0.0)));

    let preview = ("POST", "/api/v1/rollout/preview");
    let (status, seen) = proxy.change(preview, &[], json!({"percent": 100})).await;
    assert_eq!(
        (status, &seen["moves_to_realtime"], &seen["of_open"]),
        (200, &json!(CLIENTS), &json!(CLIENTS))
    );
    let (_, half) = proxy.change(preview, &[], json!({"percent": "50"})).await;
    let half = half["moves_to_realtime"].as_u64().unwrap();

    let (status, refused) = proxy.change(FADER, &[], json!({"percent": 50, "confirm": "50"})).await;
    assert_eq!((status, &refused["error"]["code"]), (428, &json!("if_match_required")));
    let seen_version = [("If-Match", version.as_str())];
    let (status, refused) = proxy.change(FADER, &seen_version, json!({"percent": 50})).await;
    assert_eq!((status, &refused["error"]["field"]), (422, &json!("confirm")), "typed, not slipped");
    let (status, refused) =
        proxy.change(FADER, &seen_version, json!({"percent": 101, "confirm": "101"})).await;
    assert_eq!((status, &refused["error"]["field"]), (422, &json!("percent")));
    let asked = json!({"percent": 50, "confirm": "50", "reason": "first half"});
    let once = [seen_version[0], ("Idempotency-Key", "half")];
    let (status, done) = proxy.change(FADER, &once, asked.clone()).await;
    assert_eq!((status, &done["after"]["percent"]), (200, &json!(50.0)), "{done}");
    proxy.until_value(HOT, half as f64).await;
    let (status, again) = proxy.change(FADER, &once, asked.clone()).await;
    assert_eq!((status, &again), (200, &done), "repeated, not done twice");
    let (status, other) = proxy.change(FADER, &once, json!({"percent": 60, "confirm": "60"})).await;
    assert_eq!((status, &other["error"]["code"]), (422, &json!("idempotency_key_reused")));
    let (status, stale) = proxy.change(FADER, &seen_version, asked).await;
    assert_eq!((status, &stale["error"]["code"]), (412, &json!("stale_version")));
    stage.written(500).await;
    assert!((proxy.value(HOT).await - half as f64).abs() < f64::EPSILON, "exactly those of the preview");
    let live = proxy.shows("/api/v1/status").await["rollout"]["live_percent"].as_f64().unwrap();
    assert!((live - half as f64 / all * 100.0).abs() < 1e-6, "{live}");

    let any = [("If-Match", "*")];
    let (status, _) = proxy.change(FADER, &any, json!({"percent": 100, "confirm": "100"})).await;
    assert_eq!(status, 200);
    proxy.until_value(HOT, all).await;
    stage.written(500).await;
    let (status, _) = proxy.change(FADER, &any, json!({"percent": 0, "reason": "back"})).await;
    assert_eq!(status, 200, "the way back needs no typing");
    proxy.until_value(LEGACY, all).await;
    stage.written(500).await;

    let trail = proxy.shows("/api/v1/audit").await;
    let outcomes: Vec<_> =
        trail["entries"].as_array().unwrap().iter().rev().map(|e| e["outcome"].as_str().unwrap()).collect();
    let wanted =
        ["if_match_required", "invalid_value", "invalid_value", "done", "stale_version", "done", "done"];
    assert_eq!(outcomes, wanted, "refusals too, and the repeated one once");
    let last = &trail["entries"][0];
    assert_eq!((&last["before"]["percent"], &last["after"]["percent"]), (&json!(100.0), &json!(0.0)));
    stage.close_clean().await;
}

#[tokio::test]
async fn the_emergency_switch_and_the_breaker_are_worked_by_api() {
    let emulator = Emulator::start(&[]);
    let full = ("CROSSFADE_ROLLOUT_PERCENT", "100");
    let stage = Stage::open(CLIENTS, Some(&emulator), &[full, HELD, OPERATE]).await;
    let (proxy, all) = (&stage.proxy, CLIENTS as f64);
    proxy.until_value(HOT, all).await;
    let switch = ("POST", "/api/v1/rollout/emergency-off");
    let (status, done) = proxy.change(switch, &[], json!({"on": true, "reason": "a drill"})).await;
    assert_eq!((status, &done["after"]["held_by"]), (200, &json!(["api"])));
    proxy.until_value(LEGACY, all).await;
    // Nobody becomes hot by another door meanwhile.
    let rows = proxy.shows("/api/v1/sessions?limit=1").await;
    let path = format!("/api/v1/sessions/{}/move", rows["sessions"][0]["id"].as_str().unwrap());
    let (status, refused) = proxy.change(("POST", &path), &[], json!({"lane": "hot"})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("emergency_off")));
    assert_eq!(rows["sessions"][0]["reason"], "emergency_off");
    stage.written(500).await;
    let (status, done) = proxy.change(switch, &[], json!({"on": false})).await;
    assert_eq!((status, &done["after"]["held_by"]), (200, &json!([])));
    proxy.until_value(HOT, all).await;

    let (status, done) = proxy.change(("POST", "/api/v1/breaker"), &[], json!({"mode": "forced_open"})).await;
    assert_eq!((status, &done["after"]["mode"]), (200, &json!("forced_open")), "{done}");
    proxy.until_value(LEGACY, all).await;
    until("the return is measured", async || {
        proxy.shows("/api/v1/breaker").await["return_to_legacy_ms"].as_f64()
    })
    .await;
    stage.written(500).await;
    let (status, refused) = proxy.change(("POST", "/api/v1/breaker"), &[], json!({"mode": "shut"})).await;
    assert_eq!((status, &refused["error"]["field"]), (422, &json!("mode")));
    let (status, _) = proxy.change(("POST", "/api/v1/breaker"), &[], json!({"mode": "forced_closed"})).await;
    assert_eq!(status, 200);
    proxy.until_value(HOT, all).await;
    stage.written(500).await;
    stage.close_clean().await;
}
