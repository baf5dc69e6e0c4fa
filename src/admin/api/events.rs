//! Server-sent events: `status` each second while somebody listens, `audit` and `breaker` when there is something.
//! Listeners are few, and one that does not keep up is cut off: its browser connects again by itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::Problem;
use super::desk::{Ask, Desk};

/// Listeners at a time.
pub const LISTENERS_MAX: usize = 16;
/// Events that may wait for a listener.
const WAITING_MAX: usize = 32;
/// Between two `status` events.
const EVERY: Duration = Duration::from_secs(1);

/// Where events come together.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Bytes>,
    places: Arc<Semaphore>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(WAITING_MAX), places: Arc::new(Semaphore::new(LISTENERS_MAX)) }
    }
}

impl Events {
    /// Tells everybody who listens.
    pub(super) fn tell(&self, name: &str, what: &impl Serialize) {
        if self.sender.receiver_count() > 0
            && let Ok(text) = serde_json::to_string(what)
        {
            // The last listener may leave meanwhile.
            drop(self.sender.send(event(name, &text)));
        }
    }

    /// Asks for the status once a second while somebody listens, for ever.
    pub async fn pump(self, desk: Desk) {
        let mut beat = tokio::time::interval(EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            beat.tick().await;
            if self.sender.receiver_count() == 0 {
                continue;
            }
            let Ok(status) = desk.ask(Ask::Status).await else { continue };
            let breaker = (status["breaker"]["state"].clone(), status["breaker"]["mode"].clone());
            if last.as_ref().is_some_and(|last| *last != breaker) {
                self.tell("breaker", &status["breaker"]);
            }
            last = Some(breaker);
            self.tell("status", &status);
        }
    }

    /// A stream of events that begins with the status of now.
    pub(super) async fn listen(&self, desk: &Desk) -> Response {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let message = format!("{LISTENERS_MAX} listeners are there already; close one");
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", message)
                .into_response();
        };
        let receiver = self.sender.subscribe();
        let first = match desk.ask(Ask::Status).await {
            Ok(status) => event("status", &status.to_string()),
            Err(problem) => return problem.into_response(),
        };
        let rest = futures_util::stream::unfold((receiver, place), follow);
        let stream = futures_util::stream::once(async { Ok::<_, Infallible>(first) }).chain(rest);
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
    }
}

type Listener = (broadcast::Receiver<Bytes>, OwnedSemaphorePermit);

/// The next event; the end for a listener that missed some.
async fn follow((mut receiver, place): Listener) -> Option<(Result<Bytes, Infallible>, Listener)> {
    let event = receiver.recv().await.ok()?;
    Some((Ok(event), (receiver, place)))
}

/// One event on the wire (HTML Living Standard section 9.2.6). JSON has no raw line break.
fn event(name: &str, json: &str) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {json}\n\n"))
}
