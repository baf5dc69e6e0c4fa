//! A message as a row of `monitoring_events`: its key, and its JSON for PostgREST.
//! The key is a UUID of version 8 (RFC 9562 section 5.8) made of SHA-256, as version 5 would be made of SHA-1.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::envelope::{Class, crc32};
use crate::session::{Key, Opcode};

/// The columns, as the `columns` parameter of the request lists them.
pub const COLUMNS: &str = "id,event_type,timestamp,data,source,instance,session_no,session_id,dir,seq,op,class,\
path,raw,crc,redacted,replay";

/// The last millisecond that has a four-digit year.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

/// One message, ready to be stored.
#[derive(Clone)]
pub struct Row {
    /// Its name in its process.
    pub key: Key,
    /// The unguessable id of its session, where it is still known.
    pub session_id: Option<String>,
    /// The service.
    pub source: Arc<str>,
    /// The process that saw it: pod and a random part, the envelope's `src`.
    pub instance: Arc<str>,
    /// When it was seen, in milliseconds since the Unix epoch. With the key it names the row: keep it in repetitions.
    pub at_ms: u64,
    /// Its event type.
    pub kind: String,
    /// Its class.
    pub class: Class,
    /// Its opcode.
    pub op: Opcode,
    /// Its route.
    pub path: Arc<str>,
    /// Its bytes, after redaction.
    pub body: Bytes,
    /// Whether something was taken out of them.
    pub redacted: bool,
    /// Whether it comes from a backlog.
    pub replay: bool,
}

impl Row {
    /// The row's id.
    #[must_use]
    pub fn id(&self) -> String {
        id(&self.instance, self.key)
    }

    /// Upper bound of what [`write`](Self::write) adds.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        512 + 3 * self.body.len() + 6 * (self.kind.len() + self.path.len() + self.source.len())
    }

    /// Appends the row as a JSON object; without `data` where `plain` is set, or where the bytes are no JSON that
    /// `jsonb` could hold.
    pub fn write(&self, plain: bool, out: &mut Vec<u8>) {
        let data = if plain { None } else { json(&self.body) };
        let row = Columns {
            id: self.id(),
            event_type: text(&self.kind),
            timestamp: timestamp(self.at_ms),
            data,
            source: text(&self.source),
            instance: text(&self.instance),
            session_no: self.key.session.0,
            session_id: self.session_id.as_deref(),
            dir: self.key.dir.as_str(),
            seq: self.key.seq.0,
            op: self.op,
            class: self.class,
            path: text(&self.path),
            raw: hex(&self.body),
            crc: format!("{:08x}", crc32(&self.body)),
            redacted: self.redacted,
            replay: self.replay,
        };
        serde_json::to_writer(out, &row).expect("plain fields can be written to memory");
    }
}

impl fmt::Debug for Row {
    /// Type, path and bytes stay out of logs (invariant 7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({}, {} bytes)", self.id(), self.body.len())
    }
}

#[derive(Serialize)]
struct Columns<'a> {
    id: String,
    event_type: String,
    timestamp: String,
    data: Option<&'a RawValue>,
    source: String,
    instance: String,
    session_no: u32,
    session_id: Option<&'a str>,
    dir: &'a str,
    seq: u64,
    op: Opcode,
    class: Class,
    path: String,
    raw: String,
    crc: String,
    redacted: bool,
    replay: bool,
}

/// The id of the row of a message that `instance` saw. Whoever knows both can ask whether the row is there.
#[must_use]
pub fn id(instance: &str, key: Key) -> String {
    let hash = Sha256::new()
        .chain_update(b"crossfade.row.1\0")
        .chain_update(instance.as_bytes())
        .chain_update([0])
        .chain_update(key.session.0.to_be_bytes())
        .chain_update(key.dir.as_str().as_bytes())
        .chain_update(key.seq.0.to_be_bytes())
        .finalize();
    let mut bits = hash.iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    bits = bits & !(0xf << 76) | 0x8 << 76; // version 8
    bits = bits & !(0x3 << 62) | 0x2 << 62; // the variant of RFC 9562
    let digits = format!("{bits:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    parts.join("-")
}

/// The bytes as JSON, unless they are none, or hold a NUL, which `jsonb` refuses. (An escaped backslash before `u0000`
/// is taken for one too: that row keeps its bytes, and only its `data` is null.)
fn json(body: &[u8]) -> Option<&RawValue> {
    if body.windows(6).any(|six| six == b"\\u0000") {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// PostgreSQL's text has no NUL.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn timestamp(unix_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(UNIX_MS_MAX));
    humantime::format_rfc3339_millis(at).to_string()
}

/// PostgreSQL's input form of `bytea`.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(2 + 2 * bytes.len());
    out.push_str("\\x");
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            out.push(char::from(DIGITS.get(usize::from(half)).copied().unwrap_or(b'0')));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::session::{Direction, Seq, SessionNo};

    fn key(session: u32, dir: Direction, seq: u64) -> Key {
        Key { session: SessionNo(session), dir, seq: Seq(seq) }
    }

    fn row(body: &[u8]) -> Row {
        Row {
            key: key(7, Direction::Down, 42),
            session_id: Some("00ff".to_owned()),
            source: "shop".into(),
            instance: "pod-1-0a0b0c0d".into(),
            at_ms: 1_795_244_995_123,
            kind: "order\0placed".to_owned(),
            class: Class::Critical,
            op: Opcode::Text,
            path: "/ws".into(),
            body: Bytes::copy_from_slice(body),
            redacted: false,
            replay: true,
        }
    }

    fn written(row: &Row, plain: bool) -> Value {
        let mut out = Vec::new();
        row.write(plain, &mut out);
        assert!(out.len() <= row.encoded_len(), "{} bytes, announced {}", out.len(), row.encoded_len());
        serde_json::from_slice(&out).expect("a row is JSON")
    }

    #[test]
    fn a_row_has_the_columns_of_the_table() {
        let value = written(&row(br#"{"n": 1.50}"#), false);
        let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns: Vec<&str> = COLUMNS.split(',').collect();
        names.sort_unstable();
        columns.sort_unstable();
        assert_eq!(names, columns);
        assert_eq!(value["timestamp"], "2026-11-21T07:09:55.123Z");
        assert_eq!(value["event_type"], "order\u{fffd}placed");
        assert_eq!(value["raw"], "\\x7b226e223a20312e35307d");
        assert_eq!(
            (&value["dir"], &value["op"], &value["class"]),
            (&"down".into(), &"text".into(), &"critical".into())
        );
        assert_eq!((&value["session_no"], &value["seq"]), (&7.into(), &42.into()));
        assert_eq!((&value["redacted"], &value["replay"]), (&false.into(), &true.into()));
        assert_eq!(value["data"]["n"], 1.5);
        let sql = include_str!("../../deploy/supabase/migrations/20261121000200_monitoring_events.sql");
        for column in columns {
            let declared =
                sql.lines().any(|line| line.trim_start().trim_start_matches('"').starts_with(column));
            assert!(declared, "{column} is in no line of the migration");
        }
    }

    #[test]
    fn what_jsonb_cannot_hold_travels_as_bytes_only() {
        for body in [&b"\x00\xff"[..], b"", b"{", b"hello", br#"{"a":"\u0000"}"#, br#""\\u0000""#] {
            assert_eq!(written(&row(body), false)["data"], Value::Null, "{body:?}");
        }
        assert_eq!(written(&row(b"{}"), true)["data"], Value::Null, "asked for without data");
        assert_eq!(written(&row(b" [1] "), false)["data"], serde_json::json!([1]));
    }

    #[test]
    fn an_id_is_a_version_8_uuid_and_stays_what_it_is() {
        // By hand: python3 -c "import hashlib; print(hashlib.sha256(b'crossfade.row.1\0pod-1-0a0b0c0d\0'
        //   b'\0\0\0\x07down\0\0\0\0\0\0\0\x2a').hexdigest())", with version and variant put in.
        assert_eq!(row(b"").id(), "a2ba06a9-ad90-8859-a760-3732750176ca");
    }

    /// `tests/sql/pgtap/07_rows.sql` inserts the same file as PostgREST would. `BLESS=1` writes it.
    #[test]
    fn rows_are_those_that_the_database_is_tested_with() {
        let bodies: [&[u8]; 5] = [b"{\"n\": 1.50}", b"[null]", b"\x00\xff", b"", br#"{"a":"\u0000"}"#];
        let mut out = b"[".to_vec();
        for (seq, body) in (1..).zip(bodies) {
            out.extend_from_slice(if seq == 1 { b"\n" } else { b",\n" });
            Row { key: key(7, Direction::Up, seq), session_id: None, ..row(body) }.write(false, &mut out);
        }
        out.extend_from_slice(b"\n]\n");
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rows.json");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &out).unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), std::fs::read_to_string(&file).unwrap());
    }

    #[test]
    fn no_two_messages_share_an_id() {
        let mut ids = HashSet::new();
        for instance in ["pod-1", "pod-11", "pod-1\0"] {
            for session in [1, 11, 256] {
                for dir in Direction::ALL {
                    for seq in [1, 2, 256, u64::MAX] {
                        assert!(ids.insert(id(instance, key(session, dir, seq))));
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_bytes_can_be_had_back(body: Vec<u8>) {
            let value = written(&row(&body), false);
            let hex = value["raw"].as_str().unwrap().strip_prefix("\\x").unwrap();
            let back: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            prop_assert_eq!(back, body);
        }
    }
}
