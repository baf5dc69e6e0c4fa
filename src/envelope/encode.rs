//! Writing an envelope, message by message, straight into bytes.
//! The length functions are upper bounds that let a batch be closed before it is written.

use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::{escaped_len, number_len, push_hex, push_number, push_string};
use super::{Encoding, Envelope, Header, Message, SessionNote, To};
use crate::session::{Opcode, SessionNo};

/// Writes one envelope: [`new`](Self::new), any [`message`](Self::message), any [`note`](Self::note),
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    list: List,
}

#[derive(Debug, PartialEq, Eq)]
enum List {
    NoMessage,
    Messages,
    Notes,
}

impl Writer {
    /// Starts an envelope at the end of `out`.
    #[must_use]
    pub fn new(mut out: Vec<u8>, header: &Header<'_>) -> Self {
        out.extend_from_slice(b"{\"v\":1,\"src\":");
        push_string(&mut out, header.src.as_bytes());
        out.extend_from_slice(b",\"batch\":\"");
        let mut ulid = [0; ulid::ULID_LEN];
        out.extend_from_slice(header.batch.array_to_str(&mut ulid).as_bytes());
        out.extend_from_slice(b"\",\"at\":");
        push_number(&mut out, header.at_ms);
        out.extend_from_slice(b",\"replay\":");
        out.extend_from_slice(if header.replay { b"true" } else { b"false" });
        out.extend_from_slice(b",\"messages\":[");
        Self { out, list: List::NoMessage }
    }

    /// Adds a message. After the first note it is too late, and the message is not written.
    pub fn message(&mut self, message: &Message<'_>) {
        match self.list {
            List::NoMessage => self.list = List::Messages,
            List::Messages => self.out.push(b','),
            List::Notes => return,
        }
        let out = &mut self.out;
        out.extend_from_slice(b"{\"to\":[");
        push_recipients(out, &message.to);
        out.extend_from_slice(b"],\"dir\":\"");
        out.extend_from_slice(message.dir.as_str().as_bytes());
        out.extend_from_slice(b"\",\"op\":\"");
        out.extend_from_slice(op_word(message.op));
        out.extend_from_slice(b"\",\"type\":");
        push_string(out, message.kind.as_bytes());
        out.extend_from_slice(b",\"class\":\"");
        out.extend_from_slice(message.class.as_str().as_bytes());
        out.extend_from_slice(b"\",\"path\":");
        push_string(out, message.path.as_bytes());
        out.extend_from_slice(b",\"at\":");
        push_number(out, message.at_ms);
        out.extend_from_slice(b",\"id\":");
        push_string(out, message.id.as_bytes());
        push_options(out, message);
        push_body(out, message);
        out.push(b'}');
    }

    /// Adds what is to be told about a session.
    pub fn note(&mut self, note: &SessionNote<'_>) {
        let out = &mut self.out;
        out.extend_from_slice(if self.list == List::Notes { b"," } else { b"],\"sessions\":[" });
        self.list = List::Notes;
        out.extend_from_slice(b"{\"n\":");
        push_number(out, u64::from(note.session.0));
        out.extend_from_slice(b",\"id\":");
        push_string(out, note.id.as_bytes());
        out.extend_from_slice(b",\"path\":");
        push_string(out, note.path.as_bytes());
        out.extend_from_slice(b",\"at\":");
        push_number(out, note.at_ms);
        if let Some(end) = note.end_ms {
            out.extend_from_slice(b",\"end\":");
            push_number(out, end);
        }
        out.push(b'}');
    }

    /// The bytes so far and the closing brackets.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}");
        self.out
    }
}

/// Writes a whole envelope; the inverse of [`decode`](super::decode).
#[must_use]
pub fn encode(envelope: &Envelope<'_>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &envelope.header);
    for received in &envelope.messages {
        writer.message(&received.message);
    }
    for note in &envelope.sessions {
        writer.note(note);
    }
    writer.finish()
}

/// How many bytes `data` will take, quotes included.
#[must_use]
pub fn carried_len(op: Opcode, body: &[u8]) -> usize {
    2 + match Encoding::choose(op, body) {
        Encoding::Text => escaped_len(body),
        Encoding::Base64 => base64_len(body),
    }
}

/// How many bytes one entry of `to` takes, separator included.
#[must_use]
pub const fn recipient_len(to: To) -> usize {
    let To(SessionNo(number), seq) = to;
    number_len(number as u64) + number_len(seq.0) + 4
}

impl Encoding {
    /// Text that is UTF-8 is always a string. Binary that happens to be UTF-8 is one if that is not longer.
    pub(crate) fn choose(op: Opcode, body: &[u8]) -> Self {
        let utf8 = str::from_utf8(body).is_ok();
        if utf8 && (op == Opcode::Text || escaped_len(body) <= base64_len(body)) {
            Self::Text
        } else {
            Self::Base64
        }
    }
}

const fn base64_len(body: &[u8]) -> usize {
    body.len().div_ceil(3).saturating_mul(4)
}

const fn op_word(op: Opcode) -> &'static [u8] {
    match op {
        Opcode::Text => b"text",
        Opcode::Binary => b"binary",
    }
}

fn push_recipients(out: &mut Vec<u8>, to: &[To]) {
    for (place, To(session, seq)) in to.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"[" } else { b",[" });
        push_number(out, u64::from(session.0));
        out.push(b',');
        push_number(out, seq.0);
        out.push(b']');
    }
}

fn push_options(out: &mut Vec<u8>, message: &Message<'_>) {
    if let Some(part) = message.part {
        out.extend_from_slice(b",\"part\":[");
        push_number(out, u64::from(part.0));
        out.push(b',');
        push_number(out, u64::from(part.1));
        out.push(b']');
    }
    if message.redacted {
        out.extend_from_slice(b",\"redacted\":true");
    }
}

fn push_body(out: &mut Vec<u8>, message: &Message<'_>) {
    match Encoding::choose(message.op, &message.body) {
        Encoding::Text => {
            out.extend_from_slice(b",\"enc\":\"text\",\"data\":");
            push_string(out, &message.body);
        }
        Encoding::Base64 => {
            out.extend_from_slice(b",\"enc\":\"base64\",\"data\":\"");
            push_base64(out, &message.body);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b",\"len\":");
    push_number(out, message.body.len() as u64);
    out.extend_from_slice(b",\"crc\":\"");
    push_hex(out, message.crc);
    out.push(b'"');
}

fn push_base64(out: &mut Vec<u8>, body: &[u8]) {
    let start = out.len();
    out.resize(start + base64_len(body), b'=');
    if let Some(room) = out.get_mut(start..) {
        // The room is exactly as long as padded base64, so this cannot fail.
        let written = STANDARD.encode_slice(body, room).unwrap_or(0);
        debug_assert_eq!(written, base64_len(body));
    }
}
