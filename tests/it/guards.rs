//! What a session costs, in counts that do not depend on how fast the machine is.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process::{HANG, Proxy, until};
use super::raw;

const SESSIONS: u64 = 2_000;
/// Both ends of every session and some more.
const DESCRIPTORS_MIN: u64 = 2 * SESSIONS + 500;
const SESSION_BYTES_MAX: u64 = 4 * 1024;
/// A worker beats every 250 ms, and the timer wheel wakes it twice for each: 16 in two seconds.
const WAKES_MAX: u64 = 30;
/// What sessions may add to that: nothing, but for what the kernel and the opening of the last one do.
const WAKES_MORE_MAX: u64 = 4;
const ECHOES: usize = 200;

/// A masked text frame `ping`, and the service's answer.
const PING: [u8; 10] = [0x81, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'];
const PONG: [u8; 6] = [0x81, 4, b'p', b'i', b'n', b'g'];

/// A number of `/proc/…/status`.
pub(crate) fn status(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The ids of the data threads.
fn data_threads(process: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let threads = threads.map(|thread| thread.unwrap().path());
    let data = threads.filter(|path| fs::read_to_string(path.join("comm")).unwrap().starts_with("data-"));
    data.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn wakes(process: u32) -> u64 {
    let of =
        |thread: &String| status(&format!("/proc/{process}/task/{thread}/status"), "voluntary_ctxt_switches");
    data_threads(process).iter().map(of).sum()
}

async fn woken_in_two_seconds(process: u32) -> u64 {
    let before = wakes(process);
    // The span that is measured; nothing is awaited.
    tokio::time::sleep(Duration::from_secs(2)).await;
    wakes(process) - before
}

/// Raises the soft limit of this process and of those that it starts; `false` when the hard limit is lower.
pub(crate) fn enough_descriptors() -> bool {
    let id = std::process::id().to_string();
    let limit = format!("--nofile={DESCRIPTORS_MIN}:");
    let soft = || {
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse().unwrap_or(u64::MAX)
    };
    soft() >= DESCRIPTORS_MIN || {
        let raised = Command::new("prlimit").args(["--pid", &id, &limit]).status();
        raised.is_ok_and(|status| status.success()) && soft() >= DESCRIPTORS_MIN
    }
}

#[tokio::test]
async fn an_idle_session_is_small_and_wakes_nobody() {
    if !enough_descriptors() {
        println!("left out: fewer than {DESCRIPTORS_MIN} descriptors");
        return;
    }
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &[("CROSSFADE_WORKERS", "1")]);
    let process = proxy.process.id();
    let resident = || status(&format!("/proc/{process}/status"), "VmRSS") * 1024;
    let woken_without = woken_in_two_seconds(process).await;
    // The first session brings in what all share.
    let _first = raw::session(proxy.clients, &service).await;
    let before = resident();
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(raw::session(proxy.clients, &service).await);
    }
    let each = resident().saturating_sub(before) / SESSIONS;
    println!("{each} bytes of resident memory for each idle session");
    proxy.until_value("crossfade_sessions{lane=\"legacy\"}", (SESSIONS + 1) as f64).await;
    let woken = woken_in_two_seconds(process).await;
    println!("{woken} wake-ups of the data threads in 2 s, {woken_without} without a session");
    assert!(
        woken < WAKES_MAX,
        "{woken} wake-ups of the data threads in 2 s, {woken_without} without a session"
    );
    assert!(woken <= woken_without + WAKES_MORE_MAX, "{woken} wake-ups, {woken_without} without a session");
    assert!(each < SESSION_BYTES_MAX, "{each} bytes of resident memory for each idle session");
}

async fn echo(client: &mut TcpStream, service: &mut TcpStream) {
    let mut there = [0; PING.len()];
    client.write_all(&PING).await.unwrap();
    service.read_exact(&mut there).await.unwrap();
    assert_eq!(there, PING);
    let mut back = [0; PONG.len()];
    service.write_all(&PONG).await.unwrap();
    client.read_exact(&mut back).await.unwrap();
    assert_eq!(back, PONG);
}

#[tokio::test]
async fn an_echo_is_two_reads_and_two_writes() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &[("CROSSFADE_WORKERS", "1")]);
    let process = proxy.process.id();
    let (mut client, mut upstream) = raw::session(proxy.clients, &service).await;
    echo(&mut client, &mut upstream).await;
    let thread = data_threads(process).pop().unwrap();
    let file = format!("{}/strace-{process}", env!("CARGO_TARGET_TMPDIR"));
    let calls = "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg";
    let strace = Command::new("strace")
        .args(["-f", "-e", calls, "-o", &file, "-p", &process.to_string()])
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut strace) = strace else {
        println!("left out: strace is not installed");
        return;
    };
    let traced = format!("/proc/{process}/task/{thread}/status");
    let attached = async || {
        let over = strace.try_wait().unwrap().is_some();
        (over || status(&traced, "TracerPid") == u64::from(strace.id())).then_some(over)
    };
    if until("strace attaches", attached).await {
        println!("left out: strace may not attach here");
        return;
    }
    let echoes = async {
        for _ in 0..ECHOES {
            echo(&mut client, &mut upstream).await;
        }
    };
    tokio::time::timeout(HANG, echoes).await.unwrap();
    let id = strace.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -s INT \"$0\"", &id]).status().unwrap().success());
    until("strace ends", async || strace.try_wait().unwrap()).await;
    let trace = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    // Attaching ends with the tick of the beat only; other threads look after the service and the metrics.
    let own: Vec<&str> = trace.lines().filter(|line| line.starts_with(&thread)).collect();
    let starts = |names: &[&str]| {
        let is = |line: &&&str| names.iter().any(|name| line.contains(&format!(" {name}(")));
        own.iter().filter(is).count()
    };
    let reads = starts(&["read", "readv", "recvfrom", "recvmsg"]);
    let writes = starts(&["write", "writev", "sendto", "sendmsg"]);
    let empty = own.iter().filter(|line| line.contains("EAGAIN")).count();
    let sample = own.iter().take(8).copied().collect::<Vec<_>>().join("\n");
    println!("{reads} reads, {writes} writes, {empty} EAGAIN in {ECHOES} echoes");
    assert!(owed(reads, 2 * ECHOES), "{reads} reads: {sample}");
    assert!(owed(writes, 2 * ECHOES), "{writes} writes: {sample}");
    assert!(owed(empty, 0), "{empty} EAGAIN: {sample}");
}

/// What the echoes need, and at most a few calls of the thread itself beside them: a wake-up, a line of the log. One
/// call too many in each echo would be [`ECHOES`] of them.
fn owed(counted: usize, needed: usize) -> bool {
    const STRAYS_MAX: usize = ECHOES / 20;
    (needed..=needed + STRAYS_MAX).contains(&counted)
}
