//! What a decoded message does: heartbeats, joins, leaves and pushes to a channel.
//! Answers that Phoenix gives without a channel carry no `join_ref` (recording 03, kind 3 to a topic not joined).

use super::channel::{Notice, PREFIX, token_of};
use super::codec::{self, Body, Broadcast, Message};
use super::fault::{Effects, Who};
use super::json::Json;
use super::machine::{ConnId, Emulator, Life, Out};
use super::timers::Timer;
use std::time::{Duration, Instant};

/// A leave is done by the channel, not by the socket, and takes a moment: a join or close right behind it wins
/// (recordings 10 and 13).
const LEAVE_TAKES: Duration = Duration::from_millis(2);
/// After a new token the database subscription is made again: 1.0 s later in recording 13, 1.6 to 6.6 s in 12.
const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(1_900);
/// Header bytes that Realtime adds to a kind 3 payload when it measures it.
const USER_OVERHEAD: usize = 30;

impl Emulator {
    pub(super) fn meet(&mut self, id: ConnId, message: Message, effects: &Effects, now: Instant) {
        if self.life == Life::Draining && message.event != "phx_join" {
            return;
        }
        let topic = message.topic.as_text().unwrap_or_default().to_owned();
        match message.event.as_str() {
            "heartbeat" if topic == "phoenix" => {
                self.reply(id, (&Json::Null, &message.reference), &message.topic, ("ok", "{}"));
            }
            "phx_join" if topic.starts_with(PREFIX) => self.join(id, &topic, &message, now),
            "phx_leave" => self.leave(id, &topic, &message, now),
            _ if self.channel(id, &topic).is_some() => self.push(id, &topic, (message, effects), now),
            _ => {
                let reason = r#"{"reason":"unmatched topic"}"#;
                self.reply(id, (&Json::Null, &message.reference), &message.topic, ("error", reason));
            }
        }
    }

    fn leave(&mut self, id: ConnId, topic: &str, message: &Message, now: Instant) {
        let Some(channel) = self.channel(id, topic) else {
            self.reply(id, (&message.join_ref, &message.reference), &message.topic, ("ok", "{}"));
            return;
        };
        if channel.join_ref != message.join_ref || channel.leaving.is_some() {
            return;
        }
        channel.leaving = Some(message.reference.clone());
        let timer = Timer::Leave(id, topic.to_owned(), channel.id);
        self.timers.add(now + LEAVE_TAKES, timer);
    }

    pub(super) fn finish_leave(&mut self, id: ConnId, topic: &str, channel: u64) {
        if self.channel(id, topic).is_none_or(|found| found.id != channel) {
            return;
        }
        let Some(version) = self.version(id) else { return };
        let Some(left) = self.detach(id, topic) else { return };
        let reference = left.leaving.unwrap_or(Json::Null);
        self.reply(id, (&left.join_ref, &reference), &Json::text(topic), ("ok", "{}"));
        self.send(id, codec::close(version, &left.join_ref, topic));
    }

    /// A push to a live channel.
    fn push(&mut self, id: ConnId, topic: &str, (message, effects): (Message, &Effects), now: Instant) {
        match message.event.as_str() {
            _ if self.channel(id, topic).is_some_and(|channel| channel.leaving.is_some()) => {}
            "broadcast" => self.push_broadcast(id, topic, (message, effects), now),
            "access_token" => self.new_token(id, topic, message.body.json().unwrap_or(&Json::Null), now),
            "presence" => self.push_presence(id, topic, &message, now),
            _ => {
                self.stats.ignored += 1;
                self.rates.events.count(1, now);
            }
        }
    }

    fn push_broadcast(
        &mut self,
        id: ConnId,
        topic: &str,
        (message, effects): (Message, &Effects),
        now: Instant,
    ) {
        self.stats.pushes += 1;
        self.rates.events.count(1, now);
        if !self.writable(id, topic) {
            self.stats.forbidden += 1;
            return;
        }
        let Some(channel) = self.channel(id, topic) else { return };
        let (ack, own, sender, room) = (channel.asked.ack, channel.asked.own, channel.id, channel.room());
        let refs = (channel.join_ref.clone(), message.reference);
        let cut = matches!(effects.cut, Some(Who::Sender | Who::All));
        let answer = |emulator: &mut Emulator, answer: (&str, &str)| {
            let Some(version) = emulator.version(id).filter(|_| ack) else { return };
            emulator.stats.acks += u64::from(answer.0 == "ok");
            let frame = codec::reply(version, (&refs.0, &refs.1), &Json::text(topic), answer.0, answer.1);
            if cut {
                emulator.end(id, Out::Cut(frame));
            } else {
                emulator.send(id, frame);
            }
        };
        if effects.nack {
            answer(self, ("error", r#"{"reason":"emulated refusal"}"#));
            return;
        }
        let Some(broadcast) = self.measured(message.body) else {
            self.stats.oversize += 1;
            answer(self, ("error", "\"payload_size_exceeded\""));
            return;
        };
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::AckFirst) {
            answer(self, ("ok", "{}"));
        }
        let skip = if own { None } else { Some(sender) };
        let over = self.deliver(&room, (broadcast, skip), effects, now);
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::AckFirst) {
            return;
        }
        answer(self, ("ok", "{}"));
        self.throw_out(&over);
        self.after_push(id, &room, effects);
    }

    /// The body as a broadcast, or `None` when it is over the payload limit.
    fn measured(&self, body: Body) -> Option<Broadcast> {
        let limit = self.config.limits.payload_bytes();
        let (size, broadcast) = match body {
            Body::Json(json) => (json.term_size(), Broadcast::Text(json.encode())),
            Body::User(user) => {
                (user.payload.len() + user.event.len() + USER_OVERHEAD, Broadcast::User(user))
            }
            Body::Bytes(bytes) => (bytes.len(), Broadcast::Bytes(bytes)),
        };
        (size <= limit).then_some(broadcast)
    }

    fn writable(&mut self, id: ConnId, topic: &str) -> bool {
        let Some(channel) = self.channel(id, topic) else { return false };
        if !channel.asked.private {
            return true;
        }
        if let Some(known) = channel.write {
            return known;
        }
        let (claims, name) = (channel.claims.clone(), channel.name().to_owned());
        let may = self.may_write(&claims, &name);
        if let Some(channel) = self.channel(id, topic) {
            channel.write = Some(may);
        }
        may
    }

    /// Ends channels that were over the message limit when they got a broadcast.
    pub(super) fn throw_out(&mut self, over: &[(ConnId, String)]) {
        for (id, topic) in over {
            self.shut(*id, topic, &Notice::error("Too many messages per second"));
        }
    }

    /// An `access_token` message: silent when good, the end of the channel when not.
    fn new_token(&mut self, id: ConnId, topic: &str, payload: &Json, now: Instant) {
        let Some(token) = token_of(payload) else { return };
        let unix = self.clock.unix(now);
        let Some(channel) = self.channel(id, topic).filter(|channel| channel.token != token) else { return };
        let (private, name, number) = (channel.asked.private, channel.name().to_owned(), channel.id);
        let subscribed = !channel.asked.changes.is_empty();
        let claims = match self.config.secret.verify(token, unix) {
            Ok(claims) => claims,
            Err(bad) => return self.shut(id, topic, &Notice::error(bad.while_joined())),
        };
        if private && !self.may_read(&claims, &name) {
            return self.shut(id, topic, &Notice::error(super::join::no_read(&name)));
        }
        if let Some(channel) = self.channel(id, topic) {
            channel.token = token.to_owned();
            channel.claims = claims;
            channel.write = None;
        }
        self.watch_token(id, topic, now);
        if subscribed {
            self.timers.add(now + RESUBSCRIBE_AFTER, Timer::Subscribed(id, topic.to_owned(), number));
        }
    }
}
