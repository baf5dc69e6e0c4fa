//! Load that means harm, on the real process with mirror and hot lane on: broken clients in front, a broken service
//! behind. Afterwards nothing may be left of it, and the one session that behaved must have noticed nothing.
//!
//! `CROSSFADE_HOSTILE_SECONDS` (20) says for how long, `CROSSFADE_HOSTILE_SEED` repeats a run's choices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::http::value_in;
use super::process::{Emulator, HANG, Proxy, now, until};
use super::{raw, stage};

const ATTACKERS: u64 = 24;
/// One attack takes no longer; who is waiting then goes away.
const PATIENCE: Duration = Duration::from_millis(700);
/// What the process may hold more afterwards than before: its allocator's slack, not a figure that grows with time.
const GROWN_BYTES_MAX: f64 = 96.0 * 1024.0 * 1024.0;
const COMPRESSED: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// SplitMix64: the same choices for the same seed.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() % limit as u64).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.bits() as u8).collect()
    }

    /// A frame as no library writes it: any first byte, any length field, true or not.
    fn frame(&mut self) -> Vec<u8> {
        let first = match self.below(4) {
            0 => 0xC1, // compressed text, and what follows is none
            1 => [0x81, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A][self.below(8)],
            _ => self.bits() as u8,
        };
        let mut frame = vec![first];
        match self.below(5) {
            0 => frame.push(self.bits() as u8),
            1 => frame.extend([[0xFF, 0x7F][self.below(2)], 0xFF, 0xFF, 0xFF, 0xFF]),
            2 => frame.extend([0xFE, self.bits() as u8, self.bits() as u8]),
            _ => frame.push(0x80 | self.below(126) as u8),
        }
        frame.extend(self.bytes(400));
        frame
    }
}

fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
}

/// How somebody leaves: with FIN, with RST, after half a close, or after listening for a while.
async fn leave(mut socket: TcpStream, dice: &mut Dice) {
    match dice.below(4) {
        0 => drop(socket),
        1 => reset(socket),
        2 => {
            drop(socket.shutdown().await);
            drop(timeout(PATIENCE, socket.read(&mut [0; 4096])).await);
        }
        _ => drop(timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await),
    }
}

const UPGRADE: &str = "GET /feed HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// What a client may say before a tunnel is there.
fn request(dice: &mut Dice) -> Vec<u8> {
    let whole = format!("{UPGRADE}X-User-Id: {}\r\n\r\n", dice.below(1000)).into_bytes();
    match dice.below(9) {
        0 => dice.bytes(3000),
        1 => whole[..dice.below(whole.len())].to_vec(),
        2 => {
            let mut broken = whole;
            for _ in 0..=dice.below(4) {
                let at = dice.below(broken.len());
                broken[at] = dice.bits() as u8;
            }
            broken
        }
        3 => format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(dice.below(300_000))).into_bytes(),
        4 => format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(dice.below(2000))).into_bytes(),
        5 => {
            let mut chunks = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            chunks.extend([&b"5\r\nhello\r\n"[..], b"-1\r\n", b"fffffffffffffffff\r\n", b"3\r\n"][dice.below(4)]);
            chunks.extend(dice.bytes(200));
            chunks
        }
        6 => [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), dice.bytes(600)].concat(),
        7 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1 + dice.below(20)),
        _ => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET".to_vec(),
    }
}

/// One client's misdeed.
async fn attack(proxy: SocketAddr, dice: &mut Dice) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(proxy).await?;
    match dice.below(8) {
        0 => {} // half open
        1 => {
            // A head that never ends, a byte at a time.
            for byte in UPGRADE.bytes().cycle().take(dice.below(40)) {
                socket.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        2 | 3 => socket.write_all(&request(dice)).await?,
        _ => {
            let offer = if dice.below(2) == 0 { COMPRESSED } else { "" };
            let key = if dice.below(2) == 0 { "X-User-Id: mallory\r\n" } else { "" };
            socket.write_all(format!("{UPGRADE}{offer}{key}\r\n").as_bytes()).await?;
            if timeout(PATIENCE, raw::head(&mut socket)).await.is_ok_and(|head| head.contains(" 101 ")) {
                for _ in 0..dice.below(30) {
                    let frame = dice.frame();
                    let cut = if dice.below(8) == 0 { dice.below(frame.len()) } else { frame.len() };
                    socket.write_all(&frame[..cut]).await?;
                }
                if dice.below(6) == 0 {
                    // A flood, until nobody takes any more of it.
                    let flood = socket.write_all(&[0x5A; 4 << 20]);
                    drop(timeout(PATIENCE, flood).await);
                }
            }
        }
    }
    leave(socket, dice).await;
    Ok(())
}

/// What the service does to one connection. The session of the path `/good` is served well: whatever comes, goes back.
async fn serve(mut socket: TcpStream, dice: &mut Dice) -> std::io::Result<()> {
    let Ok(head) = timeout(HANG, raw::head(&mut socket)).await else { return Ok(()) };
    let good = head.starts_with("GET /good ");
    if !good && (head.is_empty() || dice.below(6) == 0) {
        let answers = [
            &b""[..],
            b"HTTP/1.1 ",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        ];
        socket.write_all(answers[dice.below(4)]).await?;
        leave(socket, dice).await;
        return Ok(());
    }
    if !head.to_ascii_lowercase().contains("upgrade: websocket") {
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await?;
        leave(socket, dice).await;
        return Ok(());
    }
    let extension = if head.contains("permessage-deflate") { COMPRESSED } else { "" };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{extension}\r\n",
        raw::ACCEPT
    );
    socket.write_all(answer.as_bytes()).await?;
    if good {
        let (mut reader, mut writer) = socket.split();
        tokio::io::copy(&mut reader, &mut writer).await?;
        return Ok(());
    }
    for _ in 0..dice.below(30) {
        socket.write_all(&dice.frame()).await?;
    }
    leave(socket, dice).await;
    Ok(())
}

/// Talks through the proxy as everybody should, and notices every byte that is not as it was sent.
async fn behave(proxy: SocketAddr, over: Arc<AtomicBool>) -> u64 {
    let mut socket = TcpStream::connect(proxy).await.unwrap();
    socket.write_all(format!("{}\r\n", UPGRADE.replace("/feed", "/good")).as_bytes()).await.unwrap();
    assert!(raw::head(&mut socket).await.starts_with("HTTP/1.1 101 "));
    let mut count = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let frame = [&[0x81, 0x88, 0, 0, 0, 0][..], format!("{count:08}").as_bytes()].concat();
        socket.write_all(&frame).await.unwrap();
        let mut back = vec![0; frame.len()];
        timeout(HANG, socket.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, frame);
        count += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    socket.shutdown().await.unwrap();
    assert_eq!(timeout(HANG, socket.read(&mut [0])).await.unwrap().unwrap(), 0);
    count
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Open sessions on any lane.
fn sessions(metrics: &str) -> f64 {
    ["legacy", "hot", "native"]
        .iter()
        .map(|lane| value_in(metrics, &format!("crossfade_sessions{{lane=\"{lane}\"}}")))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_of_hostile_input_leave_nothing_behind() {
    let (seconds, seed) = (number("CROSSFADE_HOSTILE_SECONDS", 20), number("CROSSFADE_HOSTILE_SEED", 4));
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let emulator = Emulator::start(&[]);
    let mut env = vec![
        ("CROSSFADE_WORKERS", "2"),
        ("CROSSFADE_REQUEST_HEAD_TIMEOUT", "1s"),
        ("CROSSFADE_UPGRADE_TIMEOUT", "2s"),
        ("CROSSFADE_INFLATE_BUFFER", "4MiB"),
    ];
    env.extend(stage::ALL_HOT);
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    let serving = tokio::spawn(async move {
        let mut choice = Dice(seed ^ 0xA5A5);
        while let Ok((socket, _)) = service.accept().await {
            let mut dice = Dice(choice.bits());
            tokio::spawn(async move { serve(socket, &mut dice).await });
        }
    });
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let before = proxy.scrape().await;
    let (over, attacks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let good = tokio::spawn(behave(proxy.clients, Arc::clone(&over)));
    let clients = proxy.clients;
    let crowd: Vec<_> = (0..ATTACKERS)
        .map(|who| {
            let (over, attacks) = (Arc::clone(&over), Arc::clone(&attacks));
            tokio::spawn(async move {
                let mut dice = Dice(seed.wrapping_mul(1_000) + who);
                while !over.load(Ordering::Relaxed) {
                    drop(attack(clients, &mut dice).await); // a broken pipe is what it asked for
                    attacks.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = now();
    until_over(&proxy, began, Duration::from_secs(seconds)).await;
    over.store(true, Ordering::Relaxed);
    for task in crowd {
        timeout(HANG, task).await.expect("an attacker hangs").unwrap();
    }
    let echoes = good.await.unwrap();
    rested(&proxy, &before).await;
    serving.abort();
    let after = proxy.scrape().await;
    let attacks = attacks.load(Ordering::Relaxed);
    let opened = value_in(&after, "crossfade_upgrades_total{outcome=\"tunnelled\"}");
    println!("{attacks} attacks, {opened} tunnels, {echoes} echoes beside them in {seconds} s (seed {seed})");
    assert!(attacks > 100 && opened > 20.0 && echoes > 100, "too little happened");
    assert!(value_in(&after, "crossfade_faults_total{reason=\"head_malformed\"}") > 0.0);
    assert!(value_in(&after, "crossfade_faults_total{reason=\"upstream_malformed\"}") > 0.0);
    assert!(
        value_in(&after, "crossfade_mirror_shed_total{reason=\"lost\"}") > 0.0,
        "broken frames reached the tap"
    );
    assert!(!proxy.process.output().contains("panicked"), "a panic");
    assert_eq!(value_in(&after, "crossfade_tap_panics_total"), 0.0);
}

/// Lets it happen for so long, and looks at memory meanwhile.
async fn until_over(proxy: &Proxy, began: std::time::Instant, span: Duration) {
    let least = value_in(&proxy.scrape().await, "process_resident_memory_bytes");
    while began.elapsed() < span {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let metrics = proxy.scrape().await;
        let memory = value_in(&metrics, "process_resident_memory_bytes");
        assert!(memory - least < GROWN_BYTES_MAX, "{memory} bytes, {least} at the beginning");
        assert!(value_in(&metrics, "crossfade_inflate_bytes") <= 4.0 * 1024.0 * 1024.0);
    }
}

/// Waits until nothing is left of the load: no session, no connection, no descriptor, no open account.
async fn rested(proxy: &Proxy, before: &str) {
    let mut last = String::new();
    let began = now();
    until("everything returns to where it was", async || {
        last = proxy.scrape().await;
        let open = [
            sessions(&last),
            value_in(&last, "crossfade_connections"),
            value_in(&last, "crossfade_inflate_bytes"),
            value_in(&last, "crossfade_mirror_in_flight"),
            value_in(&last, "crossfade_mirror_buffered_bytes"),
            value_in(&last, "crossfade_ledger_imbalance"),
            (value_in(&last, "process_open_fds") - value_in(before, "process_open_fds")).max(0.0),
            value_in(&last, "process_threads") - value_in(before, "process_threads"),
        ];
        let late = began.elapsed() > HANG - Duration::from_secs(2);
        assert!(
            !late,
            "left: sessions, connections, inflaters, in flight, bytes, ledger, fds, threads: {open:?}"
        );
        open.iter().all(|left| *left == 0.0).then_some(())
    })
    .await;
}
