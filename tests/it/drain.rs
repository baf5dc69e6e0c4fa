//! SIGTERM under open sessions: told, not cut off, and nothing is missing before the close.

use std::net::SocketAddr;

use crossfade::demo::service::Service;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::process::{HANG, Process, Proxy, until};
use super::raw;

const SESSIONS: usize = 50;

/// Reads until the close. What the feed brought, and the close code.
async fn listen(address: SocketAddr) -> (Vec<String>, Option<CloseCode>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{address}/feed"), socket).await.unwrap();
    let mut feed = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if !text.contains("welcome") => feed.push(text.to_string()),
            Message::Close(close) => return (feed, close.map(|close| close.code)),
            _ => {}
        }
    }
    (feed, None)
}

#[tokio::test]
async fn sessions_are_told_and_nothing_before_the_close_is_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let service = Service::default();
    let open = service.open.clone();
    let serving = tokio::spawn(service.clone().serve(listener));
    // Reads the same feed past crossfade: what the others must have a piece of.
    let witness = tokio::spawn(listen(upstream));
    until("the witness", async || (open.load(std::sync::atomic::Ordering::Relaxed) == 1).then_some(())).await;
    let mut proxy = Proxy::start(upstream, None, &[("CROSSFADE_DRAIN_GRACE", "20s")]);
    proxy.until_ready(200).await;
    let crowd: Vec<_> = (0..SESSIONS).map(|_| tokio::spawn(listen(proxy.clients))).collect();
    proxy.until_value("crossfade_sessions{lane=\"legacy\"}", SESSIONS as f64).await;
    let goal = service.written.total() + 500;
    until("some feed", async || (service.written.total() >= goal).then_some(())).await;

    let began = super::process::now();
    proxy.process.signal("TERM");
    let why = proxy.until_ready(503).await;
    assert!(why.contains("draining"), "{why}");
    let mut heard = Vec::new();
    for client in crowd {
        let (feed, code) = tokio::time::timeout(HANG, client).await.unwrap().unwrap();
        assert_eq!(code, Some(CloseCode::Restart), "1012");
        heard.push(feed);
    }
    let status = proxy.process.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "longer than the grace");
    until("the service's connections end", async || {
        (open.load(std::sync::atomic::Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    // Ending the service ends the witness, who has then read all that the others can have read.
    serving.abort();
    let (all, _) = tokio::time::timeout(HANG, witness).await.unwrap().unwrap();
    for feed in heard {
        let first = feed.first().expect("the feed ran");
        let from = all.iter().position(|item| item == first).expect("written by the service");
        assert!(all[from..].starts_with(&feed), "a gap, a double or a swap before the close");
    }
}

const LARGE: usize = 1 << 20;
/// Of a binary frame with so many bytes.
const LARGE_HEADER: [u8; 10] = [0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 0];

/// Writes frames for ever; what is written at once always ends within one, so that the socket never rests between two,
/// and no number of full reads from its beginning ends there either.
async fn without_a_pause(mut service: TcpStream) {
    let body: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    let (first, second) = body.split_at(LARGE / 2 + 12_345);
    let from_middle_to_middle = [second, &LARGE_HEADER, first].concat();
    let mut alive = service.write_all(&[&LARGE_HEADER, first].concat()).await;
    while alive.is_ok() {
        alive = service.write_all(&from_middle_to_middle).await;
    }
}

#[tokio::test]
async fn a_service_that_never_pauses_is_closed_behind_a_whole_frame() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let env = [("CROSSFADE_DRAIN_SETTLE", "0s"), ("CROSSFADE_DRAIN_GRACE", "20s")];
    let mut proxy = Proxy::start(listener.local_addr().unwrap(), None, &env);
    proxy.until_ready(200).await;
    let (mut client, service) = raw::session(proxy.clients, &listener).await;
    let service = tokio::spawn(without_a_pause(service));
    let expected: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    let (mut body, mut whole) = (vec![0; LARGE], 0);
    let told = async {
        loop {
            let mut head = [0; 4];
            client.read_exact(&mut head).await.expect("a frame or a close, not a cut");
            if head == [0x88, 2, 0x03, 0xF4] {
                return;
            }
            let mut rest = [0; 6];
            client.read_exact(&mut rest).await.expect("a whole header");
            assert_eq!([&head[..], &rest].concat(), LARGE_HEADER);
            client.read_exact(&mut body).await.expect("a whole frame");
            assert!(body == expected, "the service's own bytes");
            whole += 1;
            if whole == 3 {
                proxy.process.signal("TERM");
            }
        }
    };
    tokio::time::timeout(HANG, told).await.expect("the close comes");
    // Masked with zeros: the client's own close, and its end.
    client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF4]).await.unwrap();
    drop(client);
    assert_eq!(proxy.process.ended().await.code(), Some(0));
    assert!(proxy.process.output().contains("\"sessions_cut\":0"), "nobody was cut");
    service.await.unwrap();
}

#[tokio::test]
async fn health_answers_with_an_exit_code() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let serving = tokio::spawn(Service::default().serve(listener));
    let proxy = Proxy::start(upstream, None, &[]);
    proxy.until_ready(200).await;
    let metrics = proxy.metrics.to_string();
    let env = [("CROSSFADE_METRICS_LISTEN", metrics.as_str())];
    let code = async |args: &[&str], env: &[(&str, &str)]| Process::start(args, env).ended().await.code();
    assert_eq!(code(&["health"], &env).await, Some(0));
    assert_eq!(code(&["health", "--ready"], &env).await, Some(0));
    serving.abort();
    proxy.until_ready(503).await;
    assert_eq!(code(&["health", "--ready"], &env).await, Some(69), "no service, not ready");
    assert_eq!(code(&["health"], &env).await, Some(0), "a restart would not help");
    drop(proxy);
    assert_eq!(code(&["health", "--metrics", metrics.as_str()], &[]).await, Some(69), "nobody is there");
    assert_eq!(code(&["health"], &[("CROSSFADE_METRICS_LISTEN", "x")]).await, Some(64));
}
