//! Redis: one versioned document under `crossfade:SERVICE:flags`, told by PUBSUB on the channel of the same name,
//! asked for again behind it. Both connections are pinged, since a dead peer says nothing.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::desk::Desk;
use crate::app::ops::Word;
use crate::config::Secret;

/// From asking to the end of the answer, and for a connection.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How often both connections are pinged.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Between attempts: doubled up to the longest, so that a dead Redis costs little and a new one is found soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Where the document is.
#[derive(Clone)]
pub(crate) struct Place {
    /// `redis://` or `rediss://`, with user and password.
    pub(crate) url: Secret,
    /// The service in the key.
    pub(crate) service: String,
    /// Between polls.
    pub(crate) poll: Duration,
}

impl Place {
    /// A key of ours.
    pub(crate) fn key(&self, what: &str) -> String {
        format!("crossfade:{}:{what}", self.service)
    }

    pub(crate) fn client(&self) -> RedisResult<Client> {
        Client::open(self.url.expose())
    }
}

/// A connection for questions.
pub(crate) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// What went wrong, without the server's words: they may quote what was sent.
pub(crate) fn said(error: &RedisError) -> String {
    let kind = format!("{:?}", error.kind());
    error.code().map_or(kind.clone(), |code| format!("{kind} ({code})"))
}

/// Follows the document for ever.
pub(super) async fn run(place: Place, mut desk: Desk, words: mpsc::Sender<Word>) {
    let client = match place.client() {
        Ok(client) => client,
        Err(error) => return desk.hear(None, Err(said(&error)), &words).await,
    };
    let mut pause = RETRY.0;
    loop {
        let mut answered = false;
        let ended = follow(&client, &place, &mut desk, (&words, &mut answered)).await;
        if answered {
            pause = RETRY.0;
        }
        desk.hear(None, Err(ended), &words).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Follows it on one pair of connections; ends with what went wrong.
async fn follow(
    client: &Client,
    place: &Place,
    desk: &mut Desk,
    (words, answered): (&mpsc::Sender<Word>, &mut bool),
) -> String {
    let key = place.key("flags");
    let mut questions = match connect(client).await {
        Ok(connection) => connection,
        Err(error) => return said(&error),
    };
    let listening = timeout(ANSWER_WITHIN, async {
        let mut listening = client.get_async_pubsub().await?;
        listening.subscribe(&key).await?;
        RedisResult::Ok(listening)
    });
    let (mut pings, mut told) = match listening.await {
        Ok(Ok(listening)) => listening.split(),
        Ok(Err(error)) => return said(&error),
        Err(_) => return "no answer to SUBSCRIBE".to_owned(),
    };
    let mut ping = tokio::time::interval(PING_EVERY);
    let mut poll = tokio::time::interval(place.poll);
    loop {
        tokio::select! {
            message = told.next() => if message.is_none() {
                return "the connection that tells changes was closed".to_owned();
            },
            _ = poll.tick() => {}
            _ = ping.tick() => {
                match timeout(ANSWER_WITHIN, pings.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return said(&error),
                    Err(_) => return "no answer to PING".to_owned(),
                }
                if let Err(error) = redis::cmd("PING").exec_async(&mut questions).await {
                    return said(&error);
                }
                continue;
            }
        }
        // After a push as after a poll the document is asked for: what holds is what is stored.
        match redis::cmd("GET").arg(&key).query_async::<Option<Vec<u8>>>(&mut questions).await {
            Ok(Some(text)) => {
                *answered = true;
                desk.hear(None, Ok(text), words).await;
            }
            Ok(None) => {
                *answered = true;
                desk.hear(None, Err(format!("there is no {key}")), words).await;
            }
            Err(error) => return said(&error),
        }
    }
}
