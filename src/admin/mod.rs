//! The ops listener: metrics, health, readiness.
//!
//! **Problem.** Prometheus and the kubelet must get their answers while the thing they ask about is in trouble,
//! and asking must never disturb the way of the bytes.
//!
//! **Decision.** One small HTTP/1.1 server on the ops thread. It owns nothing: what it shows is read through
//! closures that the wiring hands in ([`Health`], `Fn() -> Snapshot`), so hot paths keep plain atomics and pay
//! nothing for being observed. Each metric family is one value in `metrics.rs`: name, kind, label, help, and how
//! it is read from a [`Snapshot`]; `docs/metrics.md` is made from the same values.
//!
//! `/healthz` depends on the data workers alone, `/readyz` on listening, upstream and drain; neither may ask
//! Realtime or the breaker, since a restart cures neither. `/gate` is for programs that drive a rollout; it changes
//! nothing either. `Host` is not checked here: the kubelet asks by address,
//! and nothing here can be changed or is secret.
//!
//! **Limits.** [`CONNECTIONS_MAX`] connections (more are closed at once), [`REQUEST_TIMEOUT`] for a request head
//! and for an answer; at most [`SERIES_MAX`] series, kept by closed label sets of at most [`LABELS_MAX`] values
//! whose overflow is counted. No TLS, no token: bind it where only the cluster can reach it.

pub mod api;
mod cold;
mod control;
mod events;
mod exposition;
mod flags;
mod gate;
mod health;
mod histogram;
mod matching;
mod metrics;
mod notices;
mod parity;
mod process;
mod published;
mod quota;
mod rollout;
mod server;
mod spool;
mod table;
mod times;
mod trips;
pub mod ui;

#[cfg(test)]
mod tests;

pub use cold::ColdReadings;
pub use control::Control;
pub use events::EventReadings;
pub use exposition::{SnapshotCollector, markdown, registry};
pub use flags::Tiers;
pub use gate::Gate;
pub use health::{Health, Status};
pub use histogram::{EDGES, Histogram, Readings, Spread};
pub use matching::MatchReadings;
pub use metrics::{LABELS_MAX, SERIES_MAX, Snapshot};
pub use parity::ParityReadings;
pub use published::Published;
pub use quota::Quota;
pub use rollout::RolloutReadings;
pub use server::{CONNECTIONS_MAX, Ops, REQUEST_TIMEOUT, serve};
pub use spool::SpoolReadings;
pub use times::{MirrorTimes, Times};
pub use trips::TripReadings;
