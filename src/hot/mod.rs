//! The leg switch: what feeds an open client socket, changed under it.
//!
//! **Problem.** A rollout wants Realtime to feed some clients, a breaker wants them back within seconds, and
//! neither may close a socket, lose a message, deliver one twice or out of order. Re-creating frames from what
//! Realtime delivers cannot do that: extensions, fragmentation and the deflate context of the open connection
//! belong to the service's own frames.
//!
//! **Decision.** The legacy leg stays connected. Each `down` message of a hot session waits in a [`Window`] with
//! its *original frames* while a copy travels through Realtime. When the copy has come back and is proved
//! identical, the original frames are written. So Realtime decides *when* a client sees a message (and is
//! measured on real users), and can never decide *what* it sees. Giving up on Realtime at any moment means to
//! write the window from memory, in order: the lane changes between two messages, the socket stays open.
//!
//! **Files.** `window.rs` is the pure machine of the messages in wait; `relay.rs` cuts the service's bytes into
//! messages and puts released ones into the outbox, equally pure. The data thread's session owns both and does
//! the reading and writing (`proxy/tunnel.rs`).
//!
//! **Limits.** Window ≤ 256 KiB a session and a budget per pod (full: session to legacy, retry after 60 s);
//! outbox ≤ 256 KiB (full: the legacy leg is not read, so TCP pushes back on the service as on the legacy lane);
//! a message over 256 KiB is not held but streamed, after all before it was written. Ping and pong pass at once
//! between messages. The service's close ends the window: written in order, then the close passes.
//!
//! **Not promised.** Exactly once and in order hold while the process lives; a crash closes the client's socket,
//! as with any proxy.

mod relay;
mod window;

pub use relay::{Outbox, Relay, RelayStats, Route};
pub use window::{Config, Deliver, ReadBack, Released, Source, Window, WindowEvent};

#[cfg(test)]
pub(crate) use window::Sabotage;

#[cfg(test)]
mod tests;

/// Why a message of a hot session does not travel through Realtime. No outcome for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direct {
    /// A rule says that the mirror skips it.
    Skipped,
    /// What Realtime carries is not what the client must see.
    Redacted,
    /// Over the size that a window holds.
    TooLarge,
    /// The mirror gave it up: queue full, byte budget used, breaker open.
    Shed,
    /// It waited too long in our own queue.
    OwnQueue,
    /// Over the plan's budget.
    Quota,
    /// The tap lost track of the stream.
    Untracked,
    /// The lane was legacy.
    Legacy,
}

impl Direct {
    /// Every reason, in label order.
    pub const ALL: [Self; 8] = [
        Self::Skipped,
        Self::Redacted,
        Self::TooLarge,
        Self::Shed,
        Self::OwnQueue,
        Self::Quota,
        Self::Untracked,
        Self::Legacy,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Redacted => "redacted",
            Self::TooLarge => "too_large",
            Self::Shed => "shed",
            Self::OwnQueue => "own_queue",
            Self::Quota => "quota",
            Self::Untracked => "untracked",
            Self::Legacy => "legacy",
        }
    }
}

/// Why a hot session is fed by the legacy leg again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// The breaker opened.
    Breaker,
    /// Realtime cannot be read back now (disconnected, not joined, token expired, announced restart).
    ReadBackLost,
    /// The plan's message rate was hit.
    Quota,
    /// More waited than may wait.
    WindowFull,
    /// The rollout no longer chooses this session.
    Rollout,
    /// The side thread has not beaten for a second.
    SideStuck,
    /// The tap lost track of the stream.
    Untracked,
    /// The service or the client is closing.
    Closing,
    /// A person has moved the session.
    Person,
    /// A drill rehearses the trip on it.
    Drill,
}

impl Fallback {
    /// Every reason, in label order.
    pub const ALL: [Self; 10] = [
        Self::Breaker,
        Self::ReadBackLost,
        Self::Quota,
        Self::WindowFull,
        Self::Rollout,
        Self::SideStuck,
        Self::Untracked,
        Self::Closing,
        Self::Person,
        Self::Drill,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::ReadBackLost => "read_back_lost",
            Self::Quota => "quota",
            Self::WindowFull => "window_full",
            Self::Rollout => "rollout",
            Self::SideStuck => "side_stuck",
            Self::Untracked => "untracked",
            Self::Closing => "closing",
            Self::Person => "person",
            Self::Drill => "drill",
        }
    }
}
