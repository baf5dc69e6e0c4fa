//! One topic on the socket: what was asked for, how far the join has come, and the pushes that wait for an answer.
//! A state carries exactly what it needs; refs belong to one join and die with it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::realtime::reason::Reason;

use super::backoff::Backoff;
use super::silence::Silence;
use super::{JoinError, PushRef};

/// What a channel is joined with. Always sent whole: without `config` the server takes its oldest API path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// The topic without `realtime:`. Public and private channels of one name are different rooms.
    pub name: String,
    /// Checked by the policies on `realtime.messages`.
    pub private: bool,
    /// Ask for an answer to every push. Without it a push has no outcome.
    pub ack: bool,
    /// Deliver our own broadcasts back on this channel.
    pub receive_own: bool,
    /// Replay of broadcasts that the database sent; private channels only.
    pub replay: Option<Replay>,
    /// Database changes to listen to.
    pub changes: Vec<Changes>,
}

/// Which stored broadcasts to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// From when on, in milliseconds since 1970.
    pub since: u64,
    /// How many at most; the server allows 25.
    pub limit: u8,
}

/// One entry of `postgres_changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// `*`, `INSERT`, `UPDATE` or `DELETE`.
    pub event: String,
    /// Schema or `*`.
    pub schema: String,
    /// Table or `*`.
    pub table: String,
    /// Such as `id=eq.7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

impl Join {
    /// A channel with acknowledgements, public or private.
    #[must_use]
    pub fn new(name: &str, private: bool) -> Self {
        Self { name: name.to_owned(), private, ack: true, ..Self::default() }
    }

    /// The topic on the wire.
    pub(super) fn topic(&self) -> Result<String, JoinError> {
        let topic = format!("realtime:{}", self.name);
        if self.name.is_empty() {
            Err(JoinError::EmptyName)
        } else if topic.len() > TOPIC_BYTES_MAX {
            Err(JoinError::NameTooLong)
        } else {
            Ok(topic)
        }
    }

    /// The payload of `phx_join`.
    pub(super) fn payload(&self, token: Option<&str>) -> Vec<u8> {
        let payload = JoinPayload {
            config: JoinConfig {
                broadcast: BroadcastConfig { ack: self.ack, own: self.receive_own, replay: self.replay },
                presence: PresenceConfig { enabled: false, key: "" },
                postgres_changes: &self.changes,
                private: self.private,
            },
            access_token: token,
        };
        // Strings, numbers and booleans only: this cannot fail, and an empty object would be refused by the server.
        serde_json::to_vec(&payload).unwrap_or_else(|_| b"{}".to_vec())
    }
}

/// The binary frames count the topic in one byte.
const TOPIC_BYTES_MAX: usize = 255;

#[derive(Serialize)]
struct JoinPayload<'a> {
    config: JoinConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
}

#[derive(Serialize)]
struct JoinConfig<'a> {
    broadcast: BroadcastConfig,
    presence: PresenceConfig,
    postgres_changes: &'a [Changes],
    private: bool,
}

#[derive(Serialize)]
struct BroadcastConfig {
    ack: bool,
    #[serde(rename = "self")]
    own: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Replay>,
}

#[derive(Serialize)]
struct PresenceConfig {
    enabled: bool,
    key: &'static str,
}

/// How far the join has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be joined at `at`, socket permitting; `why` it is not joined now, if it was refused or closed.
    Waiting {
        at: Instant,
        why: Option<Reason>,
    },
    /// `phx_join` is on its way.
    Joining {
        join_ref: u64,
    },
    Joined {
        join_ref: u64,
        since: Instant,
    },
}

/// A push that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) reference: u64,
    pub(super) push: PushRef,
    pub(super) deadline: Instant,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) join: Join,
    pub(super) topic: String,
    pub(super) state: State,
    pub(super) retry: Backoff,
    pub(super) in_flight: VecDeque<InFlight>,
    /// Pushes without an answer since the last answer.
    pub(super) silent: u32,
    /// Whether it may write, as far as that shows.
    pub(super) silence: Silence,
    /// A new token has to be told to the server.
    pub(super) token_due: bool,
    /// The `system` error that explains the `phx_close` behind it.
    last_error: Option<(Reason, Instant)>,
}

impl Channel {
    pub(super) fn new(join: Join, topic: String, now: Instant) -> Self {
        Self {
            silence: Silence::new(join.private && join.ack),
            join,
            topic,
            state: State::Waiting { at: now, why: None },
            retry: Backoff::default(),
            in_flight: VecDeque::new(),
            silent: 0,
            token_due: false,
            last_error: None,
        }
    }

    /// The ref of the join that is on its way or done.
    pub(super) const fn join_ref(&self) -> Option<u64> {
        match self.state {
            State::Joining { join_ref } | State::Joined { join_ref, .. } => Some(join_ref),
            State::Waiting { .. } => None,
        }
    }

    pub(super) const fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Joined long enough for its failures to be forgotten.
    pub(super) fn was_healthy(&self, now: Instant, for_at_least: Duration) -> bool {
        matches!(self.state, State::Joined { since, .. } if now.saturating_duration_since(since) >= for_at_least)
    }

    pub(super) fn remember_error(&mut self, reason: Reason, now: Instant) {
        self.last_error = Some((reason, now));
    }

    /// Why the server closed the channel: its last complaint, if fresh.
    pub(super) fn take_error(&mut self, now: Instant) -> Option<Reason> {
        let (reason, at) = self.last_error.take()?;
        (now.saturating_duration_since(at) <= COMPLAINT_AGE_MAX).then_some(reason)
    }
}

/// A `phx_close` follows its `system` error within the same millisecond; seconds allow for a busy machine.
const COMPLAINT_AGE_MAX: Duration = Duration::from_secs(10);
