//! The binary as a process: how much memory a session may cost, and what the log says about it.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its own functions included"
)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

const HANG: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The binary with an environment of its own.
fn crossfade(upstream: &str, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command
        .env_clear()
        .env("CROSSFADE_UPSTREAM", upstream)
        .env("CROSSFADE_LISTEN", "127.0.0.1:0")
        .env("CROSSFADE_METRICS_LISTEN", "127.0.0.1:0")
        .env("CROSSFADE_ADMIN_LISTEN", "127.0.0.1:0")
        .env("CROSSFADE_WORKERS", "1")
        .envs(more.iter().copied());
    command
}

/// `crossfade run` in front of a listener of ours, and its log.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
    address: String,
    admin: String,
    service: TcpListener,
}

impl Process {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(more: &[(&str, &str)]) -> Self {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = format!("ws://{}", service.local_addr().unwrap());
        let mut child = crossfade(&upstream, more)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (address, admin) = (String::new(), String::new());
        let mut this = Self { child, log, address, admin, service };
        this.address = this.listener("proxy"); // said before the others
        if more.iter().any(|(name, _)| *name == "CROSSFADE_ADMIN_TOKEN") {
            this.admin = this.listener("admin");
        }
        this
    }

    fn listener(&mut self, name: &str) -> String {
        self.logged(|line| line["listener"] == name)["addr"].as_str().unwrap().to_owned()
    }

    /// The next line of the log that is so.
    fn logged(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            if wanted(&line) {
                return line;
            }
        }
    }

    /// The next connection that says something: readiness probes connect and hang up.
    fn accept(&self) -> TcpStream {
        loop {
            let (service, _) = self.service.accept().unwrap();
            service.set_read_timeout(Some(HANG)).unwrap();
            if service.peek(&mut [0]).unwrap() > 0 {
                return service;
            }
        }
    }

    /// Client and service of one session. `fields` go into the client's request.
    fn session(&self, target: &str, fields: &str) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
        );
        client.write_all(request.as_bytes()).unwrap();
        client.set_read_timeout(Some(HANG)).unwrap();
        let mut service = self.accept();
        head(&mut service);
        service.write_all(SWITCH.as_bytes()).unwrap();
        assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
        (client, service)
    }

    /// A line of /proc/PID/status, in bytes.
    fn memory(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
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

/// What the service sends at this place of its stream: numbered frames of 64 KiB with their header.
fn block(number: u64) -> Vec<u8> {
    let mut block = vec![0x82, 127];
    block.extend(65_536_u64.to_be_bytes());
    block.extend(number.to_be_bytes().repeat(65_536 / 8));
    block
}

/// Writes all blocks; `Err` with what is left of them once the other end has taken nothing for a second.
fn push(service: &mut TcpStream, left: Vec<u8>, blocks: std::ops::Range<u64>) -> (Vec<u8>, u64) {
    service.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut left = left;
    let mut next = blocks.start;
    loop {
        if left.is_empty() {
            if next == blocks.end {
                return (left, next);
            }
            left = block(next);
            next += 1;
        }
        match service.write(&left) {
            Ok(n) => drop(left.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (left, next),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_hundred_megabytes_for_a_client_that_does_not_read_cost_no_memory() {
    const BLOCKS: u64 = 200 * MIB / 65_536;
    let process = Process::start();
    let (mut client, mut service) = process.session("/", "");
    // The first block there and back, so that what is allocated once is there.
    service.write_all(&block(0)).unwrap();
    let mut got = block(0);
    client.read_exact(&mut got).unwrap();
    let before = process.memory("VmRSS:");
    let (left, next) = push(&mut service, Vec::new(), 1..BLOCKS);
    assert!(next < BLOCKS, "200 MB went into a client that does not read");
    // Now it reads, and gets all of it in order; at no time did the process hold more than a little.
    let rest = std::thread::spawn(move || {
        service.set_write_timeout(Some(HANG)).unwrap();
        service.write_all(&left).unwrap();
        (next..BLOCKS).for_each(|number| service.write_all(&block(number)).unwrap());
    });
    for number in 1..BLOCKS {
        client.read_exact(&mut got).unwrap();
        assert!(got == block(number), "block {number} differs");
    }
    rest.join().unwrap();
    let grown = process.memory("VmHWM:").saturating_sub(before);
    assert!(grown < 8 * MIB, "{} KiB more at the peak", grown / 1024);
}

#[test]
fn the_log_names_session_and_trace_and_nothing_secret() {
    let mut process = Process::start();
    let (client, service) = process.session(
        "/chat?token=s3cret-query",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nCookie: sid=s3cret-cookie\r\n\
         Authorization: Bearer s3cret-bearer\r\nX-User-Id: s3cret-user\r\n",
    );
    let opened = process.logged(|line| line["message"] == "session opened");
    drop((client, service));
    let closed = process.logged(|line| line["message"] == "session closed");
    for line in [&opened, &closed] {
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c", "{line}");
        assert_eq!(line["lane"], "legacy");
        assert_eq!(line["session"], opened["session"]);
        let text = line.to_string();
        assert!(!text.contains("s3cret") && !text.contains("dGhlIHNhbXBsZSBub25jZQ"), "{text}");
    }
    assert!(opened["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{opened}");
    assert_eq!(opened["session"].as_str().map(str::len), Some(32));
    let (_client, _service) = process.session("/", "");
    let opened = process.logged(|line| line["message"] == "session opened");
    assert!(opened.get("trace_id").is_none(), "no trace, no field: {opened}");
}

#[test]
fn a_plain_requests_trace_is_in_the_log_where_it_is_asked_for() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let head = |host: &str| {
        format!(
            "GET /a?token=s3cret HTTP/1.1\r\n{host}traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n\
             tracestate: a=1\r\nCookie: s3cret\r\n\r\n"
        )
    };
    let mut process = Process::with(&[("CROSSFADE_LOG", "info,crossfade::proxy=debug")]);
    let mut client = TcpStream::connect(&process.address).unwrap();
    client.write_all(head("Host: a\r\n").as_bytes()).unwrap();
    let mut service = process.accept();
    let arrived = self::head(&mut service);
    assert!(arrived.contains(&format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n")), "{arrived}");
    assert!(arrived.contains("tracestate: a=1\r\n"), "{arrived}");
    let passes = process.logged(|line| line["message"] == "a request passes");
    // And one that is refused before the service sees it.
    let mut refused = TcpStream::connect(&process.address).unwrap();
    refused.write_all(head("").as_bytes()).unwrap();
    let failed = process.logged(|line| line["message"] == "an exchange failed");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("host_invalid")), "{failed}");
    for line in [passes, failed] {
        assert_eq!((&line["level"], &line["trace_id"]), (&"DEBUG".into(), &TRACE.into()), "{line}");
        assert!(!line.to_string().contains("s3cret"), "{line}");
    }
}

#[test]
fn the_drain_command_ends_sessions_in_order_and_waits_for_the_end() {
    const TOKEN: (&str, &str) = ("CROSSFADE_ADMIN_TOKEN", "a-long-random-token-for-this-test");
    let settings = [TOKEN, ("CROSSFADE_DRAIN_SETTLE", "0s"), ("CROSSFADE_DRAIN_GRACE", "30s")];
    let mut process = Process::with(&settings);
    let (mut client, mut service) = process.session("/", "");
    let upstream = format!("ws://{}", process.service.local_addr().unwrap());
    let drain = |more: &[(&str, &str)]| {
        let mut command = crossfade(&upstream, more);
        command.args(["drain", "--admin", &process.admin]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    // Without the token, and with another one, nothing happens.
    for more in [&[][..], &[(TOKEN.0, "another-long-random-token-altogether")]] {
        let refused = drain(more).wait_with_output().unwrap();
        assert_eq!(refused.status.code(), Some(64));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(TOKEN.0) && !said.contains(TOKEN.1), "{said}");
    }
    client.write_all(b"\x81\x82\0\0\0\0hi").unwrap();
    service.read_exact(&mut [0; 8]).unwrap();
    let mut waiting = drain(&settings);
    let mut told = [0; 4];
    client.read_exact(&mut told).unwrap();
    assert_eq!(told, *b"\x88\x02\x03\xF4", "1012");
    assert!(waiting.try_wait().unwrap().is_none(), "a session is still open");
    client.write_all(b"\x88\x82\0\0\0\0\x03\xF4").unwrap();
    drop(client);
    let mut told = Vec::new();
    service.read_to_end(&mut told).unwrap();
    assert_eq!(told.len(), 8, "a masked close");
    let drained = waiting.wait_with_output().unwrap();
    assert_eq!((drained.status.code(), &drained.stdout[..]), (Some(0), &b"drained\n"[..]));
    assert!(process.child.wait().unwrap().success());
    let stopped = process.logged(|line| line["message"] == "stopped");
    assert_eq!(stopped["sessions_cut"], 0);
    // Nobody is there any more.
    let alone = crossfade(&upstream, &settings).args(["drain", "--admin", &process.admin]).output().unwrap();
    assert_eq!(alone.status.code(), Some(69));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a hang is ended by the real clock")]
fn a_log_that_nobody_reads_costs_no_session() {
    // Standard error is full before the first line, and stays full.
    let (reader, mut log) = std::os::unix::net::UnixStream::pair().unwrap();
    log.set_nonblocking(true).unwrap();
    while log.write(&[b'x'; 4096]).is_ok() {}
    log.set_nonblocking(false).unwrap();

    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("ws://{}", service.local_addr().unwrap());
    // Nothing is read, so the port cannot be: one that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let child = crossfade(&upstream, &[("CROSSFADE_LISTEN", &address), ("CROSSFADE_LOG", "trace")])
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::os::fd::OwnedFd::from(log))
        .spawn()
        .unwrap();
    let waited = std::time::Instant::now();
    while TcpStream::connect(&address).is_err() {
        assert!(waited.elapsed() < HANG, "it does not listen: the log holds it up");
        std::thread::yield_now();
    }
    let nothing = BufReader::new(std::process::ChildStderr::from(std::os::fd::OwnedFd::from(
        reader.try_clone().unwrap(),
    )));
    let process = Process { child, log: nothing, address, admin: String::new(), service };
    for _ in 0..50 {
        let (mut client, mut service) = process.session("/", "");
        client.write_all(b"\x81\x80abcd").unwrap();
        let mut frame = [0; 6];
        service.set_read_timeout(Some(HANG)).unwrap();
        service.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"\x81\x80abcd");
    }
    drop(process);
    drop(reader);
}
