//! The legacy service of the demo: a monitoring feed over plain WebSockets.
//!
//! Every client gets the same cache metrics, session metrics, health checks and system events, and an answer to
//! each of its own requests. The service knows nothing about crossfade, and keeps its own log of what it wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::log::Log;

/// What the service shares with whoever watches it.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Messages written to each client.
    pub written: Log,
    /// Messages read from each client.
    pub read: Log,
    /// Set to end the feed; requests are still answered.
    pub quiet: Arc<AtomicBool>,
    /// Connections open now.
    pub open: Arc<AtomicU64>,
}

/// News that may wait for one slow connection; more, and that connection is dropped.
const BACKLOG_MAX: usize = 4096;

impl Service {
    /// Serves until the future is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let (news, _) = broadcast::channel(BACKLOG_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(feed(news.clone(), Arc::clone(&self.quiet)));
        while let Ok((socket, _)) = listener.accept().await {
            tasks.spawn(self.clone().connection(socket, news.subscribe()));
            while tasks.try_join_next().is_some() {}
        }
    }

    async fn connection(self, socket: TcpStream, news: broadcast::Receiver<Utf8Bytes>) {
        // A demo on loopback works without it; a refusal is not worth a word.
        socket.set_nodelay(true).unwrap_or(());
        let mut client = String::new();
        #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
        let read_name = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let name = request.headers().get("x-user-id").and_then(|name| name.to_str().ok());
            name.unwrap_or("nobody").clone_into(&mut client);
            Ok(response)
        };
        let Ok(socket) = accept(socket, read_name).await else { return };
        self.open.fetch_add(1, Ordering::Relaxed);
        self.talk(&client, socket, news).await;
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn talk(
        &self,
        client: &str,
        mut socket: WebSocketStream<TcpStream>,
        mut news: broadcast::Receiver<Utf8Bytes>,
    ) {
        let hello: Utf8Bytes = json!({"event": "welcome", "user": client}).to_string().into();
        if self.send(client, &mut socket, hello).await.is_err() {
            return;
        }
        loop {
            let out = tokio::select! {
                item = news.recv() => match item {
                    Ok(item) => Some(item),
                    Err(_) => return,
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Text(request))) => {
                        self.read.note(client, request.as_bytes());
                        Some(reply(&request))
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => None,
                },
            };
            if let Some(out) = out
                && self.send(client, &mut socket, out).await.is_err()
            {
                return;
            }
        }
    }

    async fn send(
        &self,
        client: &str,
        socket: &mut WebSocketStream<TcpStream>,
        text: Utf8Bytes,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.written.note(client, text.as_bytes());
        socket.send(Message::Text(text)).await
    }
}

async fn accept(
    socket: TcpStream,
    read_name: impl FnOnce(&Request, Response) -> Result<Response, ErrorResponse> + Unpin,
) -> Result<WebSocketStream<TcpStream>, tokio_tungstenite::tungstenite::Error> {
    tokio_tungstenite::accept_hdr_async(socket, read_name).await
}

/// The service's answer to a request: its id and a made-up figure.
fn reply(request: &str) -> Utf8Bytes {
    let id = serde_json::from_str::<serde_json::Value>(request).ok().and_then(|body| body.get("id").cloned());
    json!({"event": "reply", "id": id, "rows": 3, "took_ms": 1}).to_string().into()
}

/// Publishes the four kinds of news at their own pace.
async fn feed(news: broadcast::Sender<Utf8Bytes>, quiet: Arc<AtomicBool>) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    for n in 0_u64.. {
        tick.tick().await;
        if quiet.load(Ordering::Relaxed) {
            return;
        }
        for item in due(n) {
            // Nobody listening is fine.
            news.send(item.to_string().into()).unwrap_or(0);
        }
    }
}

/// What is due at tick `n` (50 ms each). Every message is unique, so that the logs can be compared.
fn due(n: u64) -> Vec<serde_json::Value> {
    let wave = |period: u64, low: u64, high: u64| low + (n % period) * (high - low) / period;
    let mut items = Vec::new();
    if n.is_multiple_of(2) {
        items.push(
            json!({"event": "cache.metrics", "n": n, "hit_ratio": wave(40, 80, 99), "keys": 12_000 + n}),
        );
    }
    if n.is_multiple_of(10) {
        items.push(json!({"event": "session.metrics", "n": n, "active": wave(60, 200, 900), "p95_ms": wave(30, 12, 48)}));
    }
    if n.is_multiple_of(40) {
        items.push(json!({"event": "health.check", "n": n, "status": "ok", "load": wave(20, 1, 7)}));
    }
    if n % 53 == 52 {
        items.push(
            json!({"event": "system.alert", "n": n, "level": "warning", "text": "Ünüsual löad ✓ on node 3"}),
        );
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_never_repeats_a_message_and_has_all_four_kinds() {
        let all: Vec<String> = (0..400).flat_map(due).map(|item| item.to_string()).collect();
        let unique: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(unique.len(), all.len());
        for kind in ["cache.metrics", "session.metrics", "health.check", "system.alert"] {
            assert!(all.iter().any(|item| item.contains(kind)), "{kind}");
        }
    }

    #[test]
    fn a_reply_carries_the_id_of_its_request() {
        assert!(reply(r#"{"op":"query","id":7}"#).contains("\"id\":7"));
        assert!(reply("not json").contains("\"id\":null"));
    }
}
