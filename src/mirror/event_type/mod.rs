//! The event type of a message: what its own protocol calls it, else `text` or `binary`.
//!
//! **Problem.** Rules, classes, metrics and the `events` format all hang on one name for each message. Raw JSON,
//! Socket.IO, Pusher, Phoenix, graphql-ws, STOMP and SignalR keep that name in different places, a service does not
//! say which of them it speaks, and a wrong guess would make a label of a user's text.
//!
//! **Decision.** One reader for each protocol, chosen by the negotiated subprotocol where it names one, else by
//! content, and by content only if the whole shape fits: a Socket.IO packet must have its digits and its array, a
//! STOMP frame its command and headers, a Phoenix array its five places. Whatever fits none is named by its opcode.
//! A reader never builds a document; it looks at the first [`INSPECTED_BYTES_MAX`] bytes.
//!
//! | format | name |
//! |---|---|
//! | JSON | the value of the first of [`KEYS`] at the top level that holds a text or an integer |
//! | Socket.IO | the event; `/admin:alert` in a namespace; `ack`; `socket.io:connect` and the like; `engine.io:ping` and the like |
//! | Pusher | `event`, as in JSON; JSON packed into `data` is looked through by pointers |
//! | Phoenix | the event, of the object or of the array form |
//! | graphql-ws | the type, with the operation or the field: `next:priceUpdated` |
//! | STOMP | the command and its destination, identifiers folded to `*`: `MESSAGE /topic/room.*` |
//! | SignalR | the target of the first record; `signalr:ping` and the like |
//!
//! **Limits.** Names have at most [`NAME_BYTES_MAX`] bytes and no control characters; longer ones are no names. How many
//! different names are *remembered* is bounded by [`frequency`](super::frequency). A Socket.IO attachment travels as a
//! message of its own without a name; on a `/socket.io/` path it is called `socket.io:attachment`.
//!
//! **Not here.** SockJS's `a[…]` wrapping, MQTT, Phoenix's binary frames, protobuf: they are `text` or `binary`, and a
//! rule can still name them by path, subprotocol or size.

mod graphql;
mod json;
mod phoenix;
mod signalr;
mod socketio;
mod stomp;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::session::Opcode;

pub use json::KEYS;

/// How many bytes of a message are looked at.
pub const INSPECTED_BYTES_MAX: usize = 4096;
/// Longer names are no names: the next key, or the opcode, names the type.
pub const NAME_BYTES_MAX: usize = 64;

/// A shared event type name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// A type of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for EventType {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for EventType {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventType {
    /// The name is a user's text (invariant 7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventType({} bytes)", self.len())
    }
}

/// What a message is framed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A JSON object. Pusher's and Phoenix's object form are of this format too: they need no other reader.
    Json,
    /// Socket.IO on Engine.IO.
    SocketIo,
    /// Phoenix's array form (`vsn=2.0.0`).
    Phoenix,
    /// graphql-transport-ws, or the older graphql-ws.
    GraphqlWs,
    /// STOMP 1.0 to 1.2.
    Stomp,
    /// SignalR's JSON hub protocol.
    SignalR,
    /// None of them.
    Opaque,
}

impl Format {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::SocketIo => "socket.io",
            Self::Phoenix => "phoenix",
            Self::GraphqlWs => "graphql-ws",
            Self::Stomp => "stomp",
            Self::SignalR => "signalr",
            Self::Opaque => "opaque",
        }
    }
}

/// A message as the readers get it.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Route of the session: path without query.
    pub path: &'a str,
    /// The subprotocol that the service has chosen.
    pub subprotocol: Option<&'a str>,
    /// Its opcode.
    pub op: Opcode,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl fmt::Debug for Frame<'_> {
    /// Bytes and paths stay out of logs (invariant 7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.payload.len())
    }
}

/// What a reader found.
#[derive(Clone, PartialEq, Eq)]
pub struct Reading<'a> {
    /// The framing.
    pub format: Format,
    /// The event type.
    pub name: Cow<'a, str>,
    /// The bytes that JSON pointers of rules count from: the message without its framing. Need not be JSON.
    pub document: &'a [u8],
}

impl fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reading({}, name of {} bytes)", self.format.as_str(), self.name.len())
    }
}

/// Reads a message.
#[must_use]
pub fn read<'a>(frame: &Frame<'a>) -> Reading<'a> {
    let payload = frame.payload;
    let named = match Hint::of(frame) {
        Hint::Stomp => stomp::read(payload, true),
        Hint::Phoenix => phoenix::read(payload, true),
        Hint::GraphqlWs => graphql::read(payload),
        Hint::SocketIo => socketio::read(frame.op, payload, true),
        Hint::None => by_content(frame),
    };
    let named = named.or_else(|| json::read(payload));
    named.unwrap_or(Reading {
        format: Format::Opaque,
        name: Cow::Borrowed(match frame.op {
            Opcode::Text => "text",
            Opcode::Binary => "binary",
        }),
        document: payload,
    })
}

fn by_content<'a>(frame: &Frame<'a>) -> Option<Reading<'a>> {
    match frame.payload.first()? {
        b'{' => signalr::read(frame.payload),
        b'[' => phoenix::read(frame.payload, false),
        b'0'..=b'9' => socketio::read(frame.op, frame.payload, false),
        b'A'..=b'Z' => stomp::read(frame.payload, false),
        _ => None,
    }
}

/// What the handshake says about the protocol.
enum Hint {
    None,
    Stomp,
    Phoenix,
    GraphqlWs,
    SocketIo,
}

impl Hint {
    fn of(frame: &Frame<'_>) -> Self {
        let is = |name: &str| frame.subprotocol.is_some_and(|chosen| chosen.eq_ignore_ascii_case(name));
        if ["v10.stomp", "v11.stomp", "v12.stomp"].into_iter().any(is) {
            Self::Stomp
        } else if is("phoenix") || frame.path.ends_with("/websocket") && frame.payload.first() == Some(&b'[')
        {
            Self::Phoenix
        } else if is("graphql-transport-ws") || is("graphql-ws") {
            Self::GraphqlWs
        } else if frame.path.contains("/socket.io/") || frame.path.contains("/engine.io/") {
            Self::SocketIo
        } else {
            Self::None
        }
    }
}

/// The part of a message that is looked at.
fn head(payload: &[u8]) -> &[u8] {
    payload.get(..INSPECTED_BYTES_MAX).unwrap_or(payload)
}

/// Whether a text can be the name of an event type.
fn fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}
