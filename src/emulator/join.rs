//! Joins: the checks, the reply and what follows it; refusals that hold the whole socket for 5 s.
//! A rejoin of a joined topic is answered before the old channel's `phx_close` (recording 10), also when it fails (08).

use super::channel::{Channel, JoinConfig, Notice, PREFIX, Presence, Replay, token_of};
use super::codec::{self, Message, UserBroadcast};
use super::json::Json;
use super::machine::{ConnId, Emulator, Held, JOIN_REFUSED_AFTER, Life};
use super::timers::Timer;
use super::token::Claims;
use std::time::{Duration, Instant};

/// Tokens are looked at again at their expiry, at the latest after this long.
const TOKEN_LOOK: Duration = Duration::from_secs(300);
/// How long it takes to say that database broadcasts work, once they do.
const REPLICATION_AFTER: Duration = Duration::from_millis(4);

/// Why a join is refused.
struct Refused {
    reason: String,
    /// Over the join rate: the socket is closed after the answer.
    then_close: bool,
}

impl Refused {
    fn because(reason: impl Into<String>) -> Refused {
        Refused { reason: reason.into(), then_close: false }
    }
}

/// A join that passed every check.
struct Granted {
    asked: JoinConfig,
    token: String,
    claims: Claims,
    replay: Vec<UserBroadcast>,
}

impl Emulator {
    /// A `phx_join` for a topic that begins with `realtime:`.
    pub(super) fn join(&mut self, id: ConnId, topic: &str, message: &Message, now: Instant) {
        if self.life == Life::Draining {
            // The answer never comes: the socket is held until the process is gone (recording 11).
            self.hold(id, topic, codec::OutFrame::text(String::new()), false);
            return;
        }
        match self.check_join(id, topic, message, now) {
            Ok(granted) => self.welcome(id, topic, (message, granted), now),
            Err(refused) => self.refuse_join(id, topic, (message, &refused), now),
        }
    }

    fn check_join(
        &mut self,
        id: ConnId,
        topic: &str,
        message: &Message,
        now: Instant,
    ) -> Result<Granted, Refused> {
        let payload = match message.body.json() {
            Some(payload @ Json::Map(_)) => payload,
            _ => {
                return Err(Refused::because(
                    "UnknownErrorOnChannel: expected params to be a :map, got: `nil`",
                ));
            }
        };
        let name = topic.strip_prefix(PREFIX).unwrap_or(topic);
        if name.is_empty() {
            return Err(Refused::because("TopicNameRequired: You must provide a topic name"));
        }
        self.check_limits(id, topic, now)?;
        let asked = JoinConfig::read(payload, name);
        if self.config.private_only && !asked.private {
            return Err(Refused::because("PrivateOnly: This project only allows private channels"));
        }
        let token = match token_of(payload) {
            Some(token) => token.to_owned(),
            None => self.conns.get(&id).map(|conn| conn.identity.token.clone()).unwrap_or_default(),
        };
        let claims = self
            .config
            .secret
            .verify(&token, self.clock.unix(now))
            .map_err(|bad| Refused::because(bad.at_join()))?;
        if asked.private && !self.may_read(&claims, name) {
            return Err(Refused::because(format!("Unauthorized: {}", no_read(name))));
        }
        let replay = self.replay(&asked, name, now).map_err(Refused::because)?;
        Ok(Granted { asked, token, claims, replay })
    }

    fn check_limits(&mut self, id: ConnId, topic: &str, now: Instant) -> Result<(), Refused> {
        let limits = self.config.limits;
        let over_rate = self.rates.joins.tripped(limits.joins_per_second, now);
        self.rates.joins.count(1, now);
        if over_rate {
            let reason = "ClientJoinRateLimitReached: Too many joins per second".to_owned();
            return Err(Refused { reason, then_close: true });
        }
        let users = self.users();
        let Some(conn) = self.conns.get(&id) else { return Err(Refused::because("UnknownErrorOnChannel")) };
        if !conn.channels.contains_key(topic) && conn.channels.len() >= limits.channels_per_socket {
            return Err(Refused::because("ChannelRateLimitReached: Too many channels"));
        }
        if !conn.user && users >= limits.users {
            return Err(Refused::because("ConnectionRateLimitReached: Too many connected users"));
        }
        Ok(())
    }

    fn replay(
        &self,
        asked: &JoinConfig,
        name: &str,
        now: Instant,
    ) -> Result<Vec<UserBroadcast>, &'static str> {
        match asked.replay {
            Replay::None => Ok(Vec::new()),
            _ if !asked.private => Err("UnableToReplayMessages: Replay is not allowed for public channels"),
            Replay::Invalid => Err("UnableToReplayMessages: Replay params are not valid"),
            Replay::Since { since_ms, limit } => {
                Ok(self.database.replay(name, (since_ms, limit), self.clock.unix_ms(now)))
            }
        }
    }

    fn refuse_join(
        &mut self,
        id: ConnId,
        topic: &str,
        (message, refused): (&Message, &Refused),
        now: Instant,
    ) {
        self.stats.join_errors += 1;
        let Some(version) = self.version(id) else { return };
        let mut response = "{\"reason\":".to_owned();
        super::json::write_text(&refused.reason, &mut response);
        response.push('}');
        let refs = (&message.join_ref, &message.reference);
        let answer = codec::reply(version, refs, &message.topic, "error", &response);
        self.hold(id, topic, answer, refused.then_close);
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::NoHold) {
            self.timers.add(now, Timer::Release(id));
            return;
        }
        self.timers.add(now + JOIN_REFUSED_AFTER, Timer::Release(id));
    }

    fn hold(&mut self, id: ConnId, topic: &str, answer: codec::OutFrame, then_close: bool) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.held = Some(Held { answer, topic: topic.to_owned(), then_close });
        }
    }

    fn welcome(&mut self, id: ConnId, topic: &str, (message, granted): (&Message, Granted), now: Instant) {
        self.stats.joined += 1;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.user = true;
        let version = conn.identity.version;
        let response = super::database::response(&granted.asked.changes);
        let refs = (&message.join_ref, &message.reference);
        let answer = codec::reply(version, refs, &message.topic, "ok", &response);
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::CloseBeforeReply) {
            self.close_replaced(id, topic);
        }
        self.send(id, answer);
        self.close_replaced(id, topic);
        let channel = self.enter(id, topic, (message, &granted), now);
        for user in &granted.replay {
            if let Some(frame) = codec::Broadcast::replay(user, version, &message.join_ref, topic) {
                self.send(id, frame);
            }
        }
        self.after_join(id, topic, (channel, &granted.asked), now);
    }

    /// Puts the channel on its socket and into its room; returns its id.
    fn enter(
        &mut self,
        id: ConnId,
        topic: &str,
        (message, granted): (&Message, &Granted),
        now: Instant,
    ) -> u64 {
        self.channels_made += 1;
        let mut asked = granted.asked.clone();
        if asked.presence && asked.presence_key.is_empty() {
            asked.presence_key = self.uuid();
        }
        let channel = Channel {
            id: self.channels_made,
            topic: topic.to_owned(),
            join_ref: message.join_ref.clone(),
            asked,
            token: granted.token.clone(),
            claims: granted.claims.clone(),
            write: None,
            events_limit: self.config.limits.events_per_second,
            check_at: None,
            subscribed: false,
            leaving: None,
            presence: Presence::default(),
        };
        self.rooms.entry(channel.room()).or_default().insert(channel.id, id);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.channels.insert(topic.to_owned(), channel);
        }
        self.watch_token(id, topic, now);
        self.channels_made
    }

    fn after_join(&mut self, id: ConnId, topic: &str, (channel, asked): (u64, &JoinConfig), now: Instant) {
        if asked.presence {
            if self.rates.presence.tripped(self.config.limits.presence_per_second, now) {
                self.shut(id, topic, &Notice::error("Too many presence messages per second"));
                return;
            }
            self.presence_state(id, topic);
        }
        if asked.replication_ready {
            self.timers.add(now + REPLICATION_AFTER, Timer::Replication(id, topic.to_owned(), channel));
        }
        if !asked.changes.is_empty() {
            let after = self.database.subscribe_takes(self.config.first_subscription);
            self.timers.add(now + after, Timer::Subscribed(id, topic.to_owned(), channel));
        }
    }

    /// Ends the channel that a rejoin takes the place of.
    pub(super) fn close_replaced(&mut self, id: ConnId, topic: &str) {
        let Some(version) = self.version(id) else { return };
        if let Some(old) = self.detach(id, topic) {
            self.send(id, codec::close(version, &old.join_ref, topic));
        }
    }

    /// Sets the timer for the next look at a channel's token, unless an earlier look is due anyway.
    pub(super) fn watch_token(&mut self, id: ConnId, topic: &str, now: Instant) {
        let unix_ms = self.clock.unix_ms(now);
        let Some(channel) = self.channel(id, topic) else { return };
        let left_ms = channel.claims.exp.unwrap_or_default().saturating_mul(1_000).saturating_sub(unix_ms);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        let at = now + left.min(TOKEN_LOOK);
        if channel.check_at.is_some_and(|set| set <= at && set > now) {
            return;
        }
        channel.check_at = Some(at);
        let timer = Timer::Token(id, topic.to_owned(), channel.id);
        self.timers.add(at, timer);
    }

    pub(super) fn look_at_token(&mut self, id: ConnId, topic: &str, channel: u64, now: Instant) {
        let unix = self.clock.unix(now);
        let Some(found) = self.channel(id, topic).filter(|found| found.id == channel) else { return };
        if found.check_at != Some(now) {
            return;
        }
        match found.claims.exp {
            Some(exp) if exp > unix => self.watch_token(id, topic, now),
            exp => {
                let seconds = unix.saturating_sub(exp.unwrap_or(unix));
                self.shut(id, topic, &Notice::error(format!("Token has expired {seconds} seconds ago")));
            }
        }
    }

    pub(super) fn may_read(&self, claims: &Claims, name: &str) -> bool {
        self.allowed(claims, name, |policy| policy.read)
    }

    pub(super) fn may_write(&self, claims: &Claims, name: &str) -> bool {
        self.allowed(claims, name, |policy| policy.write)
    }

    fn allowed(&self, claims: &Claims, name: &str, what: impl Fn(&super::config::Policy) -> bool) -> bool {
        claims.role() == "service_role"
            || self.config.policies.iter().any(|policy| {
                policy.role == claims.role() && super::config::fits(&policy.topic, name) && what(policy)
            })
    }
}

/// The sentence a role without read permission gets, in a join's reason and in a `system` message.
pub(super) fn no_read(name: &str) -> String {
    format!("You do not have permissions to read from this Channel topic: {name}")
}
