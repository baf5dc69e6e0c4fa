//! The `events` format as a process: shared messages reach a consumer that knows nothing of envelopes, each once,
//! and none of them late. The consumer notes what it hears; the service's own count says what there was to hear.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade::emulator::{Claims, Config, Fault, FaultKind, Handle, Policy, Secret, serve};
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
        Self::of(name, RULES)
    }

    fn of(name: &str, rules: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-events-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, rules).unwrap();
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
        Self::start_with(at, heard, &[]).await
    }

    /// The same, with these policies.
    async fn start_with(at: SocketAddr, heard: &Heard, policies: &[&str]) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let mut config = Config::new(Secret::new(SECRET));
        config.limits.events_per_second = 1_000_000;
        config.limits.joins_per_second = 100_000;
        config.policies = policies.iter().map(|policy| Policy::parse(policy).unwrap()).collect();
        let (handle, run) = serve(listener, config, 1).unwrap();
        let run = tokio::spawn(run);
        let heard = Arc::clone(heard);
        let note = move |said: &Value| heard.lock().unwrap().push(said.clone());
        subscribe(at, &key(), TOPIC, note).await;
        Self { handle, run }
    }

    /// The consumer, both links and the ear have asked for their topics, and have their answers.
    async fn has_heard_all(&self) {
        until("four joins are answered", async || {
            let stats = self.handle.stats();
            (stats.joined + stats.join_errors >= 4).then_some(())
        })
        .await;
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

const OUTCOMES: [&str; 11] = [
    "confirmed",
    "unconfirmed",
    "accepted",
    "stale",
    "diverted",
    "repeated",
    "full",
    "clash",
    "refused",
    "abandoned",
    "topic_stopped",
];

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
    start_as(&key(), service, realtime, (rules, age)).await
}

/// The same, with this key.
async fn start_as(
    key: &str,
    service: &TcpListener,
    realtime: SocketAddr,
    (rules, age): (&Rules, &str),
) -> Proxy {
    let url = format!("http://{realtime}");
    let classify = format!("@{}", rules.0.display());
    let env = [
        ("SUPABASE_URL", url.as_str()),
        ("SUPABASE_KEY", key),
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
    realtime.has_heard_all().await;
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
    // Two hundred copies are one event with others; what was heard was read back.
    until("all are read back", async || {
        let scrape = proxy.scrape().await;
        (outcome(&scrape, "confirmed") == 101.0).then_some(())
    })
    .await;
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
    // The first was taken; whether its read-back was faster than the outage is not ours to say.
    let taken: f64 = ["confirmed", "accepted", "unconfirmed"].iter().map(|name| outcome(&scrape, name)).sum();
    assert_eq!((taken, outcome(&scrape, "stale")), (1.0, 100.0), "{scrape}");
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

/// A key of a role that the policies bind, as a project's own roles are bound.
fn bound_key() -> String {
    Secret::new(SECRET).mint(&Claims::of("authenticated", 4_000_000_000))
}

/// What becomes of events by a key whose role has these rights on their topic. The consumer is the witness.
async fn what_becomes_of_events(rights: &str, name: &str) -> (Vec<u64>, String) {
    const EVENTS: u64 = 10;
    let ((service, at), heard, rules) = (places().await, Heard::default(), Rules::new(name));
    let policies = ["authenticated:crossfade:*:rw".to_owned(), format!("authenticated:{TOPIC}:{rights}")];
    let policies: Vec<&str> = policies.iter().map(String::as_str).filter(|one| !one.ends_with(':')).collect();
    let realtime = Realtime::start_with(at, &heard, &policies).await;
    let proxy = start_as(&bound_key(), &service, at, (&rules, "4s")).await;
    realtime.has_heard_all().await;
    if rights.is_empty() {
        // Realtime takes its time to say no.
        let told = "cannot be read back";
        until(told, async || proxy.process.output().contains(told).then_some(())).await;
    }
    let (_client, mut socket) = raw::session(proxy.clients, &service).await;
    for number in 0..EVENTS {
        write(&mut socket, "alert", number).await;
    }
    let scrape = settled(&proxy, EVENTS).await;
    drop(socket);
    audit(&proxy).await;
    realtime.stop().await;
    let heard = numbers(&heard);
    (heard, scrape)
}

#[tokio::test]
async fn an_event_that_is_dropped_behind_a_202_is_unconfirmed() {
    let (heard, scrape) = what_becomes_of_events("r", "dropped").await;
    assert!(heard.is_empty(), "the consumer hears nothing: {heard:?}");
    assert_eq!(outcome(&scrape, "unconfirmed"), 10.0, "{scrape}");
}

#[tokio::test]
async fn with_both_rights_events_are_heard_and_confirmed() {
    let (mut heard, scrape) = what_becomes_of_events("rw", "allowed").await;
    heard.sort_unstable();
    heard.dedup(); // on a slow machine one may be repeated under its id
    assert_eq!(heard, (0..10).collect::<Vec<_>>());
    assert_eq!(outcome(&scrape, "confirmed"), 10.0, "{scrape}");
}

#[tokio::test]
async fn where_the_key_may_not_listen_nothing_is_called_delivered() {
    let (heard, scrape) = what_becomes_of_events("", "blind").await;
    assert!(heard.is_empty(), "{heard:?}");
    let told = outcome(&scrape, "confirmed") + outcome(&scrape, "accepted");
    assert_eq!(told, 0.0, "{scrape}");
}

/// A topic on which nothing arrives stops, and its neighbour goes on.
#[tokio::test]
async fn a_topic_whose_events_fail_stops_alone() {
    const BROKEN: u64 = 8;
    let more = "[[rule]]\nevent = \"broken\"\nshared = true\ntopic = \"alerts:broken\"\n";
    let rules = Rules::of("topics", &format!("{RULES}{more}"));
    let ((service, at), heard) = (places().await, Heard::default());
    let realtime = Realtime::start(at, &heard).await;
    realtime.handle.inject(Fault::new(FaultKind::Drop).on("alerts:broken"));
    let proxy = start(&service, at, &rules, "4s").await;
    realtime.has_heard_all().await;
    let (_client, mut socket) = raw::session(proxy.clients, &service).await;
    for number in 0..BROKEN {
        write(&mut socket, "broken", number).await;
    }
    proxy.until_value("crossfade_events_topics_stopped", 1.0).await;
    proxy.process.line(|line| line.contains("events of one topic fail").then_some(()));
    for number in 100..110 {
        write(&mut socket, "broken", number).await;
    }
    until("they are not sent", async || {
        let scrape = proxy.scrape().await;
        (outcome(&scrape, "topic_stopped") == 10.0).then_some(())
    })
    .await;
    for number in 200..210 {
        write(&mut socket, "alert", number).await;
    }
    until("the neighbour is heard", async || (numbers(&heard).len() >= 10).then_some(())).await;
    let scrape = settled(&proxy, BROKEN + 20).await;
    assert_eq!(value_in(&scrape, "crossfade_events_topic_stops_total"), 1.0, "{scrape}");
    assert_eq!(outcome(&scrape, "unconfirmed"), BROKEN as f64, "{scrape}");
    drop(socket);
    audit(&proxy).await;
    realtime.stop().await;
}
