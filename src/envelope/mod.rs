//! Envelope v1: how mirrored messages travel through Realtime, and the one place that writes and reads it.
//!
//! **Problem.** What we publish must come back provably the same, whatever the service's messages contain: text
//! with control characters, text that is not UTF-8, binary. Publisher, read-back, tests, emulator and foreign
//! consumers must agree on every byte, and a server that decodes and encodes JSON on the way reorders keys.
//!
//! **Decision.** One JSON object per broadcast (event [`EVENT`]): a header, a list of messages and optional notes
//! about sessions. A message's bytes travel as a JSON string if they are UTF-8, else as base64, and each carries
//! its length and its CRC-32 (IEEE, as in zlib) *of the bytes as carried*. [`Writer`] writes straight into a
//! `Vec<u8>`; [`decode`] borrows from its input where JSON escapes allow it. Both are pure functions of bytes.
//!
//! Decoding has three answers, never a panic:
//! * an [`EnvelopeError`] that names the field, when the whole cannot be trusted: not JSON, another version, a
//!   field that is missing, unknown, given twice or of the wrong type;
//! * a message that is [`Check::Altered`]: well formed, but its bytes are not those that were sent;
//! * a message that is [`Check::Verified`].
//!
//! Unknown fields are refused on purpose: `v` is raised when a field is added, so that nobody half understands a
//! message. Key order is free, array order is not.
//!
//! **Limits.** A checksum finds accidents, not forgery: CRC-32 misses one random alteration in 2³² and can be
//! forged; who may write to the topic is Realtime's policy to decide. `to`, `type`, `path`, `at` and `id` have no
//! checksum of their own: the publisher compares what comes back with what it sent. The decoder needs memory in
//! proportion to its input; the caller bounds that (Realtime's frame limit is 5,000,000 bytes).
//!
//! Format, schema and vectors: `docs/envelope.md`, `docs/envelope.schema.json`, `tests/vectors/envelope/`.

mod decode;
mod encode;
mod json;
mod visit;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::session::{Direction, Opcode, Seq, SessionNo};

pub use decode::{Check, Envelope, EnvelopeError, Fault, Received, decode};
pub use encode::{Writer, carried_len, encode, recipient_len};
pub use json::{escape, escaped_len};

/// The broadcast event that carries envelopes.
pub const EVENT: &str = "messages";
/// The version this room writes and the only one it reads.
pub const VERSION: u64 = 1;
/// Upper bound of what a header and the closing brackets cost, with a source of up to 255 bytes.
pub const ENVELOPE_OVERHEAD: usize = 512;
/// Upper bound of what a message costs besides `to`, type, path and data, with an id of up to 64 bytes.
pub const MESSAGE_OVERHEAD: usize = 320;
/// Upper bound of what a session note costs besides its path, with an id of up to 64 bytes.
pub const NOTE_OVERHEAD: usize = 192;

/// What one broadcast says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The pod instance that publishes.
    pub src: Cow<'a, str>,
    /// The batch; the same in every repetition.
    pub batch: Ulid,
    /// When the batch was closed, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whether this is backlog rather than live traffic.
    pub replay: bool,
}

/// One message of a session that the carried bytes stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct To(pub SessionNo, pub Seq);

/// The place of a piece in a split message: piece `.0` (from 1) of `.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part(pub u16, pub u16);

/// One carried message and the (session, seq) pairs it stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whose messages these bytes are; at least one.
    pub to: Cow<'a, [To]>,
    /// Which way they went.
    pub dir: Direction,
    /// The WebSocket opcode they had.
    pub op: Opcode,
    /// The event type, see `mirror::classify`.
    pub kind: Cow<'a, str>,
    /// How urgent they are.
    pub class: Class,
    /// The route of the session: path without query.
    pub path: Cow<'a, str>,
    /// When the first of them was seen, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Names the content: continuations of a long `to` list share it.
    pub id: Cow<'a, str>,
    /// The bytes as carried, after redaction.
    pub body: Cow<'a, [u8]>,
    /// CRC-32 of `body`, as computed by the sender.
    pub crc: u32,
    /// Set when `body` is one piece of a longer message.
    pub part: Option<Part>,
    /// Whether something was taken out of `body`.
    pub redacted: bool,
}

impl fmt::Debug for Message<'_> {
    /// Bytes, types and paths come from users and stay out of logs (invariant 7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} {} bytes to {})", self.dir.as_str(), self.body.len(), self.to.len())
    }
}

/// What is told about a session: that it is open, or when it ended.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionNote<'a> {
    /// The number used in `to`.
    pub session: SessionNo,
    /// The unguessable id, for people.
    pub id: Cow<'a, str>,
    /// The route: path without query.
    pub path: Cow<'a, str>,
    /// When it opened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When it ended; absent while it is open.
    pub end_ms: Option<u64>,
}

impl fmt::Debug for SessionNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionNote({}, ended: {})", self.session.0, self.end_ms.is_some())
    }
}

/// How urgent a message is, and what is given up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// At once; kept when buffers fill.
    Critical,
    /// Frequent traffic: 100 messages or 100 ms.
    High,
    /// The usual: 50 messages or 500 ms.
    Medium,
    /// Rare or dull: 10 messages or 2 s; shed first.
    Low,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// The metric label and the envelope's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// How the bytes are written into JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    Text,
    Base64,
}

/// CRC-32 (IEEE) of bytes as carried.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
