//! Row changes (`postgres_changes`): whoever drives the emulator says that a row changed; who is told is decided here.
//! One message a row and channel, in order; over the message limit rows are lost without a word (recording 09c).

use super::super::channel::PREFIX;
use super::super::codec;
use super::super::json::{Json, write_text};
use super::super::machine::{ConnId, Emulator};
use super::super::rest::Table;
use super::super::rest::value::write_jsonb;
use super::{matches_table, read_filter, subscription_id};
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

/// What happened to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A new row.
    Insert,
    /// A changed row.
    Update,
    /// A row is gone.
    Delete,
}

impl ChangeKind {
    /// As it stands in the message and in subscriptions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Insert => "INSERT",
            ChangeKind::Update => "UPDATE",
            ChangeKind::Delete => "DELETE",
        }
    }
}

/// One changed row. The JSON texts go out as they are.
#[derive(Clone)]
pub struct DatabaseChange {
    /// What happened.
    pub kind: ChangeKind,
    /// Schema of the table.
    pub schema: String,
    /// Table.
    pub table: String,
    /// JSON array of `{"name":…,"type":…}`.
    pub columns: String,
    /// JSON object of the new row; absent in deletes.
    pub record: Option<String>,
    /// JSON object of the old row's key; absent in inserts.
    pub old_record: Option<String>,
    /// JSON array of errors, or `null`.
    pub errors: String,
    /// ISO 8601 text.
    pub commit_timestamp: String,
}

impl Emulator {
    /// A row changed. Channels whose subscription works by now are told; others miss it.
    pub fn database_change(&mut self, change: &DatabaseChange, now: Instant) {
        self.database_change_for(change, None, now);
    }

    /// As [`database_change`](Self::database_change), where somebody else has found out whose tokens may see the row.
    pub(in super::super) fn database_change_for(
        &mut self,
        change: &DatabaseChange,
        seen: Option<&HashSet<String>>,
        now: Instant,
    ) {
        self.handle_timeout(now);
        self.tell_change(change, seen, now);
    }

    pub(super) fn tell_change(
        &mut self,
        change: &DatabaseChange,
        seen: Option<&HashSet<String>>,
        now: Instant,
    ) {
        let told = self.subscribers(change, seen);
        let count = u64::try_from(told.len()).unwrap_or(u64::MAX);
        let over = self.rates.changes.tripped(self.config.limits.events_per_second, now);
        self.rates.changes.count(count, now);
        if over {
            self.stats.shed += count;
            return;
        }
        let key = self.key_of(change);
        let mut written: BTreeMap<Option<Vec<String>>, String> = BTreeMap::new();
        for (_, id, topic, ids, select) in told {
            let Some(version) = self.version(id) else { continue };
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            let data = written.entry(select).or_insert_with_key(|select| match select {
                None => data(change),
                Some(columns) => data(&narrowed(change, columns, &key)),
            });
            let payload = format!("{{\"data\":{data},\"ids\":[{}]}}", ids.join(","));
            self.stats.deliveries += 1;
            self.send(id, codec::event(version, &Json::Null, &topic, "postgres_changes", &payload));
        }
    }

    /// The tokens of the channels that would be told if they may.
    pub(in super::super) fn listeners(&self, change: &DatabaseChange) -> HashSet<String> {
        let channels = self.conns.values().flat_map(|conn| conn.channels.values());
        let asking = channels.filter(|channel| {
            let covers = |asked| matches_table(asked, &change.schema, &change.table);
            channel.subscribed && channel.asked.changes.iter().any(covers)
        });
        asking.map(|channel| channel.token.clone()).collect()
    }

    /// The tables that can be subscribed to are others now.
    pub(in super::super) fn set_tables(&mut self, tables: Vec<Table>) {
        self.config.tables = tables;
    }

    /// Columns of the primary key, which every row told of has.
    fn key_of(&self, change: &DatabaseChange) -> Vec<String> {
        let same = |table: &&Table| table.schema == change.schema && table.name == change.table;
        let key = self.config.tables.iter().find(same).and_then(Table::primary);
        key.map(|key| key.columns.clone()).unwrap_or_default()
    }

    /// Channels to tell, in the order they joined, with the ids of their subscriptions that match: those that selected
    /// the same columns together.
    fn subscribers(&self, change: &DatabaseChange, seen: Option<&HashSet<String>>) -> Vec<Told> {
        let row = change.record.as_ref().or(change.old_record.as_ref()).and_then(|row| Json::parse(row).ok());
        let mut told = Vec::new();
        for (id, conn) in &self.conns {
            for channel in conn.channels.values().filter(|channel| channel.subscribed) {
                // Deletes carry the key alone and are told to everybody.
                let may = match seen {
                    Some(tokens) => tokens.contains(&channel.token),
                    None => self.may_use(channel.claims.role(), &change.table).0,
                };
                if change.kind != ChangeKind::Delete && !may {
                    continue;
                }
                let matching =
                    channel.asked.changes.iter().filter(|asked| wants(asked, change, row.as_ref()));
                debug_assert!(channel.topic.starts_with(PREFIX));
                let mut groups: Vec<(Option<Vec<String>>, Vec<u32>)> = Vec::new();
                for asked in matching {
                    let select = selected(asked);
                    match groups.iter_mut().find(|(columns, _)| *columns == select) {
                        Some((_, ids)) => ids.push(subscription_id(asked)),
                        None => groups.push((select, vec![subscription_id(asked)])),
                    }
                }
                let each = groups.into_iter();
                told.extend(each.map(|(select, ids)| (channel.id, *id, channel.topic.clone(), ids, select)));
            }
        }
        told.sort_by_key(|(channel, ..)| *channel);
        told
    }
}

/// A channel's number, socket and topic, the subscriptions that match, and the columns they selected.
type Told = (u64, ConnId, String, Vec<u32>, Option<Vec<String>>);

/// The columns that a subscription wants; all of them when it does not say.
pub(super) fn selected(asked: &BTreeMap<String, Json>) -> Option<Vec<String>> {
    match asked.get("select") {
        Some(Json::List(names)) if !names.is_empty() => {
            Some(names.iter().filter_map(Json::as_text).map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// The change with the selected columns and the key alone.
fn narrowed(change: &DatabaseChange, select: &[String], key: &[String]) -> DatabaseChange {
    let keeps = |name: &str| select.iter().chain(key).any(|column| column == name);
    let write = |value: Json| {
        let mut out = String::new();
        write_jsonb(&value, &mut out);
        out
    };
    let record = change.record.as_ref().map(|record| match Json::parse(record) {
        Ok(Json::Map(members)) => {
            write(Json::Map(members.into_iter().filter(|(name, _)| keeps(name)).collect()))
        }
        _ => record.clone(),
    });
    let columns = match Json::parse(&change.columns) {
        Ok(Json::List(columns)) => {
            let named = |column: &Json| column.member("name").and_then(Json::as_text).is_some_and(keeps);
            write(Json::List(columns.into_iter().filter(named).collect()))
        }
        _ => change.columns.clone(),
    };
    DatabaseChange { record, columns, ..change.clone() }
}

fn wants(asked: &BTreeMap<String, Json>, change: &DatabaseChange, row: Option<&Json>) -> bool {
    let event = asked.get("event").and_then(Json::as_text).unwrap_or("*");
    let filter = asked.get("filter").and_then(Json::as_text).and_then(read_filter);
    (event == "*" || event.eq_ignore_ascii_case(change.kind.as_str()))
        && matches_table(asked, &change.schema, &change.table)
        && filter.is_none_or(|filter| row.is_some_and(|row| passes(&filter, row)))
}

/// `eq`, `neq` and `in` by text, the comparisons by number; another operator passes nothing.
fn passes((column, operator, value): &(String, String, String), row: &Json) -> bool {
    let Some(found) = row.member(column).filter(|found| **found != Json::Null) else { return false };
    let text = found.as_text().map_or_else(|| found.encode(), str::to_owned);
    let compared = || text.parse::<f64>().ok()?.partial_cmp(&value.parse::<f64>().ok()?);
    match operator.as_str() {
        "eq" => text == *value,
        "neq" => text != *value,
        "in" => value.trim_matches(['(', ')']).split(',').any(|item| item == text),
        "lt" => compared().is_some_and(|order| order.is_lt()),
        "lte" => compared().is_some_and(|order| order.is_le()),
        "gt" => compared().is_some_and(|order| order.is_gt()),
        "gte" => compared().is_some_and(|order| order.is_ge()),
        _ => false,
    }
}

/// The `data` member, keys in the recorded order.
fn data(change: &DatabaseChange) -> String {
    let mut out = "{\"table\":".to_owned();
    write_text(&change.table, &mut out);
    out.push_str(",\"type\":\"");
    out.push_str(change.kind.as_str());
    out.push('"');
    if let Some(record) = &change.record {
        out.push_str(",\"record\":");
        out.push_str(record);
    }
    out.push_str(",\"columns\":");
    out.push_str(&change.columns);
    out.push_str(",\"errors\":");
    out.push_str(&change.errors);
    out.push_str(",\"schema\":");
    write_text(&change.schema, &mut out);
    out.push_str(",\"commit_timestamp\":");
    write_text(&change.commit_timestamp, &mut out);
    if let Some(old) = &change.old_record {
        out.push_str(",\"old_record\":");
        out.push_str(old);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compare_as_their_operator_says() {
        let row = Json::parse(r#"{"n":12,"s":"keep","z":null}"#).unwrap();
        for (filter, expected) in [
            ("n=eq.12", true),
            ("n=gt.9", true),
            ("n=lte.11", false),
            ("s=neq.keep", false),
            ("s=in.(a,keep)", true),
            ("z=eq.null", false),
            ("s=like.k", false),
        ] {
            assert_eq!(passes(&read_filter(filter).unwrap(), &row), expected, "{filter}");
        }
    }
}
