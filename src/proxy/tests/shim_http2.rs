//! HTTP/2 put in front of the proxy, outside it: a test's upgrade of HTTP/1.1 becomes an extended CONNECT (RFC 8441)
//! on a connection of its own, the 200 a 101 again, and the ends what they were (FIN as END_STREAM, reset as
//! `RST_STREAM`), so that the same test speaks to both.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Opens a door to the proxy at `to`. It stays open as long as the process lives.
pub(super) fn door(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(async move { pass(near, to).await.unwrap_or(()) });
            }
        });
    });
    address
}

async fn pass(mut near: TcpStream, to: SocketAddr) -> Result<(), Failure> {
    near.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await?);
    }
    let mut request = http::Request::builder().method("CONNECT");
    let head = head.strip_suffix(b"\r\n\r\n").unwrap_or(&head);
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = String::from_utf8(lines.next().unwrap_or_default().to_vec())?;
    let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
    let (mut host, mut key) = (String::new(), Vec::new());
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let (name, value) = (String::from_utf8(name.to_ascii_lowercase())?, value.trim_ascii());
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        match name.as_str() {
            "host" => host = String::from_utf8(value.to_vec())?,
            "sec-websocket-key" => key = value.to_vec(),
            "connection" | "upgrade" => {}
            _ => request = request.header(name, http::HeaderValue::from_bytes(value)?),
        }
    }
    let mut request = request.uri(format!("http://{host}{path}")).body(())?;
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let far = TcpStream::connect(to).await?;
    far.set_nodelay(true)?;
    let (mut requests, connection) = h2::client::handshake(far).await?;
    let driver = tokio::spawn(async move { connection.await.unwrap_or(()) });
    while !requests.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    requests = requests.ready().await?;
    let (answer, send) = requests.send_request(request, false)?;
    let second = socket2::SockRef::from(&near).try_clone()?;
    let (read, mut write) = near.into_split();
    // Bytes behind the upgrade are sent before it is answered, as the test did.
    let up = tokio::spawn(up(read, send));
    let answer = answer.await?;
    assert_eq!(answer.status(), 200, "a session opens");
    let (parts, receive) = answer.into_parts();
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        derive_accept_key(&key)
    )
    .into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    write.write_all(&[&head[..], b"\r\n"].concat()).await?;
    let down = down(receive, write).await;
    if down.is_err() || up.await?.is_err() {
        second.set_linger(Some(Duration::ZERO))?;
    }
    drop(requests);
    driver.await?;
    Ok(())
}

async fn up(mut from: OwnedReadHalf, mut to: SendStream<Bytes>) -> Result<(), Failure> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = match from.read(&mut buffer).await {
            Ok(n) => n,
            Err(error) => {
                to.send_reset(h2::Reason::CANCEL);
                return Err(error.into());
            }
        };
        let mut rest = buffer.get(..n).unwrap_or_default();
        if rest.is_empty() {
            return Ok(to.send_data(Bytes::new(), true)?);
        }
        while !rest.is_empty() {
            to.reserve_capacity(rest.len());
            let room =
                std::future::poll_fn(|cx| to.poll_capacity(cx)).await.ok_or("the stream is gone")??;
            let (now, later) = rest.split_at(room.min(rest.len()));
            to.send_data(Bytes::copy_from_slice(now), false)?;
            rest = later;
        }
    }
}

async fn down(mut from: RecvStream, mut to: OwnedWriteHalf) -> Result<(), Failure> {
    while let Some(data) = from.data().await {
        let data = data?;
        to.write_all(&data).await?;
        from.flow_control().release_capacity(data.len())?;
    }
    Ok(to.shutdown().await?)
}
