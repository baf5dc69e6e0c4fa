//! Drills and the flight recorder of a real process. Clients' and service's logs decide whether anybody noticed.

use std::path::PathBuf;

use crossfade::breaker::Trigger;
use serde_json::{Value, json};

use super::admin::{OPERATE, TOKEN};
use super::http::value_in;
use super::process::{Emulator, Proxy, ran, until};
use super::stage::{HOT, LEGACY, Stage};

const CLIENTS: u64 = 60;
const DRILL: (&str, &str) = ("POST", "/api/v1/drill");
const BREAKER: (&str, &str) = ("POST", "/api/v1/breaker");

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-it-{name}-{}", std::process::id()));
        // Of a run before this one, if there was one.
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Clients that are all hot under a breaker that has closed and stays so until it is released. A machine that is busy
/// may trip while everybody connects: then it begins again with processes of their own.
async fn hot_stage(emulator: &Emulator, env: &[(&str, &str)]) -> Stage {
    let mut tries = 0;
    loop {
        let stage = Stage::open(CLIENTS, Some(emulator), env).await;
        let calm = until("it is hot, or has tripped", async || {
            let scrape = stage.proxy.scrape().await;
            let trips: f64 = Trigger::ALL
                .iter()
                .map(|why| {
                    value_in(
                        &scrape,
                        &format!("crossfade_breaker_trips_total{{trigger=\"{}\"}}", why.as_str()),
                    )
                })
                .sum();
            let closed = value_in(&scrape, "crossfade_breaker_state{state=\"closed\"}") == 1.0;
            if trips > 0.0 {
                return Some(false);
            }
            (closed && value_in(&scrape, HOT) == CLIENTS as f64).then_some(true)
        })
        .await;
        let (status, said) = stage.proxy.change(BREAKER, &[], json!({ "mode": "forced_closed" })).await;
        assert_eq!(status, 200, "{said}");
        if calm && said["after"]["state"] == "closed" {
            return stage;
        }
        tries += 1;
        assert!(tries < 5, "the breaker has tripped each time while everybody connected");
    }
}

async fn last_drill(proxy: &Proxy) -> Option<Value> {
    proxy.shows(DRILL.1).await["drills"].get(0).cloned()
}

#[tokio::test]
async fn a_drill_moves_a_slice_and_back_and_nobody_notices() {
    let folder = Folder::new("drill");
    let tuning = folder.0.join("tuning.toml");
    std::fs::write(&tuning, "[drill]\npercent = 20\n").unwrap();
    let emulator = Emulator::start(&[]);
    let env = [
        ("CROSSFADE_ROLLOUT_PERCENT", "100"),
        OPERATE,
        ("CROSSFADE_TUNING", tuning.to_str().unwrap()),
        ("CROSSFADE_STATE_DIR", folder.path()),
    ];
    let stage = hot_stage(&emulator, &env).await;
    let proxy = &stage.proxy;
    assert_eq!(last_drill(proxy).await, None);
    let admin = proxy.admin.to_string();
    let command = [("CROSSFADE_UPSTREAM", "ws://127.0.0.1:1"), ("CROSSFADE_ADMIN_TOKEN", TOKEN)];
    let (code, said, error) = ran(&["drill", "--admin", &admin, "--json"], &command).await;
    assert_eq!(code, Some(0), "{said}{error}");
    let record: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&record["outcome"], &record["cause"]), (&json!("passed"), &json!("person")), "{record}");
    let moved = record["moved"].as_f64().unwrap();
    assert!((1.0..CLIENTS as f64 / 2.0).contains(&moved), "a part of them: {record}");
    assert!(record["to_legacy_ms"].as_f64().is_some() && record["to_hot_ms"].as_f64().is_some(), "{record}");
    assert_eq!(last_drill(proxy).await, Some(record.clone()));
    // The drill's own reason, and as many moves as it says; everybody is hot again.
    proxy.until_value("crossfade_moves_back_total{reason=\"drill\"}", moved).await;
    proxy.until_value("crossfade_drills_total{outcome=\"passed\"}", 1.0).await;
    proxy.until_value(HOT, CLIENTS as f64).await;

    let (status, refused) = proxy.change(DRILL, &[], json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("too_soon")));
    let (code, _, error) = ran(&["drill", "--admin", &admin], &command).await;
    assert_eq!(code, Some(69), "{error}");
    assert!(error.contains("less than a minute ago"), "{error}");

    until("the drill is on disk", async || {
        let (code, shown, _) = ran(&["report", "--drills", "--dir", folder.path()], &[]).await;
        (code == Some(0) && shown.contains("passed") && shown.contains("of 60 hot sessions (20 %)"))
            .then_some(())
    })
    .await;
    stage.written(500).await;
    stage.close_clean().await;
}

#[tokio::test]
async fn a_drill_is_refused_while_the_breaker_is_not_closed() {
    let emulator = Emulator::start(&[]);
    let env = [("CROSSFADE_ROLLOUT_PERCENT", "100"), ("CROSSFADE_BREAKER", "forced_open"), OPERATE];
    let stage = Stage::open(2, Some(&emulator), &env).await;
    let (status, refused) = stage.proxy.change(DRILL, &[], json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("not_closed")), "{refused}");
    let (status, refused) = stage.proxy.change(DRILL, &[], json!({ "percent": 50 })).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_body")), "{refused}");
    assert_eq!(last_drill(&stage.proxy).await, None);
    stage.close_clean().await;

    // Half-open, with nobody to answer a probe: it is not closed either, until a person says so. Then the reason is that
    // Realtime is not there.
    let silent = Emulator::start(&[]);
    silent.process.signal("STOP");
    let proxy = Proxy::start("127.0.0.1:9".parse().unwrap(), Some(&silent), &[env[0], OPERATE]);
    for (mode, code) in [("auto", "not_closed"), ("forced_closed", "realtime_not_ready")] {
        let (status, said) = proxy.change(BREAKER, &[], json!({ "mode": mode })).await;
        assert_eq!((status, &said["after"]["state"]), (200, &json!("half_open")), "{said}");
        let (status, refused) = proxy.change(DRILL, &[], json!({})).await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!(code)), "{refused}");
    }
}

#[tokio::test]
async fn a_trip_is_kept_with_what_came_before_and_what_it_cost() {
    let folder = Folder::new("incident");
    let emulator = Emulator::start(&[]);
    let env = [("CROSSFADE_ROLLOUT_PERCENT", "100"), ("CROSSFADE_STATE_DIR", folder.path()), OPERATE];
    let stage = hot_stage(&emulator, &env).await;
    let proxy = &stage.proxy;
    stage.written(500).await;
    // None, but for a trip while everybody connected.
    let before = proxy.shows("/api/v1/incidents").await["incidents"].clone();
    let (status, said) = proxy.change(BREAKER, &[], json!({ "mode": "auto" })).await;
    assert_eq!(status, 200, "{said}");
    // Alive and silent: nothing is read back any more, and nothing says why.
    emulator.process.signal("STOP");
    proxy.until_value(LEGACY, CLIENTS as f64).await;
    let id = until("the incident is kept", async || {
        let newest = proxy.shows("/api/v1/incidents").await["incidents"][0].clone();
        let known = before.as_array().is_some_and(|before| before.contains(&newest));
        newest.as_str().filter(|_| !known).map(str::to_owned)
    })
    .await;
    let incident = until("it is complete", async || {
        let incident = proxy.shows(&format!("/api/v1/incidents/{id}")).await;
        (incident["complete"] == true).then_some(incident)
    })
    .await;
    emulator.process.signal("CONT");
    assert!(id.ends_with(incident["trigger"].as_str().unwrap()), "{id}: {incident}");
    assert_eq!((&incident["hot_before"], &incident["hot_left"]), (&json!(CLIENTS), &json!(0)), "{incident}");
    let moved: u64 = incident["moved_back"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert!(moved >= CLIENTS, "{incident}");
    assert!(incident["returned_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{incident}");
    let decisions = incident["decisions"].as_array().unwrap();
    for what in ["links", "closed", "opened", "returned"] {
        assert!(decisions.iter().any(|entry| entry["what"] == what), "no {what} in {incident}");
    }
    let seconds = incident["seconds"].as_array().unwrap();
    // The probes that closed it, at least.
    assert!(seconds.iter().any(|second| second["probes_good"].as_u64().unwrap() > 0), "{incident}");

    let file = folder.0.join("incidents").join(format!("{id}.json"));
    until("the file is complete", async || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.contains("\"complete\":true").then_some(())
    })
    .await;
    let text = std::fs::read_to_string(&file).unwrap();
    for secret in [&emulator.service_key, TOKEN, "user-0", "open sesame", "cache.metrics"] {
        assert!(!text.contains(secret), "{secret} is in the incident");
    }
    let (code, page, error) = ran(&["report", "--incident", file.to_str().unwrap()], &[]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(
        page.starts_with(&format!("Incident {id}\n")) && page.contains("until the last session"),
        "{page}"
    );
    let (_, again, _) = ran(&["report", "--incident", file.to_str().unwrap(), "--json"], &[]).await;
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
    let (_, list, _) = ran(&["report", "incidents", "--dir", folder.path()], &[]).await;
    assert_eq!(list.lines().next(), file.to_str(), "newest first");
    stage.written(500).await;
    stage.close_clean().await;
}
