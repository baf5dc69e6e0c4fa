//! From a request to the memory to what subscribers of `postgres_changes` are told of it.

use super::super::database::{DatabaseChange, RECORD_MAX, SMALL_MAX};
use super::super::http::HttpRequest;
use super::super::json::{Json, write_text};
use super::super::machine::{Emulator, HttpAnswer};
use super::answer;
use super::call::{Call, Verb};
use super::memory::{Changed, Row, Terms};
use super::schema::Table;
use super::time;
use super::value::write_jsonb;
use std::time::Instant;

impl Emulator {
    /// Answers a request to `/rest/v1`, with the memory as the database.
    pub(in super::super) fn rest(&mut self, request: &HttpRequest, now: Instant) -> HttpAnswer {
        let caller = match self.rest_caller(request, now) {
            Ok(caller) => caller,
            Err(answer) => return answer,
        };
        let call = match Call::read(request) {
            Ok(call) => call,
            Err(error) => return error.answer(caller.anonymous()),
        };
        let micros = self.clock.unix_ms(now).saturating_mul(1_000);
        let (reads, writes) = self.may_use(&caller.role, &call.name);
        let most = if call.verb == Verb::Read { self.config.max_rows } else { u64::MAX };
        let mut memory = std::mem::take(&mut self.memory);
        let mut uuid = || self.uuid();
        let done = memory.run(&call, &mut Terms { micros, uuid: &mut uuid, reads, writes, most });
        let table = memory.table(&call.schema, &call.name).cloned();
        self.memory = memory;
        match (done, table) {
            (Ok((done, changed)), Some(table)) => {
                if table.published {
                    let changes = changed.into_iter().map(|change| told(&table, change, micros)).collect();
                    self.changed(changes, now);
                }
                answer::answer(&call, &done)
            }
            (Err(error), _) => error.answer(caller.anonymous()),
            (Ok((done, _)), None) => answer::answer(&call, &done),
        }
    }
}

/// A changed row as Realtime tells of it.
fn told(table: &Table, change: Changed, micros: i64) -> DatabaseChange {
    let mut errors = "null";
    let record = change.new.map(|row| {
        let whole = shown_row(table, &row, |_, _| true);
        if whole.len() <= RECORD_MAX {
            return whole;
        }
        errors = "[\"Error 413: Payload Too Large\"]";
        shown_row(table, &row, |_, value| *value != Json::Null && shown(value).len() <= SMALL_MAX)
    });
    let key = table.primary().map(|key| key.columns.clone()).unwrap_or_default();
    let old_record =
        change.old.map(|row| shown_row(table, &row, |name, _| key.iter().any(|column| column == name)));
    DatabaseChange {
        kind: change.kind,
        schema: table.schema.clone(),
        table: table.name.clone(),
        columns: columns(table),
        record,
        old_record,
        errors: errors.to_owned(),
        commit_timestamp: time::commit(micros),
    }
}

/// `[{"name": "id", "type": "uuid"}, …]`.
pub(super) fn columns(table: &Table) -> String {
    let each = table.columns.iter().map(|column| {
        let mut out = "{\"name\": ".to_owned();
        write_text(&column.name, &mut out);
        format!("{out}, \"type\": \"{}\"}}", column.kind.type_name())
    });
    format!("[{}]", each.collect::<Vec<_>>().join(", "))
}

fn shown_row(table: &Table, row: &Row, keep: impl Fn(&str, &Json) -> bool) -> String {
    let each = table.columns.iter().zip(row).filter(|(column, value)| keep(&column.name, value));
    shown(&Json::Map(each.map(|(column, value)| (column.name.clone(), value.clone())).collect()))
}

fn shown(value: &Json) -> String {
    let mut out = String::new();
    write_jsonb(value, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::super::value;
    use super::*;
    use crate::emulator::database::ChangeKind;

    #[test]
    fn arrays_are_told_as_json_arrays() {
        let table = Table::parse("t(id int primary key, words text[], n int[])").unwrap();
        let given = ["1", r#"["a","{b}",null,"say \"hi\""]"#, "[[1,null],[3,4]]"];
        let read = |(column, text): (&super::super::Column, &&str)| {
            value::read(column.kind, &Json::parse(text).unwrap()).unwrap()
        };
        let row: Row = table.columns.iter().zip(&given).map(read).collect();
        let change =
            told(&table, Changed { kind: ChangeKind::Update, old: Some(row.clone()), new: Some(row) }, 0);
        assert_eq!(
            change.record.as_deref(),
            Some(r#"{"n": [[1, null], [3, 4]], "id": 1, "words": ["a", "{b}", null, "say \"hi\""]}"#)
        );
        assert_eq!(change.old_record.as_deref(), Some(r#"{"id": 1}"#));
        assert!(
            change
                .columns
                .ends_with(r#"{"name": "words", "type": "_text"}, {"name": "n", "type": "_int4"}]"#)
        );
    }
}
