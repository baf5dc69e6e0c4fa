//! A few discrepancies of each kind, with both texts, secrets taken out, cut to a bounded length.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::envelope::Class;
use crate::mirror::redact::{Redactor, Scope};
use crate::session::{Direction, Key, Opcode};

/// Samples of each kind; the oldest gives way.
pub const PER_KIND: usize = 5;
/// Of each text, in bytes.
const TEXT_MAX: usize = 2 << 10;

/// One discrepancy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discrepancy {
    /// When it was found, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it is.
    pub kind: Kind,
    /// The session's number.
    pub session: u32,
    /// Which way the message went.
    pub dir: Direction,
    /// Its place there.
    pub seq: u64,
    /// Its event type.
    #[serde(rename = "type")]
    pub event: String,
    /// Its class.
    pub class: Class,
    /// How many messages (by recipient) it stands for.
    pub messages: u64,
    /// Bytes sent and got, where both are known.
    pub len: [Option<u64>; 2],
    /// Places in the JSON that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// What was sent, as far as it is still known, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// What came back, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
}

/// What is known of a discrepancy when it is found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding<'a> {
    pub(super) kind: Kind,
    pub(super) key: Key,
    pub(super) event: &'a str,
    pub(super) class: Class,
    pub(super) op: Opcode,
    pub(super) messages: u64,
    pub(super) sent: (Option<u64>, Option<&'a [u8]>),
    pub(super) got: Option<&'a [u8]>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Samples {
    redactor: Redactor,
    kept: VecDeque<Discrepancy>,
}

impl Samples {
    pub(super) fn new() -> Self {
        Self { redactor: Redactor::new(Scope::Both), kept: VecDeque::new() }
    }

    pub(super) fn add(&mut self, found: &Finding<'_>, differs: Vec<String>, at_ms: u64) {
        let (dir, op) = (found.key.dir, found.op);
        let text = |body: &[u8]| excerpt(&self.redactor.redact(dir, op, body));
        let got_len = found.got.map(|body| body.len() as u64);
        let sample = Discrepancy {
            at_ms,
            kind: found.kind,
            session: found.key.session.0,
            dir,
            seq: found.key.seq.0,
            event: found.event.to_owned(),
            class: found.class,
            messages: found.messages,
            len: [found.sent.0, got_len],
            differs,
            sent: found.sent.1.map(text),
            got: found.got.map(text),
        };
        let same = |kept: &&Discrepancy| kept.kind == found.kind;
        if self.kept.iter().filter(same).count() >= PER_KIND
            && let Some(oldest) = self.kept.iter().position(|kept| kept.kind == found.kind)
        {
            self.kept.remove(oldest);
        }
        self.kept.push_back(sample);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Discrepancy> {
        self.kept.iter()
    }
}

/// The beginning as text; of what is no text, its length alone.
fn excerpt(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else { return format!("({} bytes, not text)", body.len()) };
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Seq, SessionNo};

    #[test]
    fn samples_are_few_short_and_without_secrets() {
        let mut samples = Samples::new();
        let body = format!("{{\"password\":\"hunter2\",\"pad\":\"{}\"}}", "é".repeat(3_000));
        for seq in 0..100 {
            for kind in Kind::ALL {
                let finding = Finding {
                    kind,
                    key: Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) },
                    event: "x",
                    class: Class::Low,
                    op: Opcode::Text,
                    messages: 1,
                    sent: (Some(3), Some(body.as_bytes())),
                    got: Some(b"\xff"),
                };
                samples.add(&finding, Vec::new(), seq);
            }
        }
        assert_eq!(samples.iter().count(), PER_KIND * Kind::ALL.len());
        for sample in samples.iter() {
            assert!(sample.at_ms >= 95, "the latest are kept");
            let text = sample.sent.as_deref().unwrap();
            assert!(!text.contains("hunter2") && text.len() < TEXT_MAX + 32, "{text}");
            assert_eq!(sample.got.as_deref(), Some("(1 bytes, not text)"));
        }
    }
}
