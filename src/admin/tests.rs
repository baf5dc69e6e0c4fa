//! The listener over real sockets, and the exposition against its checked-in shape.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::TextEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::ledger::Ledger;

const HANG: Duration = Duration::from_secs(30);

fn full() -> Snapshot {
    let histogram = Histogram::default();
    histogram.observe(Duration::from_millis(120));
    Snapshot {
        sessions: vec![("legacy", 3), ("hot", 1), ("cold", 0), ("native", 0)],
        sessions_total: vec![("legacy", 30)],
        sessions_ended: vec![("client", 26)],
        upgrades: vec![("accepted", 30)],
        handshakes: vec![("full", 3)],
        tls_versions: vec![("1.3", 3)],
        upstream_handshakes: vec![("full", 3)],
        tls_reloads: vec![("applied", 1)],
        tls_expires: Some(1_900_000_000),
        faults: vec![("head_malformed", 3)],
        messages: vec![("up", 1), ("down", 2)],
        bytes: vec![("up", 10), ("down", 20)],
        hot_messages: vec![("via_realtime", 9)],
        hot_direct: vec![("control", 1)],
        moves_back: vec![("breaker", 1)],
        breaker_state: "open",
        breaker_trips: vec![("stall", 1)],
        table_rows: vec![("stored", 1)],
        events: EventReadings { outcomes: vec![("accepted", 1)], ..EventReadings::default() },
        table_requests: vec![("ok", 1)],
        spool: Some(SpoolReadings {
            state: "open",
            states: vec!["open"],
            messages: vec![("critical", 1)],
            ..SpoolReadings::default()
        }),
        readback: histogram.readings(),
        times: Times {
            overhead: Spread::of(&[0.1, 0.5], &[4, 2, 1], 3.5),
            backpressure: vec![("down", 1.5)],
            held: vec![("down", 1)],
            mirror: Some(MirrorTimes::default()),
            returned: Some(0.25),
            spool_limit: Some(1 << 30),
            ..Times::default()
        },
        realtime_connected: true,
        realtime_write_denied: true,
        rollout_percent: 12.5,
        rollout_live_percent: Some(12.0),
        tiers: Tiers {
            known: vec![("redis", 1.0)],
            age_seconds: vec![("redis", 2.5)],
            taken: vec![("redis", 3)],
            refused: vec![("redis", 1)],
            failed: vec![("redis", 2)],
            fleet_pods: Some(3.0),
            fleet_tripped: Some(0.0),
            plan_driver: Some(1.0),
            plan_step: Some(2.0),
            plan_running: Some(1.0),
            plan_gate: Some(0.0),
        },
        quota: Some(Quota { messages: vec![("send", 5)], month_cost: Some(2.5), ..Quota::default() }),
        ..rooms()
    }
    .with_account(&Ledger::new().account())
}

/// The part of it that has readings of its own.
fn rooms() -> Snapshot {
    Snapshot {
        otlp_spans: vec![("exported", 5), ("dropped", 1), ("rejected", 0)],
        cold: Some(ColdReadings {
            upgrades: vec![("served", 1)],
            endings: vec![("client", 1)],
            resumes: vec![("fresh", 1)],
            messages: vec![("down", 1)],
            ..ColdReadings::default()
        }),
        matching: Some(MatchReadings {
            kinds: vec![("matched", 1)],
            not_compared: vec![("replay", 1)],
            ratio: Some(1.0),
            coverage: Some(1.0),
            verdicts: vec!["match"],
            verdict: "match",
            self_tests: vec![("passed", 1)],
            parity: Some(ParityReadings {
                checks: vec![("agree", 1), ("over", 2), ("under", 3), ("unknown", 4)],
                unknown: vec![("expired", 4)],
                pairs: vec![("listed", 9)],
                watched: 5,
                last_check_seconds: Some(1.5),
            }),
            ..MatchReadings::default()
        }),
        notices: vec![("delivered", 1)],
        trips: TripReadings {
            drills: vec![("passed", 2)],
            age_seconds: Some(60.0),
            took_seconds: vec![("to_legacy", 0.02)],
            latched: Some(true),
            ..TripReadings::default()
        },
        rollout: super::RolloutReadings {
            wanted: vec![("hot", 4.0)],
            adoption: vec![("hot", 0.5)],
            moving: vec![("hot", 2.0)],
            offers: vec![("present", 1)],
            exposures: vec![("written", 1)],
        },
        ..Snapshot::default()
    }
}

fn gate() -> Gate {
    Gate(Arc::new(|| serde_json::json!({ "pass": false, "fail": false, "gates": [] })))
}

fn text(snapshot: fn() -> Snapshot) -> String {
    TextEncoder::new().encode_to_string(&registry(snapshot).unwrap().gather()).unwrap()
}

/// Name, labels and value of each sample; panics where the text is not in the format.
fn samples(text: &str) -> Vec<(String, f64)> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let (series, value) = row.rsplit_once(' ').unwrap();
        assert!(series.starts_with("crossfade_") || series.starts_with("process_"), "{row}");
        (series.to_owned(), value.parse().unwrap())
    })
    .collect()
}

fn value(text: &str, series: &str) -> f64 {
    let found = samples(text).into_iter().find(|(name, _)| name == series);
    found.unwrap_or_else(|| panic!("{series} in\n{text}")).1
}

#[test]
fn a_snapshot_becomes_prometheus_text() {
    let text = text(full);
    assert_eq!(value(&text, "crossfade_sessions{lane=\"legacy\"}"), 3.0);
    assert_eq!(value(&text, "crossfade_breaker_state{state=\"open\"}"), 1.0);
    assert_eq!(value(&text, "crossfade_breaker_state{state=\"closed\"}"), 0.0);
    assert_eq!(value(&text, "crossfade_readback_seconds_bucket{le=\"0.1\"}"), 0.0);
    assert_eq!(value(&text, "crossfade_readback_seconds_bucket{le=\"0.15\"}"), 1.0);
    assert_eq!(value(&text, "crossfade_readback_seconds_bucket{le=\"+Inf\"}"), 1.0);
    for (le, below) in [("0.1", 4.0), ("0.5", 6.0), ("+Inf", 7.0)] {
        assert_eq!(value(&text, &format!("crossfade_overhead_seconds_bucket{{le=\"{le}\"}}")), below);
    }
    assert_eq!(value(&text, "crossfade_overhead_seconds_count"), 7.0);
    assert_eq!(
        value(&text, "crossfade_mirror_shed_total{reason=\"internal\"}"),
        0.0,
        "a zero that alerts can watch"
    );
    assert_eq!(value(&text, "crossfade_rollout_percent"), 12.5);
    assert!(value(&text, "process_resident_memory_bytes") > 0.0);
    assert!(value(&text, "process_open_fds") > 0.0);
}

#[test]
fn names_types_and_labels_are_the_checked_in_ones() {
    let mut shape = BTreeSet::new();
    for family in registry(full).unwrap().gather() {
        let metric = family.get_metric().first().unwrap();
        let labels: Vec<&str> = metric.get_label().iter().map(|pair| pair.name()).collect();
        shape.insert(format!("{} {:?} {{{}}}", family.name(), family.get_field_type(), labels.join(",")));
    }
    let shape: Vec<String> = shape.into_iter().collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/metrics.txt");
    let actual = shape.join("\n") + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(path).unwrap());
}

#[test]
fn series_stay_below_the_limit_whatever_the_rooms_do() {
    fn flood() -> Snapshot {
        let many: Vec<(&'static str, u64)> =
            (0..100).map(|n| (&*Box::leak(format!("l{n}").into_boxed_str()), n)).collect();
        let mut snapshot = full();
        snapshot.sessions = many.clone();
        snapshot.sessions_total = many.clone();
        snapshot.upgrades = many.clone();
        snapshot.messages = many.clone();
        snapshot.bytes = many.clone();
        snapshot.mirror_messages = many.clone();
        snapshot.mirror_shed = many.clone();
        snapshot.breaker_trips = many;
        snapshot
    }
    let text = text(flood);
    let series = samples(&text);
    assert!(series.len() <= SERIES_MAX, "{}", series.len());
    let unique: BTreeSet<&String> = series.iter().map(|(name, _)| name).collect();
    assert_eq!(unique.len(), series.len(), "no series twice");
    assert_eq!(value(&text, "crossfade_metric_label_overflow"), (8 * (100 - LABELS_MAX)) as f64);
    assert_eq!(value(&self::text(full), "crossfade_metric_label_overflow"), 0.0);
}

async fn ask(address: std::net::SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: anything.example\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(HANG, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn the_listener_answers_scrapes_and_probes_until_it_is_stopped() {
    let draining = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&draining);
    let ready = move || if seen.load(Ordering::Relaxed) { Status::Failing("draining") } else { Status::Ok };
    let health = Health { live: Arc::new(|| Status::Ok), ready: Arc::new(ready) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(
        listener,
        Ops { registry: registry(full).unwrap(), health, gate: gate() }.router(),
        async {
            drop(stopped.await);
        },
    ));

    let metrics = ask(address, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("\ncrossfade_sessions{lane=\"hot\"} 1\n"), "{metrics}");
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200 OK"));
    assert!(ask(address, "/admin").await.starts_with("HTTP/1.1 404"));

    draining.store(true, Ordering::Relaxed);
    let refused = ask(address, "/readyz").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.ends_with("\r\n\r\ndraining\n"), "{refused}");
    assert!(
        ask(address, "/healthz").await.starts_with("HTTP/1.1 200 OK"),
        "draining is no reason to restart"
    );

    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /metrics HT").await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(HANG, server).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(HANG, idle.read_to_end(&mut rest)).await.unwrap();
    assert!(end.is_err() || rest.is_empty(), "a half request does not hold the process");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_listener_lives() {
    let health = Health { live: Arc::new(|| Status::Ok), ready: Arc::new(|| Status::Ok) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ops = Ops { registry: registry(full).unwrap(), health, gate: gate() };
    let server = tokio::spawn(serve(listener, ops.router(), std::future::pending()));

    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut first = [0_u8; 12];
        tokio::time::timeout(HANG, socket.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(socket);
    }
    let mut extra = TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    let end = tokio::time::timeout(HANG, extra.read_to_end(&mut nothing)).await.unwrap();
    assert!(end.is_err() || nothing.is_empty(), "one more is closed unanswered");

    drop(held);
    let answered = async {
        loop {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let mut answer = String::new();
            let sent =
                socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            if sent.is_ok() && socket.read_to_string(&mut answer).await.is_ok() && answer.contains("200 OK") {
                return;
            }
        }
    };
    tokio::time::timeout(HANG, answered).await.unwrap();
    server.abort();
}
