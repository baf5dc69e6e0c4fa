//! What comes in: replies matched by ref, ends of channels matched by the ref of their join, broadcasts in both forms.
//! A message that fits nothing of ours is counted and dropped, never guessed at.

use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::realtime::message::{Encoding, Frame, Head, Message, Origin};
use crate::realtime::reason::Reason;
use crate::realtime::{classify, codec};

use super::channel::State;
use super::event::{Broadcast, ChangePayload, LinkEvent, MESSAGE_CHARS_MAX, Outcome};
use super::session::{BEAT_ANSWER_MAX, JoinOnItsWay, Phase};
use super::{Link, TopicNo};

impl Link {
    /// One frame from the open socket.
    pub(super) fn receive(&mut self, frame: &Frame, now: Instant) {
        match codec::decode(self.config.vsn, Origin::Server, frame) {
            Err(_) => self.stats.undecodable += 1,
            Ok(Message::Text(head, payload)) => self.receive_text(&head, &payload, now),
            Ok(Message::User(user)) => {
                self.deliver(user.head, user.payload, user.encoding, user.metadata);
            }
            // Somebody pushed kind 0 by hand: bytes without a user event.
            Ok(Message::Broadcast(head, payload)) => {
                self.deliver(head, payload, Encoding::Bytes, Bytes::new());
            }
            Ok(Message::Push(..) | Message::Reply(..)) => self.stats.stale += 1,
        }
    }

    fn receive_text(&mut self, head: &Head, payload: &Bytes, now: Instant) {
        if head.event == "phx_reply" {
            self.receive_reply(head, payload, now);
            return;
        }
        let Some(topic) = self.current(head) else {
            self.stats.stale += 1;
            return;
        };
        match head.event.as_str() {
            "broadcast" => {
                let inside = codec::open_broadcast(payload);
                let head = Head { event: inside.event, ..head.clone() };
                self.deliver(head, inside.payload, Encoding::Json, inside.meta);
            }
            "phx_close" => {
                let announced = matches!(&self.phase, Phase::Open(open) if open.announced);
                let said = self.channels.get_mut(&topic).and_then(|channel| channel.take_error(now));
                let silent = if announced { Reason::DisconnectRequested } else { Reason::ChannelClosed };
                self.lose_channel(topic, said.unwrap_or(silent), now);
            }
            "phx_error" => self.lose_channel(topic, Reason::ChannelCrash, now),
            "system" => self.receive_system(topic, payload, now),
            "postgres_changes" => {
                self.offer(LinkEvent::Change { topic, payload: ChangePayload(payload.clone()) });
            }
            // Presence is never asked for; what is new to us is no business of ours.
            _ => {}
        }
    }

    /// The channel that a message is for, unless it is for a join that is no more.
    fn current(&self, head: &Head) -> Option<TopicNo> {
        let topic = *self.by_topic.get(&head.topic)?;
        let ends = matches!(head.event.as_str(), "phx_close" | "phx_error");
        // 1.0.0 has no join_ref; there the ref of an end is the ref of its join.
        let named = head.join_ref.as_ref().or_else(|| head.reference.as_ref().filter(|_| ends));
        #[cfg(test)]
        if self.sabotaged(super::tests::Sabotage::MatchesWithoutRefs) {
            return Some(topic);
        }
        let current = self.channels.get(&topic)?.join_ref()?;
        named.is_none_or(|named| *named == current.to_string()).then_some(topic)
    }

    fn receive_reply(&mut self, head: &Head, payload: &Bytes, now: Instant) {
        let reply = Reply::read(payload);
        let reference = head.reference.as_deref().and_then(|text| text.parse::<u64>().ok());
        if head.topic == "phoenix" {
            if !self.receive_inquiry(reference, now) {
                self.receive_beat(reference);
            }
            return;
        }
        if let Phase::Open(open) = &mut self.phase
            && let Some(join) = open.join
            && reference == Some(join.reference)
        {
            open.join = None;
            if let Some((_, deadline)) = &mut open.beat {
                // The beat may have waited behind this join.
                *deadline = (*deadline).max(now + BEAT_ANSWER_MAX);
            }
            self.receive_join_reply(join, &reply, now);
            return;
        }
        let Some(topic) = self.by_topic.get(&head.topic).copied() else {
            self.stats.unmatched_replies += 1;
            return;
        };
        self.receive_push_reply(topic, reference, &reply, now);
    }

    fn receive_beat(&mut self, reference: Option<u64>) {
        if let Phase::Open(open) = &mut self.phase
            && open.beat.is_some_and(|(sent, _)| Some(sent) == reference)
        {
            open.beat = None;
        } else {
            self.stats.unmatched_replies += 1;
        }
    }

    fn receive_join_reply(&mut self, join: JoinOnItsWay, reply: &Reply, now: Instant) {
        let Some(channel) = self.channels.get_mut(&join.topic) else { return };
        if channel.state != (State::Joining { join_ref: join.reference }) {
            return; // left, and perhaps added anew, since
        }
        if reply.is_ok {
            channel.state = State::Joined { join_ref: join.reference, since: now };
            self.stats.joins += 1;
            if self.begin_trial(join.topic, now) {
                self.events.push(LinkEvent::Joined { topic: join.topic });
            }
        } else {
            self.lose_channel(join.topic, classify::join_error(&reply.text), now);
        }
    }

    fn receive_push_reply(&mut self, topic: TopicNo, reference: Option<u64>, reply: &Reply, now: Instant) {
        let is_trial = self.is_trial(topic, reference);
        let Some(channel) = self.channels.get_mut(&topic) else { return };
        let place = channel.in_flight.iter().position(|push| Some(push.reference) == reference);
        #[cfg(test)]
        let place =
            if self.sabotage == Some(super::tests::Sabotage::MatchesWithoutRefs) { Some(0) } else { place };
        let outcome =
            if reply.is_ok { Outcome::Accepted } else { Outcome::Refused(classify::push_error(&reply.text)) };
        match place.and_then(|at| channel.in_flight.remove(at)) {
            Some(push) => {
                channel.silent = 0;
                self.events.push(LinkEvent::Ack { topic, push: push.push, outcome });
            }
            None if is_trial => {}
            None => self.stats.unmatched_replies += 1,
        }
        match outcome {
            Outcome::Accepted if place.is_some() || is_trial => self.may_write(topic),
            Outcome::Refused(reason) if reason != Reason::UnmatchedTopic => {
                self.heard_refusal(topic, is_trial)
            }
            _ => {}
        }
        // Told also without ack. Replies come in order, so it is never about a channel joined since.
        if outcome == Outcome::Refused(Reason::UnmatchedTopic) && self.knows_joined(topic) {
            self.lose_channel(topic, Reason::UnmatchedTopic, now);
        }
    }

    fn receive_system(&mut self, topic: TopicNo, payload: &Bytes, now: Instant) {
        #[derive(Deserialize)]
        struct System {
            #[serde(default)]
            extension: String,
            #[serde(default)]
            status: String,
            #[serde(default)]
            message: Value,
        }
        let Ok(system) = serde_json::from_slice::<System>(payload) else {
            self.stats.undecodable += 1;
            return;
        };
        let message = system.message.as_str().unwrap_or_default();
        let reason = classify::system(&system.extension, system.status == "error", message);
        match (reason, &mut self.phase) {
            (Some(Reason::DisconnectRequested), Phase::Open(open)) => open.announced = true,
            (Some(Reason::ChangesRefused) | None, _) => {}
            (Some(reason), _) => {
                if let Some(channel) = self.channels.get_mut(&topic) {
                    channel.remember_error(reason, now);
                }
            }
        }
        let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
        self.offer(LinkEvent::System { topic, extension: system.extension, reason, message });
    }

    fn deliver(&mut self, head: Head, payload: Bytes, encoding: Encoding, meta: Bytes) {
        let topic = self.by_topic.get(&head.topic).copied();
        let Some(topic) = topic.filter(|topic| self.knows_joined(*topic)) else {
            self.stats.stale += 1;
            return;
        };
        self.offer(LinkEvent::Broadcast(Broadcast { topic, event: head.event, payload, encoding, meta }));
    }

    /// The server has granted the join, on trial or not.
    fn knows_joined(&self, topic: TopicNo) -> bool {
        self.channels.get(&topic).is_some_and(super::Channel::is_joined)
    }

    /// Data for the owner: shed when the owner is too slow, as the server would shed us.
    fn offer(&mut self, event: LinkEvent) {
        if !self.events.push_data(event, self.config.limits.incoming_bytes_max) {
            self.stats.shed += 1;
        }
    }
}

/// `{"status":…,"response":…}`, the response being an object with `reason`, or a bare string.
struct Reply {
    is_ok: bool,
    text: String,
}

impl Reply {
    fn read(payload: &Bytes) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            status: String,
            #[serde(default)]
            response: Value,
        }
        let Ok(body) = serde_json::from_slice::<Body>(payload) else {
            return Self { is_ok: false, text: String::new() };
        };
        let response = &body.response;
        let text =
            ["reason", "error"].iter().find_map(|key| response.get(key)?.as_str()).or(response.as_str());
        Self { is_ok: body.status == "ok", text: text.unwrap_or_default().to_owned() }
    }
}
