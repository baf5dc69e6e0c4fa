//! INSERT, UPDATE and DELETE on the memory: everything is checked first, then everything is done.

use super::super::database::ChangeKind;
use super::super::json::Json;
use super::answer::{self, Done};
use super::call::{Call, Resolution};
use super::error::RestError;
use super::memory::{Changed, Row, Store, Terms};
use super::{read, value};
use std::collections::{BTreeMap, HashSet};

type Result<T> = std::result::Result<T, RestError>;

fn forbidden(store: &Store) -> RestError {
    let message = format!("new row violates row-level security policy for table \"{}\"", store.table.name);
    RestError::new("42501", message)
}

/// Rows that a statement will put in, by number: new ones, and old ones that are merged into.
#[derive(Default)]
struct Plan {
    new: Vec<Row>,
    merged: BTreeMap<u64, Row>,
    /// Keys taken by this statement.
    taken: HashSet<(usize, String)>,
}

pub(super) fn insert(
    store: &mut Store,
    call: &Call,
    terms: &mut Terms<'_>,
    room: usize,
) -> Result<(Done, Vec<Changed>)> {
    known_columns(store, call)?;
    let target = target(store, call)?;
    if call.body.rows.is_empty() {
        return Ok((Done { resolved: target.is_some(), ..Done::default() }, Vec::new()));
    }
    // To look for a duplicate, or to show rows, is to read.
    let reads = call.wants_rows() || target.is_some();
    if !terms.writes || (reads && !terms.reads) {
        return Err(forbidden(store));
    }
    let mut plan = Plan::default();
    for given in &call.body.rows {
        let row = fresh(store, call, given, terms)?;
        store.check_nulls(&row)?;
        place(store, call, (&mut plan, target), row)?;
    }
    if plan.new.len() > room {
        return Err(RestError::new("53100", "could not extend file: No space left on device"));
    }
    let mut done = Done {
        affected: (plan.new.len() + plan.merged.len()) as u64,
        merged: plan.merged.len() as u64,
        resolved: target.is_some(),
        ..Done::default()
    };
    if call.wants_rows() {
        let rows = plan.merged.values().chain(&plan.new);
        done.rows = rows.map(|row| read::show(&store.table, call, row)).collect::<Result<_>>()?;
    }
    done.total = call.prefer.count.map(|_| done.affected);
    answer::check(call, &done)?;
    let mut changed = Vec::new();
    for (id, row) in plan.merged {
        let old = store.rows.get(&id).cloned();
        changed.push(Changed { kind: ChangeKind::Update, old, new: Some(row.clone()) });
        store.put(id, row);
    }
    for row in plan.new {
        store.made += 1;
        changed.push(Changed { kind: ChangeKind::Insert, old: None, new: Some(row.clone()) });
        store.put(store.made, row);
    }
    Ok((done, changed))
}

/// The key whose duplicates are resolved.
fn target(store: &Store, call: &Call) -> Result<Option<usize>> {
    if call.prefer.resolution.is_none() {
        return Ok(None);
    }
    let Some(wanted) = &call.on_conflict else {
        return Ok(store.table.keys.iter().position(|key| key.primary));
    };
    for name in wanted {
        store.table.column(name).ok_or_else(|| RestError::no_column(&store.table.name, name))?;
    }
    let same = |columns: &[String]| {
        columns.len() == wanted.len() && columns.iter().all(|column| wanted.contains(column))
    };
    store.table.keys.iter().position(|key| same(&key.columns)).map(Some).ok_or_else(|| {
        RestError::new(
            "42P10",
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        )
    })
}

fn known_columns(store: &Store, call: &Call) -> Result<()> {
    let unknown = call.body.keys.iter().find(|name| store.table.column(name).is_none());
    unknown.map_or(Ok(()), |name| Err(RestError::no_column(&store.table.name, name)))
}

/// The row that the statement would insert.
fn fresh(
    store: &mut Store,
    call: &Call,
    given: &BTreeMap<String, Json>,
    terms: &mut Terms<'_>,
) -> Result<Row> {
    let mut row = Vec::with_capacity(store.table.columns.len());
    for column in store.table.columns.clone() {
        let named = call.body.keys.contains(&column.name);
        row.push(match given.get(&column.name) {
            Some(found) if named => value::write(column.kind, found, terms.micros)?,
            _ if named && !call.prefer.missing_default => Json::Null,
            _ => store.default(&column, terms)?,
        });
    }
    Ok(row)
}

/// Finds out whether a row is new, a duplicate to skip, or one to merge into another.
fn place(store: &Store, call: &Call, (plan, target): (&mut Plan, Option<usize>), row: Row) -> Result<()> {
    if let Some(key) = target
        && let Some(text) = store.key_text(key, &row)
    {
        let here = plan.taken.contains(&(key, text.clone()));
        let there = store.indexes.get(key).and_then(|index| index.get(&text)).copied();
        match (call.prefer.resolution, here, there) {
            (Some(Resolution::Ignore), true, _) | (Some(Resolution::Ignore), _, Some(_)) => return Ok(()),
            (Some(Resolution::Merge), true, _) => {
                return Err(RestError::new("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time")
                    .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values."));
            }
            (Some(Resolution::Merge), false, Some(id)) => {
                let mut merged = store.rows.get(&id).cloned().unwrap_or_default();
                for (index, column) in store.table.columns.iter().enumerate() {
                    if call.body.keys.contains(&column.name)
                        && let (Some(to), Some(from)) = (merged.get_mut(index), row.get(index))
                    {
                        from.clone_into(to);
                    }
                }
                claim(store, plan, &merged, Some(id))?;
                plan.merged.insert(id, merged);
                return Ok(());
            }
            _ => {}
        }
    }
    claim(store, plan, &row, None)?;
    plan.new.push(row);
    Ok(())
}

/// Takes a row's keys for this statement, or refuses it.
fn claim(store: &Store, plan: &mut Plan, row: &Row, own: Option<u64>) -> Result<()> {
    for (key, index) in store.indexes.iter().enumerate() {
        let Some(text) = store.key_text(key, row) else { continue };
        let foreign = index.get(&text).is_some_and(|id| Some(*id) != own);
        if foreign || !plan.taken.insert((key, text)) {
            return Err(store.duplicate(key, row));
        }
    }
    Ok(())
}

pub(super) fn update(store: &mut Store, call: &Call, terms: &Terms<'_>) -> Result<(Done, Vec<Changed>)> {
    known_columns(store, call)?;
    let found = if call.body.keys.is_empty() {
        Vec::new()
    } else {
        read::found(store, call, terms.reads && terms.writes)?
    };
    let given = call.body.rows.first().cloned().unwrap_or_default();
    let mut plan = Plan::default();
    for id in found {
        let mut row = store.rows.get(&id).cloned().unwrap_or_default();
        for (index, column) in store.table.columns.iter().enumerate() {
            if let (Some(to), Some(value)) = (row.get_mut(index), given.get(&column.name)) {
                *to = value::write(column.kind, value, terms.micros)?;
            }
        }
        store.check_nulls(&row)?;
        claim(store, &mut plan, &row, Some(id))?;
        plan.merged.insert(id, row);
    }
    let done = changed_rows(store, call, plan.merged.values())?;
    let mut changed = Vec::new();
    for (id, row) in plan.merged {
        let old = store.rows.get(&id).cloned();
        changed.push(Changed { kind: ChangeKind::Update, old, new: Some(row.clone()) });
        store.put(id, row);
    }
    Ok((done, changed))
}

pub(super) fn delete(store: &mut Store, call: &Call, terms: &Terms<'_>) -> Result<(Done, Vec<Changed>)> {
    let found = read::found(store, call, terms.reads && terms.writes)?;
    let done = changed_rows(store, call, found.iter().filter_map(|id| store.rows.get(id)))?;
    let removed = found.into_iter().filter_map(|id| store.remove(id));
    let changed =
        removed.map(|old| Changed { kind: ChangeKind::Delete, old: Some(old), new: None }).collect();
    Ok((done, changed))
}

fn changed_rows<'a>(store: &Store, call: &Call, rows: impl Iterator<Item = &'a Row>) -> Result<Done> {
    let mut done = Done::default();
    for row in rows {
        done.affected += 1;
        if call.wants_rows() {
            done.rows.push(read::show(&store.table, call, row)?);
        }
    }
    done.total = call.prefer.count.map(|_| done.affected);
    answer::check(call, &done)?;
    Ok(done)
}
