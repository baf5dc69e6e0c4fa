//! One socket to Realtime with its channels, as a machine without a socket.
//!
//! **Problem.** Realtime closes sockets for many reasons and says so in many ways: a code, a system message, a reply
//! five seconds late, or silence. Clients that miss one of them stay "joined" for hours to a channel that is gone.
//!
//! **Decision.** Everything that decides is here, pure: frames and time go in, frames and events come out, in the
//! manner of `quinn-proto`. The shell ([`super::client`]) moves bytes. After any call, take what
//! [`Link::poll_order`], [`Link::poll_transmit`] and [`Link::poll_event`] give until they give nothing, and call
//! [`Link::handle_timeout`] when [`Link::poll_timeout`] has come. Calls too many are harmless.
//!
//! - *One socket.* [`Order::Connect`] comes only after the socket before was reported closed.
//! - *Refs.* Each join has a fresh ref, used as `join_ref` of all its pushes. A server message with another
//!   `join_ref` belongs to a channel that is no more, and is dropped: a second join of a topic is answered *before*
//!   the first one's `phx_close`. Refs never start again, so nothing of an old socket can match.
//! - *One join at a time, five a second.* A refused join holds up the whole socket for 5 s, so several at once would
//!   silence heartbeats for longer than we may doubt them.
//! - *Heartbeats* every 20 s ± 10 % whatever else is sent, with real refs; 8 s without an answer and the socket is
//!   dead. While a join is on its way the answer may be late without fault; the 8 s start again behind it.
//! - *Silence* on a private channel is doubted, tried and named (`silence.rs`): a policy that forbids to write answers
//!   nothing, and is no outage.
//! - *Everything that ends is tried again*, after a wait that depends on the reason ([`Remedy`]): nothing is counted
//!   up to an end. What only a person can change is also told as [`LinkEvent::GiveUp`].
//! - *Tokens.* A new one is told to every channel and used for every later join; [`LinkEvent::TokenExpiring`] asks for
//!   one in time.
//!
//! **Limits.** 32 pushes in flight per channel ([`PushError::Full`]), 8 MiB of frames that the socket has not taken
//! ([`PushError::Backlogged`]), 32 MiB or 8,192 messages that the owner has not taken (shed, counted in [`Stats`]), 100 channels.
//!
//! **Not here.** Presence, sending again what was lost (the owner knows what still matters), HTTP.

mod backoff;
mod channel;
mod event;
mod inbound;
mod outbound;
mod session;
mod silence;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

pub use channel::{Changes, Join, Replay};
pub use event::{Broadcast, ChangePayload, LinkEvent, MESSAGE_CHARS_MAX, Order, Outcome};
pub use session::{ConnectFailure, Input};
pub use silence::TRIAL_EVENT;

use super::key::ApiKey;
use super::message::{EncodeError, Encoding, Vsn};
use super::reason::{Reason, Remedy};
use super::url::{ConnectRequest, Endpoint};
use backoff::{Backoff, Jitter};
use channel::{Channel, State};
use event::Events;
use outbound::Outbox;
use session::{Clock, Phase, Reading};

/// The name that the owner gives a channel; stays the same over all rejoins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicNo(pub u32);

/// The name that the owner gives a push, to know its outcome. Should be unique among those without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushRef(pub u64);

/// What a link needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Realtime is.
    pub endpoint: Endpoint,
    /// The key that opens the socket.
    pub key: ApiKey,
    /// The token of the joins, when it is not the key: a JWT of a role of its own.
    pub token: Option<ApiKey>,
    /// The serializer. With 1.0.0 broadcasts are pushed as text.
    pub vsn: Vsn,
    /// Sizes and times.
    pub limits: Limits,
}

impl Config {
    /// The usual one: 2.0.0 and default limits.
    #[must_use]
    pub fn new(endpoint: Endpoint, key: ApiKey) -> Self {
        Self { endpoint, key, token: None, vsn: Vsn::V2, limits: Limits::default() }
    }
}

/// Sizes and times that an owner may want to change. What is not here follows from the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Unanswered pushes per channel.
    pub in_flight_max: usize,
    /// Channels; plans allow 100 per socket.
    pub channels_max: usize,
    /// One push, in bytes: the plan's payload limit.
    pub payload_bytes_max: usize,
    /// Frames that the socket has not taken, in bytes.
    pub outgoing_bytes_max: usize,
    /// Messages that the owner has not taken, in bytes.
    pub incoming_bytes_max: usize,
    /// How long a push may go unanswered.
    pub ack_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: 32,
            channels_max: 100,
            payload_bytes_max: 3_000_000,
            outgoing_bytes_max: 8 << 20,
            incoming_bytes_max: 32 << 20,
            ack_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a channel cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JoinError {
    /// Realtime refuses the empty name.
    #[error("a channel needs a name")]
    EmptyName,
    /// The binary frames hold topics of 255 bytes, `realtime:` included.
    #[error("the name has more than 246 bytes")]
    NameTooLong,
    /// The number or the name is in use: one socket holds one channel of a name.
    #[error("the channel is there already")]
    Taken,
    /// [`Limits::channels_max`].
    #[error("the socket has as many channels as it may")]
    TooMany,
}

/// One broadcast to send.
#[derive(Clone, Debug)]
pub struct Push {
    /// The owner's name for it.
    pub id: PushRef,
    /// On which channel.
    pub topic: TopicNo,
    /// The event, at most 255 bytes.
    pub event: String,
    /// The payload. JSON is not checked in 2.0.0 (the server does not either): send valid JSON.
    pub body: Bytes,
    /// What the payload is. Bytes do not reach 1.0.0 listeners.
    pub encoding: Encoding,
}

/// Why a push was not taken. Nothing was sent; the owner keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// No channel of that number.
    #[error("no such channel")]
    UnknownTopic,
    /// The channel is not joined at the moment.
    #[error("the channel is not joined")]
    NotJoined,
    /// [`Limits::in_flight_max`] pushes wait for their answers.
    #[error("too many pushes in flight")]
    Full,
    /// The socket takes nothing and [`Limits::outgoing_bytes_max`] wait for it.
    #[error("the socket is backlogged")]
    Backlogged,
    /// [`Limits::payload_bytes_max`].
    #[error("the payload is over the limit")]
    TooLarge,
    /// It cannot be written in this version.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What was counted since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sockets that opened.
    pub connects: u64,
    /// Joins that were answered with ok.
    pub joins: u64,
    /// Pushes taken.
    pub pushes: u64,
    /// Frames that could not be read.
    pub undecodable: u64,
    /// Server messages for a join that is no more, or for no channel of ours.
    pub stale: u64,
    /// Replies that nobody waited for, such as late acks.
    pub unmatched_replies: u64,
    /// Broadcasts, changes and system messages shed because the owner did not take them.
    pub shed: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Link {
    config: Config,
    phase: Phase,
    channels: BTreeMap<TopicNo, Channel>,
    by_topic: HashMap<String, TopicNo>,
    next_ref: u64,
    outbox: Outbox,
    /// At most one of each in turn: only the shell's answers lead to further ones.
    orders: VecDeque<Order>,
    events: Events,
    jitter: Jitter,
    retry: Backoff,
    clock: Clock,
    stats: Stats,
    #[cfg(test)]
    sabotage: Option<tests::Sabotage>,
}

impl Link {
    /// A link that connects when its first channel is joined. Two links should differ in `seed`.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            phase: Phase::Down { retry_at: None, why: None },
            channels: BTreeMap::new(),
            by_topic: HashMap::new(),
            next_ref: 1,
            outbox: Outbox::default(),
            orders: VecDeque::new(),
            events: Events::default(),
            jitter: Jitter::new(seed),
            retry: Backoff::default(),
            clock: Clock::default(),
            stats: Stats::default(),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// What to ask for when opening the socket, with the key of this moment.
    #[must_use]
    pub fn connect_request(&self) -> ConnectRequest {
        self.config.endpoint.socket(&self.config.key, self.config.vsn)
    }

    /// Adds a channel. It is joined as soon as the socket allows, and again after every end.
    ///
    /// # Errors
    /// [`JoinError`]; nothing has changed then.
    pub fn join(&mut self, topic: TopicNo, join: Join, now: Instant) -> Result<(), JoinError> {
        let name = join.topic()?;
        if self.channels.contains_key(&topic) || self.by_topic.contains_key(&name) {
            return Err(JoinError::Taken);
        }
        if self.channels.len() >= self.config.limits.channels_max {
            return Err(JoinError::TooMany);
        }
        self.by_topic.insert(name.clone(), topic);
        self.channels.insert(topic, Channel::new(join, name, now));
        if let Phase::Down { retry_at: retry_at @ None, .. } = &mut self.phase {
            *retry_at = Some(now);
        }
        self.handle_timeout(now);
        Ok(())
    }

    /// Removes a channel; its unanswered pushes are lost. Without channels the socket is given up.
    pub fn leave(&mut self, topic: TopicNo, now: Instant) {
        if !self.channels.contains_key(&topic) {
            return;
        }
        self.send_leave(topic);
        self.lose_pushes(topic, Reason::Left);
        if let Some(channel) = self.channels.remove(&topic) {
            self.by_topic.remove(&channel.topic);
            self.events.push(LinkEvent::Left { topic, reason: Reason::Left, retry_in: None });
        }
        if self.channels.is_empty() {
            self.hang_up(Reason::Left, now);
        }
        self.handle_timeout(now);
    }

    /// Whether pushes on the channel would be taken, fullness apart.
    #[must_use]
    pub fn is_joined(&self, topic: TopicNo) -> bool {
        self.channels.get(&topic).is_some_and(|channel| channel.is_joined() && !channel.silence.on_trial())
    }

    /// A new token for the joins: told to every channel that is joined, and tried at once where the old one failed.
    pub fn set_token(&mut self, token: Option<ApiKey>, now: Instant) {
        if self.config.token != token {
            self.config.token = token;
            self.renew_authorization(now);
        }
    }

    /// A new key: used for the next socket, and as a token where no other was set.
    pub fn set_key(&mut self, key: ApiKey, now: Instant) {
        if self.config.key != key {
            self.config.key = key;
            self.renew_authorization(now);
        }
    }

    /// Says what the wall clock shows at `now`, in seconds since 1970. Until it was said once, no expiry is known.
    /// A jump ahead of more than a minute, as after sleep, ends the socket: its server has long forgotten it.
    pub fn set_clock(&mut self, unix_secs: u64, now: Instant) {
        let reading = self.clock.set(unix_secs, now);
        if reading != Reading::AsExpected {
            self.plan_token_notice(now);
        }
        if reading == Reading::Jumped && self.phase.is_open() {
            self.hang_up(Reason::ClockJump, now);
        }
        self.handle_timeout(now);
    }

    /// What the shell must do, oldest first.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop()
    }

    /// Adds an event of the shell's to the queue, in its place.
    pub(in crate::realtime) fn tell(&mut self, event: LinkEvent) {
        self.events.push(event);
    }

    /// How many events wait.
    #[must_use]
    pub fn events_waiting(&self) -> usize {
        self.events.len()
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The token that a join carries: none for `sb_` keys, which the server ignores there.
    fn join_token(&self) -> Option<&ApiKey> {
        let token = self.config.token.as_ref().unwrap_or(&self.config.key);
        Some(token).filter(|token| !token.is_gateway_key())
    }

    /// Channels whose authorization failed are tried again; those that are joined are told.
    fn renew_authorization(&mut self, now: Instant) {
        use super::reason::Cause::OurAuthorization;
        for channel in self.channels.values_mut() {
            match &mut channel.state {
                State::Waiting { at, why: Some(why) } if why.cause() == OurAuthorization => {
                    *at = now;
                    channel.retry.reset();
                }
                State::Joined { .. } | State::Joining { .. } => {
                    channel.token_due = true;
                    channel.silence.renewed();
                }
                State::Waiting { .. } => {}
            }
        }
        if let Phase::Down { retry_at: Some(at), why: Some(why) } = &mut self.phase
            && why.cause() == OurAuthorization
        {
            *at = now;
            self.retry.reset();
        }
        self.plan_token_notice(now);
        self.handle_timeout(now);
    }

    /// A fresh ref. Never reused, not even on the next socket.
    const fn fresh_ref(&mut self) -> u64 {
        let fresh = self.next_ref;
        self.next_ref += 1;
        fresh
    }

    #[cfg(test)]
    pub(super) fn sabotaged(&self, by: tests::Sabotage) -> bool {
        self.sabotage == Some(by)
    }
}
