//! (essay follows)

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
mod shell;
mod stats;
mod timers;
mod token;

#[cfg(test)]
mod tests;

pub use channel::{JoinConfig, Replay};
pub use codec::{Frame, OutFrame, Version};
pub use config::{Clock, Config, Limits, Policy, Table};
pub use connect::{UpgradeRequest, is_socket_path};
pub use database::DatabaseBroadcast;
pub use fault::{Fault, FaultKind, Who};
pub use http::HttpRequest;
pub use machine::{Admission, ConnId, Emulator, HttpAnswer, Out};
pub use shell::{Handle, serve};
pub use stats::Stats;
pub use token::{Claims, Secret};

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
