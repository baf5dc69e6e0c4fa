//! PostgREST's surface (`/rest/v1/TABLE`, `/rest/v1/rpc/FUNCTION`) over a memory or a real PostgreSQL.
//!
//! # Problem
//!
//! Rows are the other way into Supabase, and the one that can be made idempotent. Whoever writes them has to know what
//! a duplicate, a bad row in a batch, a missing permission or an unknown table looks like from outside: one array is
//! one statement, an ignored duplicate is a 201 all the same, a table without a policy reads as empty but refuses
//! rows. PostgREST itself is a Haskell program that few test machines have.
//!
//! # Decision
//!
//! A request is read once ([`call`]) and carried out either in [`memory`], on typed rows with keys, defaults and
//! row-level security in the small, or as SQL ([`sql`]) on a PostgreSQL that the shell is connected to, in one
//! transaction with the role and the claims of the token set as PostgREST sets them. Status codes, error bodies and
//! headers come from the same table for both ([`error`], [`answer`]), so a test may change sides.
//!
//! Changed rows go on to `postgres_changes`: the memory tells of its own, PostgreSQL's come from its write-ahead log.
//!
//! # Limits
//!
//! [`memory::ROWS_MAX`] rows in all tables together, then `53100` (503) as on a full disk; 1,000 rows a read
//! ([`Config::max_rows`](super::Config::max_rows), Supabase's setting); bodies as the HTTP endpoint takes them.
//!
//! # What it does not do
//!
//! No embedding of other tables, no aggregates, no `PUT`, no CSV or form bodies, no OpenAPI page, no full-text or array
//! operators; casts in `select` are read and left out. The memory has no functions, no triggers, no checks and no
//! foreign keys, and compares texts by bytes: use PostgreSQL for these.

pub(super) mod answer;
pub(super) mod call;
mod changes;
pub(super) mod error;
mod filter;
pub(super) mod function;
mod gate;
mod list;
pub(super) mod memory;
mod read;
mod schema;
pub(super) mod sql;
pub(super) mod time;
pub(super) mod value;
mod write;

#[cfg(test)]
mod tests;

pub(super) use call::PREFIX;
pub(super) use gate::Caller;
pub use schema::{Column, Default as ColumnDefault, Key, Kind, Table};

const JSON: &str = "application/json; charset=utf-8";
