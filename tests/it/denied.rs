//! A role that may read its topic and not write it: Realtime swallows what it publishes without a word. Nothing trips,
//! it is named with its remedy, the users do not notice, and the mended policy is found without a restart.

use std::path::PathBuf;

use super::http::value_in;
use super::process::{Emulator, Process, until};
use super::stage::{HOT, LEGACY, Stage};

const CLIENTS: u64 = 10;
const DENIED: &str = "crossfade_realtime_write_denied";
const CLOSED: &str = "crossfade_breaker_state{state=\"closed\"}";

/// A policy file that can be changed.
struct Policies {
    directory: PathBuf,
}

impl Policies {
    fn new(name: &str, text: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("crossfade-denied-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let this = Self { directory };
        this.write(text);
        this
    }

    fn path(&self) -> String {
        self.directory.join("policies").to_str().unwrap().to_owned()
    }

    /// At once, so that nobody reads half of it.
    fn write(&self, text: &str) {
        let next = self.directory.join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.path()).unwrap();
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap_or_default();
    }
}

const READ: &str = "# may listen, may not speak\nauthenticated:crossfade:*:r\n";
const WRITE: &str = "authenticated:crossfade:*:rw\n";

fn emulator(policies: &Policies) -> (Emulator, String) {
    let emulator = Emulator::start_with(&[], &["--policy-file", &policies.path()]);
    let token = emulator.process.line(|line| line.strip_prefix("AUTHENTICATED_TOKEN=").map(str::to_owned));
    (emulator, token)
}

fn trips(scrape: &str) -> f64 {
    let lines = scrape.lines().filter(|line| line.starts_with("crossfade_breaker_trips_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn a_missing_policy_trips_nothing_is_named_and_its_return_is_found() {
    let policies = Policies::new("run", READ);
    let (emulator, token) = emulator(&policies);
    // The stage itself would wait for a link that is joined for a moment only.
    let env = [
        ("SUPABASE_URL", emulator.url.as_str()),
        ("SUPABASE_KEY", token.as_str()),
        ("CROSSFADE_PLAN", "custom:1000000"),
        ("CROSSFADE_ROLLOUT_PERCENT", "100"),
        // A busy machine must not make a probe late, which would be an outage as far as anybody can see.
        ("CROSSFADE_HOT_DEADLINE", "3s"),
    ];
    let stage = Stage::open(CLIENTS, None, &env).await;
    stage.proxy.until_value(DENIED, 1.0).await;
    let named = stage.proxy.process.line(|line| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        (event["reason"] == "write_denied").then(|| event["advice"].as_str().unwrap().to_owned())
    });
    assert!(named.contains("realtime.messages"), "the remedy: {named}");
    stage.written(500).await;
    let scrape = stage.proxy.scrape().await;
    assert_eq!(trips(&scrape), 0.0, "{scrape}");
    assert_eq!(value_in(&scrape, LEGACY), CLIENTS as f64, "{scrape}");
    assert_eq!(value_in(&scrape, "crossfade_mirror_messages_total{state=\"confirmed\"}"), 0.0, "{scrape}");
    assert!(value_in(&scrape, "crossfade_mirror_shed_total{reason=\"denied\"}") > 0.0, "{scrape}");

    policies.write(WRITE);
    stage.proxy.until_value(DENIED, 0.0).await;
    stage.proxy.until_value(CLOSED, 1.0).await;
    stage.proxy.until_value(HOT, CLIENTS as f64).await;
    stage.written(200).await;

    // A true outage is one all the same.
    let before = trips(&stage.proxy.scrape().await);
    emulator.process.signal("STOP");
    until("the breaker opens", async || (trips(&stage.proxy.scrape().await) > before).then_some(())).await;
    stage.proxy.until_value(LEGACY, CLIENTS as f64).await;
    emulator.process.signal("CONT");
    stage.close_clean().await;
}

#[tokio::test]
async fn the_doctor_names_the_missing_policy() {
    let policies = Policies::new("check", READ);
    let (emulator, token) = emulator(&policies);
    let env = [
        ("CROSSFADE_UPSTREAM", "ws://127.0.0.1:9"),
        ("SUPABASE_URL", emulator.url.as_str()),
        ("SUPABASE_KEY", token.as_str()),
        ("CROSSFADE_POD", "test-0"),
    ];
    let mut check = Process::start(&["check"], &env);
    let found = |name: &'static str| check.line(|line| line.contains(name).then(|| line.to_owned()));
    assert!(found(" join ").starts_with("ok"), "{}", check.output());
    let round_trip = found(" round_trip ");
    assert!(round_trip.starts_with("failed") && round_trip.ends_with("write_denied"), "{round_trip}");
    assert!(found("for insert").contains("create policy"), "the remedy");
    assert_eq!(check.ended().await.code(), Some(64), "ours to change");
}
