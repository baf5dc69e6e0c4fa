//! A proxy that runs out of file descriptors keeps what it has and takes on new clients again once some are free.
//! It runs in a process of its own, because the limit belongs to the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its own functions included")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossfade::proxy::{Config, Mirroring, Running, Server, Target, Verdict};

const HANG: Duration = Duration::from_secs(30);
const UPSTREAM: &str = "PROXY_DESCRIPTORS_UPSTREAM";
const LIMIT: usize = 48;
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The proxy's process: not a test by itself. It says its address and lives until its input ends.
#[test]
#[ignore = "started by the test below"]
fn the_process() {
    let upstream = std::env::var(UPSTREAM).unwrap();
    let mut config = Config::new(Target::service(&upstream).unwrap());
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.workers = Some(1);
    let running = Server::start(config, Arc::new(|_, _| Verdict::LEGACY), Mirroring::off()).unwrap();
    println!("\nlistening {}", running.local_addr());
    wait_until_full(&running);
    println!("\nexhausted");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("\nfine");
}

#[expect(clippy::disallowed_methods, reason = "tests on real sockets are shells")]
fn wait_until_full(running: &Running) {
    let began = std::time::Instant::now();
    while running.counters().accept_errors.value() == 0 {
        assert!(began.elapsed() < HANG, "the limit was never reached");
        std::thread::yield_now();
    }
}

fn start(upstream: &str) -> Child {
    let this = std::env::current_exe().unwrap();
    Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {LIMIT}; exec \"$0\" --exact the_process --ignored --nocapture"))
        .arg(this)
        .env(UPSTREAM, upstream)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn session(proxy: &str, service: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(proxy).unwrap();
    client.set_read_timeout(Some(HANG)).unwrap();
    client.write_all(UPGRADE.as_bytes()).unwrap();
    let (mut upstream, _) = service.accept().unwrap();
    upstream.set_read_timeout(Some(HANG)).unwrap();
    head(&mut upstream);
    upstream.write_all(SWITCH.as_bytes()).unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    (client, upstream)
}

fn carries((client, service): &mut (TcpStream, TcpStream)) {
    client.write_all(b"ping").unwrap();
    let mut four = [0; 4];
    service.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"ping");
}

#[test]
fn running_out_of_descriptors_costs_no_open_session() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = start(&format!("ws://{}", service.local_addr().unwrap()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let proxy = lines.find_map(|line| line.strip_prefix("listening ").map(str::to_owned)).unwrap();
    let mut first = session(&proxy, &service);
    // More than the process can take; the kernel holds the rest for it.
    let crowd: Vec<TcpStream> = (0..LIMIT * 2).map(|_| TcpStream::connect(&proxy).unwrap()).collect();
    assert!(lines.any(|line| line == "exhausted"));
    carries(&mut first);
    drop(crowd);
    let mut second = session(&proxy, &service);
    carries(&mut second);
    carries(&mut first);
    drop(child.stdin.take());
    assert!(lines.any(|line| line == "fine"));
    assert!(child.wait().unwrap().success());
}
