//! What the proxy is told about one upgrade, and what it is told about all open sessions.
//!
//! The proxy knows nothing about rollout, breaker or Supabase: the decision at the upgrade comes from a function
//! that is handed in, and later changes come as one small [`Policy`] that every worker applies to its sessions.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::hot::Fallback;
use crate::rollout::{RealtimeLane, Subject};
use crate::session::SessionNo;
use crate::tap::Token;

/// What feeds a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The service.
    Legacy,
    /// The service's frames, each released by its read-back from Realtime.
    Hot,
    /// A Realtime topic, in the service's place.
    Cold,
    /// Supabase's own WebSocket endpoint.
    Native,
}

impl Lane {
    /// Every lane, in label order.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Hot, Self::Cold, Self::Native];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::Native => "native",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// How an open session follows the hot lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Never hot, whatever the settings will be: it is not even tapped for it.
    Never,
    /// Hot whenever Realtime may be used: an allow rule.
    Always,
    /// Hot while its bucket (0…99,999) is below its share (0…100,000).
    Share {
        /// The session's bucket.
        bucket: u32,
        /// The share that holds for it: the rollout's, or its segment's.
        share: u32,
    },
}

impl Follows {
    /// Whether it is to be hot while nothing but the rollout is asked.
    #[must_use]
    pub const fn is_in(self) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Share { bucket, share } => bucket < share,
        }
    }
}

/// What the rollout says about an open session when it is asked anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// How it follows the hot lane.
    pub follows: Follows,
    /// The lane that the settings have for it, whether an open socket can go there or not; `None` is legacy.
    pub wants: Option<RealtimeLane>,
}

/// The decision about one upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where the upgrade goes. `Hot` and `Legacy` both go to the service.
    pub lane: Lane,
    /// The rollout's or breaker's word for why (a closed enum's `as_str`).
    pub reason: &'static str,
    /// Whether messages are copied for the mirror on the legacy lane too. While a session is hot they always are.
    pub mirrored: bool,
    /// How the session follows the hot lane, as of the upgrade.
    pub follows: Follows,
    /// The lane that the rollout alone has for it; `None` is legacy.
    pub wants: Option<RealtimeLane>,
    /// What is kept of the request to decide again when the settings change.
    pub subject: Option<Arc<Subject>>,
    /// The user's own token, where authorization is compared and this session is sampled. It ends with the session.
    pub token: Option<Token>,
}

impl Verdict {
    /// The verdict of a proxy without a rollout: passed, and not looked at.
    pub const LEGACY: Self = Self::passthrough("default");

    /// A session that is passed and not looked at.
    #[must_use]
    pub const fn passthrough(reason: &'static str) -> Self {
        Self {
            lane: Lane::Legacy,
            reason,
            mirrored: false,
            follows: Follows::Never,
            wants: None,
            subject: None,
            token: None,
        }
    }
}

impl Verdict {
    /// Whether the session needs a tap: it is mirrored, or may become hot.
    #[must_use]
    pub fn is_tapped(&self) -> bool {
        self.mirrored || self.follows != Follows::Never
    }

    /// Whether the request had a rollout key.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.subject.as_ref().is_some_and(|subject| subject.bucket.is_some())
    }
}

/// The decision function that is handed in: from the head as the client sent it and the client's address as
/// trusted proxies report it (the port is the peer's). Called once per upgrade on a data thread: it must not block.
pub type Decide = Arc<dyn Fn(&http::request::Parts, SocketAddr) -> Verdict + Send + Sync>;

/// The decision about an open session, asked anew when the settings have changed: from its subject and from what the
/// rollout had said about it before. Called on a data thread once for each of its sessions: it must be quick.
#[derive(Clone)]
pub struct Follow(Arc<Deciding>);

type Deciding = dyn Fn(&Subject, Follows) -> Course + Send + Sync;

impl Follow {
    /// Decides by this function.
    pub fn new(decide: impl Fn(&Subject, Follows) -> Course + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// How this session follows the hot lane now.
    #[must_use]
    pub fn decide(&self, subject: &Subject, before: Follows) -> Course {
        (self.0)(subject, before)
    }
}

/// A function has nothing to show.
impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follow")
    }
}

/// Is told of a session that was opened under an experiment, and of the lane that it began on. Called on a data
/// thread: it must be quick and never wait.
#[derive(Clone)]
pub struct Exposed(Arc<Telling>);

type Telling = dyn Fn(&Subject, Lane) + Send + Sync;

impl Exposed {
    /// Tells this function.
    pub fn new(tell: impl Fn(&Subject, Lane) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells, if the verdict's user takes part in an experiment.
    pub(super) fn tell(&self, verdict: &Verdict) {
        if let Some(subject) = verdict.subject.as_ref().filter(|subject| !subject.trials.is_empty()) {
            (self.0)(subject, verdict.lane);
        }
    }
}

impl std::fmt::Debug for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exposed")
    }
}

/// What holds for all open sessions now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether Realtime may feed clients; if not, why not.
    pub hot: Result<(), Fallback>,
    /// The part of every share that the breaker's paced return has reached, in 0.1 %.
    pub share_permille: u16,
    /// Rises with each change of the rollout's settings.
    pub version: u64,
    /// Native and cold sessions must leave: the breaker is open, or somebody holds the emergency switch.
    pub close_native: bool,
    /// The part of the sessions on which the trip is rehearsed now.
    pub drill: Option<Slice>,
}

/// A small part of the sessions, chosen by their numbers and by the drill's, so that not always the same are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The drill's number, from 1.
    pub number: u32,
    /// How much of all sessions, in 0.1 %.
    pub permille: u16,
    /// They are to be on legacy; if not, they come back.
    pub away: bool,
}

impl Slice {
    /// Whether a session is in it.
    #[must_use]
    pub fn has(&self, no: SessionNo) -> bool {
        let mut mixed = u64::from(no.0) << 32 | u64::from(self.number);
        // splitmix64's end: neighbours fall far apart.
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % 1_000 < u64::from(self.permille)
    }

    /// Rises with each half of each drill; never 0.
    #[must_use]
    pub const fn turn(&self) -> u64 {
        2 * self.number as u64 + if self.away { 0 } else { 1 }
    }
}

impl Policy {
    /// Nobody is hot.
    pub const PASSTHROUGH: Self = Self {
        hot: Err(Fallback::ReadBackLost),
        share_permille: 0,
        version: 0,
        close_native: false,
        drill: None,
    };

    /// Whether a session that follows like this is to be hot, and if not, why not.
    ///
    /// # Errors
    /// The reason that a session which is hot now leaves the hot lane with.
    pub fn wants_hot(&self, follows: Follows) -> Result<(), Fallback> {
        self.hot?;
        match follows {
            Follows::Always => Ok(()),
            Follows::Share { bucket, share } if bucket < self.admitted(share) => Ok(()),
            Follows::Share { .. } | Follows::Never => Err(Fallback::Rollout),
        }
    }

    /// As [`wants_hot`](Self::wants_hot), of one session: a drill may have it on legacy for a moment.
    ///
    /// # Errors
    /// The reason that the session, if it is hot now, leaves the hot lane with.
    pub fn wants(&self, no: SessionNo, follows: Follows) -> Result<(), Fallback> {
        self.wants_hot(follows)?;
        if self.drill.is_some_and(|slice| slice.away && slice.has(no)) {
            Err(Fallback::Drill)
        } else {
            Ok(())
        }
    }

    /// What the paced return leaves of a share.
    fn admitted(&self, share: u32) -> u32 {
        u32::try_from(u64::from(share) * u64::from(self.share_permille) / 1000).unwrap_or(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_hot_only_below_its_share_and_while_realtime_may_be_used() {
        let policy = Policy { hot: Ok(()), share_permille: 1000, ..Policy::PASSTHROUGH };
        let share = |bucket, share| Follows::Share { bucket, share };
        assert_eq!(policy.wants_hot(share(49_999, 50_000)), Ok(()));
        assert_eq!(policy.wants_hot(share(50_000, 50_000)), Err(Fallback::Rollout));
        assert_eq!(policy.wants_hot(share(99_999, 100_000)), Ok(()));
        assert_eq!(policy.wants_hot(Follows::Always), Ok(()));
        assert_eq!(policy.wants_hot(Follows::Never), Err(Fallback::Rollout));
        let paced = Policy { share_permille: 250, ..policy };
        assert_eq!(paced.wants_hot(share(12_499, 50_000)), Ok(()));
        assert_eq!(paced.wants_hot(share(12_500, 50_000)), Err(Fallback::Rollout));
        let open = Policy { hot: Err(Fallback::Breaker), ..policy };
        assert_eq!(open.wants_hot(Follows::Always), Err(Fallback::Breaker));
    }

    #[test]
    fn a_drill_takes_its_slice_and_nobody_else() {
        let closed = Policy { hot: Ok(()), share_permille: 1000, ..Policy::PASSTHROUGH };
        let slice = Slice { number: 1, permille: 50, away: true };
        let drilled = Policy { drill: Some(slice), ..closed };
        let taken: Vec<u32> = (0..10_000).filter(|no| slice.has(SessionNo(*no))).collect();
        assert!((300..700).contains(&taken.len()), "{} of 10,000 are 5 %", taken.len());
        for no in (0..10_000).map(SessionNo) {
            let wanted = if slice.has(no) { Err(Fallback::Drill) } else { Ok(()) };
            assert_eq!(drilled.wants(no, Follows::Always), wanted);
        }
        let back = Policy { drill: Some(Slice { away: false, ..slice }), ..closed };
        let open = Policy { hot: Err(Fallback::Breaker), ..drilled };
        for no in taken.iter().copied().map(SessionNo) {
            assert_eq!(back.wants(no, Follows::Always), Ok(()));
            assert_eq!(open.wants(no, Follows::Always), Err(Fallback::Breaker), "a trip is no drill");
        }
        let next = Slice { number: 2, ..slice };
        assert!(
            taken.iter().filter(|no| next.has(SessionNo(**no))).count() < taken.len() / 2,
            "others next time"
        );
        let all = Slice { permille: 1_000, ..slice };
        assert!((0..10_000).all(|no| all.has(SessionNo(no))));
        assert!(slice.turn() > 0 && slice.turn() != Slice { away: false, ..slice }.turn());
    }
}
