//! Tables in memory: typed rows in the order they came, an index for each key, whole statements or nothing.

use super::super::database::ChangeKind;
use super::super::json::Json;
use super::answer::Done;
use super::call::{Call, Verb};
use super::error::RestError;
use super::schema::{Column, Default, Table};
use super::{read, time, value, write};
use std::collections::{BTreeMap, HashMap};

/// Most rows in all tables together; a statement that would go beyond is refused as on a full disk.
pub(in super::super) const ROWS_MAX: usize = 200_000;

const HINT: &str = "the memory has no functions; use a PostgreSQL";

/// One row, a value for each column.
pub(super) type Row = Vec<Json>;

/// All tables.
#[derive(Debug, Default)]
pub(in super::super) struct Memory {
    pub(super) stores: Vec<Store>,
}

/// One table and its rows.
#[derive(Debug)]
pub(super) struct Store {
    pub table: Table,
    pub rows: BTreeMap<u64, Row>,
    /// For each key of the table, the row that has a value.
    pub indexes: Vec<HashMap<String, u64>>,
    pub made: u64,
    serial: i64,
}

/// A row that a statement changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Changed {
    pub kind: ChangeKind,
    pub old: Option<Row>,
    pub new: Option<Row>,
}

/// What a statement runs under.
pub(super) struct Terms<'a> {
    /// The statement's time in microseconds since 1970.
    pub micros: i64,
    pub uuid: &'a mut dyn FnMut() -> String,
    /// Row-level security lets the role see rows.
    pub reads: bool,
    /// And write them.
    pub writes: bool,
    /// Most rows a read gives.
    pub most: u64,
}

impl Memory {
    pub(in super::super) fn new(tables: &[Table]) -> Memory {
        let store = |table: &Table| Store {
            indexes: vec![HashMap::new(); table.keys.len()],
            table: table.clone(),
            rows: BTreeMap::new(),
            made: 0,
            serial: 0,
        };
        Memory { stores: tables.iter().map(store).collect() }
    }

    /// Carries a request out. Nothing is changed when it is refused.
    ///
    /// # Errors
    /// PostgreSQL's and PostgREST's.
    pub(super) fn run(
        &mut self,
        call: &Call,
        terms: &mut Terms<'_>,
    ) -> Result<(Done, Vec<Changed>), RestError> {
        let full = ROWS_MAX.saturating_sub(self.stores.iter().map(|store| store.rows.len()).sum());
        let found = self
            .stores
            .iter_mut()
            .find(|store| store.table.schema == call.schema && store.table.name == call.name);
        if call.verb == Verb::Run {
            let none = super::function::Function::choose(call, &[]).err();
            return Err(none.unwrap_or_else(|| RestError::new("PGRST202", "no such function")).hint(HINT));
        }
        let store = found.ok_or_else(|| RestError::no_table(&call.schema, &call.name))?;
        match call.verb {
            Verb::Insert => write::insert(store, call, terms, full),
            Verb::Update => write::update(store, call, terms),
            Verb::Delete => write::delete(store, call, terms),
            Verb::Read | Verb::Run => read::read(store, call, terms).map(|done| (done, Vec::new())),
        }
    }

    /// Where a table is.
    pub(super) fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.stores
            .iter()
            .map(|store| &store.table)
            .find(|table| table.schema == schema && table.name == name)
    }
}

impl Store {
    /// What an insert without the column puts there.
    pub(super) fn default(&mut self, column: &Column, terms: &mut Terms<'_>) -> Result<Json, RestError> {
        Ok(match &column.default {
            Default::Null => Json::Null,
            Default::Now => Json::Text(time::show(terms.micros)),
            Default::Uuid => Json::Text((terms.uuid)()),
            Default::Serial => {
                // As a sequence: not given back when the statement fails.
                self.serial = self.serial.saturating_add(1);
                Json::Int(self.serial.to_string())
            }
            Default::Given(text) => value::read_text(column.kind, text)?,
        })
    }

    /// The text under which a row stands in an index; none when a part is null, for nulls are never duplicates.
    pub(super) fn key_text(&self, key: usize, row: &Row) -> Option<String> {
        let mut text = String::new();
        for name in &self.table.keys.get(key)?.columns {
            let found = self.table.column(name).and_then(|(index, _)| row.get(index))?;
            if *found == Json::Null {
                return None;
            }
            found.write(&mut text);
            text.push('\u{1f}');
        }
        Some(text)
    }

    /// Puts a row in or over another.
    pub(super) fn put(&mut self, id: u64, row: Row) {
        if let Some(old) = self.rows.remove(&id) {
            self.unindex(&old);
        }
        for key in 0..self.indexes.len() {
            if let (Some(text), Some(index)) = (self.key_text(key, &row), self.indexes.get_mut(key)) {
                index.insert(text, id);
            }
        }
        self.rows.insert(id, row);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        self.unindex(&row);
        Some(row)
    }

    fn unindex(&mut self, row: &Row) {
        for key in 0..self.indexes.len() {
            if let (Some(text), Some(index)) = (self.key_text(key, row), self.indexes.get_mut(key)) {
                index.remove(&text);
            }
        }
    }

    /// `duplicate key value violates unique constraint`.
    pub(super) fn duplicate(&self, key: usize, row: &Row) -> RestError {
        let Some(key) = self.table.keys.get(key) else {
            return RestError::new("23505", "duplicate key value");
        };
        let shown = |name: &String| {
            let value = self.table.column(name).and_then(|(index, _)| row.get(index));
            value.map(value::text).unwrap_or_default()
        };
        let values: Vec<String> = key.columns.iter().map(shown).collect();
        RestError::new("23505", format!("duplicate key value violates unique constraint \"{}\"", key.name))
            .details(format!("Key ({})=({}) already exists.", key.columns.join(", "), values.join(", ")))
    }

    /// Refuses nulls where there may be none.
    ///
    /// # Errors
    /// `23502`.
    pub(super) fn check_nulls(&self, row: &Row) -> Result<(), RestError> {
        let missing = |(column, value): &(&Column, &Json)| column.not_null && **value == Json::Null;
        let Some((column, _)) = self.table.columns.iter().zip(row).find(missing) else { return Ok(()) };
        let values: Vec<String> = row.iter().map(value::text).collect();
        let message = format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            column.name, self.table.name
        );
        Err(RestError::new("23502", message)
            .details(format!("Failing row contains ({}).", values.join(", "))))
    }
}
