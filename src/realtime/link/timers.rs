//! What happens because time has passed. One function looks at everything that may be due, another says when the next
//! thing is; both are cheap, so both are called after every input.

use std::time::{Duration, Instant};

use crate::realtime::reason::{Cause, Reason};

use super::channel::State;
use super::event::{LinkEvent, Order, Outcome};
use super::session::{BEAT_ANSWER_MAX, BEAT_MAX, BEAT_MIN, CONNECT_MAX, Phase};
use super::{Link, TopicNo};

impl Link {
    /// When [`handle_timeout`](Self::handle_timeout) should be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Down { retry_at, .. } => retry_at.filter(|_| !self.channels.is_empty()),
            Phase::Connecting { give_up_at } => Some(*give_up_at),
            Phase::Closing { .. } => None,
            Phase::Open(open) => {
                let beat = match (open.beat, open.join) {
                    (None, _) => Some(open.beat_at),
                    (Some((_, deadline)), None) => Some(deadline),
                    // The answer waits behind the join's.
                    (Some(_), Some(_)) => None,
                };
                let join = match open.join {
                    Some(join) => Some(join.deadline),
                    None => self.next_join().map(|(at, _)| at.max(open.next_join_at)),
                };
                [beat, join, open.replace_at, self.next_ack_deadline(), self.next_doubt()]
                    .into_iter()
                    .flatten()
                    .min()
            }
        };
        [phase, self.clock.notice_at].into_iter().flatten().min()
    }

    /// Does what is due. Early and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.clock.notice_at.is_some_and(|at| at <= now) {
            self.notice_token(now);
        }
        match self.phase {
            Phase::Down { retry_at: Some(at), .. } if at <= now && !self.channels.is_empty() => {
                self.phase = Phase::Connecting { give_up_at: now + CONNECT_MAX };
                self.orders.push_back(Order::Connect);
            }
            Phase::Connecting { give_up_at } if give_up_at <= now => {
                self.hang_up(Reason::ConnectTimeout, now)
            }
            Phase::Open(_) => self.handle_open_timeout(now),
            _ => {}
        }
    }

    fn handle_open_timeout(&mut self, now: Instant) {
        self.expire_acks(now);
        if let Some(reason) = self.dead_reason(now) {
            self.hang_up(reason, now);
            return;
        }
        self.doubt(now);
        self.beat(now);
        self.join_next(now);
    }

    /// Why the open socket has to go, if it has to.
    fn dead_reason(&self, now: Instant) -> Option<Reason> {
        let Phase::Open(open) = &self.phase else { return None };
        if open.join.is_some_and(|join| join.deadline <= now) {
            return Some(Reason::JoinTimeout);
        }
        if open.join.is_none() && open.beat.is_some_and(|(_, deadline)| deadline <= now) {
            return Some(Reason::HeartbeatTimeout);
        }
        open.replace_at.filter(|at| *at <= now).map(|_| Reason::AgeLimit)
    }

    fn beat(&mut self, now: Instant) {
        let Phase::Open(open) = &mut self.phase else { return };
        if open.beat.is_some() || open.beat_at > now {
            return;
        }
        let gap = self.jitter.between(BEAT_MIN, BEAT_MAX);
        // From the plan, not from now, unless a sleep of ours made the plan a thing of the past.
        open.beat_at = (open.beat_at + gap).max(now + BEAT_MIN.saturating_sub(BEAT_ANSWER_MAX));
        #[cfg(test)]
        if self.sabotaged(super::tests::Sabotage::NoHeartbeats) {
            return;
        }
        let reference = self.fresh_ref();
        if let Phase::Open(open) = &mut self.phase {
            open.beat = Some((reference, now + BEAT_ANSWER_MAX));
        }
        self.send_heartbeat(reference);
    }

    /// The channel to be joined next and when; the longest due first.
    pub(super) fn next_join(&self) -> Option<(Instant, TopicNo)> {
        let waiting = self.channels.iter().filter_map(|(topic, channel)| match channel.state {
            State::Waiting { at, .. } => Some((at, *topic)),
            _ => None,
        });
        waiting.min()
    }

    fn next_ack_deadline(&self) -> Option<Instant> {
        self.channels.values().filter_map(|channel| channel.in_flight.front()).map(|push| push.deadline).min()
    }

    /// Pushes without an answer in time. Three in a row, and the channel is joined anew: it may be gone unnoticed.
    fn expire_acks(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for (&topic, channel) in &mut self.channels {
            while let Some(push) = channel.in_flight.front().copied().filter(|push| push.deadline <= now) {
                channel.in_flight.pop_front();
                channel.silent = channel.silent.saturating_add(1);
                self.events.push(LinkEvent::Ack { topic, push: push.push, outcome: Outcome::TimedOut });
            }
            if channel.silent >= SILENT_ACKS_MAX && channel.is_joined() {
                silent.push(topic);
            }
        }
        for topic in silent {
            self.lose_channel(topic, Reason::AckTimeout, now);
        }
    }

    /// A channel ended or its join was refused, while the socket stays: plan the next join.
    pub(super) fn lose_channel(&mut self, topic: TopicNo, reason: Reason, now: Instant) {
        self.lose_pushes(topic, reason);
        let token_is_good = self.token_left(now).is_some_and(|left| !left.is_zero());
        let Some(channel) = self.channels.get_mut(&topic) else { return };
        if channel.was_healthy(now, super::session::HEALTHY_AFTER) {
            channel.retry.reset();
        }
        channel.silent = 0;
        channel.silence.ended();
        channel.token_due = false;
        let first = channel.retry.failures() == 0;
        let mut delay = channel.retry.delay(reason.remedy(), &mut self.jitter);
        if reason == Reason::TokenExpired && first && token_is_good {
            // A newer token is at hand that the channel was not told of.
            delay = Duration::ZERO;
        }
        if reason == Reason::WriteSilent {
            delay = Duration::ZERO; // the next join is the trial
        }
        #[cfg(test)]
        {
            use super::tests::Sabotage;
            if self.sabotage == Some(Sabotage::RejoinsAtOnce) {
                delay = Duration::ZERO;
            } else if self.sabotage == Some(Sabotage::NeverRejoins) {
                delay = Duration::from_secs(1_000_000);
            }
        }
        channel.state = State::Waiting { at: now + delay, why: Some(reason) };
        self.events.push(LinkEvent::Left { topic, reason, retry_in: Some(delay) });
        if reason == Reason::TokenExpired && !token_is_good {
            self.events.push(LinkEvent::TokenExpiring { left: Duration::ZERO });
        }
        if reason.remedy() == super::Remedy::GiveUp {
            self.events.push(LinkEvent::GiveUp { topic: Some(topic), reason });
        }
        self.replace_if_hopeless(topic, reason, now);
    }

    /// Servers were seen to refuse a socket's joins for hours that a new socket was granted at once.
    fn replace_if_hopeless(&mut self, topic: TopicNo, reason: Reason, now: Instant) {
        let stuck = self.channels.get(&topic).is_some_and(|channel| channel.retry.failures() >= REFUSALS_MAX);
        let alone = !self.channels.values().any(super::Channel::is_joined);
        if stuck && alone && reason.cause() == Cause::ProviderOutage {
            if let Some(channel) = self.channels.get_mut(&topic) {
                channel.retry.reset();
            }
            self.hang_up(reason, now);
        }
    }

    /// How long key and token are still good, if the clock is known and one of them ends.
    fn token_left(&self, now: Instant) -> Option<Duration> {
        let unix = self.clock.unix(now)?;
        let token = self.config.token.as_ref().and_then(super::ApiKey::exp);
        let exp = [token, self.config.key.exp()].into_iter().flatten().min()?;
        Some(Duration::from_secs(exp.saturating_sub(unix)))
    }

    /// Plans the first notice: five minutes before the end, or a third of the time that is left.
    pub(super) fn plan_token_notice(&mut self, now: Instant) {
        self.clock.notice_at =
            self.token_left(now).and_then(|left| now.checked_add(left - (left / 3).min(NOTICE_MAX)));
    }

    fn notice_token(&mut self, now: Instant) {
        let Some(left) = self.token_left(now) else {
            self.clock.notice_at = None;
            return;
        };
        self.clock.notice_at = Some(now + NOTICE_AGAIN);
        self.events.push(LinkEvent::TokenExpiring { left });
    }
}

/// How long before its end a token is asked for, at most.
const NOTICE_MAX: Duration = Duration::from_secs(300);
/// How often it is asked for until there is a new one.
const NOTICE_AGAIN: Duration = Duration::from_secs(60);
/// Unanswered pushes in a row after which the channel is joined anew.
const SILENT_ACKS_MAX: u32 = 3;
/// Refused joins in a row for reasons of the provider after which a socket without any channel is replaced.
const REFUSALS_MAX: u32 = 5;
