//! The clients of the demo: each opens one WebSocket through the sidecar, reads the feed, asks a question now and
//! then, and keeps its own log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::log::Log;

/// How far the demo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Clients ask questions.
    Talking,
    /// Clients only read.
    Listening,
    /// Clients say goodbye.
    Leaving,
}

/// What the clients share with whoever watches them.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Messages that clients sent.
    pub sent: Log,
    /// Messages that clients received.
    pub received: Log,
    /// Clients that are connected.
    pub open: Arc<AtomicU64>,
    /// Closes, ends and errors that no client asked for.
    pub unasked_closes: Arc<AtomicU64>,
    /// Clients that could not connect.
    pub refused: Arc<AtomicU64>,
}

/// The demo's user names, which are the keys that the rollout hashes.
#[must_use]
pub fn user(index: usize) -> String {
    format!("user-{index:03}")
}

impl Clients {
    /// Runs `count` clients until the phase is [`Phase::Leaving`] and all have left.
    pub async fn run(self, proxy: SocketAddr, count: usize, phase: watch::Receiver<Phase>) {
        let mut tasks = JoinSet::new();
        for index in 0..count {
            let (this, phase) = (self.clone(), phase.clone());
            tasks.spawn(async move {
                match connect(proxy, &user(index)).await {
                    Ok(socket) => this.live(&user(index), socket, phase).await,
                    Err(error) => {
                        tracing::warn!(%error, "a demo client could not connect");
                        this.refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn live(
        &self,
        name: &str,
        mut socket: WebSocketStream<TcpStream>,
        mut phase: watch::Receiver<Phase>,
    ) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut ask = tokio::time::interval(Duration::from_millis(700));
        for id in 0_u64.. {
            if !self.until_asked(name, &mut socket, &mut phase, &mut ask).await {
                break;
            }
            if *phase.borrow() == Phase::Talking {
                let question =
                    json!({"op": "query", "id": id, "user": name, "password": "open sesame"}).to_string();
                self.sent.note(name, question.as_bytes());
                if socket.send(Message::Text(question.into())).await.is_err() {
                    self.unasked_closes.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Reads until the next question is due; `false` when the client's life is over.
    async fn until_asked(
        &self,
        name: &str,
        socket: &mut WebSocketStream<TcpStream>,
        phase: &mut watch::Receiver<Phase>,
        ask: &mut tokio::time::Interval,
    ) -> bool {
        loop {
            tokio::select! {
                _ = ask.tick() => return true,
                changed = phase.changed() => {
                    if changed.is_err() || *phase.borrow() == Phase::Leaving {
                        // The far end may be gone already; the goodbye is a courtesy.
                        socket.close(None).await.unwrap_or(());
                        while let Some(Ok(message)) = socket.next().await {
                            self.hear(name, &message);
                        }
                        return false;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => {
                        self.unasked_closes.fetch_add(1, Ordering::Relaxed);
                        return false;
                    }
                    Some(Ok(message)) => self.hear(name, &message),
                },
            }
        }
    }

    fn hear(&self, name: &str, message: &Message) {
        if let Message::Text(_) | Message::Binary(_) = message {
            self.received.note(name, &message.clone().into_data());
        }
    }
}

async fn connect(proxy: SocketAddr, name: &str) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{proxy}/feed").into_client_request()?;
    request.headers_mut().insert("x-user-id", name.parse().map_err(|_| Error::AttackAttempt)?);
    let socket = TcpStream::connect(proxy).await?;
    socket.set_nodelay(true)?;
    Ok(tokio_tungstenite::client_async(request, socket).await?.0)
}
