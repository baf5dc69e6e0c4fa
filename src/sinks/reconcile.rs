//! Which of the messages that should be rows are none: the question to PostgREST, its answer, and the rows to post.
//! A row's id follows from the message alone, so that asking and posting may be repeated without harm.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use super::row::Row;

/// Messages in one question: 100 ids keep the request line below 8 KiB.
pub const ASKED_MAX: usize = 100;

/// Messages whose presence is asked for together.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

impl Chunk {
    /// Adds a message, unless the same one is there already; whether the chunk is full now.
    pub fn push(&mut self, row: Row) -> bool {
        if !self.rows.iter().any(|other| other.key == row.key && other.instance == row.instance) {
            self.rows.push(row);
        }
        self.rows.len() >= ASKED_MAX
    }

    /// Messages in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The query that asks which of them are there.
    #[must_use]
    pub fn query(&self) -> String {
        let ids: Vec<String> = self.rows.iter().map(Row::id).collect();
        format!("select=id&id=in.({})", ids.join(","))
    }

    /// Keeps those that the answer does not name.
    ///
    /// # Errors
    /// The answer is no list of ids.
    pub fn missing(self, answer: &str) -> Result<Self, serde_json::Error> {
        let there: Vec<Id> = serde_json::from_str(answer)?;
        let there: HashSet<String> = there.into_iter().map(|row| row.id.to_ascii_lowercase()).collect();
        let rows = self.rows.into_iter().filter(|row| !there.contains(&row.id())).collect();
        Ok(Self { rows })
    }

    /// The rows, to be posted.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut out = b"[".to_vec();
        for (place, row) in self.rows.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            row.write(false, &mut out);
        }
        out.push(b']');
        out
    }

    /// The messages.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }
}

/// A moment as a person writes it: RFC 3339, or how long ago (`90m`). In milliseconds since the Unix epoch.
///
/// # Errors
/// A phrase that completes "`TEXT` …".
pub fn moment(text: &str, now_ms: u64) -> Result<u64, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now_ms.saturating_sub(millis(ago)));
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(|_| {
        "is neither a time such as 2026-11-21T08:00:00Z nor a duration such as 90m".to_owned()
    })?;
    at.duration_since(std::time::UNIX_EPOCH).map(millis).map_err(|_| "is before 1970".to_owned())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::envelope::Class;
    use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

    fn row(seq: u64) -> Row {
        Row {
            key: Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) },
            session_id: None,
            source: "shop".into(),
            instance: "pod-1".into(),
            at_ms: 0,
            kind: "x".to_owned(),
            class: Class::High,
            op: Opcode::Text,
            path: "/".into(),
            body: Bytes::from_static(b"{}"),
            redacted: false,
            replay: true,
        }
    }

    #[test]
    fn what_the_answer_does_not_name_is_missing() {
        let mut chunk = Chunk::default();
        for seq in [1, 2, 2, 3] {
            assert!(!chunk.push(row(seq)));
        }
        assert_eq!(chunk.len(), 3, "the same message lies there twice");
        assert!(chunk.query().contains(&row(2).id()) && chunk.query().starts_with("select=id&id=in.("));
        let answer = format!("[{{\"id\":\"{}\"}}]", row(2).id().to_uppercase());
        let missing = chunk.clone().missing(&answer).unwrap();
        assert_eq!(missing.rows().map(|row| row.key.seq.0).collect::<Vec<_>>(), [1, 3]);
        let posted: Vec<serde_json::Value> = serde_json::from_slice(&missing.body()).unwrap();
        assert_eq!(posted.len(), 2);
        assert!(chunk.clone().missing("{}").is_err(), "an error is no empty table");
        assert_eq!(chunk.missing("[]").unwrap().len(), 3);
    }

    #[test]
    fn a_question_fits_into_a_request_line() {
        let mut chunk = Chunk::default();
        let full = (0..ASKED_MAX as u64).filter(|seq| chunk.push(row(*seq))).count();
        assert_eq!((full, chunk.len()), (1, ASKED_MAX));
        assert!(chunk.query().len() < 8 << 10);
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(moment("1970-01-01T00:01:00Z", 0), Ok(60_000));
        assert_eq!(moment("90m", 10_000_000), Ok(10_000_000 - 5_400_000));
        assert!(moment("yesterday", 0).is_err());
    }
}
