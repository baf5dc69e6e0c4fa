//! What a changed rollout does with sessions that are open: `[rollout]` of the tuning file. Pure.
//!
//! A user who connects anew always gets what the settings say. For those who are connected there are three ways, and
//! none of them keeps anybody on Realtime who was ordered off it: by the emergency switch, by a deny, by a share of
//! 0 %, or by a store that is silent. The breaker is above all of this and knows nothing of it.

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::proxy::Follows;
use crate::rollout::{Decision, Percent, Reason};

/// What open sessions do when the share changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OpenSessions {
    /// They stay as they are, both ways, until they connect again.
    Keep,
    /// A raised share waits for their next connection; a lowered one takes them back at once.
    NextConnect,
    /// They are moved inside their open sockets, both ways.
    #[default]
    Move,
}

/// The highest rate: beyond it there is nothing left to pace.
const MOVES_MAX: u32 = 1_000_000;

/// `[rollout]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Text {
    open_sessions: OpenSessions,
    moves_per_second: Option<u32>,
    exposures: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self { open_sessions: OpenSessions::default(), moves_per_second: None, exposures: true }
    }
}

/// The same, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rollout {
    /// What open sessions do.
    pub(super) open: OpenSessions,
    /// How fast they move to Realtime, on all workers together; `None`: the proxy's own pace.
    pub(super) moves_per_second: Option<NonZeroU32>,
    /// Whether exposures to experiments are written down.
    pub(super) exposures: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { open: OpenSessions::default(), moves_per_second: None, exposures: true }
    }
}

impl Text {
    /// # Errors
    /// What is wrong.
    pub(super) fn check(self) -> Result<Rollout, String> {
        let rate = match self.moves_per_second {
            Some(rate @ 1..=MOVES_MAX) => NonZeroU32::new(rate),
            None => None,
            Some(wrong) => {
                return Err(format!(
                    "[rollout] moves_per_second: {wrong} is not a number from 1 to {MOVES_MAX}; to move nobody, write \
                     open_sessions = \"keep\""
                ));
            }
        };
        if rate.is_some() && self.open_sessions != OpenSessions::Move {
            return Err("[rollout] moves_per_second: only open_sessions = \"move\" moves anybody".to_owned());
        }
        Ok(Rollout { open: self.open_sessions, moves_per_second: rate, exposures: self.exposures })
    }
}

impl OpenSessions {
    /// How an open session follows the hot lane: `before` as the rollout had said, `now` as the settings say.
    pub(super) fn follow(self, before: Follows, now: Follows, decision: &Decision) -> Follows {
        let falls = self == Self::NextConnect && !now.is_in();
        let stays = before.is_in() && now.is_in();
        if self == Self::Move || is_order(decision) || falls || stays { now } else { before }
    }
}

/// Whether somebody means this user, or everybody, and not a share that this user happens to be outside of.
fn is_order(decision: &Decision) -> bool {
    match decision.reason {
        Reason::EmergencyOff | Reason::TierUnknown | Reason::Denied => true,
        Reason::OutsideCohort | Reason::OutsideSegment => decision.percent == Percent::ZERO,
        Reason::Allowed | Reason::InSegment | Reason::InArm | Reason::NoKey | Reason::InCohort => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rollout::{Bucket, RealtimeLane, Subject, Tier};

    fn said(reason: Reason, percent: u32) -> Decision {
        let bucket = Bucket::of(b"", b"");
        let subject =
            Subject { bucket: None, key: None, mirror_bucket: bucket, segment: None, trials: Arc::from([]) };
        let inside = matches!(reason, Reason::InCohort);
        Decision {
            lane: inside.then_some(RealtimeLane::Hot),
            reason,
            rule: None,
            arm: None,
            percent: Percent::from_units(percent).unwrap(),
            tier: Tier::Env,
            subject,
        }
    }

    #[test]
    fn each_way_treats_a_raised_a_lowered_and_an_ordered_share_as_it_says() {
        let at = |share| Follows::Share { bucket: 30_000, share };
        let (low, high, none) = (at(10_000), at(50_000), at(0));
        let (inside, outside) = (said(Reason::InCohort, 50_000), said(Reason::OutsideCohort, 10_000));
        let zero = said(Reason::OutsideCohort, 0);
        for (open, raised, lowered) in [
            (OpenSessions::Move, high, low),
            (OpenSessions::NextConnect, low, low),
            (OpenSessions::Keep, low, high),
        ] {
            assert_eq!(open.follow(low, high, &inside), raised, "{open:?} raised");
            assert_eq!(open.follow(high, low, &outside), lowered, "{open:?} lowered");
            assert_eq!(open.follow(high, none, &zero), none, "{open:?}: nobody means nobody");
            for order in [Reason::EmergencyOff, Reason::TierUnknown, Reason::Denied] {
                assert_eq!(open.follow(high, none, &said(order, 0)), none, "{open:?} {order:?}");
            }
        }
        // What an order has taken back is not put back by a share that happens to rise again.
        assert_eq!(OpenSessions::Keep.follow(none, high, &inside), none);
        assert_eq!(OpenSessions::NextConnect.follow(none, high, &inside), none);
        assert_eq!(OpenSessions::Move.follow(none, high, &inside), high);
    }

    #[test]
    fn a_rate_that_cannot_be_kept_is_refused() {
        let check = |open_sessions, moves_per_second| {
            Text { open_sessions, moves_per_second, exposures: true }.check()
        };
        assert!(check(OpenSessions::Move, Some(0)).unwrap_err().contains("keep"));
        assert!(check(OpenSessions::Move, Some(MOVES_MAX + 1)).is_err());
        assert!(check(OpenSessions::Keep, Some(5)).is_err(), "nobody moves");
        assert_eq!(check(OpenSessions::Move, Some(5)).unwrap().moves_per_second, NonZeroU32::new(5));
    }
}
