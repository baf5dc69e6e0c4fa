//! `crossfade demo`: the whole product in one process, with a service worth watching and no set-up.
//!
//! **Problem.** Nobody puts a proxy in front of production traffic on the strength of a page of promises. They want
//! to see a message go all the way round, take Realtime away, and see what their users would notice.
//!
//! **Decision.** Everything real: a legacy service and clients that know nothing of crossfade, on real sockets; the
//! same [`App`](crate::app::App) that `crossfade run` starts, configured by the same variables; the Realtime emulator on a port of
//! its own. Service and clients keep their own logs ([`log`]); the account at the end is drawn from them and held
//! against every promise ([`account`]). A promise that was broken ends with exit code 70.
//!
//! The dashboard is the product's own, on loopback, behind a token that is made for this one run and shown.
//!
//! **Shortened.** The breaker's cool-down is 3 s, its probes come every 100 ms and the paced return takes a few
//! seconds; the demo says so. Nothing else differs from production.
//!
//! **Limits.** One process, one machine, up to 1,000 clients. Figures of speed are what this machine gives, with
//! service, clients and emulator on the same cores.

pub mod account;
pub mod clients;
pub mod log;
pub mod service;
mod stage;
pub mod view;

pub use stage::{DemoError, Door, Fault, Options, Outcome, play};
