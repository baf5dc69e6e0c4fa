//! What goes out: heartbeats, joins, leaves and tokens before pushes.
//! Pushes are written when they are taken, so that a refusal is known at once; the rest is written when it is due.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::realtime::codec;
use crate::realtime::message::{EncodeError, Encoding, Frame, Head, Message, Origin, UserBroadcast, Vsn};
use crate::realtime::reason::Reason;

use super::channel::{InFlight, State};
use super::event::{LinkEvent, Outcome};
use super::session::{JOIN_ANSWER_MAX, JOIN_SPACING, JoinOnItsWay, Phase};
use super::{Link, Push, PushError, TopicNo};

/// Frames that the socket has not taken.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// At most a heartbeat, a join, and a leave for each channel that was joined.
    control: VecDeque<Frame>,
    pushes: VecDeque<(TopicNo, Frame)>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn push(&mut self, topic: TopicNo, frame: Frame) {
        self.bytes = self.bytes.saturating_add(frame.len());
        self.pushes.push_back((topic, frame));
    }

    /// Drops what a channel has not sent.
    fn forget(&mut self, topic: TopicNo) {
        self.pushes.retain(|(of, _)| *of != topic);
        self.bytes = self.pushes.iter().map(|(_, frame)| frame.len()).sum();
    }

    fn pop_push(&mut self) -> Option<Frame> {
        let (_, frame) = self.pushes.pop_front()?;
        self.bytes = self.bytes.saturating_sub(frame.len());
        Some(frame)
    }
}

impl Link {
    /// The next frame for the socket. Call it when the socket can take one; what is not taken is bounded here.
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        if !self.phase.is_open() {
            return None;
        }
        if let Some(frame) = self.outbox.control.pop_front() {
            return Some(frame);
        }
        if let Some(frame) = self.next_token_frame() {
            return Some(frame);
        }
        self.outbox.pop_push()
    }

    /// Takes a broadcast. On a channel with `ack` its [`Outcome`] comes as [`LinkEvent::Ack`], exactly once.
    ///
    /// # Errors
    /// [`PushError`]: nothing was sent and no outcome will come.
    pub fn push(&mut self, push: Push, now: Instant) -> Result<(), PushError> {
        let limits = self.config.limits;
        let channel = self.channels.get(&push.topic).ok_or(PushError::UnknownTopic)?;
        let State::Joined { join_ref, .. } = channel.state else { return Err(PushError::NotJoined) };
        if channel.silence.on_trial() {
            return Err(PushError::NotJoined);
        }
        if channel.join.ack && channel.in_flight.len() >= limits.in_flight_max {
            return Err(PushError::Full);
        }
        if push.body.len() > limits.payload_bytes_max {
            return Err(PushError::TooLarge);
        }
        if self.outbox.bytes.saturating_add(push.body.len()) > limits.outgoing_bytes_max {
            return Err(PushError::Backlogged);
        }
        let head = Head {
            join_ref: Some(join_ref.to_string()),
            reference: Some(self.next_ref.to_string()),
            topic: channel.topic.clone(),
            event: push.event,
        };
        let frame = broadcast_frame(self.config.vsn, head, push.encoding, push.body)?;
        let reference = self.fresh_ref();
        if let Some(channel) = self.channels.get_mut(&push.topic).filter(|channel| channel.join.ack) {
            let deadline = now + limits.ack_timeout;
            channel.in_flight.push_back(InFlight { reference, push: push.id, deadline });
            channel.silence.pushed(now);
        }
        self.stats.pushes += 1;
        self.outbox.push(push.topic, frame);
        Ok(())
    }

    /// Sends the next join, if one is due and none is on its way.
    pub(super) fn join_next(&mut self, now: Instant) {
        let Phase::Open(open) = &self.phase else { return };
        if open.join.is_some() || open.next_join_at > now {
            return;
        }
        let Some((_, topic)) = self.next_join().filter(|(at, _)| *at <= now) else { return };
        let reference = self.join_ref();
        let token = self.join_token().map(|token| token.reveal().to_owned());
        let Some(channel) = self.channels.get_mut(&topic) else { return };
        channel.state = State::Joining { join_ref: reference };
        let payload = Bytes::from(channel.join.payload(token.as_deref()));
        let head = control_head(Some(reference), reference, &channel.topic, "phx_join");
        if let Phase::Open(open) = &mut self.phase {
            open.join = Some(JoinOnItsWay { topic, reference, deadline: now + JOIN_ANSWER_MAX });
            open.next_join_at = now + JOIN_SPACING;
        }
        self.send_control(head, payload);
    }

    fn join_ref(&mut self) -> u64 {
        #[cfg(test)]
        if self.sabotaged(super::tests::Sabotage::ReusesJoinRef) {
            return 1;
        }
        self.fresh_ref()
    }

    pub(super) fn send_heartbeat(&mut self, reference: u64) {
        self.send_control(control_head(None, reference, "phoenix", "heartbeat"), Bytes::from_static(b"{}"));
    }

    /// Tells the server that a channel is left, if the server knows of it.
    pub(super) fn send_leave(&mut self, topic: TopicNo) {
        let Some(channel) = self.channels.get(&topic).filter(|_| self.phase.is_open()) else { return };
        let Some(join_ref) = channel.join_ref() else { return };
        let name = channel.topic.clone();
        let reference = self.fresh_ref();
        self.send_control(
            control_head(Some(join_ref), reference, &name, "phx_leave"),
            Bytes::from_static(b"{}"),
        );
    }

    /// Unanswered pushes of a channel end here, as do those that were not sent.
    pub(super) fn lose_pushes(&mut self, topic: TopicNo, reason: Reason) {
        self.outbox.forget(topic);
        let Some(channel) = self.channels.get_mut(&topic) else { return };
        for push in channel.in_flight.drain(..) {
            self.events.push(LinkEvent::Ack { topic, push: push.push, outcome: Outcome::Lost(reason) });
        }
    }

    /// The new token for the next channel that was not told. The server answers only if it is bad.
    fn next_token_frame(&mut self) -> Option<Frame> {
        #[derive(Serialize)]
        struct Payload<'a> {
            access_token: &'a str,
        }
        let due = |channel: &&mut super::Channel| channel.token_due && channel.is_joined();
        let channel = self.channels.values_mut().find(due)?;
        channel.token_due = false;
        let (join_ref, topic) = (channel.join_ref(), channel.topic.clone());
        let reference = self.fresh_ref();
        let payload = serde_json::to_vec(&Payload { access_token: self.join_token()?.reveal() }).ok()?;
        let head = control_head(join_ref, reference, &topic, "access_token");
        codec::encode(self.config.vsn, &Message::Text(head, payload.into())).ok()
    }

    fn send_control(&mut self, head: Head, payload: Bytes) {
        // Our own JSON under a text form: it always fits.
        if let Ok(frame) = codec::encode(self.config.vsn, &Message::Text(head, payload)) {
            self.outbox.control.push_back(frame);
        }
    }
}

pub(super) fn control_head(join_ref: Option<u64>, reference: u64, topic: &str, event: &str) -> Head {
    Head {
        join_ref: join_ref.map(|join_ref| join_ref.to_string()),
        reference: Some(reference.to_string()),
        topic: topic.to_owned(),
        event: event.to_owned(),
    }
}

/// Kind 3 in 2.0.0; in 1.0.0 the object that it stands for.
pub(super) fn broadcast_frame(
    vsn: Vsn,
    head: Head,
    encoding: Encoding,
    body: Bytes,
) -> Result<Frame, EncodeError> {
    #[derive(Serialize)]
    struct Payload<'a> {
        r#type: &'static str,
        event: &'a str,
        payload: &'a RawValue,
    }
    if vsn == Vsn::V2 {
        let metadata = Bytes::new();
        let user = UserBroadcast { origin: Origin::Client, head, metadata, encoding, payload: body };
        return codec::encode(vsn, &Message::User(user));
    }
    if encoding == Encoding::Bytes {
        return Err(EncodeError::BinaryNeedsV2);
    }
    let payload: &RawValue = serde_json::from_slice(&body).map_err(|_| EncodeError::PayloadNotJson)?;
    let payload = Payload { r#type: "broadcast", event: &head.event, payload };
    let payload = serde_json::to_vec(&payload).map_err(|_| EncodeError::PayloadNotJson)?;
    let head = Head { event: "broadcast".into(), ..head };
    codec::encode(vsn, &Message::Text(head, payload.into()))
}
