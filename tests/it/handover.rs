//! A listener that somebody else holds (`LISTEN_FDS`): the queue of new connections outlives a restart.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process::{HANG, Process, Proxy};
use super::raw;

/// What systemd does between fork and exec: the socket becomes descriptor 3, and the process learns that it is meant.
const ACTIVATE: &str = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run";
const GET: &[u8] = b"GET /queued HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn activated(
    script: &str,
    socket: &std::net::TcpListener,
    upstream: SocketAddr,
    more: &[(&str, &str)],
) -> Process {
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
    let upstream = format!("ws://{upstream}");
    let mut env = vec![
        ("CROSSFADE_UPSTREAM", upstream.as_str()),
        // Must not be used: nobody may listen on port 1 here.
        ("CROSSFADE_LISTEN", "192.0.2.1:1"),
        ("CROSSFADE_METRICS_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_DRAIN_SETTLE", "0s"),
    ];
    env.extend(more);
    Process::of(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_crossfade")]).stdin(stdin), &env)
}

async fn answered(mut client: TcpStream) -> String {
    let mut answer = String::new();
    tokio::time::timeout(HANG, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// Answers the next request that reaches the service.
async fn serve(service: &TcpListener) {
    loop {
        let (mut socket, _) = tokio::time::timeout(HANG, service.accept()).await.unwrap().unwrap();
        let head = raw::head(&mut socket).await;
        if head.is_empty() {
            continue; // looked whether somebody listens
        }
        assert!(head.starts_with("GET /queued "), "{head}");
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        return;
    }
}

#[tokio::test]
async fn a_restart_behind_a_handed_over_listener_refuses_nobody() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let clients = socket.local_addr().unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = service.local_addr().unwrap();
    let mut first = Proxy::of(activated(ACTIVATE, &socket, upstream, &[]));
    assert_eq!(first.clients, clients, "the socket that was handed over");
    let (mut client, mut serving) = raw::session(clients, &service).await;
    first.process.signal("TERM");
    // The close frame says that the first process has stopped accepting.
    let mut close = [0; 4];
    tokio::time::timeout(HANG, client.read_exact(&mut close)).await.unwrap().unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xF4]);
    let mut while_it_drains = TcpStream::connect(clients).await.expect("queued, not refused");
    while_it_drains.write_all(GET).await.unwrap();
    client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF4]).await.unwrap();
    drop(client);
    let mut told = Vec::new();
    tokio::time::timeout(HANG, serving.read_to_end(&mut told)).await.unwrap().unwrap();
    drop(serving);
    assert!(first.process.ended().await.success());
    // Nobody accepts now.
    let mut between = TcpStream::connect(clients).await.expect("queued, not refused");
    between.write_all(GET).await.unwrap();
    assert_eq!(while_it_drains.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let second = Proxy::of(activated(ACTIVATE, &socket, upstream, &[]));
    assert_eq!(second.clients, clients);
    // Two workers take them: which comes first at the service is nobody's promise.
    serve(&service).await;
    serve(&service).await;
    for client in [while_it_drains, between] {
        let answer = answered(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
    }
}

#[tokio::test]
async fn sockets_that_cannot_be_used_are_refused_and_those_of_others_left_alone() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    let upstream = socket.local_addr().unwrap();
    let run = |setting: &str| format!("exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ {setting} exec \"$0\" run");
    for (setting, says) in [
        ("LISTEN_FDS=many", "LISTEN_FDS: is not a number"),
        ("LISTEN_FDS=2", "LISTEN_FDNAMES: names none"),
        ("LISTEN_FDS=2 LISTEN_FDNAMES=a:b", "LISTEN_FDNAMES: names none"),
    ] {
        let mut process = activated(&run(setting), &socket, upstream, &[]);
        assert_eq!(process.ended().await.code(), Some(64), "{setting}");
        process.line(|line| line.contains(says).then_some(()));
    }
    // Descriptor 3 is no socket at all, or one that does not listen.
    let stream = Stdio::from(std::os::fd::OwnedFd::from(connected));
    for (stdin, says) in [(Stdio::null(), "is no TCP socket"), (stream, "does not listen")] {
        let mut command = Command::new("sh");
        let command = command.args(["-c", ACTIVATE, env!("CARGO_BIN_EXE_crossfade")]).stdin(stdin);
        let mut process = Process::of(command, &[("CROSSFADE_UPSTREAM", "ws://127.0.0.1:9")]);
        assert_eq!(process.ended().await.code(), Some(64));
        process.line(|line| line.contains(says).then_some(()));
    }
    // By its name among several; meant for another process: the configured address, as if nothing were there.
    let named = run("LISTEN_FDS=2 LISTEN_FDNAMES=other:proxy");
    let proxy = Proxy::of(activated(&named, &socket, upstream, &[]));
    assert_eq!(proxy.clients, upstream);
    let other = "exec 3<&0 </dev/null; LISTEN_PID=1 LISTEN_FDS=1 exec \"$0\" run";
    let proxy = Proxy::of(activated(other, &socket, upstream, &[("CROSSFADE_LISTEN", "127.0.0.1:0")]));
    assert_ne!(proxy.clients, upstream);
}
