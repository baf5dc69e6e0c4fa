//! What the link tells its owner, in order, through one bounded queue.
//! Broadcasts are shed (and counted) when the owner does not take them; everything else is bounded by what the owner
//! has asked for, and is never shed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::realtime::message::Encoding;
use crate::realtime::reason::Reason;

use super::{PushError, PushRef, TopicNo};

/// What became of a push. Each accepted push gets exactly one outcome, on channels that were joined with `ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server took it and handed it on. It does not say that anybody received it.
    Accepted,
    /// The server refused it.
    Refused(Reason),
    /// No answer in time. On a private topic this is also what a missing write policy looks like.
    TimedOut,
    /// The channel or socket ended first; the push may or may not have been delivered.
    Lost(Reason),
    /// It was never sent: only from a handle, whose queue the link refused.
    NotSent(PushError),
}

/// A broadcast that came in.
#[derive(Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// On which topic.
    pub topic: TopicNo,
    /// The user's event.
    pub event: String,
    /// The user's payload, a slice of the frame that brought it.
    pub payload: Bytes,
    /// Whether it is JSON.
    pub encoding: Encoding,
    /// JSON such as `{"id":…,"replayed":true}`, or empty.
    pub meta: Bytes,
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broadcast({:?}, {} bytes)", self.topic, self.payload.len())
    }
}

/// What the shell must do. Apart from the events, so that an owner who takes none cannot hold it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Open a socket with [`connect_request`](super::Link::connect_request), then call `handle_connected` or
    /// `handle(Failed)`.
    Connect,
    /// Drop the socket or the attempt without ceremony, then call `handle(Closed)`.
    Disconnect,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The socket is open; joins follow.
    Up,
    /// The channel is joined: pushes are taken from now on.
    Joined {
        /// Which.
        topic: TopicNo,
    },
    /// The channel is not joined any more, or its join was refused. It is joined again by itself.
    Left {
        /// Which.
        topic: TopicNo,
        /// Why; its cause says whose doing.
        reason: Reason,
        /// When the link tries again; `None` when that waits for the socket, or we left on purpose.
        retry_in: Option<Duration>,
    },
    /// The fate of a push.
    Ack {
        /// On which topic.
        topic: TopicNo,
        /// Which push.
        push: PushRef,
        /// Its fate.
        outcome: Outcome,
    },
    /// A broadcast came in.
    Broadcast(Broadcast),
    /// A `postgres_changes` message came in: its payload as JSON.
    Change {
        /// On which topic.
        topic: TopicNo,
        /// `{"ids":[…],"data":{…}}`.
        payload: ChangePayload,
    },
    /// A `system` message came in.
    System {
        /// On which topic.
        topic: TopicNo,
        /// `system`, `postgres_changes`, …
        extension: String,
        /// What it means, if it is bad news. `DisconnectRequested` announces a restart of the socket.
        reason: Option<Reason>,
        /// The server's words, at most [`MESSAGE_CHARS_MAX`] characters.
        message: String,
    },
    /// The key or token ends soon (or has ended, when zero): read it again and call `set_token` or `set_key`.
    TokenExpiring {
        /// How long it is still good.
        left: Duration,
    },
    /// The socket is gone, with every channel on it.
    Down {
        /// Why.
        reason: Reason,
        /// When the link asks for the next socket; `None` when nobody wants one.
        retry_in: Option<Duration>,
    },
    /// Only a person can help. The link tries again every few minutes all the same.
    GiveUp {
        /// Which channel, or the whole socket.
        topic: Option<TopicNo>,
        /// Why; [`Reason::advice`] says what to change.
        reason: Reason,
    },
}

/// JSON that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangePayload(pub Bytes);

impl fmt::Debug for ChangePayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// How much of a server's text is kept.
pub const MESSAGE_CHARS_MAX: usize = 200;

/// Messages from the server that wait for the owner, at most, besides the byte limit.
const DATA_EVENTS_MAX: usize = 8_192;

/// The queue of events.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<LinkEvent>,
    data: usize,
    data_bytes: usize,
}

impl Events {
    /// Adds an event that must not be lost. Notices that repeat themselves are kept once.
    pub(super) fn push(&mut self, event: LinkEvent) {
        let repeats = matches!(
            (self.queue.back(), &event),
            (Some(LinkEvent::TokenExpiring { .. }), LinkEvent::TokenExpiring { .. })
        );
        if !repeats {
            self.queue.push_back(event);
        }
    }

    /// Adds data from the server, or answers false when there is no room.
    pub(super) fn push_data(&mut self, event: LinkEvent, bytes_max: usize) -> bool {
        let bytes = data_bytes(&event);
        if self.data >= DATA_EVENTS_MAX || self.data_bytes.saturating_add(bytes) > bytes_max {
            return false;
        }
        self.data += 1;
        self.data_bytes += bytes;
        self.queue.push_back(event);
        true
    }

    pub(super) fn pop(&mut self) -> Option<LinkEvent> {
        let event = self.queue.pop_front()?;
        if is_data(&event) {
            self.data = self.data.saturating_sub(1);
            self.data_bytes = self.data_bytes.saturating_sub(data_bytes(&event));
        }
        Some(event)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

const fn is_data(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Broadcast(_) | LinkEvent::Change { .. } | LinkEvent::System { .. })
}

/// What an event holds, with a floor for its own size so that many small ones count too.
fn data_bytes(event: &LinkEvent) -> usize {
    const OWN: usize = 128;
    OWN + match event {
        LinkEvent::Broadcast(broadcast) => broadcast.payload.len() + broadcast.event.len(),
        LinkEvent::Change { payload, .. } => payload.0.len(),
        LinkEvent::System { message, .. } => message.len(),
        _ => 0,
    }
}
