//! SELECT on the memory: filter, order, range, columns.

use super::super::json::{Json, write_text};
use super::answer::{self, Done};
use super::call::{Call, Order};
use super::error::RestError;
use super::memory::{Row, Store, Terms};
use super::schema::{Kind, Table};
use super::{list, value};
use std::cmp::Ordering;

type Result<T> = std::result::Result<T, RestError>;

pub(super) fn read(store: &Store, call: &Call, terms: &Terms<'_>) -> Result<Done> {
    let mut found = found(store, call, terms.reads)?;
    sort(store, call, &mut found)?;
    let total = found.len() as u64;
    let most = call.limit.unwrap_or(u64::MAX).min(terms.most);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let page = found.into_iter().skip(count(call.offset)).take(count(most));
    let rows = page.filter_map(|id| store.rows.get(&id)).map(|row| show(&store.table, call, row));
    let rows = rows.collect::<Result<Vec<String>>>()?;
    let done = Done {
        affected: rows.len() as u64,
        total: call.prefer.count.map(|_| total),
        rows,
        ..Done::default()
    };
    answer::check(call, &done)?;
    Ok(done)
}

/// The rows that pass the filter, in the order they came. A row that may not be seen does not exist.
pub(super) fn found(store: &Store, call: &Call, seen: bool) -> Result<Vec<u64>> {
    // A wrong filter is told on an empty table, too.
    let nothing = vec![Json::Null; store.table.columns.len()];
    call.filter.judge(&store.table, &nothing)?;
    show(&store.table, call, &nothing)?;
    let mut found = Vec::new();
    for (id, row) in store.rows.iter().filter(|_| seen) {
        if call.filter.judge(&store.table, row)? == Some(true) {
            found.push(*id);
        }
    }
    Ok(found)
}

fn sort(store: &Store, call: &Call, ids: &mut [u64]) -> Result<()> {
    let nothing: Row = vec![Json::Null; store.table.columns.len()];
    for order in &call.order {
        order.path.value(&store.table, &nothing)?;
    }
    let value = |order: &Order, id: &u64| -> Json {
        let row = store.rows.get(id).unwrap_or(&nothing);
        order.path.value(&store.table, row).map_or(Json::Null, |(_, value)| value)
    };
    ids.sort_by(|left, right| {
        let each = call.order.iter().map(|order| {
            let (left, right) = (value(order, left), value(order, right));
            match (left == Json::Null, right == Json::Null) {
                (true, true) => Ordering::Equal,
                (true, false) if order.nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if order.nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => {
                    let forward = value::compare(&left, &right).unwrap_or(Ordering::Equal);
                    if order.descending { forward.reverse() } else { forward }
                }
            }
        });
        each.fold(Ordering::Equal, Ordering::then)
    });
    Ok(())
}

/// A row as JSON, with the columns that were selected.
pub(super) fn show(table: &Table, call: &Call, row: &Row) -> Result<String> {
    let mut members = Vec::new();
    for item in &call.select {
        if item.all {
            members.extend(all(table, row));
        } else {
            let (kind, value) = item.path.value(table, row)?;
            members.push((item.name.as_str(), kind, value));
        }
    }
    if call.select.is_empty() {
        members.extend(all(table, row));
    }
    let mut out = "{".to_owned();
    for (index, (name, kind, value)) in members.iter().enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        write_text(name, &mut out);
        out.push(':');
        match kind {
            Kind::Array(_) => list::write(value, &mut out),
            _ => value::write_jsonb(value, &mut out),
        }
    }
    out.push('}');
    Ok(out)
}

fn all<'a>(table: &'a Table, row: &Row) -> Vec<(&'a str, Kind, Json)> {
    let each = table.columns.iter().zip(row);
    each.map(|(column, value)| (column.name.as_str(), column.kind, value.clone())).collect()
}
