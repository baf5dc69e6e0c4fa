//! A Supabase-Realtime-compatible server for the demo, the tests and anybody's local development and CI.
//!
//! # Problem
//!
//! Code that talks to Realtime is easy to write against an imagined server. The real one answers refused joins after
//! 5 s and holds the whole socket meanwhile; acks what it then drops; throws listeners out for what a sender did;
//! says nothing at all to a push without permission; and closes a silent socket with the code for "all is well". A
//! stub shows none of this, and a real server with its database is too slow and too well-behaved to test failures with.
//!
//! # Decision
//!
//! A pure machine ([`Emulator`]) on a given clock says what recordings of the real server (v2.129.8) say.
//! `tests/wire_replay.rs` plays them line by line and compares byte by byte; `tests/wire/manifest.toml` claims how much
//! of each is reproduced, and the test fails when a claim is larger than what was compared. It shares no code with the
//! client in `realtime`, not even a JSON reader: a common mistake would cancel out. Faults are part of the machine, run
//! on its clock and count its pushes, so an outage is repeatable. A thin shell ([`serve`]) puts it on a TCP port.
//!
//! ```text
//! connect ─▶ Conn ─▶ decode ─▶ faults ─▶ message ─▶ join │ leave │ broadcast │ presence │ token
//!                     codec/    fault/                 └──▶ room ─▶ deliver ─▶ encode once per protocol ─▶ transmit
//! ```
//!
//! # Limits
//!
//! Default tenant limits are the server's: 100 events/s and 100 joins/s (averages in 5 s buckets over a minute), 100
//! channels a socket, 200 users, 3,000 KB payload, 5,000,000 bytes a frame. Own bounds, each with its policy: a held
//! socket queues [`WAITING_MAX`] items, then is reset; the shell queues 50 MB or 65,536 frames a socket, then resets
//! it; faults hold back 65,536 messages, what is more goes through; 10,000 database broadcasts are kept for replay,
//! the oldest goes. What is dropped is counted in [`Stats::shed`].
//!
//! # What it does not do
//!
//! Rows are in memory or in a PostgreSQL that the shell is given ([`serve_with_database`]); see `rest`. Row changes from
//! elsewhere ([`Emulator::database_change`]) and what SQL broadcasts ([`Emulator::database_broadcast`]) whoever drives it
//! says. Policies on topics are a list of role, topic pattern, read and write instead of SQL. One
//! tenant, one node. HS256 only; `sb_` keys are refused at connect, as by the bare server. No TLS. While it is "down",
//! its port accepts and resets instead of refusing. Objects of more than 32 keys come out sorted. `select` in
//! subscriptions is ignored.

mod channel;
pub mod cli;
mod codec;
mod config;
mod connect;
mod database;
mod deliver;
mod fault;
mod http;
mod join;
mod json;
mod life;
mod machine;
mod message;
mod presence;
mod rate;
mod rest;
mod shell;
mod stats;
mod timers;
mod token;

#[cfg(test)]
mod tests;

pub use codec::{Frame, OutFrame, Version};
pub use config::{Clock, Config, Limits, Policy};
pub use connect::{UpgradeRequest, is_socket_path};
pub use database::{ChangeKind, DatabaseBroadcast, DatabaseChange};
pub use fault::{Fault, FaultKind, RequestFate, Who};
pub use http::{BODY_MAX, HttpRequest};
pub use machine::{Admission, ConnId, Emulator, HttpAnswer, Out, WAITING_MAX};
pub use rest::{Column, ColumnDefault, Key, Kind, Table};
pub use shell::{Handle, serve, serve_with_database};
pub use stats::Stats;
pub use token::{BadToken, Claims, Secret};

/// Ways to break one rule each, for the tests that show the replay of recordings catches it.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The ack before one's own broadcast.
    AckFirst,
    /// The old channel's close before the new join's reply.
    CloseBeforeReply,
    /// A refused join answered at once.
    NoHold,
}
