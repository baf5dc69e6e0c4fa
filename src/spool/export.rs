//! Stored envelopes as JSON Lines: one line for each message of each session, with its time, as it was stored.
//! What was redacted before it was stored stays redacted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::envelope::{Class, EnvelopeError, Part, decode};
use crate::session::{Direction, Opcode};

/// How `data` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enc {
    /// As it was.
    Text,
    /// In base64.
    Base64,
}

/// One message of one session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The process that saw it; session numbers are unique in it.
    pub src: String,
    /// The session.
    pub session: u32,
    /// Which way it went.
    pub dir: Direction,
    /// Its place in that direction.
    pub seq: u64,
    /// When it was seen, in Unix milliseconds.
    pub at: u64,
    /// Path of the session, without query.
    pub path: String,
    /// Its opcode.
    pub op: Opcode,
    /// Its event type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its class.
    pub class: Class,
    /// How `data` is written.
    pub enc: Enc,
    /// The bytes.
    pub data: String,
    /// Whether something was taken out of the bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// Set on a piece of a split message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

impl std::fmt::Debug for Line {
    /// Bytes, types and paths stay out of logs (invariant 7).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({} {} {})", self.session, self.dir.as_str(), self.seq)
    }
}

impl Line {
    /// The bytes of the message; nothing if they are no base64.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self.enc {
            Enc::Text => Some(self.data.clone().into_bytes()),
            Enc::Base64 => STANDARD.decode(&self.data).ok(),
        }
    }
}

/// The lines of an envelope.
///
/// # Errors
/// It is no envelope.
pub fn lines(envelope: &[u8]) -> Result<Vec<Line>, EnvelopeError> {
    let envelope = decode(envelope)?;
    let mut out = Vec::new();
    for message in envelope.messages.iter().map(|received| &received.message) {
        let (enc, data) = match std::str::from_utf8(&message.body) {
            Ok(text) => (Enc::Text, text.to_owned()),
            Err(_) => (Enc::Base64, STANDARD.encode(&message.body)),
        };
        out.extend(message.to.iter().map(|to| Line {
            src: envelope.header.src.to_string(),
            session: to.0.0,
            dir: message.dir,
            seq: to.1.0,
            at: message.at_ms,
            path: message.path.to_string(),
            op: message.op,
            kind: message.kind.to_string(),
            class: message.class,
            enc,
            data: data.clone(),
            redacted: message.redacted,
            part: message.part,
        }));
    }
    Ok(out)
}
