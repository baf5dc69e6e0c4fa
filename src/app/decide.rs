//! The decision at the upgrade, as the proxy calls it: rollout, breaker and source put together.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use tokio::sync::watch;

use crate::lane::{self, Inputs, Mirror, Source};
use crate::proxy::native;
use crate::proxy::{Decide, Follows, Lane, Verdict};
use crate::rollout::{self, Percent, RealtimeLane, Request, Settings};
use crate::session::SessionNo;

use super::ops::View;

/// What does not change while the process lives.
pub(super) struct Decider {
    pub(super) settings: Settings,
    pub(super) configured: bool,
    pub(super) native: bool,
    pub(super) mirror_percent: Percent,
    pub(super) view: watch::Receiver<View>,
}

impl Decider {
    /// The function that the proxy calls once for each upgrade.
    pub(super) fn into_fn(self) -> Decide {
        Arc::new(move |parts, client| self.decide(parts, client))
    }

    fn decide(&self, parts: &Parts, client: SocketAddr) -> Verdict {
        let request = Request {
            headers: &parts.headers,
            path: parts.uri.path(),
            query: parts.uri.query(),
            peer: client.ip(),
            // Chooses mirrored sessions that have no key: the port is as good as a number that comes later.
            session: SessionNo(u32::from(client.port())),
        };
        let decision = rollout::decide(&self.settings, &request);
        let view = *self.view.borrow();
        let offers =
            self.native && self.settings.rolls_out(RealtimeLane::Native) && native::offers(&parts.headers);
        let inputs = Inputs {
            rollout: &decision,
            breaker: view.admission,
            source: if self.configured { view.source } else { Source::NotConfigured },
            offers_realtime: offers,
            mirror: Mirror { on: self.configured, reads_back: true, percent: self.mirror_percent },
        };
        let verdict = lane::decide(&inputs);
        let lane = match verdict.lane {
            lane::Lane::Hot => Lane::Hot,
            lane::Lane::Native => Lane::Native,
            lane::Lane::Legacy | lane::Lane::Cold => Lane::Legacy,
        };
        let follows = follows(&decision, self.hot_is_wanted());
        // Hot sessions are copied anyway; this is about the legacy lane.
        let sampled = decision.subject.mirror_bucket.is_within(self.mirror_percent);
        let mirrored = self.configured && lane != Lane::Native && sampled;
        Verdict { lane, reason: verdict.reason.as_str(), mirrored, follows }
    }

    fn hot_is_wanted(&self) -> bool {
        self.configured && self.settings.rolls_out(RealtimeLane::Hot)
    }
}

/// How the open session follows the share later on.
fn follows(decision: &rollout::Decision, hot: bool) -> Follows {
    use rollout::Reason;
    match (decision.reason, decision.subject.bucket) {
        _ if !hot => Follows::Never,
        (Reason::Allowed, _) => Follows::Always,
        (Reason::InCohort | Reason::OutsideCohort, Some(bucket)) => Follows::Share(bucket.number()),
        _ => Follows::Never,
    }
}
