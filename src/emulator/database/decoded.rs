//! Rows from PostgreSQL's write-ahead log, as the plugin `pgoutput` writes them (PostgreSQL documentation, "Logical
//! Replication Message Formats", protocol version 1), and what Realtime makes of them.

use super::super::json::{Json, write_text};
use super::super::rest::{Kind, time, value};
use super::array::show_array;
use super::changes::{ChangeKind, DatabaseChange};
use super::{RECORD_MAX, SMALL_MAX};
use std::collections::HashMap;

/// Microseconds from 1970 to PostgreSQL's epoch.
const EPOCH: i64 = 946_684_800_000_000;
/// Most relations remembered.
const RELATIONS_MAX: usize = 10_000;

/// Reads messages one by one; relations are told once and referred to by number.
#[derive(Debug, Default)]
pub(in super::super) struct Decoder {
    relations: HashMap<u32, Relation>,
    commit_micros: i64,
}

#[derive(Debug, Clone)]
struct Relation {
    schema: String,
    table: String,
    /// Name, type number, part of the key.
    columns: Vec<(String, u32, bool)>,
}

/// A value in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Null,
    /// Large and not changed: the log does not have it.
    Absent,
    Text(String),
}

/// A changed row, and how to find it for a check of permissions.
pub(in super::super) struct Row {
    pub change: DatabaseChange,
    /// Columns of the key with their values, as text.
    pub key: Vec<(String, String)>,
}

impl Decoder {
    /// Reads one message. Rows come out; whatever else does not.
    pub(in super::super) fn message(&mut self, bytes: &[u8], types: &HashMap<u32, String>) -> Option<Row> {
        let mut reader = Reader { bytes };
        match reader.byte()? {
            b'B' => {
                reader.take(8)?;
                self.commit_micros =
                    i64::from_be_bytes(reader.take(8)?.try_into().ok()?).saturating_add(EPOCH);
                None
            }
            b'R' => {
                let number = reader.u32()?;
                let relation = reader.relation()?;
                if self.relations.len() < RELATIONS_MAX {
                    self.relations.insert(number, relation);
                }
                None
            }
            kind @ (b'I' | b'U' | b'D') => {
                let relation = self.relations.get(&reader.u32()?)?;
                self.row(kind, relation, &mut reader, types)
            }
            _ => None,
        }
    }

    fn row(
        &self,
        kind: u8,
        relation: &Relation,
        reader: &mut Reader<'_>,
        types: &HashMap<u32, String>,
    ) -> Option<Row> {
        let (mut old, mut new) = (None, None);
        while let Some(part) = reader.byte() {
            let cells = reader.tuple()?;
            if part == b'N' { new = Some(cells) } else { old = Some(cells) }
        }
        let type_of = |number: u32| types.get(&number).map_or("text", String::as_str);
        // An update that leaves the key alone has no old row in the log: the key is the new one's.
        let key_cells = old.as_ref().or(new.as_ref())?;
        let keyed = || relation.columns.iter().zip(key_cells).filter(|((.., key), _)| *key);
        let key = keyed().filter_map(|((name, ..), cell)| match cell {
            Cell::Text(text) => Some((name.clone(), text.clone())),
            _ => None,
        });
        let record_of = |cells: &[Cell], keep: &dyn Fn(bool, &Cell, &str) -> bool| {
            let mut members = Vec::new();
            for ((name, number, is_key), cell) in relation.columns.iter().zip(cells) {
                let shown = show(cell, type_of(*number));
                if *cell != Cell::Absent && keep(*is_key, cell, &shown) {
                    members.push((name.as_str(), shown));
                }
            }
            object(members)
        };
        let mut errors = "null";
        let record = new.as_ref().map(|cells| {
            let whole = record_of(cells, &|_, _, _| true);
            if whole.len() <= RECORD_MAX {
                return whole;
            }
            errors = "[\"Error 413: Payload Too Large\"]";
            record_of(cells, &|_, cell, shown| *cell != Cell::Null && shown.len() <= SMALL_MAX)
        });
        let kind = match kind {
            b'I' => ChangeKind::Insert,
            b'U' => ChangeKind::Update,
            _ => ChangeKind::Delete,
        };
        let old_record = (kind != ChangeKind::Insert).then(|| record_of(key_cells, &|is_key, _, _| is_key));
        let columns = relation.columns.iter().map(|(name, number, _)| {
            let mut out = "{\"name\": ".to_owned();
            write_text(name, &mut out);
            format!("{out}, \"type\": \"{}\"}}", type_of(*number))
        });
        let change = DatabaseChange {
            kind,
            schema: relation.schema.clone(),
            table: relation.table.clone(),
            columns: format!("[{}]", columns.collect::<Vec<_>>().join(", ")),
            record,
            old_record,
            errors: errors.to_owned(),
            commit_timestamp: time::commit(self.commit_micros),
        };
        Some(Row { change, key: key.collect() })
    }
}

/// A value as `to_jsonb` shows it.
fn show(cell: &Cell, type_name: &str) -> String {
    let Cell::Text(text) = cell else { return "null".to_owned() };
    let quoted = |text: &str| {
        let mut out = String::new();
        write_text(text, &mut out);
        out
    };
    if let Some(element) = type_name.strip_prefix('_') {
        let each =
            |text: Option<&str>| show(&text.map_or(Cell::Null, |text| Cell::Text(text.to_owned())), element);
        return show_array(text, &each).unwrap_or_else(|| quoted(text));
    }
    match type_name {
        "bool" => if text == "t" { "true" } else { "false" }.to_owned(),
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "oid"
            if text.bytes().any(|byte| byte.is_ascii_digit()) =>
        {
            text.clone()
        }
        "jsonb" => text.clone(),
        "json" => Json::parse(text).map_or_else(
            |_| quoted(text),
            |json| {
                let mut out = String::new();
                value::write_jsonb(&json, &mut out);
                out
            },
        ),
        "timestamptz" => match value::read_text(Kind::Timestamptz, text) {
            Ok(Json::Text(shown)) => quoted(&shown),
            _ => quoted(text),
        },
        "timestamp" => quoted(&text.replacen(' ', "T", 1)),
        _ => quoted(text),
    }
}

/// Members in `jsonb`'s order: shorter names first.
fn object(mut members: Vec<(&str, String)>) -> String {
    members.sort_by_key(|(name, _)| (name.len(), *name));
    let each = members.iter().map(|(name, shown)| {
        let mut out = String::new();
        write_text(name, &mut out);
        format!("{out}: {shown}")
    });
    format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn relation(&mut self) -> Option<Relation> {
        let (schema, table) = (self.text()?, self.text()?);
        self.byte()?;
        let mut columns = Vec::new();
        for _ in 0..self.u16()? {
            let key = self.byte()? & 1 == 1;
            let name = self.text()?;
            let number = self.u32()?;
            self.take(4)?;
            columns.push((name, number, key));
        }
        Some(Relation { schema, table, columns })
    }

    fn tuple(&mut self) -> Option<Vec<Cell>> {
        let mut cells = Vec::new();
        for _ in 0..self.u16()? {
            cells.push(match self.byte()? {
                b'n' => Cell::Null,
                b'u' => Cell::Absent,
                b't' => {
                    let length = usize::try_from(self.u32()?).ok()?;
                    Cell::Text(String::from_utf8_lossy(self.take(length)?).into_owned())
                }
                _ => return None,
            });
        }
        Some(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relation() -> Vec<u8> {
        let mut bytes = b"R\0\0\0\x07public\0t\0d\0\x03".to_vec();
        for (flag, name, number) in [(1, "id", 23_u32), (0, "data", 3802), (0, "ok", 16)] {
            bytes.push(flag);
            bytes.extend(name.as_bytes());
            bytes.push(0);
            bytes.extend(number.to_be_bytes());
            bytes.extend([0xff; 4]);
        }
        bytes
    }

    fn types() -> HashMap<u32, String> {
        [(23, "int4"), (3802, "jsonb"), (16, "bool")].map(|(number, name)| (number, name.to_owned())).into()
    }

    #[test]
    fn rows_are_told_as_realtime_tells_them() {
        let mut decoder = Decoder::default();
        let mut begin = b"B\0\0\0\0\0\0\0\x01".to_vec();
        begin.extend((1_767_323_045_678_901_i64 - EPOCH).to_be_bytes());
        begin.extend([0; 4]);
        assert!(decoder.message(&begin, &types()).is_none());
        assert!(decoder.message(&relation(), &types()).is_none());
        let insert = b"I\0\0\0\x07N\0\x03t\0\0\0\x0212t\0\0\0\x08{\"a\": 1}t\0\0\0\x01t";
        let row = decoder.message(insert, &types()).unwrap();
        assert_eq!(row.change.record.as_deref(), Some(r#"{"id": 12, "ok": true, "data": {"a": 1}}"#));
        assert_eq!((row.change.old_record, row.change.kind), (None, ChangeKind::Insert));
        assert_eq!(row.change.commit_timestamp, "2026-01-02T03:04:05.678Z");
        assert_eq!(row.key, [("id".to_owned(), "12".to_owned())]);
        let update = b"U\0\0\0\x07N\0\x03t\0\0\0\x0212uu";
        let row = decoder.message(update, &types()).unwrap().change;
        assert_eq!(
            (row.record.as_deref(), row.old_record.as_deref()),
            (Some(r#"{"id": 12}"#), Some(r#"{"id": 12}"#))
        );
        let delete = b"D\0\0\0\x07K\0\x03t\0\0\0\x0212nn";
        let row = decoder.message(delete, &types()).unwrap().change;
        assert_eq!((row.record, row.old_record.as_deref()), (None, Some(r#"{"id": 12}"#)));
    }

    #[test]
    fn arrays_are_told_as_lists() {
        let shown = |text: &str, kind| show(&Cell::Text(text.to_owned()), kind);
        assert_eq!(shown("{1,NULL,3}", "_int4"), "[1, null, 3]");
        assert_eq!(shown("{t,f}", "_bool"), "[true, false]");
        assert_eq!(shown("{\"a b\",c}", "_text"), r#"["a b", "c"]"#);
        assert_eq!(shown("{\"{\\\"a\\\": 1}\"}", "_jsonb"), r#"[{"a": 1}]"#);
        assert_eq!(shown("{{1,2},{3,4}}", "_int8"), "[[1, 2], [3, 4]]");
        assert_eq!(shown("no array", "_int4"), r#""no array""#);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
            let mut decoder = Decoder::default();
            decoder.message(&relation(), &types());
            for mut message in messages {
                decoder.message(&message, &types());
                message.splice(0..0, *b"I\0\0\0\x07N");
                decoder.message(&message, &types());
            }
        }
    }
}
