//! What cannot be published survives: a Realtime that is away, a process that is killed, a disk that fills up.
//!
//! The oracle is a subscriber of its own on the pod's topic: it notes which message came under which batch, and is
//! compared with what the service wrote. Metrics tell when to go on, and what crossfade claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossfade::emulator::{Claims, Config, Secret, serve};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::http::value_in;
use super::process::{Process, Proxy, Start, until};
use super::raw;
use super::subscriber::subscribe;

const SECRET: &str = "only for the spool's tests";

pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("crossfade-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn account(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.0.join("account.json")).ok()?).ok()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What the subscriber has seen, in the order of arrival: (number in the body, batch, marked as replay).
type Seen = Arc<Mutex<Vec<(u64, String, bool)>>>;

/// Everything around crossfade: a service's end, a place for Realtime that is empty at first, a directory.
pub(crate) struct World {
    pub(crate) service: TcpListener,
    realtime: SocketAddr,
    pub(crate) dir: Dir,
    seen: Seen,
    key: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            service: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            realtime: reserved.local_addr().unwrap(),
            dir: Dir::new(),
            seen: Seen::default(),
            key: Secret::new(SECRET).mint(&Claims::of("service_role", 4_000_000_000)),
        }
    }

    pub(crate) async fn start(&self, more: &[(&str, &str)]) -> Proxy {
        self.start_by(&|env| Process::start(&["run"], env), more).await
    }

    async fn start_by(&self, start: Start<'_>, more: &[(&str, &str)]) -> Proxy {
        let url = format!("http://{}", self.realtime);
        let dir = self.dir.0.to_str().unwrap();
        let mut env = vec![
            ("SUPABASE_URL", url.as_str()),
            ("SUPABASE_KEY", self.key.as_str()),
            ("CROSSFADE_SPOOL_DIR", dir),
            ("CROSSFADE_SERVICE", "spooled"),
            ("CROSSFADE_BREAKER", "forced_closed"),
            ("CROSSFADE_CLASSIFY", "event=alert:critical;event=tick:high"),
        ];
        env.extend(more);
        let proxy = Proxy::start_by(start, self.service.local_addr().unwrap(), None, &env);
        proxy.until_ready(200).await;
        proxy
    }

    /// Realtime comes (back), and the subscriber with it.
    pub(crate) async fn realtime(&self) {
        let listener = TcpListener::bind(self.realtime).await.unwrap();
        let mut config = Config::new(Secret::new(SECRET));
        config.limits.events_per_second = 1_000_000;
        config.limits.joins_per_second = 100_000;
        let (_, run) = serve(listener, config, 1).unwrap();
        tokio::spawn(run);
        for topic in ["crossfade:spooled:test-0", "crossfade:spooled:test-0:acked"] {
            let seen = Arc::clone(&self.seen);
            self.subscribe(topic, move |envelope| note(&seen, envelope)).await;
        }
    }

    /// Reads a topic of this Realtime.
    pub(crate) async fn subscribe(&self, topic: &str, mut note: impl FnMut(&Value) + Send + 'static) {
        subscribe(self.realtime, &self.key, topic, move |said| note(&said["payload"])).await;
    }

    pub(crate) fn numbers(&self) -> BTreeSet<u64> {
        self.seen.lock().unwrap().iter().map(|(number, ..)| *number).collect()
    }

    /// What came twice came under one name.
    pub(crate) fn one_name_each(&self) {
        let seen = self.seen.lock().unwrap();
        let mut batches: BTreeMap<u64, &str> = BTreeMap::new();
        for (number, batch, _) in seen.iter() {
            let first = batches.entry(*number).or_insert(batch);
            assert_eq!(first, batch, "{number} came under two names");
        }
    }

    /// Nothing twice but under the same batch, and first arrivals in the order of writing.
    fn audit(&self) {
        let seen = self.seen.lock().unwrap();
        let mut batches: BTreeMap<u64, &str> = BTreeMap::new();
        let mut last = 0;
        for (number, batch, _) in seen.iter() {
            match batches.insert(*number, batch) {
                Some(before) => assert_eq!(before, batch, "{number} came under two names"),
                None => {
                    assert!(*number > last, "{number} came after {last}");
                    last = *number;
                }
            }
        }
    }
}

fn note(seen: &Seen, envelope: &Value) {
    let batch = envelope["batch"].as_str().unwrap_or_default().to_owned();
    let replay = envelope["replay"] == true;
    for message in envelope["messages"].as_array().into_iter().flatten() {
        if message.get("part").is_some() {
            continue; // a piece is no document
        }
        let body: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        seen.lock().unwrap().push((body["n"].as_u64().unwrap(), batch.clone(), replay));
    }
}

/// The service writes one message; `event` gives its class.
pub(crate) async fn write(socket: &mut TcpStream, event: &str, number: u64) {
    let body = format!("{{\"event\":\"{event}\",\"n\":{number}}}");
    let mut frame = vec![0x81, u8::try_from(body.len()).unwrap()];
    frame.extend(body.as_bytes());
    socket.write_all(&frame).await.unwrap();
}

pub(crate) const SEEN: &str = "crossfade_mirror_messages_total{state=\"seen\"}";
pub(crate) const SPOOLED: &str = "crossfade_mirror_spooled";
pub(crate) const CONFIRMED: &str = "crossfade_mirror_messages_total{state=\"confirmed\"}";
pub(crate) const CRASHED: &str = "crossfade_mirror_shed_total{reason=\"crash\"}";

pub(crate) async fn at_least(proxy: &Proxy, series: &str, least: f64) -> f64 {
    until(series, async || Some(proxy.value(series).await).filter(|value| *value >= least)).await
}

pub(crate) async fn balanced(proxy: &Proxy) {
    proxy.until_value("crossfade_ledger_imbalance", 0.0).await;
    assert_eq!(proxy.value("crossfade_mirror_shed_total{reason=\"internal\"}").await, 0.0);
}

/// Kills it at once and waits for its end.
pub(crate) async fn kill(mut proxy: Proxy) {
    proxy.process.signal("KILL");
    proxy.process.ended().await;
}

#[tokio::test]
async fn a_kill_takes_nothing_along_that_the_disk_had_and_the_rest_is_declared() {
    for least in [1.0, 70.0, 200.0] {
        let world = World::new().await;
        let proxy = world.start(&[]).await;
        let (_client, mut service) = raw::session(proxy.clients, &world.service).await;
        let mut written = 0;
        while proxy.value(SPOOLED).await < least {
            for _ in 0..25 {
                written += 1;
                write(&mut service, "tick", written).await;
            }
        }
        // The account on disk knows all that was seen: what the kill takes along can be told exactly.
        proxy.until_value(SEEN, written as f64).await;
        until("the account is on disk", async || {
            (world.dir.account()?["seen"].as_u64()? >= written).then_some(())
        })
        .await;
        let spooled = proxy.value(SPOOLED).await;
        kill(proxy).await;

        world.realtime().await;
        let proxy = world.start(&[]).await;
        let inherited =
            at_least(&proxy, "crossfade_mirror_messages_total{state=\"inherited\"}", spooled).await;
        proxy.until_value(SPOOLED, 0.0).await;
        let (crashed, confirmed) = (proxy.value(CRASHED).await, proxy.value(CONFIRMED).await);
        assert!((inherited - crashed - confirmed).abs() < f64::EPSILON, "{inherited} {crashed} {confirmed}");
        balanced(&proxy).await;
        world.audit();
        let arrived = world.numbers();
        assert!(arrived.len() as f64 >= spooled, "{} arrived, {spooled} were spooled", arrived.len());
        let missing = written - arrived.len() as u64;
        assert!(missing as f64 <= crashed, "{missing} missing, {crashed} declared");
        assert!(world.seen.lock().unwrap().iter().all(|(_, _, replay)| *replay), "backlog says so");
        assert_eq!(proxy.value("crossfade_spool_bytes").await, 0.0, "files of settled records go");
    }
}

#[tokio::test]
async fn kills_during_the_catch_up_lose_nothing_and_keep_the_names() {
    let world = World::new().await;
    let proxy = world.start(&[]).await;
    let (_client, mut service) = raw::session(proxy.clients, &world.service).await;
    // Many small records, so that each kill meets a part of them.
    let all = 40 * 15;
    for number in 1..=all {
        write(&mut service, "tick", number).await;
        if number % 15 == 0 {
            at_least(&proxy, SPOOLED, number as f64).await;
        }
    }
    kill(proxy).await;
    world.realtime().await;
    let mut parts = 0;
    while parts < 3 {
        let proxy = world.start(&[]).await;
        let before = world.numbers().len();
        until("some of it arrives", async || (world.numbers().len() > before).then_some(())).await;
        kill(proxy).await;
        parts += 1;
    }
    assert!(world.numbers().len() < 600, "the kills came too late to prove anything");
    let proxy = world.start(&[]).await;
    until("all of it arrives", async || (world.numbers().len() == 600).then_some(())).await;
    proxy.until_value(SPOOLED, 0.0).await;
    balanced(&proxy).await;
    world.audit();
}

#[tokio::test]
async fn at_the_end_memory_goes_to_disk_and_the_next_process_publishes_it() {
    let world = World::new().await;
    let mut proxy = world.start(&[("CROSSFADE_DRAIN_SETTLE", "0s"), ("CROSSFADE_DRAIN_GRACE", "8s")]).await;
    let (client, mut service) = raw::session(proxy.clients, &world.service).await;
    for number in 1..=300 {
        write(&mut service, "tick", number).await;
    }
    proxy.until_value(SEEN, 300.0).await;
    drop((client, service));
    proxy.process.signal("TERM");
    assert_eq!(proxy.process.ended().await.code(), Some(0));
    let remains = proxy.process.line(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        event["message"]
            .as_str()?
            .contains("remains in the spool")
            .then(|| event["messages"].as_u64().unwrap())
    });
    let account = world.dir.account().unwrap();
    assert_eq!(
        (remains, account["closed"].as_bool(), account["spooled"].as_u64()),
        (300, Some(true), Some(300))
    );
    world.realtime().await;
    let proxy = world.start(&[]).await;
    until("all of it arrives", async || (world.numbers().len() == 300).then_some(())).await;
    proxy.until_value(SPOOLED, 0.0).await;
    assert_eq!(proxy.value(CRASHED).await, 0.0);
    balanced(&proxy).await;
    world.audit();
}

#[tokio::test]
async fn what_is_critical_is_on_disk_before_it_is_proved() {
    let world = World::new().await;
    world.realtime().await;
    let proxy = world.start(&[("CROSSFADE_SPOOL_KEY", &"5a".repeat(32))]).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let (_client, mut service) = raw::session(proxy.clients, &world.service).await;
    for number in 1..=50 {
        write(&mut service, "alert", number).await;
    }
    at_least(&proxy, CONFIRMED, 50.0).await;
    assert!(proxy.value("crossfade_spool_syncs_total").await > 0.0, "nothing was appended");
    until("the copies are settled", async || {
        (proxy.value("crossfade_spool_messages{class=\"critical\"}").await == 0.0).then_some(())
    })
    .await;
    balanced(&proxy).await;
    world.audit();
    assert!(world.seen.lock().unwrap().iter().all(|(_, _, replay)| !replay), "live, not backlog");
}

#[tokio::test]
async fn without_a_usable_directory_it_runs_and_says_so() {
    let world = World::new().await;
    let file = world.dir.0.join("a file");
    std::fs::write(&file, "").unwrap();
    let proxy = world.start(&[("CROSSFADE_SPOOL_DIR", file.to_str().unwrap())]).await;
    proxy.until_value("crossfade_spool_state{state=\"broken\"}", 1.0).await;
    let (mut client, mut service) = raw::session(proxy.clients, &world.service).await;
    write(&mut service, "tick", 1).await;
    let mut two = [0; 2];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut two).await.unwrap();
    assert_eq!(two[0], 0x81, "the session does not care");
    let scrape = proxy.scrape().await;
    assert_eq!(value_in(&scrape, "crossfade_ledger_imbalance"), 0.0);
}

#[tokio::test]
async fn a_full_disk_costs_what_does_not_fit_and_nobody_waits() {
    let world = World::new().await;
    let start = |env: &[(&str, &str)]| Process::start_limited(32, &["run"], env);
    let proxy = world.start_by(&start, &[]).await;
    let (_client, mut service) = raw::session(proxy.clients, &world.service).await;
    let full = "crossfade_spool_state{state=\"full\"}";
    let mut written = 20;
    for number in 1..=written {
        write(&mut service, "tick", number).await;
    }
    at_least(&proxy, SPOOLED, 20.0).await; // from now on what is due goes to disk in small pieces
    while proxy.value(full).await < 1.0 {
        for _ in 0..20 {
            written += 1;
            write(&mut service, "tick", written).await;
        }
    }
    at_least(&proxy, "crossfade_mirror_shed_total{reason=\"spool_full\"}", 1.0).await;
    let spooled = at_least(&proxy, SPOOLED, 1.0).await;
    balanced(&proxy).await;
    kill(proxy).await;
    world.realtime().await;
    let proxy = world.start(&[]).await;
    at_least(&proxy, CONFIRMED, spooled).await;
    proxy.until_value(SPOOLED, 0.0).await;
    balanced(&proxy).await;
    world.audit();
}

/// Runs a command to its end: its exit code and what it wrote.
pub(crate) async fn command(args: &[&str], dir: &str) -> (Option<i32>, String) {
    let mut process = Process::start(args, &[("CROSSFADE_SPOOL_DIR", dir)]);
    let code = process.ended().await.code();
    // The streams are followed by threads of their own, which end a moment later.
    let mut last = String::new();
    until("the whole output", async || {
        let output = process.output();
        let whole = output == last && !output.is_empty();
        last = output;
        whole.then_some(())
    })
    .await;
    (code, process.output())
}

#[tokio::test]
async fn what_lies_there_can_be_listed_exported_and_played_again() {
    let world = World::new().await;
    let proxy = world.start(&[]).await;
    let (mut client, mut service) = raw::session(proxy.clients, &world.service).await;
    for number in 1..=20u8 {
        write(&mut service, "tick", number.into()).await;
        // A client's frame is masked; this mask changes nothing.
        let body = format!("say {number}");
        let mut frame = vec![0x81, 0x80 | u8::try_from(body.len()).unwrap(), 0, 0, 0, 0];
        frame.extend(body.as_bytes());
        client.write_all(&frame).await.unwrap();
    }
    proxy.until_value(SPOOLED, 40.0).await;
    let dir = world.dir.0.to_str().unwrap().to_owned();
    let (code, listed) = command(&["spool", "ls", "--json"], &dir).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let messages: u64 =
        listed["classes"].as_array().unwrap().iter().map(|row| row["messages"].as_u64().unwrap()).sum();
    assert_eq!((code, messages), (Some(0), 40));
    let (code, exported) = command(&["spool", "export"], &dir).await;
    assert_eq!((code, exported.lines().count()), (Some(0), 40));
    // Its lines are documents anyway: --json neither adds one nor takes one away.
    assert_eq!(command(&["spool", "export", "--json"], &dir).await, (Some(0), exported.clone()));
    assert!(exported.lines().all(|line| serde_json::from_str::<Value>(line).unwrap().is_object()));
    let file = world.dir.0.join("sessions.jsonl");
    std::fs::write(&file, exported).unwrap();

    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("ws://{}", target.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        let (socket, _) = target.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
        let mut heard = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            heard.extend(message.is_text().then(|| message.to_text().unwrap().to_owned()));
        }
        heard
    });
    let file = file.to_str().unwrap();
    let (code, said) = command(&["replay", file, "--to", &to, "--speed", "100"], &dir).await;
    assert!(code == Some(0) && said.contains("20 of 20 messages sent in 1 sessions"), "{code:?} {said}");
    let expected: Vec<String> = (1..=20).map(|number| format!("say {number}")).collect();
    assert_eq!(heard.await.unwrap(), expected);

    let (code, said) = command(&["replay", file, "--to", "ws://192.0.2.1:9"], &dir).await;
    assert!(code == Some(64) && said.contains("executes what users once did"), "{code:?} {said}");
}
