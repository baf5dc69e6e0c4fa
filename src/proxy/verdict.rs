//! What the proxy is told about one upgrade, and what it is told about all open sessions.
//!
//! The proxy knows nothing about rollout, breaker or Supabase: the decision at the upgrade comes from a function
//! that is handed in, and later changes come as one small [`Policy`] that every worker applies to its sessions.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::hot::Fallback;

/// What feeds a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The service.
    Legacy,
    /// The service's frames, each released by its read-back from Realtime.
    Hot,
    /// Supabase's own WebSocket endpoint.
    Native,
}

impl Lane {
    /// Every lane, in label order.
    pub const ALL: [Self; 3] = [Self::Legacy, Self::Hot, Self::Native];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Hot => "hot",
            Self::Native => "native",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// How an open session follows the hot lane's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Never hot: no key, denied, or its lane is not hot.
    Never,
    /// Hot whenever Realtime may be used: an allow rule.
    Always,
    /// Hot while its bucket (0…99,999) is below the share.
    Share(u32),
}

/// The decision about one upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where the upgrade goes. `Hot` and `Legacy` both go to the service.
    pub lane: Lane,
    /// The rollout's or breaker's word for why (a closed enum's `as_str`).
    pub reason: &'static str,
    /// Whether messages are copied for the mirror on the legacy lane too. While a session is hot they always are.
    pub mirrored: bool,
    /// How the session follows later changes of the share.
    pub follows: Follows,
}

impl Verdict {
    /// The verdict of a proxy without a rollout: passed, and not looked at.
    pub const LEGACY: Self = Self::passthrough("default");

    /// A session that is passed and not looked at.
    #[must_use]
    pub const fn passthrough(reason: &'static str) -> Self {
        Self { lane: Lane::Legacy, reason, mirrored: false, follows: Follows::Never }
    }
}

impl Verdict {
    /// Whether the session needs a tap: it is mirrored, or may become hot.
    #[must_use]
    pub fn is_tapped(&self) -> bool {
        self.mirrored || self.follows != Follows::Never
    }
}

/// The decision function that is handed in: from the head as the client sent it and the client's address as
/// trusted proxies report it (the port is the peer's). Called once per upgrade on a data thread: it must not block.
pub type Decide = Arc<dyn Fn(&http::request::Parts, SocketAddr) -> Verdict + Send + Sync>;

/// What holds for all open sessions now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether Realtime may feed clients; if not, why not.
    pub hot: Result<(), Fallback>,
    /// Buckets below this are hot (units of 0.001 %).
    pub share: u32,
    /// Native sessions must leave: the breaker is open.
    pub close_native: bool,
}

impl Policy {
    /// Nobody is hot.
    pub const PASSTHROUGH: Self = Self { hot: Err(Fallback::ReadBackLost), share: 0, close_native: false };

    /// Whether a session of this verdict is to be hot, and if not, why not.
    ///
    /// # Errors
    /// The reason that a session which is hot now leaves the hot lane with.
    pub fn wants_hot(&self, verdict: &Verdict) -> Result<(), Fallback> {
        self.hot?;
        match verdict.follows {
            Follows::Always => Ok(()),
            Follows::Share(bucket) if bucket < self.share => Ok(()),
            Follows::Share(_) | Follows::Never => Err(Fallback::Rollout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_hot_only_below_the_share_and_while_realtime_may_be_used() {
        let verdict = |follows| Verdict { lane: Lane::Hot, reason: "in_cohort", mirrored: true, follows };
        let policy = Policy { hot: Ok(()), share: 50_000, close_native: false };
        assert_eq!(policy.wants_hot(&verdict(Follows::Share(49_999))), Ok(()));
        assert_eq!(policy.wants_hot(&verdict(Follows::Share(50_000))), Err(Fallback::Rollout));
        assert_eq!(policy.wants_hot(&verdict(Follows::Always)), Ok(()));
        assert_eq!(policy.wants_hot(&verdict(Follows::Never)), Err(Fallback::Rollout));
        let open = Policy { hot: Err(Fallback::Breaker), ..policy };
        assert_eq!(open.wants_hot(&verdict(Follows::Always)), Err(Fallback::Breaker));
    }
}
