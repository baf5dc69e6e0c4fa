//! Takes secrets out of messages before anything leaves the process: the values of well-known JSON keys.
//! Only those values change; every other byte of the message stays as it was.

use std::borrow::Cow;
use std::fmt;

use super::event_type::Format;
use super::rules::{Redaction, Subject};
use super::secret_names::SecretNames;
use super::secret_spans::{Span, secret_spans, starts_like_json, starts_like_string};
use crate::session::{Direction, Opcode};

/// What stands in place of a secret, whatever type it had.
pub const REPLACEMENT: &[u8] = b"\"[redacted]\"";

/// Framing protocols put at most this much before the JSON (`42/admin,17["login",…]`).
const PREFIX_BYTES_MAX: usize = 64;
/// Whose messages are redacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those of clients: that is where secrets are typed in.
    #[default]
    Up,
    /// Both directions. A hot session then passes what was redacted directly.
    Both,
    /// Nobody's.
    Off,
}

/// What is redacted: a scope and names of one's own beside the well-known ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redactor {
    scope: Scope,
    names: SecretNames,
    rules: Vec<Redaction>,
}

/// A value of `CROSSFADE_REDACT` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactError {
    word: String,
}

impl fmt::Display for RedactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is neither a scope nor a name; expected up, both or off, then +NAME for keys of your own \
             (letters and digits, not one of the keys that name event types), such as both,+iban",
            self.word
        )
    }
}

impl std::error::Error for RedactError {}

impl Redactor {
    /// Redacts the well-known names in this scope.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, ..Self::default() }
    }

    /// Reads `CROSSFADE_REDACT`: `up`, `both` or `off`, then any `+NAME`, joined by commas.
    ///
    /// # Errors
    /// [`RedactError`] with the word that is neither.
    pub fn parse(text: &str) -> Result<Self, RedactError> {
        let mut redactor = Self::default();
        for (index, word) in text.split(',').map(str::trim).enumerate() {
            match (index, word) {
                (0, "up") => redactor.scope = Scope::Up,
                (0, "both") => redactor.scope = Scope::Both,
                (0, "off") => redactor.scope = Scope::Off,
                _ => {
                    let added =
                        word.strip_prefix('+').is_some_and(|name| redactor.names.add(name.as_bytes()));
                    added.then_some(()).ok_or_else(|| RedactError { word: word.to_owned() })?;
                }
            }
        }
        Ok(redactor)
    }

    /// The same redactor with rules of its own, in either direction whatever the scope.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<Redaction>) -> Self {
        self.rules = rules;
        self
    }

    /// The message without its secrets, and without what rules take out. `Cow::Owned` means that it was redacted.
    ///
    /// Rules come first, and fail closed: where one applies to a message that starts like JSON but cannot be read,
    /// the whole message is replaced.
    #[must_use]
    pub fn redact_message<'a>(&self, subject: &Subject<'_>, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let rules: Vec<&Redaction> = self.rules.iter().filter(|rule| rule.applies(subject)).collect();
        let ruled =
            if rules.is_empty() { Cow::Borrowed(payload) } else { by_rules(&rules, subject, payload) };
        match ruled {
            Cow::Borrowed(payload) => self.redact(subject.dir, subject.op, payload),
            Cow::Owned(ruled) => match self.redact(subject.dir, subject.op, &ruled) {
                Cow::Borrowed(_) => Cow::Owned(ruled),
                Cow::Owned(both) => Cow::Owned(both),
            },
        }
    }

    /// The message with its secrets replaced. `Cow::Owned` means that it was redacted.
    ///
    /// JSON may follow a short prefix (socket.io's `42`, SockJS's `a`), several documents may stand in one
    /// message, and JSON packed into a JSON string is looked into.
    ///
    /// **What cannot be read** (not JSON though it starts like it, or nested deeper than 128) is replaced whole
    /// if it mentions a secret name or could hide one behind an escape. That fails closed, yet the message keeps
    /// its place in the mirror; shedding it would look like a loss, and passing it would leak what a more lenient
    /// parser on the other side reads without trouble. Text that does not start like JSON, and binary that is
    /// not UTF-8, passes unchanged.
    #[must_use]
    pub fn redact<'a>(&self, dir: Direction, op: Opcode, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let wanted = match self.scope {
            Scope::Up => dir == Direction::Up,
            Scope::Both => true,
            Scope::Off => false,
        };
        let Some(start) = wanted.then(|| json_start(payload)).flatten() else {
            return Cow::Borrowed(payload);
        };
        let document = payload.get(start..).unwrap_or_default();
        match secret_spans(document, &self.names, 0) {
            Ok(spans) if spans.is_empty() => Cow::Borrowed(payload),
            Ok(spans) => Cow::Owned(rewrite(payload, start, &spans)),
            Err(_) if starts_like_string(payload) => Cow::Borrowed(payload),
            Err(_) if op == Opcode::Binary && std::str::from_utf8(payload).is_err() => Cow::Borrowed(payload),
            Err(_) if !self.names.is_suspect(payload) => Cow::Borrowed(payload),
            Err(_) => Cow::Owned(REPLACEMENT.to_vec()),
        }
    }
}

/// Takes out what the pointers lead to.
fn by_rules<'a>(rules: &[&Redaction], subject: &Subject<'_>, payload: &'a [u8]) -> Cow<'a, [u8]> {
    let mut spans = Vec::new();
    for document in documents(subject, payload) {
        let from = document.start;
        let text = payload.get(document).unwrap_or_default();
        for rule in rules {
            match rule.pointer.spans(text) {
                Ok(found) => spans.extend(found.into_iter().map(|at| at.start + from..at.end + from)),
                Err(_) if starts_like_json(text) => return Cow::Owned(REPLACEMENT.to_vec()),
                Err(_) => {}
            }
        }
    }
    if spans.is_empty() {
        return Cow::Borrowed(payload);
    }
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    let mut end = 0;
    spans.retain(|span| {
        let apart = span.start >= end;
        end = end.max(span.end);
        apart
    });
    let spans: Vec<Span> = spans.into_iter().map(|bytes| Span { bytes, level: 0 }).collect();
    Cow::Owned(rewrite(payload, 0, &spans))
}

/// Where the JSON documents of a message stand.
fn documents(subject: &Subject<'_>, payload: &[u8]) -> Vec<std::ops::Range<usize>> {
    let reading = subject.reading;
    if reading.format == Format::SignalR {
        let mut from = 0;
        let mut records = Vec::new();
        for record in payload.split(|byte| *byte == 0x1e) {
            records.push(from..from + record.len());
            from += record.len() + 1;
        }
        records.retain(|record| !record.is_empty());
        return records;
    }
    // The document is a part of the payload: where it starts follows from how much is before it.
    let start = (reading.document.as_ptr() as usize).saturating_sub(payload.as_ptr() as usize);
    let end = start.saturating_add(reading.document.len()).min(payload.len());
    std::iter::once(start..end).collect()
}

/// Where JSON starts: at once, or behind the prefix of a framing protocol.
fn json_start(payload: &[u8]) -> Option<usize> {
    if starts_like_json(payload) || starts_like_string(payload) {
        return Some(0);
    }
    let head = payload.get(..PREFIX_BYTES_MAX).unwrap_or(payload);
    let at = head.iter().position(|byte| matches!(byte, b'{' | b'['))?;
    let framing = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b',' | b'-' | b'_' | b'.' | b':' | b'#')
    };
    let prefix = head.get(..at)?;
    (prefix.iter().all(framing) && starts_like_json(payload.get(at..)?)).then_some(at)
}

fn rewrite(payload: &[u8], start: usize, spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut copied = 0;
    for span in spans {
        out.extend_from_slice(payload.get(copied..start + span.bytes.start).unwrap_or_default());
        push_replacement(&mut out, span.level);
        copied = start + span.bytes.end;
    }
    out.extend_from_slice(payload.get(copied..).unwrap_or_default());
    out
}

/// The replacement, packed into `level` JSON strings: each level doubles the backslashes and adds one.
fn push_replacement(out: &mut Vec<u8>, level: u8) {
    let backslashes = (1usize << level) - 1;
    for byte in REPLACEMENT {
        if *byte == b'"' {
            out.extend(std::iter::repeat_n(b'\\', backslashes));
        }
        out.push(*byte);
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
