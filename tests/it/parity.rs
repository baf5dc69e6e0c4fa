//! Authorization parity as a process: users with tokens of their own, policies in the emulator, and a service that
//! sends as it likes. What the process calls over and under is held against what the test made so.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossfade::emulator::{Claims, Secret};
use crossfade::rollout::{KeyHasher, UserKey};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::http::value_in;
use super::process::{Emulator, LOOK, Proxy, until};
use super::raw;
use super::stage::audit;

const SECRET: &str = "only for the tests of parity";
const TOPIC: &str = "room:7";
const RULES: &str = "[[rule]]\nevent = \"alert\"\nclass = \"critical\"\nshared = true\ntopic = \"room:7\"\n";
/// Members may read, guests may not.
const POLICIES: &str = "member:room:*:r\n";
const TUNING: &str =
    "[parity]\ntoken = \"header:authorization\"\nusers = 20\nprobes_per_minute = 300\nwindow = 2\n";
const HASH_SECRET: &str = "names in samples";
const LATER: i64 = 4_000_000_000;
const LONG_AGO: i64 = 1_000_000_000;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str, tuning: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-parity-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        for (file, text) in [("rules.toml", RULES), ("policies", POLICIES), ("tuning.toml", tuning)] {
            std::fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn token(role: &str, exp: i64) -> String {
    Secret::new(SECRET).mint(&Claims::of(role, exp))
}

/// A user: both ends of his session, and whether the service sends him what it sends to the room.
struct User {
    _client: TcpStream,
    service: TcpStream,
    receives: bool,
}

struct Scene {
    emulator: Emulator,
    proxy: Proxy,
    service: TcpListener,
    dir: Dir,
}

impl Scene {
    async fn open(name: &str, tuning: &str) -> Self {
        let dir = Dir::new(name, tuning);
        let policies = dir.file("policies");
        let emulator = Emulator::start_with(&[], &["--policy-file", &policies, "--jwt-secret", SECRET]);
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (rules, tuning, state) =
            (format!("@{}", dir.file("rules.toml")), dir.file("tuning.toml"), dir.file("state"));
        let env = [
            ("SUPABASE_ANON_KEY", emulator.anon_key.as_str()),
            ("CROSSFADE_BREAKER", "forced_closed"),
            ("CROSSFADE_CLASSIFY", &rules),
            ("CROSSFADE_MIRROR_FORMAT", "both"),
            ("CROSSFADE_TUNING", &tuning),
            ("CROSSFADE_STATE_DIR", &state),
            ("CROSSFADE_KEY_HASH_SECRET", HASH_SECRET),
            ("CROSSFADE_DRAIN_GRACE", "5s"),
            ("CROSSFADE_DRAIN_SETTLE", "1s"),
        ];
        let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
        proxy.until_ready(200).await;
        proxy.until_value("crossfade_realtime_connected", 1.0).await;
        Self { emulator, proxy, service, dir }
    }

    async fn user(&self, name: &str, token: Option<&str>, receives: bool) -> User {
        let authorization =
            token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let mut client = raw::ask(self.proxy.clients, &format!("X-User-Id: {name}\r\n{authorization}")).await;
        let (service, _) = raw::upgraded(&self.service, "").await;
        assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
        User { _client: client, service, receives }
    }
}

/// The service at work: everybody hears something all the time, and some hear what is said in the room.
struct Talk {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<User>>,
}

impl Talk {
    fn start(mut users: Vec<User>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut number = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                for user in &mut users {
                    write(&mut user.service, "other", number).await;
                    if user.receives {
                        write(&mut user.service, "alert", number).await;
                    }
                }
                number += 1;
                tokio::time::sleep(LOOK * 5).await;
            }
            users
        });
        Self { stop, task }
    }

    async fn end(self) -> Vec<User> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn write(socket: &mut TcpStream, event: &str, number: u64) {
    let body = format!("{{\"event\":\"{event}\",\"n\":{number}}}");
    let mut frame = vec![0x81, u8::try_from(body.len()).unwrap()];
    frame.extend(body.as_bytes());
    socket.write_all(&frame).await.unwrap();
}

fn checks(scrape: &str, verdict: &str) -> f64 {
    value_in(scrape, &format!("crossfade_parity_checks_total{{verdict=\"{verdict}\"}}"))
}

fn unknown(scrape: &str, reason: &str) -> f64 {
    value_in(scrape, &format!("crossfade_parity_unknown_total{{reason=\"{reason}\"}}"))
}

const WATCHED: &str = "crossfade_parity_watched_sessions";

#[tokio::test]
async fn each_user_is_called_what_he_is() {
    let scene = Scene::open("verdicts", TUNING).await;
    let (member, guest, expired) = (token("member", LATER), token("guest", LATER), token("member", LONG_AGO));
    let users = vec![
        scene.user("right", Some(&member), true).await,
        scene.user("over-1", Some(&member), false).await,
        scene.user("over-2", Some(&member), false).await,
        scene.user("under", Some(&guest), true).await,
        scene.user("outside", Some(&guest), false).await,
        scene.user("expired", Some(&expired), true).await,
        scene.user("no-token", None, true).await,
    ];
    scene.proxy.until_value(WATCHED, 6.0).await;
    let talk = Talk::start(users);
    let scrape = until("everybody was asked about", async || {
        let scrape = scene.proxy.scrape().await;
        let judged = ["agree", "over", "under"].iter().all(|verdict| checks(&scrape, verdict) >= 1.0);
        (judged && unknown(&scrape, "expired") >= 1.0).then_some(scrape)
    })
    .await;
    let strangers: f64 =
        ["token", "role", "quota", "gone", "topic"].iter().map(|why| unknown(&scrape, why)).sum();
    assert_eq!(strangers, 0.0, "{scrape}");
    let users = talk.end().await;
    let Scene { mut proxy, dir, .. } = scene;
    audit(&proxy).await;
    proxy.process.signal("TERM");
    proxy.process.ended().await;
    drop(users);
    let output = proxy.process.output();
    assert!(
        [&member, &guest, &expired].iter().all(|token| !output.contains(token.as_str())),
        "a token shows"
    );

    // Who was called what is in the reports.
    let step = std::fs::read_dir(dir.0.join("state/reports")).unwrap().map(|one| one.unwrap().path());
    let step = step.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let mut step = step.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("step-"));
    let text = std::fs::read_to_string(step.next().unwrap()).unwrap();
    assert!(!text.contains("eyJ"), "a token shows: {text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let samples = report["parity"]["samples"].as_array().unwrap();
    let hasher = KeyHasher::new(HASH_SECRET.as_bytes());
    let hash = |name: &str| hasher.hash(&UserKey::new(name.as_bytes())).to_string();
    let of = |verdict: &str| -> BTreeSet<String> {
        let found = samples.iter().filter(|one| one["verdict"] == verdict);
        let found = found.inspect(|one| assert_eq!(one["topic"], TOPIC));
        found.map(|one| one["who"].as_str().unwrap().to_owned()).collect()
    };
    let (over, under) = (of("over"), of("under"));
    assert!(over.is_subset(&BTreeSet::from([hash("over-1"), hash("over-2")])) && !over.is_empty(), "{text}");
    assert_eq!(under, BTreeSet::from([hash("under")]), "{text}");
    assert_eq!(samples.len(), over.len() + 1, "each once: {text}");
}

#[tokio::test]
async fn a_realtime_that_does_not_answer_is_no_verdict_and_harms_nobody() {
    let scene = Scene::open("stuck", TUNING).await;
    let member = token("member", LATER);
    let users = vec![scene.user("a", Some(&member), true).await, scene.user("b", Some(&member), true).await];
    let talk = Talk::start(users);
    until("somebody was asked about", async || {
        (checks(&scene.proxy.scrape().await, "agree") >= 1.0).then_some(())
    })
    .await;
    scene.emulator.process.signal("STOP");
    let before = scene.proxy.value("crossfade_messages_total{direction=\"down\"}").await;
    let scrape = until("a question without an answer", async || {
        let scrape = scene.proxy.scrape().await;
        (unknown(&scrape, "link") >= 1.0).then_some(scrape)
    })
    .await;
    assert_eq!(checks(&scrape, "over") + checks(&scrape, "under"), 0.0, "{scrape}");
    assert!(value_in(&scrape, "crossfade_messages_total{direction=\"down\"}") > before, "{scrape}");
    scene.emulator.process.signal("CONT");
    let users = talk.end().await;
    assert_eq!(scene.proxy.value("crossfade_sessions{lane=\"legacy\"}").await, 2.0);
    drop(users);
    scene.proxy.until_value(WATCHED, 0.0).await;
}

/// The names of the threads of a process.
fn threads(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

#[tokio::test]
async fn nothing_is_taken_where_nobody_asked_for_it() {
    let scene = Scene::open("off", "").await;
    let member = token("member", LATER);
    let users = vec![scene.user("a", Some(&member), true).await];
    let talk = Talk::start(users);
    let confirmed = "crossfade_mirror_messages_total{state=\"confirmed\"}";
    until(confirmed, async || (scene.proxy.value(confirmed).await >= 10.0).then_some(())).await;
    let scrape = scene.proxy.scrape().await;
    assert!(!scrape.lines().any(|line| line.starts_with("crossfade_parity_")), "{scrape}");
    let threads = threads(scene.proxy.process.id());
    assert!(
        threads.iter().any(|name| name == "side") && !threads.iter().any(|name| name == "parity"),
        "{threads:?}"
    );
    talk.end().await;
}
