//! What a service pushes to a client that does not read waits in the service: on every lane, and for plain requests.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::guards::status;
use super::process::{Emulator, HANG, Proxy};
use super::{raw, stage};

const MIB: u64 = 1 << 20;
const BLOCK: usize = 65_536;
const BLOCKS: u64 = 200 * MIB / BLOCK as u64;
/// Windows, tap and batches in flight have limits of their own, set low here; without a mirror there are none.
const MIRRORED_GROWTH_MAX: u64 = 64 * MIB;
const PLAIN_GROWTH_MAX: u64 = 8 * MIB;

/// What the service writes at this place: 64 KiB that name their number, as a frame or as part of a body.
fn block(number: u64, framed: bool) -> Vec<u8> {
    let mut block = if framed { vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0] } else { Vec::new() };
    block.extend(number.to_be_bytes().repeat(BLOCK / 8));
    block
}

/// Pushes everything at a client that reads nothing until no more is taken, then lets it read all.
async fn pushed(proxy: &Proxy, (mut client, mut service): (TcpStream, TcpStream), framed: bool, most: u64) {
    let path = format!("/proc/{}/status", proxy.process.id());
    let memory = |name| status(&path, name) * 1024;
    // The first block there and back, so that what is allocated once is there.
    service.write_all(&block(0, framed)).await.unwrap();
    let mut got = block(0, framed);
    timeout(HANG, client.read_exact(&mut got)).await.unwrap().unwrap();
    let before = memory("VmRSS");
    let (mut left, mut next) = (Vec::new(), 1);
    loop {
        if left.is_empty() {
            assert!(next < BLOCKS, "200 MB went into a client that does not read");
            left = block(next, framed);
            next += 1;
        }
        match timeout(Duration::from_secs(1), service.write(&left)).await {
            Ok(written) => drop(left.drain(..written.unwrap())),
            Err(_) => break,
        }
    }
    let held = memory("VmRSS").saturating_sub(before);
    let rest = tokio::spawn(async move {
        service.write_all(&left).await.unwrap();
        for number in next..BLOCKS {
            service.write_all(&block(number, framed)).await.unwrap();
        }
        service
    });
    for number in 1..BLOCKS {
        timeout(HANG, client.read_exact(&mut got)).await.unwrap().unwrap();
        assert!(got == block(number, framed), "block {number} differs");
    }
    drop(timeout(HANG, rest).await.unwrap().unwrap());
    let grown = memory("VmHWM").saturating_sub(before);
    println!("{} KiB more while nobody read, {} KiB at the peak", held / 1024, grown / 1024);
    assert!(grown < most, "{} KiB more at the peak", grown / 1024);
}

async fn session(proxy: &Proxy, service: &TcpListener, fields: &str) -> (TcpStream, TcpStream) {
    let mut client = raw::ask(proxy.clients, fields).await;
    let (upstream, _) = raw::upgraded(service, "").await;
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    (client, upstream)
}

async fn mirrored(more: &[(&str, &str)], lane: &str) {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let emulator = Emulator::start(&[]);
    let mut env = vec![("CROSSFADE_BUFFER", "4MiB"), ("CROSSFADE_WORKERS", "1")];
    env.extend(more);
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let session = session(&proxy, &service, "X-User-Id: somebody\r\n").await;
    proxy.until_value(lane, 1.0).await;
    pushed(&proxy, session, true, MIRRORED_GROWTH_MAX).await;
    assert!(proxy.value("crossfade_mirror_messages_total{state=\"seen\"}").await >= BLOCKS as f64);
}

#[tokio::test]
async fn a_mirrored_client_that_does_not_read_costs_no_memory() {
    mirrored(&[], stage::LEGACY).await;
}

#[tokio::test]
async fn a_hot_client_that_does_not_read_costs_no_memory() {
    mirrored(&stage::ALL_HOT, stage::HOT).await;
}

#[tokio::test]
async fn an_upload_that_nobody_reads_costs_no_memory() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &[("CROSSFADE_WORKERS", "1")]);
    let mut client = TcpStream::connect(proxy.clients).await.unwrap();
    let head =
        format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", BLOCKS * BLOCK as u64);
    client.write_all(head.as_bytes()).await.unwrap();
    let upstream = asked(&service).await;
    pushed(&proxy, (upstream, client), false, PLAIN_GROWTH_MAX).await;
}

/// The next connection of the service that brings a request; its head is read.
async fn asked(service: &TcpListener) -> TcpStream {
    loop {
        let (mut socket, _) = timeout(HANG, service.accept()).await.unwrap().unwrap();
        if !raw::head(&mut socket).await.is_empty() {
            return socket;
        }
    }
}

#[tokio::test]
async fn a_download_that_nobody_reads_costs_no_memory() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &[("CROSSFADE_WORKERS", "1")]);
    let mut client = TcpStream::connect(proxy.clients).await.unwrap();
    client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut upstream = asked(&service).await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BLOCKS * BLOCK as u64);
    upstream.write_all(head.as_bytes()).await.unwrap();
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 200 "));
    pushed(&proxy, (client, upstream), false, PLAIN_GROWTH_MAX).await;
}
