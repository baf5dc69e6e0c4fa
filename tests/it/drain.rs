//! SIGTERM under open sessions: told, not cut off, and nothing is missing before the close.

use std::net::SocketAddr;

use crossfade::demo::service::Service;
use futures_util::StreamExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::process::{HANG, Proxy, until};

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
