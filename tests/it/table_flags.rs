//! The table `crossfade_flags` as a tier of real processes: told by Realtime, read through PostgREST, lost and found.

use std::net::SocketAddr;
use std::path::PathBuf;

use crossfade::emulator::{Claims, Config, Secret, Table, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::http::ask;
use super::process::{Emulator, Proxy};

const TABLE: &str = "crossfade_flags(service text primary key, version bigint, document jsonb)";
const PERCENT: &str = "crossfade_rollout_percent";
const SECRET: &str = "only for tests";
const TOLD: &str = "crossfade_rollout_tier_refused_total{tier=\"supabase\"}";
const FAILED: &str = "crossfade_rollout_tier_failures_total{tier=\"supabase\"}";
const AGE: &str = "crossfade_rollout_tier_age_seconds{tier=\"supabase\"}";
const KNOWN: &str = "crossfade_rollout_tier_known{tier=\"supabase\"}";

/// A folder with the tuning file, and room for state; it goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-table-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("tuning.toml"), "[flags]\ntable = true\n").unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or(());
    }
}

/// A project: Realtime and PostgREST at one address, which stays the same when it is down.
struct Project {
    address: SocketAddr,
    key: String,
    up: Option<(tokio::task::JoinHandle<()>, oneshot::Sender<()>)>,
}

impl Project {
    async fn new() -> Self {
        let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = Secret::new(SECRET).mint(&Claims::of("service_role", 4_000_000_000));
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let mut this = Self { address, key, up: None };
        this.up().await;
        this
    }

    /// It comes (back), with empty tables.
    async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (end, ended) = oneshot::channel::<()>();
        // On a thread with a runtime of its own: ending that cuts every connection at once.
        let (ready, is_ready) = oneshot::channel();
        let listener = listener.into_std().unwrap();
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let config =
                    Config { tables: vec![Table::parse(TABLE).unwrap()], ..Config::new(Secret::new(SECRET)) };
                let (_handle, run) = serve(TcpListener::from_std(listener).unwrap(), config, 1).unwrap();
                ready.send(()).unwrap();
                tokio::select! {
                    _ = run => {}
                    _ = ended => {}
                }
            });
            runtime.shutdown_background();
        });
        is_ready.await.unwrap();
        self.up = Some((thread, end));
    }

    async fn down(&mut self) {
        let (thread, end) = self.up.take().unwrap();
        drop(end);
        thread.await.unwrap();
    }

    async fn say(&self, method: &str, query: &str, body: Value) {
        say(self.address, &self.key, (method, query), &body).await;
    }

    /// A new version of the row, as somebody writes it who counts in the trigger's place.
    async fn set(&self, version: u64, document: Value) {
        self.say("PATCH", "?service=eq.shop", json!({ "version": version, "document": document })).await;
    }

    fn proxy(&self, folder: &Folder, more: &[(&str, &str)]) -> Proxy {
        let (url, tuning) = (format!("http://{}", self.address), folder.path("tuning.toml"));
        let mut env = vec![("SUPABASE_URL", url.as_str()), ("SUPABASE_KEY", self.key.as_str())];
        env.extend([("CROSSFADE_SERVICE", "shop"), ("CROSSFADE_TUNING", tuning.as_str())]);
        env.extend([("CROSSFADE_FLAGS_POLL", "1h"), ("CROSSFADE_ROLLOUT_PERCENT", "40")]);
        env.extend(more);
        // No session is opened here, so that nobody need answer.
        Proxy::start("127.0.0.1:9".parse().unwrap(), None, &env)
    }
}

async fn say(address: SocketAddr, key: &str, (method, query): (&str, &str), body: &Value) -> Value {
    let bearer = format!("Bearer {key}");
    let fields = [("apikey", key), ("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let path = format!("/rest/v1/crossfade_flags{query}");
    let (status, _, answer) = ask(address, (method, &path), &fields, &body.to_string()).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

fn document(percent: u32) -> Value {
    json!({ "schema": 1, "percent": percent })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_table_is_told_at_once_and_garbage_is_named() {
    let (project, folder) = (Project::new().await, Folder::new("push"));
    let running = project.proxy(&folder, &[]);
    running.process.line(|line| line.contains("the table has no row for this service").then_some(()));
    assert_eq!((running.value(PERCENT).await, running.value(KNOWN).await), (0.0, 0.0), "never heard: nobody");
    project.say("POST", "", json!({ "service": "other", "version": 9, "document": document(90) })).await;
    project.say("POST", "", json!({ "service": "shop", "version": 1, "document": document(10) })).await;
    running.until_value(PERCENT, 10.0).await;
    assert_eq!(running.value(KNOWN).await, 1.0);
    project.set(2, document(20)).await;
    running.until_value(PERCENT, 20.0).await;
    project.set(3, json!({ "schema": 1, "persent": 99 })).await;
    running.until_value(TOLD, 1.0).await;
    running.process.line(|line| line.contains("unknown field `persent`").then_some(()));
    assert_eq!(running.value(PERCENT).await, 20.0, "the last good value holds");
    project.set(4, document(30)).await;
    running.until_value(PERCENT, 30.0).await;
    // A restored backup would move users back unasked.
    project.set(2, document(90)).await;
    running.until_value(TOLD, 2.0).await;
    running.process.line(|line| line.contains("version 2 came after version 4").then_some(()));
    assert_eq!(running.value(PERCENT).await, 30.0);
    project.say("DELETE", "?service=eq.shop", Value::Null).await;
    running.process.line(|line| line.contains("cannot be fetched").then_some(()));
    assert_eq!(running.value(PERCENT).await, 30.0, "a row that is gone says nothing");
    let shown = running.shows("/api/v1/rollout").await;
    assert_eq!((&shown["tier"], &shown["scope"]), (&json!("supabase"), &json!("fleet")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_project_moves_nobody_and_what_was_saved_holds_at_a_start() {
    let (mut project, kept, empty) = (Project::new().await, Folder::new("kept"), Folder::new("empty"));
    let file = ("CROSSFADE_FLAGS_FILE", "/nonexistent/flags.json");
    let start = |project: &Project, folder: &Folder| {
        project.proxy(folder, &[("CROSSFADE_STATE_DIR", &folder.path("state")), file])
    };
    project.say("POST", "", json!({ "service": "shop", "version": 5, "document": document(25) })).await;
    let first = start(&project, &kept);
    first.until_value(PERCENT, 25.0).await;
    project.down().await;
    // Its socket is gone, so it asks: nobody need wait an hour to see that nothing answers.
    first.process.line(|line| {
        (line.contains("\"tier\":\"supabase\"") && line.contains("cannot be fetched")).then_some(())
    });
    assert_eq!(first.value(PERCENT).await, 25.0);
    // What was saved is as old as it is, not as young as the process: an hour, by its own word.
    let path = kept.path("state/flags-supabase.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let hour_ago = file["at_unix_ms"].as_u64().unwrap() - 3_600_000;
    file["at_unix_ms"] = json!(hour_ago);
    std::fs::write(&path, file.to_string()).unwrap();
    let saved = start(&project, &kept);
    assert_eq!(saved.value(PERCENT).await, 25.0);
    assert!(saved.value(AGE).await >= 3_600.0, "the alert of a stale store must see it");
    let silent = start(&project, &empty);
    assert_eq!(silent.value(PERCENT).await, 0.0, "never heard and nothing saved, whatever stands below");
    project.up().await;
    project.say("POST", "", json!({ "service": "shop", "version": 6, "document": document(50) })).await;
    for pod in [&first, &saved, &silent] {
        pod.until_value(PERCENT, 50.0).await;
        assert!(pod.value(FAILED).await >= 1.0);
    }
    // And it is told again, not only found.
    project.set(7, document(60)).await;
    for pod in [&first, &saved, &silent] {
        pod.until_value(PERCENT, 60.0).await;
        assert!(!pod.process.output().contains(&project.key), "the key is in no log");
    }
}

#[tokio::test]
async fn a_tier_without_a_project_is_refused_before_a_port_is_bound() {
    let folder = Folder::new("bare");
    let tuning = folder.path("tuning.toml");
    let env = [("CROSSFADE_UPSTREAM", "ws://127.0.0.1:9"), ("CROSSFADE_TUNING", tuning.as_str())];
    let (code, _, said) = super::process::ran(&["run"], &env).await;
    assert_eq!(code, Some(64));
    assert!(said.contains("CROSSFADE_TUNING") && said.contains("needs SUPABASE_KEY"), "{said}");
}

/// Run by `tests/groups/sql.sh`, which has applied the migrations to a PostgreSQL of its own: there the table counts.
#[tokio::test]
async fn on_a_real_database_the_table_counts_the_versions_itself() {
    let Ok(database) = std::env::var("CROSSFADE_TEST_DATABASE") else {
        println!("skip: CROSSFADE_TEST_DATABASE names no PostgreSQL with deploy/supabase/migrations applied");
        return;
    };
    let folder = Folder::new("real");
    let tuning = folder.path("tuning.toml");
    let emulator = Emulator::start_with(&[], &["--database", &database]);
    let address = emulator.url.split_once("://").unwrap().1.trim_end_matches('/').parse().unwrap();
    let env = [
        ("CROSSFADE_SERVICE", "counted"),
        ("CROSSFADE_TUNING", tuning.as_str()),
        // The database of the group has no publication supabase_realtime: changes are found by polling.
        ("CROSSFADE_FLAGS_POLL", "1s"),
    ];
    let running = Proxy::start("127.0.0.1:9".parse().unwrap(), Some(&emulator), &env);
    running.process.line(|line| line.contains("the table has no row for this service").then_some(()));
    let row = json!({ "service": "counted", "version": 77, "document": document(10) });
    say(address, &emulator.service_key, ("POST", ""), &row).await;
    running.until_value(PERCENT, 10.0).await;
    for percent in [20, 15] {
        let change = json!({ "document": document(percent) });
        say(address, &emulator.service_key, ("PATCH", "?service=eq.counted"), &change).await;
        running.until_value(PERCENT, f64::from(percent)).await;
    }
    let garbage = json!({ "document": { "schema": 1, "percent": 101 } });
    say(address, &emulator.service_key, ("PATCH", "?service=eq.counted"), &garbage).await;
    running.until_value(TOLD, 1.0).await;
    assert_eq!(running.value(PERCENT).await, 15.0);
    let rows = say(address, &emulator.service_key, ("GET", "?service=eq.counted"), &Value::Null).await;
    assert_eq!(rows[0]["version"], 4, "whatever a writer says");
}
