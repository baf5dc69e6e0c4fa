//! crossfade moves a live WebSocket service to Supabase Realtime with a fader instead of a cut-over.
//!
//! ```text
//!                        ┌────────── rollout (percent, rules, flags)
//!                        ▼
//! client ─▶ listen ─▶ upgrade ─▶ lane ─▶ tunnel ◀═══ bytes, untouched ═══▶ legacy service     proxy/, ws/, hot/
//!                        ▲         ▲        │ tap: try_send, never waits                      tap/
//!                        │         │        ▼
//!                   breaker ───────┘   classify ─▶ redact ─▶ collapse ─▶ batch ─▶ publish     mirror/, envelope/
//!                        ▲                                                           │
//!                        └──── outcomes ◀── ledger ◀── read-back ◀── Realtime ◀──────┘        realtime/
//!                                                └─▶ releases the windows of hot sessions
//! admin: metrics, health                     everything below the tunnel may lag or die; the tunnel may not notice
//! ```
//!
//! The rooms, in the order in which a message meets them, are the modules below. `docs/architecture.md` states
//! the invariants and names the test that proves each.

pub mod session;
pub mod status;

pub mod budget;
pub mod ledger;

pub mod admin;
pub mod app;
pub mod breaker;
pub mod cold;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod emulator;
pub mod envelope;
pub mod hot;
pub mod incident;
pub mod inject;
pub mod lane;
pub mod mirror;
pub mod notice;
pub mod proxy;
pub mod realtime;
pub mod rollout;
pub mod sinks;
pub mod spans;
pub mod spool;
pub mod tap;
pub mod validator;
pub mod ws;

pub mod cli;
pub mod telemetry;

#[cfg(test)]
mod sim;
