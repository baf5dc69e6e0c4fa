//! Reading an envelope: strict about its form, and never silent about bytes that are not those that were sent.
//! Errors name the field and the kind of fault but never show a value, because values are users' payloads.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::error::Category;
use ulid::Ulid;

use super::visit::{Place, RawMessage, RawNote, read_envelope};
use super::{Header, Message, SessionNote, VERSION, crc32};

/// A decoded envelope. Nothing in it is older than the input it borrows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What the broadcast says about itself.
    pub header: Header<'a>,
    /// The messages in the order in which they were sent.
    pub messages: Vec<Received<'a>>,
    /// Sessions opened, closed or still there.
    pub sessions: Vec<SessionNote<'a>>,
}

/// A message with the verdict on its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// What was received.
    pub message: Message<'a>,
    /// Whether its bytes are those that were sent.
    pub check: Check,
}

impl<'a> Received<'a> {
    /// A message as its sender holds it: what is checked is what is there.
    #[must_use]
    pub fn sent(message: Message<'a>) -> Self {
        Self { message, check: Check::Verified }
    }
}

/// The verdict on the bytes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Length and checksum are the sender's.
    Verified,
    /// They are not.
    Altered {
        /// Length that the sender stated, in bytes.
        len_sent: u64,
        /// Length of what came.
        len: u64,
        /// Checksum that the sender stated.
        crc_sent: u32,
        /// Checksum of what came.
        crc: u32,
    },
}

/// Why the whole envelope was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("envelope field {field}: {fault}")]
pub struct EnvelopeError {
    /// The field, for example `messages[3].crc`; `(envelope)` for the whole.
    pub field: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It is there twice.
    Duplicate,
    /// It holds a field that version 1 does not have.
    Unknown,
    /// Its value has the wrong type, range or form.
    Invalid,
    /// The text is not JSON from here on.
    Syntax,
    /// The text ends inside.
    Truncated,
    /// It is an envelope of a version that this room does not read.
    Version(u64),
}

impl Fault {
    /// The kind of fault, as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Syntax => "syntax",
            Self::Truncated => "truncated",
            Self::Version(_) => "version",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Duplicate => f.write_str("is given twice"),
            Self::Unknown => f.write_str("holds a field that version 1 does not have"),
            Self::Invalid => f.write_str("has the wrong type or form"),
            Self::Syntax => f.write_str("is not valid JSON"),
            Self::Truncated => f.write_str("ends too early"),
            Self::Version(version) => write!(f, "is version {version}, this reads version {VERSION}"),
        }
    }
}

/// Reads an envelope.
///
/// # Errors
/// [`EnvelopeError`] when the form is not that of version 1. Altered bytes are no error: see [`Received::check`].
pub fn decode(bytes: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let place = Place::default();
    match read_envelope(bytes, &place) {
        Ok((header, messages, notes)) => build(header, messages, notes),
        Err(error) => Err(explain(bytes, &place, &error)),
    }
}

fn build<'a>(
    header: Header<'a>,
    messages: Vec<RawMessage<'a>>,
    notes: Vec<RawNote<'a>>,
) -> Result<Envelope<'a>, EnvelopeError> {
    let messages = messages
        .into_iter()
        .enumerate()
        .map(|(index, raw)| received(raw).ok_or_else(|| invalid(format!("messages[{index}].data"))))
        .collect::<Result<_, _>>()?;
    let sessions = notes.into_iter().map(RawNote::into_note).collect();
    Ok(Envelope { header, messages, sessions })
}

/// `None` if the data is not the base64 it claims to be.
fn received(raw: RawMessage<'_>) -> Option<Received<'_>> {
    let (mut message, base64, len_sent) = raw.into_message();
    if base64 {
        message.body = Cow::Owned(STANDARD.decode(&message.body).ok()?);
    }
    let len = message.body.len() as u64;
    let crc = crc32(&message.body);
    let check = if len == len_sent && crc == message.crc {
        Check::Verified
    } else {
        Check::Altered { len_sent, len, crc_sent: message.crc, crc }
    };
    Some(Received { message, check })
}

fn explain(bytes: &[u8], place: &Place, error: &serde_json::Error) -> EnvelopeError {
    // Keys may come in any order, so another version is looked for first: it explains every other fault.
    if let Some(version) = version_of(bytes).filter(|version| *version != VERSION) {
        return EnvelopeError { field: "v".to_owned(), fault: Fault::Version(version) };
    }
    let fault = place.fault().unwrap_or(match error.classify() {
        Category::Data => Fault::Invalid,
        Category::Eof => Fault::Truncated,
        Category::Syntax | Category::Io => Fault::Syntax,
    });
    EnvelopeError { field: place.to_string(), fault }
}

fn version_of(bytes: &[u8]) -> Option<u64> {
    // Unknown fields are skipped by default, which is right here and only here.
    #[derive(Deserialize)]
    struct Probe {
        v: u64,
    }
    serde_json::from_slice::<Probe>(bytes).ok().map(|probe| probe.v)
}

fn invalid(field: String) -> EnvelopeError {
    EnvelopeError { field, fault: Fault::Invalid }
}

/// A batch id in its one canonical form: 26 upper-case Crockford digits.
pub(super) fn parse_ulid(text: &str) -> Option<Ulid> {
    let ulid = Ulid::from_string(text).ok()?;
    let mut canonical = [0; ulid::ULID_LEN];
    (ulid.array_to_str(&mut canonical) == text).then_some(ulid)
}

/// A checksum in its one canonical form: eight lower-case hex digits.
pub(super) fn parse_crc(text: &str) -> Option<u32> {
    let canonical = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    canonical.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}
