//! The ear: a reading link of the events' thread on the topics of events. A 202 says that a request was read; what comes
//! back on the topic was delivered. Where a policy is missing, Realtime takes an event and drops it in silence: only
//! this notices.
//!
//! **Limits.** [`TOPICS_MAX`] topics, joined when they are named first; events on others are `accepted`. An event waits
//! [`JOIN_WITHIN`] at most for the join of its topic. Whoever shares a topic with us is heard too, and ignored.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::seed;
use crate::realtime::client::{self, Handle};
use crate::realtime::key::ApiKey;
use crate::realtime::link::{self, Join, LinkEvent, TopicNo};
use crate::realtime::reason::Reason;

/// Topics that are listened to, below the 100 channels that plans allow a connection.
const TOPICS_MAX: usize = 90;
/// An event waits so long for the join of its topic, and no longer than half of its life.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Ear {
    handle: Handle,
    topics: HashMap<String, Seat>,
    names: Vec<String>,
    key_file: Option<PathBuf>,
    patience: Duration,
}

/// How it stands with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    /// Asked for; its events wait for a while.
    Joining,
    Joined,
    /// Joined before, and not at the moment; or not in time.
    Lost,
    /// We may not listen.
    Refused,
}

/// What to do with an event on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    /// It will be heard.
    Hears,
    /// Not yet: ask again then.
    Until(Instant),
    /// Nobody listens.
    Deaf,
    /// We may not listen, so that nothing can be proved.
    Blind,
}

/// What the ear noticed.
pub(super) enum Noticed {
    /// A broadcast with an id of an event.
    Heard { topic: String, id: String, payload: bytes::Bytes },
    /// These are not heard any more.
    Deaf(Vec<String>),
    /// Whoever waits for a join may look again.
    Changed,
}

impl Ear {
    /// Starts the link. To be called on a `LocalSet`.
    pub(super) fn start(link: link::Config, key_file: Option<PathBuf>, life: Duration) -> Self {
        let (handle, shell) = client::start(client::Config::new(link, seed()));
        tokio::task::spawn_local(shell);
        let patience = JOIN_WITHIN.min(life / 2);
        Self { handle, topics: HashMap::new(), names: Vec::new(), key_file, patience }
    }

    /// How it stands with this topic, for an event that waits since then; one that is new is joined.
    pub(super) fn attend(&mut self, topic: &str, since: Instant, now: Instant) -> Attention {
        let until = since + self.patience;
        match self.topics.get_mut(topic) {
            Some(Seat::Joined) => Attention::Hears,
            Some(Seat::Refused) => Attention::Blind,
            Some(Seat::Lost) => Attention::Deaf,
            Some(Seat::Joining) if now < until => Attention::Until(until),
            Some(seat) => {
                // The next events do not wait; the join may still come.
                *seat = Seat::Lost;
                Attention::Deaf
            }
            None if self.names.len() >= TOPICS_MAX => Attention::Deaf,
            None => self.join(topic, until),
        }
    }

    fn join(&mut self, topic: &str, until: Instant) -> Attention {
        let no = TopicNo(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        let join = Join { ack: false, ..Join::new(topic, true) };
        if self.handle.commands().try_join(no, join).is_err() {
            return Attention::Deaf; // busy: the next event asks again
        }
        self.names.push(topic.to_owned());
        self.topics.insert(topic.to_owned(), Seat::Joining);
        Attention::Until(until)
    }

    /// The next thing that was noticed; `None` when the link has ended. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<Noticed> {
        loop {
            let event = self.handle.next_event().await?;
            if let Some(noticed) = self.heard(event) {
                return Some(noticed);
            }
        }
    }

    fn heard(&mut self, event: LinkEvent) -> Option<Noticed> {
        match event {
            LinkEvent::Joined { topic } => {
                self.seat(topic, Seat::Joined)?;
                Some(Noticed::Changed)
            }
            LinkEvent::Left { topic, reason, .. } => {
                let refused = reason == Reason::Unauthorized;
                if refused {
                    warn(reason);
                }
                let name = self.seat(topic, if refused { Seat::Refused } else { Seat::Lost })?;
                Some(Noticed::Deaf(vec![name]))
            }
            LinkEvent::Down { .. } => {
                let joined = self.topics.iter_mut().filter(|(_, seat)| **seat == Seat::Joined);
                let lost = joined.map(|(name, seat)| {
                    *seat = Seat::Lost;
                    name.clone()
                });
                Some(Noticed::Deaf(lost.collect()))
            }
            LinkEvent::Broadcast(broadcast) => {
                let topic = self.names.get(broadcast.topic.0 as usize)?.clone();
                let id = id_of(&broadcast.payload)?;
                Some(Noticed::Heard { topic, id, payload: broadcast.payload })
            }
            LinkEvent::GiveUp { reason, .. } => {
                warn(reason);
                None
            }
            LinkEvent::TokenExpiring { .. } => {
                self.renew_key();
                None
            }
            _ => None,
        }
    }

    /// The name of the topic, if there is such a one.
    fn seat(&mut self, topic: TopicNo, seat: Seat) -> Option<String> {
        let name = self.names.get(topic.0 as usize)?.clone();
        self.topics.insert(name.clone(), seat);
        Some(name)
    }

    /// Reads the key's file again, where it came from one. The publishing links warn where it did not.
    fn renew_key(&self) {
        let Some(path) = &self.key_file else { return };
        if let Ok(secret) = crate::config::read_secret_file(path)
            && self.handle.commands().try_set_key(ApiKey::new(secret.expose())).is_err()
        {
            tracing::warn!(
                "the link that reads events back was too busy to take the new key; it will ask again"
            );
        }
    }
}

/// Topics are made of users' texts: they are not named.
fn warn(reason: Reason) {
    tracing::warn!(
        reason = reason.as_str(),
        advice = reason.advice(),
        "a topic of events cannot be read back: whether Realtime delivers there is not known"
    );
}

/// The id that an event carries for its consumers.
fn id_of(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Payload {
        #[serde(rename = "_crossfade")]
        about: About,
    }
    #[derive(Deserialize)]
    struct About {
        id: String,
    }
    serde_json::from_slice::<Payload>(payload).ok().map(|payload| payload.about.id)
}
