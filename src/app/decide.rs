//! The decision at the upgrade, as the proxy calls it: rollout, breaker and source put together.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use tokio::sync::watch;

use crate::lane::{self, Inputs, Mirror, Source};
use crate::proxy::native;
use crate::proxy::{Course, Decide, Exposed, Follow, Follows, Lane, Verdict};
use crate::rollout::{self, Exposure, Percent, RealtimeLane, Request};
use crate::session::SessionNo;

use super::adoption::RolloutFigures;
use super::exposures::Exposures;
use super::flags::Standing;
use super::ops::View;
use super::parity::Capture;
use super::tuning::Fine;

/// What the decision is made from.
#[derive(Clone)]
pub(super) struct Decider {
    pub(super) standing: watch::Receiver<Arc<Standing>>,
    pub(super) configured: bool,
    pub(super) native: bool,
    /// The cold lane is configured.
    pub(super) cold: bool,
    pub(super) mirror_percent: Percent,
    pub(super) fine: Arc<Fine>,
    pub(super) figures: Arc<RolloutFigures>,
    pub(super) view: watch::Receiver<View>,
    /// Where authorization is compared: takes users' tokens.
    pub(super) capture: Option<Capture>,
}

impl Decider {
    /// The function that the proxy calls once for each upgrade.
    pub(super) fn into_fn(self) -> Decide {
        Arc::new(move |parts, client| self.decide(parts, client))
    }

    /// The function that every worker calls for its open sessions when the settings have changed.
    pub(super) fn follow_fn(&self) -> Follow {
        let own = self.clone();
        Follow::new(move |subject, before| {
            let standing = Arc::clone(&own.standing.borrow());
            own.course(&rollout::decide_again(&standing.settings, subject.clone()), before)
        })
    }

    /// How open sessions would follow under other settings.
    pub(super) fn follow_under(&self, settings: rollout::Settings) -> Follow {
        let own = self.clone();
        Follow::new(move |subject, before| {
            own.course(&rollout::decide_again(&settings, subject.clone()), before)
        })
    }

    /// How an open session goes on: as the settings say, as far as open sessions are moved at all.
    fn course(&self, decision: &rollout::Decision, before: Follows) -> Course {
        let follows = self.fine.rollout.open.follow(before, self.follows(decision), decision);
        Course { follows, wants: decision.lane.filter(|_| self.configured) }
    }

    /// The function that is told of each session that was opened under an experiment.
    pub(super) fn exposed_fn(&self, log: Exposures) -> Exposed {
        let standing = self.standing.clone();
        Exposed::new(move |subject, lane| {
            let standing = Arc::clone(&standing.borrow());
            let decision = rollout::decide_again(&standing.settings, subject.clone());
            let (Some(experiment), Some(arm), Some(key)) = (decision.rule, decision.arm, subject.key) else {
                return; // of no arm
            };
            let trial = subject.trials.iter().find(|(rule, _)| *rule == experiment);
            let Some((_, bucket)) = trial else { return };
            let at_ms = crate::spool::disk::unix_ms();
            log.offer(Exposure { at_ms, experiment, arm, bucket: *bucket, key, lane: lane.as_str() });
        })
    }

    /// What holds for an open session now, and the decision behind it.
    pub(super) fn judge(
        &self,
        subject: &rollout::Subject,
        current: lane::Lane,
    ) -> (rollout::Decision, lane::Verdict) {
        let standing = Arc::clone(&self.standing.borrow());
        let decision = rollout::decide_again(&standing.settings, subject.clone());
        let verdict = lane::reconsider(current, &self.inputs(&decision, current == lane::Lane::Native));
        (decision, verdict)
    }

    fn inputs<'a>(&self, decision: &'a rollout::Decision, offers: bool) -> Inputs<'a> {
        let view = *self.view.borrow();
        Inputs {
            rollout: decision,
            breaker: view.admission,
            source: if self.configured { view.source } else { Source::NotConfigured },
            offers_realtime: offers,
            cold: self.cold,
            mirror: Mirror { on: self.configured, reads_back: true, percent: self.mirror_percent },
        }
    }

    fn decide(&self, parts: &Parts, client: SocketAddr) -> Verdict {
        let standing = Arc::clone(&self.standing.borrow());
        let settings = &standing.settings;
        let request = Request {
            headers: &parts.headers,
            path: parts.uri.path(),
            query: parts.uri.query(),
            peer: client.ip(),
            // Chooses mirrored sessions that have no key: the port is as good as a number that comes later.
            session: SessionNo(u32::from(client.port())),
        };
        let decision = rollout::decide(settings, &request);
        let could = self.native && native::offers(&parts.headers);
        if self.native {
            self.figures.offered(could);
        }
        let offers = could && settings.rolls_out(RealtimeLane::Native);
        let verdict = lane::decide(&self.inputs(&decision, offers));
        let lane = match verdict.lane {
            lane::Lane::Hot => Lane::Hot,
            lane::Lane::Native => Lane::Native,
            lane::Lane::Legacy => Lane::Legacy,
            lane::Lane::Cold => Lane::Cold,
        };
        let follows = self.follows(&decision);
        // Hot sessions are copied anyway; this is about the legacy lane.
        let share = self.fine.shares.of_path(request.path, self.mirror_percent);
        let mirrored =
            self.configured && lane != Lane::Native && decision.subject.mirror_bucket.is_within(share);
        let capture = self.capture.as_ref().filter(|_| mirrored);
        let token = capture.and_then(|capture| capture.take(parts, decision.subject.key));
        let wants = decision.lane.filter(|_| self.configured);
        let subject = Some(Arc::new(decision.subject));
        Verdict { lane, reason: verdict.reason.as_str(), mirrored, follows, wants, subject, token }
    }

    /// How an open session follows the hot lane. Whoever is not to be hot now may be after the next change, so the
    /// share is zero then.
    fn follows(&self, decision: &rollout::Decision) -> Follows {
        use rollout::Reason;
        if !self.configured {
            return Follows::Never;
        }
        let bucket = decision.subject.bucket.map_or(0, rollout::Bucket::number);
        let not_now = Follows::Share { bucket, share: 0 };
        if decision.lane != Some(RealtimeLane::Hot) {
            return not_now;
        }
        match decision.reason {
            Reason::Allowed => Follows::Always,
            Reason::InSegment | Reason::InCohort | Reason::InArm => {
                Follows::Share { bucket, share: decision.percent.units() }
            }
            _ => not_now,
        }
    }
}
