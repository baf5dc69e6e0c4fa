//! Phoenix messages on the wire: protocol 1.0.0 objects, 2.0.0 arrays and the binary kinds 0, 2, 3 and 4.
//! Written from the recordings alone and shared with nothing: a mistake here must not cancel out one in a client.

use super::json::Json;
use bytes::Bytes;

mod binary;
mod text;

#[cfg(test)]
mod tests;

pub(super) use text::{broadcast_payload, close, reply, system};

/// The protocol a socket speaks, from `vsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// JSON objects, no binary frames.
    V1,
    /// JSON arrays and binary frames.
    V2,
}

impl Version {
    /// Phoenix' requirement `~> 1.0.0` or `~> 2.0.0`; no `vsn` means 1.0.0. `None` is answered with 403 (recording 03).
    #[must_use]
    pub fn of(vsn: Option<&str>) -> Option<Version> {
        let vsn = vsn.unwrap_or("1.0.0");
        let patch = |prefix: &str| vsn.strip_prefix(prefix).is_some_and(|patch| patch.parse::<u32>().is_ok());
        match () {
            () if patch("1.0.") => Some(Version::V1),
            () if patch("2.0.") => Some(Version::V2),
            () => None,
        }
    }
}

/// A frame as the socket delivered it.
#[derive(Clone)]
pub enum Frame {
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping or pong: counts as a sign of life.
    Ping,
    /// The client's close frame; without a status it is 1005.
    Close {
        /// RFC 6455 close code.
        code: u16,
    },
    /// The frame was larger than the limit; the bytes were not kept.
    TooBig,
}

/// Shows kind and size only.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Frame::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Frame::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Frame::Ping => f.write_str("Ping"),
            Frame::Close { code } => write!(f, "Close({code})"),
            Frame::TooBig => f.write_str("TooBig"),
        }
    }
}

/// One decoded message from a client.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// The join it belongs to: any JSON, `Null` when absent.
    pub join_ref: Json,
    /// Comes back as given in the reply.
    pub reference: Json,
    /// Usually a string; other JSON is echoed in the refusal (recording 10).
    pub topic: Json,
    /// Event name.
    pub event: String,
    /// What it carries.
    pub body: Body,
}

/// What a message carries.
#[derive(Clone)]
pub(super) enum Body {
    /// JSON from a text frame: decoded and encoded again on the way through.
    Json(Json),
    /// A kind 3 broadcast: passed on byte for byte and unchecked.
    User(UserBroadcast),
    /// A kind 0 push.
    Bytes(Bytes),
}

impl Body {
    /// The JSON, where there is some.
    #[must_use]
    pub(super) fn json(&self) -> Option<&Json> {
        match self {
            Body::Json(json) => Some(json),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Body::Json(_) => "Json",
            Body::User(_) => "User",
            Body::Bytes(_) => "Bytes",
        })
    }
}

/// A broadcast in the form that travels as kinds 3 and 4.
#[derive(Clone)]
pub(super) struct UserBroadcast {
    /// Event name; bytes, because a client that counts UTF-16 units cuts letters in half (recording 12).
    pub event: Bytes,
    /// JSON such as `{"id":…}`: only broadcasts from the database have it.
    pub meta: String,
    /// Whether the payload claims to be JSON.
    pub json: bool,
    /// The payload, unchecked.
    pub payload: Bytes,
}

/// A broadcast on its way to listeners of either protocol.
#[derive(Clone)]
pub(super) enum Broadcast {
    /// Sent as text or in an HTTP batch: the encoded payload object.
    Text(String),
    /// Sent as kind 3, by the single HTTP endpoint or by the database.
    User(UserBroadcast),
    /// Sent as kind 0.
    Bytes(Bytes),
}

impl Broadcast {
    /// The frame a listener of `version` gets; `None` where that listener gets nothing (recording 03).
    #[must_use]
    pub(super) fn frame(&self, topic: &str, version: Version) -> Option<OutFrame> {
        match (self, version) {
            (Broadcast::Text(payload), _) => {
                Some(OutFrame::text(text::event(version, &Json::Null, topic, "broadcast", payload)))
            }
            (Broadcast::User(user), Version::V1) if user.json => Some(OutFrame::text(text::event(
                version,
                &Json::Null,
                topic,
                "broadcast",
                &text::user_payload(user),
            ))),
            (Broadcast::User(_), Version::V1) => None,
            (Broadcast::User(user), Version::V2) => binary::kind4(topic, user).map(OutFrame::Binary),
            (Broadcast::Bytes(_), Version::V1) => {
                let broken = "%{error: \"unable to parse response\"}";
                Some(OutFrame::text(text::event(version, &Json::Null, topic, "broadcast", broken)))
            }
            (Broadcast::Bytes(bytes), Version::V2) => binary::kind2(topic, bytes).map(OutFrame::Binary),
        }
    }

    /// The same broadcast as a replay: a text array with `meta` where it is JSON, binary otherwise (recording 08).
    #[must_use]
    pub(super) fn replay(
        user: &UserBroadcast,
        version: Version,
        join_ref: &Json,
        topic: &str,
    ) -> Option<OutFrame> {
        if !user.json {
            return (version == Version::V2)
                .then(|| binary::kind4(topic, user))
                .flatten()
                .map(OutFrame::Binary);
        }
        let payload = Json::parse(&String::from_utf8_lossy(&user.payload)).ok()?.encode();
        let again = UserBroadcast { payload: Bytes::from(payload), ..user.clone() };
        Some(OutFrame::text(text::event(version, join_ref, topic, "broadcast", &text::user_payload(&again))))
    }
}

/// An encoded frame for one socket; clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum OutFrame {
    /// UTF-8 text.
    Text(Bytes),
    /// Binary.
    Binary(Bytes),
}

impl OutFrame {
    pub(super) fn text(text: String) -> OutFrame {
        OutFrame::Text(Bytes::from(text))
    }

    /// Bytes of payload in the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            OutFrame::Text(bytes) | OutFrame::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the frame is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Shows kind and size only.
impl std::fmt::Debug for OutFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OutFrame::Text(bytes) => write!(f, "Text({} bytes)", bytes.len()),
            OutFrame::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// Decodes a frame, or `None` where Realtime ignores it without a word (recordings 03 and 10).
#[must_use]
pub(super) fn decode(version: Version, frame: &Frame) -> Option<Message> {
    match (version, frame) {
        (Version::V1, Frame::Text(text)) => text::object(text),
        (Version::V2, Frame::Text(text)) => text::array(text),
        (Version::V2, Frame::Binary(bytes)) => binary::decode(bytes),
        _ => None,
    }
}

/// Encodes an event that is neither reply, system nor close.
#[must_use]
pub(super) fn event(version: Version, join_ref: &Json, topic: &str, event: &str, payload: &str) -> OutFrame {
    OutFrame::text(text::event(version, join_ref, topic, event, payload))
}
