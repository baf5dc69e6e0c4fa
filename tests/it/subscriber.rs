//! A consumer of its own on a private topic: it knows nothing of crossfade, only of Realtime.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// Joins `topic` and hands every broadcast (`{"event", "payload", …}`) to `note`, until the connection ends.
/// Returns once it has joined.
pub(crate) async fn subscribe(
    realtime: SocketAddr,
    key: &str,
    topic: &str,
    mut note: impl FnMut(&Value) + Send + 'static,
) {
    let url = format!("ws://{realtime}/realtime/v1/websocket?apikey={key}&vsn=1.0.0");
    let socket = TcpStream::connect(realtime).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(url, socket).await.unwrap();
    let join = json!({"topic": format!("realtime:{topic}"), "event": "phx_join", "ref": "1", "join_ref": "1",
        "payload": {"config": {"private": true, "broadcast": {"self": false}}, "access_token": key}});
    socket.send(Message::text(join.to_string())).await.unwrap();
    let (joined, is_joined) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut joined = Some(joined);
        while let Some(Ok(message)) = socket.next().await {
            let Ok(text) = message.to_text() else { continue };
            let Ok(frame) = serde_json::from_str::<Value>(text) else { continue };
            if frame["event"] == "phx_reply"
                && frame["payload"]["status"] == "ok"
                && let Some(joined) = joined.take()
            {
                joined.send(()).unwrap();
            }
            if frame["event"] == "broadcast" {
                note(&frame["payload"]);
            }
        }
    });
    is_joined.await.unwrap();
}
