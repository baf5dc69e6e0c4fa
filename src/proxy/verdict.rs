//! The lane of an upgrade, as the injected decision names it. The rules that lead to it live elsewhere; this room
//! only needs to know where to send the handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;

/// What feeds the client after the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The service, byte for byte.
    Legacy,
    /// The service's original frames, released by Realtime's read-back.
    Hot,
    /// Supabase itself, through a rewritten upgrade.
    Native,
}

impl Lane {
    /// Every lane, in label order.
    pub const ALL: [Self; 3] = [Self::Legacy, Self::Hot, Self::Native];

    /// The metric label and the value of `X-Crossfade-Lane`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Hot => "hot",
            Self::Native => "native",
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Legacy => 0,
            Self::Hot => 1,
            Self::Native => 2,
        }
    }
}

/// A lane and why it was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The lane.
    pub lane: Lane,
    /// A stable word for logs and `explain`.
    pub reason: &'static str,
}

impl Verdict {
    /// The verdict of a proxy without a rollout.
    pub const LEGACY: Self = Self { lane: Lane::Legacy, reason: "default" };
}

/// Decides the lane of one upgrade from its head, as the client sent it, and the client's address, as resolved
/// through trusted proxies (the port is the peer's). Called once per upgrade on a data thread: it must not block.
pub type Decide = Arc<dyn Fn(&Parts, SocketAddr) -> Verdict + Send + Sync>;
