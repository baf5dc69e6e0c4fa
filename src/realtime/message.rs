//! One message of the Phoenix channel protocol as Realtime speaks it, apart from how a version writes it down.
//! The forms are those of `tests/wire/README.md`; `Debug` shows names and sizes, never a payload.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// The version of the serializer, chosen by the `vsn` query parameter of the upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Vsn {
    /// JSON objects; the server never sends `join_ref`, and binary payloads do not exist.
    V1,
    /// JSON arrays and the binary kinds 0 to 4: cheapest for the server.
    #[default]
    V2,
}

impl Vsn {
    /// The value of the `vsn` query parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1.0.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// Who wrote a binary frame. Kind 0 has a `ref` from a client and none from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Client to server.
    Client,
    /// Server to client.
    Server,
}

/// How the payload of a user broadcast is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Byte 0. Never reaches 1.0.0 listeners.
    Bytes,
    /// Byte 1; the server takes any other value than 0 for it, and does not check the JSON.
    Json,
}

/// A WebSocket data frame, whole.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text frame; the bytes are UTF-8.
    Text(Bytes),
    /// A binary frame.
    Binary(Bytes),
}

impl Frame {
    /// The size of the payload on the wire, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(bytes) => write!(f, "Text({} bytes)", bytes.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// Where a message belongs: the four header fields that most forms share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The `ref` of the join that opened the channel; never sent by a 1.0.0 server.
    pub join_ref: Option<String>,
    /// The `ref` of a push or of the push that is answered.
    pub reference: Option<String>,
    /// The wire topic: `realtime:` and the name, or `phoenix`.
    pub topic: String,
    /// The event: `phx_join`, `broadcast`, … In kinds 3 and 4 the user's event.
    pub event: String,
}

/// A message of either direction. Payloads are slices of the frame that they came in.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// The JSON form of either version; `payload` is one JSON value.
    Text(Head, Bytes),
    /// Kind 0: a Phoenix push with bytes.
    Push(Head, Bytes),
    /// Kind 1: a reply with bytes; `head.event` holds the status.
    Reply(Head, Bytes),
    /// Kind 2: a Phoenix broadcast with bytes; no refs.
    Broadcast(Head, Bytes),
    /// Kinds 3 and 4.
    User(UserBroadcast),
}

/// Kind 3 (client to server, with refs) and kind 4 (server to client, without).
#[derive(Clone, PartialEq, Eq)]
pub struct UserBroadcast {
    /// Which of the two kinds it is.
    pub origin: Origin,
    /// Topic and user event; refs only in kind 3, where an absent one is written as an empty string.
    pub head: Head,
    /// JSON, or empty. The server discards it in kind 3; in kind 4 it may carry `id` and `replayed`.
    pub metadata: Bytes,
    /// How to read the payload.
    pub encoding: Encoding,
    /// The rest of the frame, untouched: the server passes it on byte for byte.
    pub payload: Bytes,
}

impl Message {
    /// The header fields.
    #[must_use]
    pub const fn head(&self) -> &Head {
        match self {
            Self::Text(head, _) | Self::Push(head, _) | Self::Reply(head, _) | Self::Broadcast(head, _) => {
                head
            }
            Self::User(user) => &user.head,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = match self {
            Self::Text(_, payload) => ("Text", payload.len()),
            Self::Push(_, payload) => ("Push", payload.len()),
            Self::Reply(_, payload) => ("Reply", payload.len()),
            Self::Broadcast(_, payload) => ("Broadcast", payload.len()),
            Self::User(user) => ("User", user.payload.len()),
        };
        write!(f, "{name}({:?}, {bytes} bytes)", self.head())
    }
}

impl fmt::Debug for UserBroadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserBroadcast")
            .field("origin", &self.origin)
            .field("head", &self.head)
            .field("encoding", &self.encoding)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// A part of a frame, to name what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `join_ref`.
    JoinRef,
    /// `ref`.
    Ref,
    /// `topic`.
    Topic,
    /// `event`, or the user event.
    Event,
    /// `status` of a binary reply.
    Status,
    /// `metadata` of kinds 3 and 4.
    Metadata,
    /// `payload`.
    Payload,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JoinRef => "join_ref",
            Self::Ref => "ref",
            Self::Topic => "topic",
            Self::Event => "event",
            Self::Status => "status",
            Self::Metadata => "metadata",
            Self::Payload => "payload",
        })
    }
}

/// Why a frame could not be read. Carries places and names, never content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A frame without a byte.
    #[error("the frame is empty")]
    Empty,
    /// A first byte other than 0 to 4, or a kind that this side never sends.
    #[error("binary kind {0} is not one that this side sends")]
    UnknownKind(u8),
    /// The lengths in the header go beyond the end.
    #[error("kind {kind} needs {need} bytes of header, the frame has {have}")]
    Truncated {
        /// The first byte.
        kind: u8,
        /// What the lengths add up to.
        need: usize,
        /// The bytes there are.
        have: usize,
    },
    /// A field or a text frame that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(Field),
    /// Not JSON at all, or broken off.
    #[error("not JSON from byte {at} on")]
    NotJson {
        /// Where the reader stopped.
        at: usize,
    },
    /// JSON, but neither the object of 1.0.0 nor the array of 2.0.0.
    #[error("JSON, but not the {0} that this version sends")]
    WrongShape(&'static str),
    /// A needed field is absent or null.
    #[error("{0} is missing")]
    Missing(Field),
    /// A field has another type than a string (refs may be numbers).
    #[error("{0} has the wrong type")]
    WrongType(Field),
}

/// Why a message could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The binary forms count each header field in one byte.
    #[error("{field} has {bytes} bytes, a binary frame holds 255")]
    TooLong {
        /// Which field.
        field: Field,
        /// Its length in UTF-8 bytes.
        bytes: usize,
    },
    /// 1.0.0 has no binary frames.
    #[error("version 1.0.0 cannot carry bytes; use 2.0.0")]
    BinaryNeedsV2,
    /// The payload would break the text frame around it, which the server drops without a word.
    #[error("the payload is not JSON")]
    PayloadNotJson,
}
