//! Follows a PostgreSQL for `postgres_changes`: a temporary slot of `pgoutput` on the publication `supabase_realtime`,
//! polled as Realtime polls its own. Rows are shown to those whom the database itself lets see them.

use super::super::database::{ChangeKind, Decoder, Row};
use super::super::rest::error::RestError;
use super::super::rest::sql::{literal, name, opening};
use super::super::rest::{Caller, Column, ColumnDefault, Kind, Table};
use super::Shared;
use super::postgres::{Postgres, query};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;

/// Between two looks at the log (the recorded tenant's setting).
const POLL: Duration = Duration::from_millis(100);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);
const PUBLICATION: &str = "supabase_realtime";

/// Runs for ever, with a connection after another; without a database it has nothing to do.
pub(super) async fn follow(shared: Arc<Shared>) {
    let Some(postgres) = &shared.postgres else { return std::future::pending().await };
    loop {
        // What happened while nobody followed is lost, as it is with Realtime's temporary slot. Until there is a
        // slot again there are no tables to subscribe to, and subscribers are told so.
        if followed(&shared, postgres).await.is_err() {
            shared.with(|emulator, _| emulator.set_tables(Vec::new()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn followed(shared: &Shared, postgres: &Postgres) -> Result<(), RestError> {
    let lost = |_| RestError::new("PGRST001", "no connection");
    let client = postgres.connect().await.map_err(lost)?;
    let judge = postgres.connect().await.map_err(lost)?;
    query(
        &client,
        "SELECT pg_create_logical_replication_slot('crossfade_emulator_' || pg_backend_pid(), 'pgoutput', true)",
    )
    .await?;
    let poll = format!(
        "SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('crossfade_emulator_' || pg_backend_pid(), \
         NULL, 100, 'proto_version', '1', 'publication_names', '{PUBLICATION}')"
    );
    let (mut decoder, mut types) = (Decoder::default(), HashMap::new());
    loop {
        let published = published(&client, &mut types).await?;
        if published.is_empty() {
            // The plugin refuses a publication that does not exist, but only when there is something to tell.
            shared.with(|emulator, _| emulator.set_tables(Vec::new()));
            tokio::time::sleep(POLL).await;
            query(&client, "SELECT pg_replication_slot_advance('crossfade_emulator_' || pg_backend_pid(), pg_current_wal_lsn())").await?;
            continue;
        }
        shared.with(|emulator, _| emulator.set_tables(published));
        let messages = query(&client, &poll).await?.into_iter().next().unwrap_or_default().rows;
        for text in messages.iter().filter_map(|row| row.first()?.as_deref()) {
            if let Some(row) = decoder.message(&bytes(text), &types) {
                tell(shared, &judge, &row).await?;
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Hands a row to the machine, for those who may see it.
async fn tell(shared: &Shared, judge: &Client, row: &Row) -> Result<(), RestError> {
    let listeners = shared.with(|emulator, _| emulator.listeners(&row.change));
    let mut seen = HashSet::new();
    for token in listeners {
        let caller = shared.with(|emulator, now| emulator.caller_of(&token, now));
        if row.change.kind == ChangeKind::Delete || may_see(judge, &caller, row).await? {
            seen.insert(token);
        }
    }
    shared.with(|emulator, now| emulator.database_change_for(&row.change, Some(&seen), now));
    Ok(())
}

/// Asks the database whether the row is there for this caller.
async fn may_see(judge: &Client, caller: &Caller, row: &Row) -> Result<bool, RestError> {
    let key = row.key.iter().map(|(column, value)| format!("{} = {}", name(column), literal(value)));
    let key = key.collect::<Vec<_>>().join(" AND ");
    if key.is_empty() {
        return Ok(false);
    }
    let table = format!("{}.{}", name(&row.change.schema), name(&row.change.table));
    let text = format!("{} SELECT count(*) FROM {table} WHERE {key};", opening(caller, None, true));
    let found = query(judge, &text).await;
    query(judge, "ROLLBACK").await?;
    let count = found.ok().and_then(|results| results.last()?.rows.first()?.first().cloned().flatten());
    Ok(count.is_some_and(|count| count != "0"))
}

/// The tables of the publication, and the names of their columns' types.
async fn published(client: &Client, types: &mut HashMap<u32, String>) -> Result<Vec<Table>, RestError> {
    let text = format!(
        "SELECT p.schemaname, p.tablename, a.attname, t.typname, t.oid FROM pg_publication_tables p \
         JOIN pg_namespace n ON n.nspname = p.schemaname JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         JOIN pg_type t ON t.oid = a.atttypid WHERE p.pubname = '{PUBLICATION}' ORDER BY c.oid, a.attnum"
    );
    let rows = query(client, &text).await?.into_iter().next().unwrap_or_default().rows;
    let mut tables: Vec<Table> = Vec::new();
    for row in rows {
        let cells: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let [schema, table, column, type_name, number] = cells.as_slice() else { continue };
        if let Ok(number) = number.parse() {
            types.insert(number, type_name.clone());
        }
        if tables.last().is_none_or(|last| (&last.schema, &last.name) != (schema, table)) {
            let (schema, name) = (schema.clone(), table.clone());
            tables.push(Table { schema, name, columns: Vec::new(), keys: Vec::new(), published: true });
        }
        if let Some(last) = tables.last_mut() {
            // What a type means the database decides; here only the name matters.
            let (name, default) = (column.clone(), ColumnDefault::Null);
            last.columns.push(Column { name, kind: Kind::Text, not_null: false, default });
        }
    }
    Ok(tables)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |sum, byte| (sum << 4) | digit(*byte)))
        .collect()
}
