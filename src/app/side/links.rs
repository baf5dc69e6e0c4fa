//! What both links say, and what follows from it: for the publisher, for the breaker, for the operator's log.

use std::time::{Duration, Instant};

use super::denial::{is_silence, shard_of};
use super::{ACKED_TOPIC, EVENT, From, Side};
use crate::app::ops::Word;
use crate::breaker::OwnFault;
use crate::mirror::report::{Ack, Refusal};
use crate::mirror::shard::Shard;
use crate::realtime::key::ApiKey;
use crate::realtime::link::{Broadcast, LinkEvent, Outcome, PushRef, TRIAL_EVENT};
use crate::realtime::reason::{Cause, Reason};

impl Side {
    pub(super) fn heard(&mut self, from: From, event: Option<LinkEvent>, now: Instant) {
        let Some(event) = event else {
            // The link's task is gone; its loss was told by its last event, and nothing more will come.
            return self.link_lost(from, now);
        };
        match event {
            LinkEvent::Joined { topic } if topic == ACKED_TOPIC => {
                self.may_write(Shard::Acked);
                self.parts(Shard::Acked).1.handle_link_up(now);
            }
            LinkEvent::Joined { .. } => self.joined(from, now),
            LinkEvent::Up => self.state.was_up[from as usize] = true,
            LinkEvent::Left { topic, reason, .. } if from == From::Publish && is_silence(reason) => {
                self.silenced(shard_of(topic), reason, now);
            }
            LinkEvent::Left { topic, reason, .. } => {
                if topic == ACKED_TOPIC {
                    self.parts(Shard::Acked).1.handle_link_down(now);
                } else {
                    self.channel_lost(from, now);
                }
                self.blame(reason, now);
            }
            LinkEvent::Down { reason, .. } => {
                self.link_lost(from, now);
                if !std::mem::take(&mut self.state.was_up[from as usize]) {
                    self.connect_failed(reason);
                }
            }
            LinkEvent::Ack { push, outcome, .. } => self.acked(push, outcome, now),
            LinkEvent::Broadcast(Broadcast { event, payload, .. })
                if from == From::ReadBack && event == EVENT =>
            {
                self.read_back(&payload, now);
            }
            LinkEvent::Broadcast(Broadcast { event, .. })
                if from == From::ReadBack && event == TRIAL_EVENT =>
            {
                self.vouch();
            }
            LinkEvent::System { reason: Some(reason), .. } => self.blame(reason, now),
            LinkEvent::TokenExpiring { left } => self.renew_key(from, left),
            LinkEvent::GiveUp { reason, .. } => {
                tracing::error!(
                    reason = reason.as_str(),
                    advice = reason.advice(),
                    "Realtime cannot be used"
                );
            }
            _ => {}
        }
    }

    /// Reads the key's file again, where it came from one: whoever rotates it writes it there.
    fn renew_key(&self, from: From, left: Duration) {
        let Some(path) = &self.key_file else {
            return tracing::warn!(
                left_s = left.as_secs(),
                "SUPABASE_KEY expires soon; put it into a file named by SUPABASE_KEY_FILE to rotate it at run time"
            );
        };
        let handle = if from == From::Publish { &self.publish } else { &self.readback };
        match crate::config::read_secret_file(path) {
            Ok(secret) => {
                if handle.commands().try_set_key(ApiKey::new(secret.expose())).is_err() {
                    tracing::warn!("the link was too busy to take the new key; it will ask again");
                }
            }
            Err(error) => tracing::error!(%error, "the key's file cannot be read again"),
        }
    }

    fn joined(&mut self, from: From, now: Instant) {
        let joined = match from {
            From::Publish => &mut self.links.publish,
            From::ReadBack => &mut self.links.readback,
        };
        *joined = true;
        if from == From::Publish {
            self.may_write(Shard::ReadBack);
        }
        if self.links.publish && self.links.readback {
            self.publisher.handle_link_up(now);
            self.say(Word::Outcome(crate::breaker::Outcome::Connected));
        }
        self.say(Word::Links(self.links));
    }

    /// The socket is gone, with every channel on it.
    fn link_lost(&mut self, from: From, now: Instant) {
        if from == From::Publish && self.acked.is_some() {
            self.parts(Shard::Acked).1.handle_link_down(now);
        }
        self.channel_lost(from, now);
    }

    fn channel_lost(&mut self, from: From, now: Instant) {
        let joined = match from {
            From::Publish => &mut self.links.publish,
            From::ReadBack => &mut self.links.readback,
        };
        if std::mem::take(joined) {
            // Before anything else: hot sessions must not wait for what cannot come back.
            self.say(Word::Links(self.links));
            self.publisher.handle_link_down(now);
            self.watch.interrupted();
            self.report(now);
        }
    }

    /// A reason that is not the socket's: quota, an announced restart.
    fn blame(&mut self, reason: Reason, now: Instant) {
        if reason.cause() == Cause::Quota {
            self.say(Word::Quota);
        }
        if reason == Reason::TooManyMessages {
            self.governor.handle_quota(now);
        }
        tracing::warn!(reason = reason.as_str(), advice = reason.advice(), "Realtime ended our channel");
    }

    fn connect_failed(&mut self, reason: Reason) {
        let outcome = match reason.cause() {
            Cause::ProviderOutage | Cause::AnnouncedRestart => crate::breaker::Outcome::ConnectFailed,
            Cause::Quota => crate::breaker::Outcome::Own(OwnFault::Quota),
            Cause::OurConfiguration | Cause::OurAuthorization | Cause::OwnFault => {
                crate::breaker::Outcome::Own(OwnFault::Configuration)
            }
        };
        tracing::warn!(reason = reason.as_str(), advice = reason.advice(), "no connection to Realtime");
        self.say(Word::Outcome(outcome));
    }

    fn acked(&mut self, push: PushRef, outcome: Outcome, now: Instant) {
        let Some((shard, batch, sent)) = self.state.pushes.remove(&push) else { return };
        let ack = match outcome {
            Outcome::Accepted => {
                self.figures.acknowledged(self.state.unacked.remove(&batch).unwrap_or(0));
                Ack::Ok
            }
            Outcome::Refused(Reason::PayloadTooLarge) => Ack::Refused(Refusal::TooLarge),
            Outcome::Refused(Reason::UnmatchedTopic) | Outcome::NotSent(_) => {
                Ack::Refused(Refusal::NotJoined)
            }
            Outcome::Refused(_) => Ack::Refused(Refusal::Other),
            Outcome::TimedOut => Ack::Timeout,
            Outcome::Lost(_) => return, // the end of the channel is told by an event of its own
        };
        if !matches!(outcome, Outcome::NotSent(_)) {
            self.figures.answered(now.saturating_duration_since(sent));
        }
        if matches!(ack, Ack::Refused(Refusal::TooLarge | Refusal::Other)) {
            self.watch.refused(batch);
        }
        self.parts(shard).1.handle_ack(batch, ack, now);
    }
}
