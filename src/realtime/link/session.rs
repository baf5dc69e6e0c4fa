//! The socket as the link sees it: what may come in, in which phase it is, and what dies with it.
//! The phases make two sockets at once impossible: only `Down` leads to `Connecting`.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::realtime::classify;
use crate::realtime::message::{Frame, Vsn};
use crate::realtime::reason::{Reason, Remedy};

use super::channel::State;
use super::event::{LinkEvent, Order};
use super::{Link, TopicNo};

/// What the shell hands in.
#[derive(Clone, Debug)]
pub enum Input {
    /// A text frame, whole.
    Text(Bytes),
    /// A binary frame, whole.
    Binary(Bytes),
    /// The socket ended: the close code, or 1006 when there was no close frame. Also the answer to
    /// [`Order::Disconnect`], whatever the code.
    Closed {
        /// RFC 6455 section 7.4.
        code: u16,
    },
    /// No socket came about.
    Failed(ConnectFailure),
}

/// Why no socket came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The upgrade was answered with another status than 101. Of the body, up to 1 KiB is enough.
    Refused {
        /// The status.
        status: u16,
        /// The body, JSON with `error` if it is Realtime's.
        body: String,
    },
    /// The name was not found, nobody listened, or the connection broke.
    Unreachable,
    /// The server's certificate is not trusted.
    Certificate,
    /// It took too long.
    Timeout,
    /// The key cannot be a header field.
    BadKey,
}

impl ConnectFailure {
    fn reason(&self) -> Reason {
        match self {
            Self::Refused { status, body } => classify::refusal(*status, body),
            Self::Unreachable => Reason::ConnectFailed,
            Self::Certificate => Reason::Certificate,
            Self::Timeout => Reason::ConnectTimeout,
            Self::BadKey => Reason::TokenMalformed,
        }
    }
}

/// The phase of the socket.
#[derive(Debug)]
pub(super) enum Phase {
    /// No socket; the next one is asked for at `retry_at`, if anybody wants one. `why` the last one ended.
    Down {
        retry_at: Option<Instant>,
        why: Option<Reason>,
    },
    /// The shell was asked for a socket.
    Connecting {
        give_up_at: Instant,
    },
    Open(Open),
    /// The shell was asked to drop the socket or attempt and has not said that it did.
    Closing {
        retry_at: Option<Instant>,
        why: Reason,
    },
}

impl Phase {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// What belongs to one open socket and dies with it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) since: Instant,
    /// When the next heartbeat is due.
    pub(super) beat_at: Instant,
    /// The heartbeat that waits for its answer, and until when.
    pub(super) beat: Option<(u64, Instant)>,
    /// The join that waits for its answer.
    pub(super) join: Option<JoinOnItsWay>,
    /// Not before this may the next join go out.
    pub(super) next_join_at: Instant,
    /// When a socket of an `sb_` key is to be replaced.
    pub(super) replace_at: Option<Instant>,
    /// The server has said that it will close.
    pub(super) announced: bool,
}

/// One join that the server has not answered. Kept apart from its channel, which may be left meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinOnItsWay {
    pub(super) topic: TopicNo,
    pub(super) reference: u64,
    pub(super) deadline: Instant,
}

/// The wall clock, as far as the owner has told.
#[derive(Debug, Default)]
pub(super) struct Clock {
    anchor: Option<(Instant, u64)>,
    /// When to ask for a new token.
    pub(super) notice_at: Option<Instant>,
}

impl Clock {
    /// Seconds since 1970, if known.
    pub(super) fn unix(&self, now: Instant) -> Option<u64> {
        let (at, unix) = self.anchor?;
        Some(unix.saturating_add(now.saturating_duration_since(at).as_secs()))
    }

    /// Takes a new reading.
    pub(super) fn set(&mut self, unix_secs: u64, now: Instant) -> Reading {
        let expected = self.unix(now);
        self.anchor = Some((now, unix_secs));
        match expected {
            Some(expected) if unix_secs > expected.saturating_add(CLOCK_JUMP_SECS) => Reading::Jumped,
            Some(expected) if unix_secs.abs_diff(expected) <= CLOCK_SLACK_SECS => Reading::AsExpected,
            _ => Reading::Adjusted,
        }
    }
}

/// What a reading of the wall clock says against the one before and the time between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Within rounding.
    AsExpected,
    /// The first one, or the clock was set.
    Adjusted,
    /// Far ahead: we slept.
    Jumped,
}

impl Link {
    /// The shell has the socket that [`Order::Connect`] asked for.
    pub fn handle_connected(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return;
        }
        let replace_at =
            self.config.key.is_gateway_key().then(|| {
                now + self.jitter.between(GATEWAY_KEY_AGE_MAX - REPLACE_SPREAD, GATEWAY_KEY_AGE_MAX)
            });
        self.phase = Phase::Open(Open {
            since: now,
            beat_at: now + self.jitter.between(BEAT_MIN, BEAT_MAX),
            beat: None,
            join: None,
            next_join_at: now,
            replace_at,
            announced: false,
        });
        self.stats.connects += 1;
        self.events.push(LinkEvent::Up);
        self.handle_timeout(now);
    }

    /// Something came from the socket or its attempt. What does not fit the phase is ignored.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Text(bytes) if self.phase.is_open() => self.receive(&Frame::Text(bytes), now),
            Input::Binary(bytes) if self.phase.is_open() && self.config.vsn == Vsn::V2 => {
                self.receive(&Frame::Binary(bytes), now);
            }
            Input::Text(_) | Input::Binary(_) => {}
            Input::Closed { code } => self.ended(classify::close(code), now),
            Input::Failed(failure) => self.ended(failure.reason(), now),
        }
        self.handle_timeout(now);
    }

    /// The socket or its attempt is no more.
    fn ended(&mut self, reason: Reason, now: Instant) {
        match self.phase {
            Phase::Down { .. } => {}
            Phase::Closing { retry_at, why } => {
                // Channels may have been added since.
                let retry_at = retry_at.or_else(|| (!self.channels.is_empty()).then_some(now));
                self.phase = Phase::Down { retry_at, why: Some(why) };
            }
            Phase::Connecting { .. } => {
                let retry_at = self.lose_socket(reason, now);
                self.phase = Phase::Down { retry_at, why: Some(reason) };
            }
            Phase::Open(ref open) => {
                let reason = if open.announced { Reason::DisconnectRequested } else { reason };
                let retry_at = self.lose_socket(reason, now);
                self.phase = Phase::Down { retry_at, why: Some(reason) };
            }
        }
    }

    /// Ends the socket or its attempt from our side, and waits for the shell to confirm.
    pub(super) fn hang_up(&mut self, why: Reason, now: Instant) {
        match self.phase {
            Phase::Closing { .. } => {}
            Phase::Down { ref mut retry_at, .. } => {
                if self.channels.is_empty() {
                    *retry_at = None;
                }
            }
            Phase::Connecting { .. } | Phase::Open(_) => {
                let retry_at = self.lose_socket(why, now);
                self.phase = Phase::Closing { retry_at, why };
                self.orders.push_back(Order::Disconnect);
            }
        }
    }

    /// Everything that lived on the socket ends. Answers when the next one is to be asked for.
    fn lose_socket(&mut self, reason: Reason, now: Instant) -> Option<Instant> {
        if let Phase::Open(open) = &self.phase
            && now.saturating_duration_since(open.since) >= HEALTHY_AFTER
        {
            self.retry.reset();
        }
        self.outbox.clear();
        let topics: Vec<TopicNo> = self.channels.keys().copied().collect();
        for topic in topics {
            self.lose_channel_with_socket(topic, reason, now);
        }
        let delay = self.retry.delay(reason.remedy(), &mut self.jitter);
        let retry_in = (!self.channels.is_empty()).then_some(delay);
        self.events.push(LinkEvent::Down { reason, retry_in });
        if reason.remedy() == Remedy::GiveUp {
            self.events.push(LinkEvent::GiveUp { topic: None, reason });
        }
        retry_in.map(|delay| now + delay)
    }

    /// A channel that was joined is to be joined first thing on the next socket; one that waits goes on waiting.
    fn lose_channel_with_socket(&mut self, topic: TopicNo, reason: Reason, now: Instant) {
        self.lose_pushes(topic, reason);
        let Some(channel) = self.channels.get_mut(&topic) else { return };
        if channel.was_healthy(now, HEALTHY_AFTER) {
            channel.retry.reset();
        }
        let was_joined = channel.is_joined() && !channel.silence.on_trial();
        if channel.join_ref().is_some() {
            channel.state = State::Waiting { at: now, why: None };
            channel.silence.ended();
            channel.token_due = false;
        }
        if was_joined {
            self.events.push(LinkEvent::Left { topic, reason, retry_in: None });
        }
    }
}

/// A socket that lived this long was good: failures before it are forgotten.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Heartbeats go out every 20 s ± 10 %: the server waits 60 s, and official clients beat every 25 s.
pub(super) const BEAT_MIN: Duration = Duration::from_secs(18);
pub(super) const BEAT_MAX: Duration = Duration::from_secs(22);
/// How long a heartbeat may go unanswered.
pub(super) const BEAT_ANSWER_MAX: Duration = Duration::from_secs(8);
/// How long a join may go unanswered: 15 s for a cold project's database, 5 s for a refusal, and some.
pub(super) const JOIN_ANSWER_MAX: Duration = Duration::from_secs(30);
/// Joins go out five a second at most, as the limit is per project.
pub(super) const JOIN_SPACING: Duration = Duration::from_millis(200);
/// How long the shell may take for a socket; its own limits are shorter.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(45);
/// Connections of gateway keys are closed after 24 h; ours go before, spread over half an hour.
const GATEWAY_KEY_AGE_MAX: Duration = Duration::from_secs(23 * 3600 + 1800);
const REPLACE_SPREAD: Duration = Duration::from_secs(1800);
/// Beyond this we must have slept, and the server must have closed the socket.
const CLOCK_JUMP_SECS: u64 = 60;
/// Readings are whole seconds, and clocks are steered.
const CLOCK_SLACK_SECS: u64 = 2;
