//! Silence by policy told apart from an outage.
//!
//! **Problem.** A private channel whose role may read and not write takes every push and answers none of them: no
//! refusal, no close, acks or not. From one push that looks like a server that hangs.
//!
//! **Decision.** The server judges the right to write at a join's first broadcast and remembers it. So only a join that
//! was never answered is in doubt; one that was is never accused, and an outage in mid-life stays an outage.
//!
//! 1. A push on such a join without an answer for [`ASK_AFTER`]: a heartbeat follows it on the same socket. Its answer
//!    says that the server has read past the push. Still no answer to the push [`DOUBT_AFTER`] later: *doubt*
//!    ([`Reason::WriteSilent`]), and the channel is joined anew at once, since a policy may have changed and a new join
//!    asks the database afresh.
//! 2. The new join is *on trial*: the owner is not told of it. A broadcast of our own ([`TRIAL_EVENT`]) goes out, the
//!    heartbeat behind it. An answer ends the doubt: the server was slow, and the owner hears of the join. So does the
//!    owner's word that the broadcast was read back ([`Link::vouch`]). No answer [`DENIED_AFTER`] behind the heartbeat's:
//!    *denied* ([`Reason::WriteDenied`]), tried again every few seconds, so that a mended
//!    policy is found.
//! 3. A heartbeat without an answer is no silence but an outage, which ends the socket as ever.
//!
//! **Limits.** A server whose joins and heartbeats work and whose broadcasts hang from the first one on looks the same
//! and is called denied; the advice says so. A round trip over about 250 ms outlasts a half-second deadline of the
//! owner's before the doubt is spoken.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::realtime::codec;
use crate::realtime::message::{Encoding, Message};
use crate::realtime::reason::Reason;

use super::event::LinkEvent;
use super::outbound::{broadcast_frame, control_head};
use super::session::JOIN_ANSWER_MAX;
use super::{Link, TopicNo};

/// The event of the broadcast that a join on trial sends; its payload is `{}`. Listeners should ignore it.
pub const TRIAL_EVENT: &str = "write_trial";

/// How long a first push may be unanswered before the heartbeat is sent behind it.
const ASK_AFTER: Duration = Duration::from_millis(100);
/// How long after that heartbeat's answer the push is still waited for.
const DOUBT_AFTER: Duration = Duration::from_millis(150);
/// The same on trial: a policy that asks a slow database must have its time.
const DENIED_AFTER: Duration = Duration::from_secs(3);

/// What is known of a channel's right to write.
#[derive(Debug)]
pub(super) struct Silence {
    /// Policies judge the channel, and its pushes are to be answered.
    watched: bool,
    /// An earlier join fell silent, and none was answered since.
    suspected: bool,
    /// The broadcast of a join on trial.
    trial: Option<u64>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was pushed on this join.
    Unknown,
    /// A push is out; the heartbeat follows at this time.
    Pushed { ask_at: Instant },
    /// The heartbeat is out. On trial it has until then.
    Asked { beat: u64, until: Instant },
    /// The heartbeat was answered and the push was not; it has until then.
    Silent { until: Instant },
    /// A push was answered.
    Proven,
}

impl Silence {
    pub(super) const fn new(watched: bool) -> Self {
        Self { watched, suspected: false, trial: None, stage: Stage::Unknown }
    }

    /// The owner does not know of this join yet.
    pub(super) const fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// The join ended: what was learnt about it is void.
    pub(super) const fn ended(&mut self) {
        self.trial = None;
        self.stage = Stage::Unknown;
    }

    /// The role may have changed: what was proved has to be proved again.
    pub(super) fn renewed(&mut self) {
        if self.stage == Stage::Proven {
            self.stage = Stage::Unknown;
        }
    }

    pub(super) fn pushed(&mut self, now: Instant) {
        if self.watched && self.stage == Stage::Unknown {
            self.stage = Stage::Pushed { ask_at: now + ASK_AFTER };
        }
    }

    /// A push was answered. Answers whether a trial ended by it.
    pub(super) fn answered(&mut self) -> bool {
        self.suspected = false;
        self.stage = Stage::Proven;
        self.trial.take().is_some()
    }

    /// A push was refused, which says nothing about the right to write.
    fn refused(&mut self) {
        if self.stage != Stage::Proven && !self.on_trial() {
            self.stage = Stage::Unknown;
        }
    }

    fn beat_answered(&mut self, reference: u64, now: Instant) -> bool {
        let Stage::Asked { beat, .. } = self.stage else { return false };
        if beat == reference {
            let patience = if self.on_trial() { DENIED_AFTER } else { DOUBT_AFTER };
            self.stage = Stage::Silent { until: now + patience };
        }
        beat == reference
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Pushed { ask_at } => Some(ask_at),
            Stage::Asked { until, .. } => self.on_trial().then_some(until),
            Stage::Silent { until } => Some(until),
            Stage::Unknown | Stage::Proven => None,
        }
    }

    fn asks(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Pushed { ask_at } if ask_at <= now)
    }

    /// Why the join has to end, if it has to.
    fn verdict(&self, now: Instant) -> Option<Reason> {
        match self.stage {
            Stage::Silent { until } if until <= now && self.on_trial() => Some(Reason::WriteDenied),
            Stage::Silent { until } if until <= now => Some(Reason::WriteSilent),
            Stage::Asked { until, .. } if until <= now && self.on_trial() => Some(Reason::AckTimeout),
            _ => None,
        }
    }
}

impl Link {
    /// The owner has seen a broadcast of this channel delivered: it may write, whatever its answers.
    pub fn vouch(&mut self, topic: TopicNo) {
        self.may_write(topic);
    }

    /// The channel may write. A join on trial is told of now.
    pub(super) fn may_write(&mut self, topic: TopicNo) {
        let Some(channel) = self.channels.get_mut(&topic).filter(|channel| channel.is_joined()) else {
            return;
        };
        if channel.silence.answered() {
            self.events.push(LinkEvent::Joined { topic });
        }
    }

    /// The server refused a broadcast: it is not silent.
    pub(super) fn heard_refusal(&mut self, topic: TopicNo, is_trial: bool) {
        if is_trial {
            self.may_write(topic);
        } else if let Some(channel) = self.channels.get_mut(&topic) {
            channel.silence.refused();
        }
    }

    /// A join was granted. Answers whether the owner may be told.
    pub(super) fn begin_trial(&mut self, topic: TopicNo, now: Instant) -> bool {
        let suspected = self.channels.get(&topic).is_some_and(|channel| channel.silence.suspected);
        if !suspected {
            return true;
        }
        let reference = self.fresh_ref();
        let Some(channel) = self.channels.get_mut(&topic) else { return true };
        let head = control_head(channel.join_ref(), reference, &channel.topic, TRIAL_EVENT);
        let body = Bytes::from_static(b"{}");
        let Ok(frame) = broadcast_frame(self.config.vsn, head, Encoding::Json, body) else { return true };
        channel.silence.trial = Some(reference);
        channel.silence.pushed(now);
        self.outbox.push(topic, frame);
        false
    }

    /// A reply on a channel, if it is about the trial.
    pub(super) fn is_trial(&self, topic: TopicNo, reference: Option<u64>) -> bool {
        self.channels
            .get(&topic)
            .is_some_and(|channel| channel.silence.trial.is_some() && channel.silence.trial == reference)
    }

    /// A heartbeat's answer, if it is one of these.
    pub(super) fn receive_inquiry(&mut self, reference: Option<u64>, now: Instant) -> bool {
        let Some(reference) = reference else { return false };
        self.channels.values_mut().any(|channel| channel.silence.beat_answered(reference, now))
    }

    pub(super) fn next_doubt(&self) -> Option<Instant> {
        #[cfg(test)]
        if self.sabotaged(super::tests::Sabotage::NeverDoubts) {
            return None;
        }
        self.channels.values().filter_map(|channel| channel.silence.poll_timeout()).min()
    }

    /// Sends the heartbeats that are due behind first pushes, and ends the joins that stayed silent.
    pub(super) fn doubt(&mut self, now: Instant) {
        #[cfg(test)]
        if self.sabotaged(super::tests::Sabotage::NeverDoubts) {
            return;
        }
        for topic in self.topics_where(|silence| silence.asks(now)) {
            self.inquire(topic, now);
        }
        for topic in self.topics_where(|silence| silence.verdict(now).is_some()) {
            let Some(channel) = self.channels.get_mut(&topic) else { continue };
            let Some(reason) = channel.silence.verdict(now) else { continue };
            channel.silence.suspected = true;
            self.lose_channel(topic, reason, now);
        }
    }

    fn topics_where(&self, holds: impl Fn(&Silence) -> bool) -> Vec<TopicNo> {
        let found = self.channels.iter().filter(|(_, channel)| holds(&channel.silence));
        found.map(|(topic, _)| *topic).collect()
    }

    /// Sends a heartbeat in the queue of the pushes, so that its answer speaks about what was sent before.
    fn inquire(&mut self, topic: TopicNo, now: Instant) {
        let beat = self.fresh_ref();
        let Some(channel) = self.channels.get_mut(&topic) else { return };
        channel.silence.stage = Stage::Asked { beat, until: now + JOIN_ANSWER_MAX };
        let message =
            Message::Text(control_head(None, beat, "phoenix", "heartbeat"), Bytes::from_static(b"{}"));
        if let Ok(frame) = codec::encode(self.config.vsn, &message) {
            self.outbox.push(topic, frame);
        }
    }
}

#[cfg(test)]
impl Link {
    /// Breaks the rule of this file.
    pub(crate) fn never_doubts(&mut self) {
        self.sabotage = Some(super::tests::Sabotage::NeverDoubts);
    }
}
