//! What the breaker knew survives kill -9, and only ever makes the next process stricter. The tuning file on the way.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::admin::OPERATE;
use super::process::{Emulator, Proxy, ran, until};
use super::{raw, spool};

/// One connection that cannot be made for a second is a trip, and the first trip latches.
const HASTY: &str = "[breaker]\nconnect_failures = 2\nconnect_span = \"1s\"\nlatch_trips = 1\n\
     probes = 3\nprobe_interval = \"100ms\"\n";

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-remembered-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.join("breaker.json")
    }

    fn saved(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.file()).ok()?).ok()
    }

    /// Waits until the file says this.
    async fn says(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        until(what, async || self.saved().filter(|saved| holds(saved)).map(|_| ())).await;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct World {
    service: TcpListener,
    emulator: Emulator,
    folder: Folder,
    tuning: PathBuf,
}

impl World {
    async fn new(name: &str) -> Self {
        let (folder, emulator) = (Folder::new(name), Emulator::start(&[]));
        let tuning = folder.0.join("tuning.toml");
        std::fs::write(&tuning, HASTY).unwrap();
        Self { service: TcpListener::bind("127.0.0.1:0").await.unwrap(), emulator, folder, tuning }
    }

    async fn start(&self) -> Proxy {
        let env = [
            OPERATE,
            ("CROSSFADE_STATE_DIR", self.folder.text()),
            ("CROSSFADE_TUNING", self.tuning.to_str().unwrap()),
        ];
        let proxy = Proxy::start(self.service.local_addr().unwrap(), Some(&self.emulator), &env);
        proxy.until_ready(200).await;
        proxy
    }
}

async fn breaker(proxy: &Proxy) -> Value {
    proxy.shows("/api/v1/breaker").await
}

async fn until_state(proxy: &Proxy, state: &str) {
    until(state, async || (breaker(proxy).await["state"] == state).then_some(())).await;
}

#[tokio::test]
async fn a_latch_survives_a_kill_and_so_does_the_reset_of_a_person() {
    let world = World::new("latch").await;
    let proxy = world.start().await;
    until_state(&proxy, "closed").await;
    assert_eq!(breaker(&proxy).await["numbers"]["latch_trips"], "1", "the tuning file holds");
    world.emulator.process.signal("KILL");
    until_state(&proxy, "open").await;
    let shown = breaker(&proxy).await;
    assert_eq!(shown["latched"], true, "{shown}");
    let trigger = shown["trigger"].clone();
    world.folder.says("the latch is on disk", |saved| saved["open"]["latched"] == true).await;
    spool::kill(proxy).await;

    let proxy = world.start().await;
    let shown = breaker(&proxy).await;
    assert_eq!((&shown["state"], &shown["latched"]), (&json!("open"), &json!(true)), "{shown}");
    assert_eq!(proxy.value("crossfade_breaker_latched").await, 1.0);
    assert_eq!((&shown["trigger"], &shown["trips_24h"]), (&trigger, &json!(1)), "{shown}");
    let (status, _) = proxy.change(("POST", "/api/v1/breaker/reset"), &[], json!({})).await;
    assert_eq!(status, 200);
    world.folder.says("the reset is on disk", |saved| saved["open"].is_null()).await;
    spool::kill(proxy).await;

    let proxy = world.start().await;
    let shown = breaker(&proxy).await;
    assert_eq!((&shown["state"], &shown["latched"]), (&json!("half_open"), &json!(false)), "{shown}");
    assert_eq!(proxy.value("crossfade_breaker_latched").await, 0.0);
    assert_eq!(shown["trips_24h"], 0, "{shown}");
}

#[tokio::test]
async fn forced_open_survives_a_kill_until_a_person_takes_it_back() {
    let world = World::new("forced").await;
    let proxy = world.start().await;
    let mode = ("POST", "/api/v1/breaker");
    proxy.change(mode, &[], json!({"mode": "forced_open"})).await;
    world.folder.says("forced_open is on disk", |saved| saved["forced_open"] == true).await;
    spool::kill(proxy).await;
    let proxy = world.start().await;
    assert_eq!(breaker(&proxy).await["mode"], "forced_open");
    proxy.change(mode, &[], json!({"mode": "auto"})).await;
    until_state(&proxy, "closed").await;
    world.folder.says("it is taken back", |saved| saved["forced_open"] == false).await;
    spool::kill(proxy).await;
    let proxy = world.start().await;
    assert_eq!(breaker(&proxy).await["mode"], "auto");
    until_state(&proxy, "closed").await;
}

/// A named pipe that nobody writes: whoever opens it hangs.
fn pipe(at: &Path) {
    let made = std::process::Command::new("mkfifo").arg(at).status().unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn a_disk_that_hangs_or_lies_keeps_no_client_waiting_and_closes_nothing() {
    let world = World::new("hangs").await;
    pipe(&world.folder.file());
    let proxy = world.start().await;
    let (_client, _service) = raw::session(proxy.clients, &world.service).await;
    proxy.process.line(|line| line.contains("the saved state is not known").then_some(()));
    until_state(&proxy, "closed").await;
    spool::kill(proxy).await;
    for garbage in ["", "{\"version\":1}", "{\"version\":7,\"open\":null}", "null"] {
        std::fs::write(world.folder.file(), garbage).unwrap();
        let proxy = world.start().await;
        proxy.process.line(|line| line.contains("the breaker starts half-open").then_some(()));
        let (_client, _service) = raw::session(proxy.clients, &world.service).await;
        until_state(&proxy, "closed").await;
        spool::kill(proxy).await;
    }
}

#[tokio::test]
async fn a_wrong_tuning_file_is_refused_by_name_before_a_port_is_bound() {
    let folder = Folder::new("wrong");
    let tuning = folder.0.join("tuning.toml");
    std::fs::write(&tuning, "[breaker]\nerror_ratio = 0.9\nprobes = 0\ncooldown = \"1s\"\n").unwrap();
    let env = [("CROSSFADE_UPSTREAM", "ws://127.0.0.1:9"), ("CROSSFADE_TUNING", tuning.to_str().unwrap())];
    let (code, _, said) = ran(&["run"], &env).await;
    assert_eq!(code, Some(64), "{said}");
    for word in [
        "CROSSFADE_TUNING",
        "breaker.error_ratio is 0.9",
        "breaker.probes is 0",
        "CROSSFADE_BREAKER_COOLDOWN",
    ] {
        assert!(said.contains(word), "{word} is missing from: {said}");
    }
}
