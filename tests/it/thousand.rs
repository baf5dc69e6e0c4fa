//! A thousand open sessions are moved to hot and back, twice, while both sides write. The oracle is outside: what the
//! service has written and what each client has read, number by number, and the same the other way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::admin::OPERATE;
use super::http::value_in;
use super::process::{Emulator, HANG, LOOK, Proxy, now, until};
use super::raw;
use super::stage::{HOT, LEGACY, audit};

const SESSIONS: usize = 1_000;
/// Messages that may be under way at once: the load of a machine with two cores, whatever else it does.
const UNDER_WAY_MAX: u64 = 400;
/// Messages that pass on each lane before the next move.
const BETWEEN: u64 = 3_000;
/// Up messages for one message down: 1 in so many.
const UP_EVERY: u64 = 8;

/// What has been written and read in all, in one direction.
#[derive(Default)]
struct Flow {
    written: AtomicU64,
    read: AtomicU64,
}

#[derive(Default)]
struct Load {
    down: Flow,
    up: Flow,
    ends: AtomicBool,
}

fn text(number: u64) -> String {
    format!("{{\"event\":\"tick\",\"n\":{number}}}")
}

/// A whole text frame; masked with zeros where a client sends it.
fn frame(number: u64, masked: bool) -> Vec<u8> {
    let body = text(number);
    let mut frame = vec![0x81, u8::try_from(body.len()).unwrap() | if masked { 0x80 } else { 0 }];
    frame.extend(if masked { &[0; 4][..] } else { &[] });
    frame.extend(body.as_bytes());
    frame
}

/// Reads frames to the end of the stream. Each must be, byte for byte, the one that was written next; how many came.
async fn read_all(
    mut socket: OwnedReadHalf,
    masked: bool,
    flow: impl Fn(&Load) -> &Flow,
    load: Arc<Load>,
) -> u64 {
    let (mut held, mut next) = (Vec::new(), 0);
    let mut window = [0; 4096];
    while let Ok(got @ 1..) = socket.read(&mut window).await {
        held.extend_from_slice(&window[..got]);
        loop {
            let wanted = frame(next, masked);
            if held.len() < wanted.len() {
                assert!(wanted.starts_with(&held), "message {next}: {:?}", String::from_utf8_lossy(&held));
                break;
            }
            let came: Vec<u8> = held.drain(..wanted.len()).collect();
            assert_eq!(came, wanted, "message {next}: {:?}", String::from_utf8_lossy(&came));
            next += 1;
            flow(&load).read.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert!(held.is_empty(), "a torn message at the end: {held:?}");
    next
}

/// The writing ends of a session: the service's and the client's, and what each has written.
struct Ends {
    service: OwnedWriteHalf,
    client: OwnedWriteHalf,
    down: u64,
    up: u64,
}

struct Crowd {
    load: Arc<Load>,
    writer: JoinHandle<Vec<Ends>>,
    readers: Vec<(JoinHandle<u64>, JoinHandle<u64>)>,
}

async fn session(proxy: SocketAddr, service: &TcpListener, number: usize) -> (TcpStream, TcpStream) {
    let mut client = raw::ask(proxy, &format!("X-User-Id: user-{number}\r\n")).await;
    let (upstream, _) = raw::upgraded(service, "").await;
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    (client, upstream)
}

impl Crowd {
    async fn open(proxy: SocketAddr, service: &TcpListener) -> Self {
        let load = Arc::<Load>::default();
        let (mut ends, mut readers) = (Vec::new(), Vec::new());
        for number in 0..SESSIONS {
            let (client, upstream) = session(proxy, service, number).await;
            let ((hears, says), (reads, writes)) = (client.into_split(), upstream.into_split());
            readers.push((
                tokio::spawn(read_all(hears, false, |load| &load.down, Arc::clone(&load))),
                tokio::spawn(read_all(reads, true, |load| &load.up, Arc::clone(&load))),
            ));
            ends.push(Ends { service: writes, client: says, down: 0, up: 0 });
        }
        let writer = tokio::spawn(write_all(ends, Arc::clone(&load)));
        Self { load, writer, readers }
    }

    /// Waits until so many messages more than now have come down.
    async fn passes(&self, messages: u64) {
        let read = || self.load.down.read.load(Ordering::Relaxed);
        let goal = read() + messages;
        until("messages pass", async || {
            assert!(!self.writer.is_finished(), "the writer has failed");
            (read() >= goal).then_some(())
        })
        .await;
    }

    /// Ends the load, closes every session, and compares what each reader has read with what was written to it.
    async fn close(self) -> (u64, u64) {
        self.load.ends.store(true, Ordering::Relaxed);
        let ends = tokio::time::timeout(HANG, self.writer).await.unwrap().unwrap();
        let mut sums = (0, 0);
        for (mut ends, (client, service)) in ends.into_iter().zip(self.readers) {
            ends.client.shutdown().await.unwrap();
            ends.service.shutdown().await.unwrap();
            let heard = tokio::time::timeout(HANG, client).await.unwrap().unwrap();
            let read = tokio::time::timeout(HANG, service).await.unwrap().unwrap();
            assert_eq!((heard, read), (ends.down, ends.up), "all that was written, and nothing else");
            sums = (sums.0 + ends.down, sums.1 + ends.up);
        }
        sums
    }
}

/// Writes to one session after the other for as long as the test lasts, and never more than may be under way.
async fn write_all(mut ends: Vec<Ends>, load: Arc<Load>) -> Vec<Ends> {
    let under_way = |flow: &Flow| flow.written.load(Ordering::Relaxed) - flow.read.load(Ordering::Relaxed);
    let mut turn = 0;
    while !load.ends.load(Ordering::Relaxed) {
        for session in &mut ends {
            let began = now();
            while under_way(&load.down) + under_way(&load.up) >= UNDER_WAY_MAX {
                assert!(began.elapsed() < HANG, "nothing that is under way arrives");
                tokio::time::sleep(LOOK).await;
            }
            load.down.written.fetch_add(1, Ordering::Relaxed);
            session.service.write_all(&frame(session.down, false)).await.unwrap();
            session.down += 1;
            turn += 1;
            if turn % UP_EVERY == 0 {
                load.up.written.fetch_add(1, Ordering::Relaxed);
                session.client.write_all(&frame(session.up, true)).await.unwrap();
                session.up += 1;
            }
        }
    }
    ends
}

async fn share(proxy: &Proxy, percent: u32) {
    let asked = json!({"percent": percent, "confirm": percent.to_string(), "reason": "to and fro"});
    let (status, done) = proxy.change(("PUT", "/api/v1/rollout"), &[("If-Match", "*")], asked).await;
    assert_eq!(status, 200, "{done}");
}

#[tokio::test]
async fn a_thousand_open_sessions_go_to_hot_and_back_twice_and_no_message_is_lost_or_doubled() {
    let emulator = Emulator::start(&[]);
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let env = [("CROSSFADE_BREAKER", "forced_closed"), OPERATE];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let crowd = Crowd::open(proxy.clients, &service).await;
    let all = SESSIONS as f64;
    proxy.until_value(LEGACY, all).await;
    crowd.passes(BETWEEN).await;
    let mut via_realtime = 0.0;
    for round in 0..2 {
        share(&proxy, 100).await;
        proxy.until_value(HOT, all).await;
        // Everybody is where the rollout wants him.
        proxy.until_value("crossfade_rollout_adoption_ratio{lane=\"hot\"}", 1.0).await;
        crowd.passes(BETWEEN).await;
        let fed = proxy.value("crossfade_hot_messages_total{how=\"via_realtime\"}").await;
        assert!(fed > via_realtime, "round {round}: Realtime has fed nobody");
        via_realtime = fed;
        share(&proxy, 0).await;
        proxy.until_value(LEGACY, all).await;
        crowd.passes(BETWEEN).await;
    }
    let (down, up) = crowd.close().await;
    audit(&proxy).await;
    let scrape = proxy.scrape().await;
    let moved = value_in(&scrape, "crossfade_moves_to_hot_total");
    assert!(moved >= 2.0 * all, "{scrape}");
    let waits: BTreeMap<_, _> = ["hot", "legacy"]
        .map(|to| (to, value_in(&scrape, &format!("crossfade_rollout_moving_sessions{{to=\"{to}\"}}"))))
        .into();
    assert!(waits.values().all(|waiting| *waiting == 0.0), "{waits:?}");
    println!("{down} messages down and {up} up, {via_realtime} of them by Realtime; {moved} moves");
}
