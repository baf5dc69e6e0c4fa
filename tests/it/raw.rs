//! Upgrades by hand, for what a library would hide: every header field, and sessions that cost nothing here.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::process::HANG;

/// The answer to `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==` (RFC 6455 section 1.3).
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An upgrade as [`upgraded`] answers it.
pub(crate) const UPGRADE: &str = "GET /feed HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Reads one head, byte by byte, so that nothing behind it is taken; empty at the end of the stream.
pub(crate) async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                head.clear();
                break;
            }
            head.push(byte[0]);
        }
    };
    tokio::time::timeout(HANG, reading).await.unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

/// The value of a field in a head.
pub(crate) fn field(head: &str, name: &str) -> Option<String> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
}

/// Asks for a WebSocket; `more` is further fields, each with its line end.
pub(crate) async fn ask(proxy: SocketAddr, more: &str) -> TcpStream {
    let mut socket = TcpStream::connect(proxy).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let request = format!(
        "GET /feed HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Takes the next upgrade that reaches the service, and its head. Connections that only look whether somebody
/// listens are let go.
pub(crate) async fn upgraded(service: &TcpListener, more: &str) -> (TcpStream, String) {
    loop {
        let (mut socket, _) = tokio::time::timeout(HANG, service.accept()).await.unwrap().unwrap();
        let head = head(&mut socket).await;
        if head.is_empty() {
            continue;
        }
        socket.set_nodelay(true).unwrap();
        // Over HTTP/2 the client has no key, and the one that the service sees is crossfade's.
        let key = field(&head, "sec-websocket-key").unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        );
        socket.write_all(answer.as_bytes()).await.unwrap();
        return (socket, head);
    }
}

/// A session by hand: both ends.
pub(crate) async fn session(proxy: SocketAddr, service: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = ask(proxy, "").await;
    let (upstream, _) = upgraded(service, "").await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    (client, upstream)
}

/// Reads to the end, whatever comes; how many bytes that were.
pub(crate) async fn drained(mut socket: TcpStream) -> usize {
    let (mut sum, mut window) = (0, vec![0; 64 << 10]);
    while let Ok(got @ 1..) = tokio::io::AsyncReadExt::read(&mut socket, &mut window).await {
        sum += got;
    }
    sum
}
