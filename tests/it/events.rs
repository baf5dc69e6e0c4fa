//! The `events` format as a process: shared messages reach a consumer that knows nothing of envelopes, each once,
//! and none of them late. The consumer notes what it hears; the service's own count says what there was to hear.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade::emulator::{Claims, Config, Handle, Secret, serve};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::http::value_in;
use super::process::{Proxy, now, until};
use super::raw;
use super::stage::audit;
use super::subscriber::subscribe;

const SECRET: &str = "only for the tests of events";
const TOPIC: &str = "alerts:all";
const RULES: &str = "[[rule]]\nevent = \"alert\"\nclass = \"critical\"\nshared = true\ntopic = \"alerts:all\"\n\
    [[rule]]\nevent = \"fire\"\nshared = true\ntopic = \"alerts:all\"\nid = \"/n\"\n";

struct Rules(PathBuf);

impl Rules {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-events-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, RULES).unwrap();
        Self(path)
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

type Heard = Arc<Mutex<Vec<Value>>>;

struct Realtime {
    handle: Handle,
    run: JoinHandle<()>,
}

impl Realtime {
    /// Comes up, and the consumer with it.
    async fn start(at: SocketAddr, heard: &Heard) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let mut config = Config::new(Secret::new(SECRET));
        config.limits.events_per_second = 1_000_000;
        config.limits.joins_per_second = 100_000;
        let (handle, run) = serve(listener, config, 1).unwrap();
        let run = tokio::spawn(run);
        let heard = Arc::clone(heard);
        let note = move |said: &Value| heard.lock().unwrap().push(said.clone());
        subscribe(at, &key(), TOPIC, note).await;
        Self { handle, run }
    }

    async fn stop(self) {
        self.handle.stop();
        self.run.await.unwrap();
    }
}

fn key() -> String {
    Secret::new(SECRET).mint(&Claims::of("service_role", 4_000_000_000))
}

/// The service writes one message.
async fn write(socket: &mut TcpStream, event: &str, number: u64) {
    let body = format!("{{\"event\":\"{event}\",\"n\":{number}}}");
    let mut frame = vec![0x81, u8::try_from(body.len()).unwrap()];
    frame.extend(body.as_bytes());
    socket.write_all(&frame).await.unwrap();
}

fn numbers(heard: &Heard) -> Vec<u64> {
    heard.lock().unwrap().iter().map(|said| said["payload"]["n"].as_u64().unwrap()).collect()
}

/// The outcomes of events, by name.
fn outcome(scrape: &str, name: &str) -> f64 {
    value_in(scrape, &format!("crossfade_events_total{{outcome=\"{name}\"}}"))
}

const OUTCOMES: [&str; 8] =
    ["accepted", "stale", "diverted", "repeated", "full", "clash", "refused", "abandoned"];

/// Waits until every one of so many events has ended one way.
async fn settled(proxy: &Proxy, events: u64) -> String {
    until("every event has ended", async || {
        let scrape = proxy.scrape().await;
        let ended: f64 = OUTCOMES.iter().map(|name| outcome(&scrape, name)).sum();
        assert!(ended <= events as f64, "more events than messages: {scrape}");
        (ended == events as f64 && value_in(&scrape, "crossfade_events_waiting_bytes") == 0.0)
            .then_some(scrape)
    })
    .await
}

async fn start(service: &TcpListener, realtime: SocketAddr, rules: &Rules, age: &str) -> Proxy {
    let (url, key) = (format!("http://{realtime}"), key());
    let classify = format!("@{}", rules.0.display());
    let env = [
        ("SUPABASE_URL", url.as_str()),
        ("SUPABASE_KEY", key.as_str()),
        ("CROSSFADE_PLAN", "custom:1000000"),
        ("CROSSFADE_BREAKER", "forced_closed"),
        ("CROSSFADE_CLASSIFY", classify.as_str()),
        ("CROSSFADE_MIRROR_FORMAT", "both"),
        ("CROSSFADE_EVENTS_MAX_AGE", age),
    ];
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &env);
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    proxy
}

async fn places() -> (TcpListener, SocketAddr) {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realtime = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    (service, realtime)
}

#[tokio::test]
async fn a_consumer_hears_each_shared_message_once_whoever_received_it() {
    let ((service, at), heard, rules) = (places().await, Heard::default(), Rules::new("once"));
    let realtime = Realtime::start(at, &heard).await;
    let proxy = start(&service, at, &rules, "1h").await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(raw::session(proxy.clients, &service).await);
    }
    for number in 0..100 {
        // The same bytes to everybody is one event; what no rule names is none.
        for (_, service) in &mut sessions {
            write(service, "alert", number).await;
            write(service, "other", number).await;
        }
    }
    // An id of its own is what the consumer is given.
    write(&mut sessions[0].1, "fire", 700).await;
    until("everything is heard", async || (numbers(&heard).len() >= 101).then_some(())).await;
    let mut found = numbers(&heard);
    found.sort_unstable();
    assert_eq!(found, (0..100).chain([700]).collect::<Vec<_>>(), "each once");
    let mut ids = std::collections::BTreeSet::new();
    for said in heard.lock().unwrap().iter() {
        let about = &said["payload"]["_crossfade"];
        assert!(ids.insert(about["id"].as_str().unwrap().to_owned()), "an id stands for one event");
        assert_eq!(said["event"], said["payload"]["event"], "it is called what the message says");
        assert!(about["v"] == 1 && about["src"].as_str().unwrap().starts_with("test-0-"), "{about}");
    }
    assert!(ids.contains("700"));
    let scrape = proxy.scrape().await;
    assert_eq!(outcome(&scrape, "accepted"), 101.0, "{scrape}");
    drop(sessions);
    // The envelopes have all of it besides.
    proxy.until_value("crossfade_mirror_messages_total{state=\"confirmed\"}", 601.0).await;
    audit(&proxy).await;
    realtime.stop().await;
}

#[tokio::test]
async fn after_an_outage_no_consumer_hears_the_past() {
    const AGE: Duration = Duration::from_secs(1);
    let ((service, at), heard, rules) = (places().await, Heard::default(), Rules::new("outage"));
    let realtime = Realtime::start(at, &heard).await;
    let proxy = start(&service, at, &rules, "1s").await;
    let (_client, mut socket) = raw::session(proxy.clients, &service).await;
    write(&mut socket, "alert", 1).await;
    until("it is heard", async || (numbers(&heard) == [1]).then_some(())).await;

    realtime.stop().await;
    proxy.until_value("crossfade_realtime_connected", 0.0).await;
    for number in 100..200 {
        write(&mut socket, "alert", number).await;
    }
    let written = now();
    proxy.until_value("crossfade_mirror_messages_total{state=\"seen\"}", 101.0).await;
    until("it is the past", async || (written.elapsed() > AGE * 2).then_some(())).await;

    let realtime = Realtime::start(at, &heard).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    // The past has been dealt with before the present is spoken of.
    let scrape = settled(&proxy, 101).await;
    assert_eq!(outcome(&scrape, "accepted"), 1.0, "{scrape}");
    assert_eq!(outcome(&scrape, "stale"), 100.0, "{scrape}");
    let mut number = 1_000;
    until("the sink is awake again", async || {
        // Its back-off may last longer than an event: new ones are written until one comes through.
        number += 1;
        write(&mut socket, "alert", number).await;
        (numbers(&heard).len() > 1).then_some(())
    })
    .await;
    let late: Vec<u64> = numbers(&heard).into_iter().filter(|number| (100..200).contains(number)).collect();
    assert!(late.is_empty(), "events of the outage: {late:?}");
    // Their envelopes came all the same.
    let confirmed = "crossfade_mirror_messages_total{state=\"confirmed\"}";
    until(confirmed, async || (proxy.value(confirmed).await >= 101.0).then_some(())).await;
    audit(&proxy).await;
    realtime.stop().await;
}
