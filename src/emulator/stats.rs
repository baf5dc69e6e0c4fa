//! Counters for operators and tests; plain numbers, read by value.

/// What an emulator has seen and done since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Open sockets.
    pub sockets: usize,
    /// Joined channels.
    pub channels: usize,
    /// Upgrades accepted.
    pub accepted: u64,
    /// Upgrades refused.
    pub refused: u64,
    /// Joins answered ok.
    pub joined: u64,
    /// Joins answered with an error.
    pub join_errors: u64,
    /// Broadcast pushes taken, all transports.
    pub pushes: u64,
    /// Broadcasts handed to listeners.
    pub deliveries: u64,
    /// Replies with status ok to broadcasts.
    pub acks: u64,
    /// Private broadcasts swallowed for want of permission.
    pub forbidden: u64,
    /// Broadcasts over the payload limit.
    pub oversize: u64,
    /// Frames ignored without a word.
    pub ignored: u64,
    /// Channels ended by the server.
    pub shut: u64,
    /// Sockets closed for silence.
    pub idle: u64,
    /// Pushes a fault acted on.
    pub faulted: u64,
    /// Items dropped because a bounded queue was full.
    pub shed: u64,
}
