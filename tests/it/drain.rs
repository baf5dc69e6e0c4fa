//! SIGTERM under open sessions: told, not cut off, and nothing is missing before the close.

use std::net::SocketAddr;

use crossfade::demo::service::Service;
use futures_util::StreamExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::process::{HANG, Process, Proxy, until};

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
