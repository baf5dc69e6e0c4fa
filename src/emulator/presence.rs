//! Presence in the small: track, untrack, state and diffs inside one process, with the recorded limits.
//! One state per channel; no merging across servers, since there is only one.

use super::channel::{Channel, Notice, PREFIX, Room, Tracked};
use super::codec::{self, Message};
use super::json::{Json, write_members, write_text};
use super::machine::{ConnId, Emulator};
use std::time::{Duration, Instant};

/// A channel may call so often…
const CALLS_MAX: usize = 5;
/// …within this long.
const CALLS_WITHIN: Duration = Duration::from_secs(30);

impl Emulator {
    /// The `presence_state` that follows a join.
    pub(super) fn presence_state(&mut self, id: ConnId, topic: &str) {
        let Some(version) = self.version(id) else { return };
        let Some(channel) = self.channel(id, topic) else { return };
        let (room, join_ref) = (channel.room(), channel.join_ref.clone());
        let mut state = std::collections::BTreeMap::new();
        for member in self.rooms.get(&room).into_iter().flatten() {
            let found = self.conns.get(member.1).and_then(|conn| conn.channels.get(topic));
            let Some((key, tracked)) =
                found.and_then(|c| Some((&c.asked.presence_key, c.presence.tracked.as_ref()?)))
            else {
                continue;
            };
            let metas: &mut Vec<String> = state.entry(key.clone()).or_default();
            metas.push(meta(tracked));
        }
        let mut payload = "{".to_owned();
        for (index, (key, metas)) in state.iter().enumerate() {
            if index > 0 {
                payload.push(',');
            }
            write_text(key, &mut payload);
            payload.push_str(&format!(":{{\"metas\":[{}]}}", metas.join(",")));
        }
        payload.push('}');
        self.send(id, codec::event(version, &join_ref, topic, "presence_state", &payload));
    }

    pub(super) fn push_presence(&mut self, id: ConnId, topic: &str, message: &Message, now: Instant) {
        let payload = message.body.json().unwrap_or(&Json::Null);
        if let Err(notice) = self.presence_limits(id, topic, payload, now) {
            return self.shut(id, topic, &Notice::error(notice));
        }
        let Some(channel) = self.channel(id, topic) else { return };
        let refs = (channel.join_ref.clone(), message.reference.clone());
        self.reply(id, (&refs.0, &refs.1), &Json::text(topic), ("ok", "{}"));
        match payload.member("event").and_then(Json::as_text).map(str::to_ascii_lowercase).as_deref() {
            Some("track") => self.track(id, topic, payload.member("payload")),
            Some("untrack") => self.untrack(id, topic),
            _ => {}
        }
    }

    fn presence_limits(
        &mut self,
        id: ConnId,
        topic: &str,
        payload: &Json,
        now: Instant,
    ) -> Result<(), &'static str> {
        let limits = self.config.limits;
        if self.rates.presence.tripped(limits.presence_per_second, now) {
            return Err("Too many presence messages per second");
        }
        self.rates.presence.count(1, now);
        let Some(channel) = self.channel(id, topic) else { return Ok(()) };
        let calls = &mut channel.presence.calls;
        while calls.front().is_some_and(|at| now.saturating_duration_since(*at) >= CALLS_WITHIN) {
            calls.pop_front();
        }
        if calls.len() >= CALLS_MAX {
            return Err("Client presence rate limit exceeded");
        }
        calls.push_back(now);
        if payload.term_size() > limits.payload_bytes() {
            return Err("Track message size exceeded");
        }
        Ok(())
    }

    fn track(&mut self, id: ConnId, topic: &str, state: Option<&Json>) {
        let reference = self.presence_reference();
        let fresh_key = self.uuid();
        let Some(channel) = self.channel(id, topic) else { return };
        if channel.asked.presence_key.is_empty() {
            channel.asked.presence_key = fresh_key;
        }
        let state = match state {
            Some(Json::Map(map)) => map.clone(),
            _ => std::collections::BTreeMap::new(),
        };
        let before = channel.presence.tracked.take();
        let previous = before.as_ref().map(|tracked| tracked.reference.clone());
        let tracked = Tracked { reference, previous, state };
        channel.presence.tracked = Some(tracked.clone());
        let (room, key) = (channel.room(), channel.asked.presence_key.clone());
        self.diff(&room, &key, (Some(&tracked), before.as_ref()));
    }

    fn untrack(&mut self, id: ConnId, topic: &str) {
        let Some(channel) = self.channel(id, topic) else { return };
        let Some(before) = channel.presence.tracked.take() else { return };
        let (room, key) = (channel.room(), channel.asked.presence_key.clone());
        self.diff(&room, &key, (None, Some(&before)));
    }

    /// A channel has ended: those who stay see it leave.
    pub(super) fn presence_gone(&mut self, channel: &Channel) {
        if let Some(before) = &channel.presence.tracked {
            self.diff(&channel.room(), &channel.asked.presence_key, (None, Some(before)));
        }
    }

    fn diff(&mut self, room: &Room, key: &str, (joins, leaves): (Option<&Tracked>, Option<&Tracked>)) {
        let side = |tracked: Option<&Tracked>| {
            let mut out = "{".to_owned();
            if let Some(tracked) = tracked {
                write_text(key, &mut out);
                out.push_str(&format!(":{{\"metas\":[{}]}}", meta(tracked)));
            }
            out.push('}');
            out
        };
        let payload = format!("{{\"joins\":{},\"leaves\":{}}}", side(joins), side(leaves));
        let topic = format!("{PREFIX}{}", room.name);
        let members: Vec<ConnId> = self.rooms.get(room).into_iter().flatten().map(|(_, id)| *id).collect();
        for id in members {
            let listens = self.channel(id, &topic).is_some_and(|channel| channel.asked.presence);
            if let Some(version) = self.version(id).filter(|_| listens) {
                self.send(id, codec::event(version, &Json::Null, &topic, "presence_diff", &payload));
            }
        }
    }

    fn presence_reference(&mut self) -> String {
        use base64::Engine as _;
        let bytes: Vec<u8> =
            self.random().to_be_bytes().into_iter().chain(self.random().to_be_bytes()).take(12).collect();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// Realtime's own keys stand first, the client's behind them in order.
fn meta(tracked: &Tracked) -> String {
    let mut out = "{\"phx_ref\":".to_owned();
    write_text(&tracked.reference, &mut out);
    if let Some(previous) = &tracked.previous {
        out.push_str(",\"phx_ref_prev\":");
        write_text(previous, &mut out);
    }
    write_members(&tracked.state, true, &mut out);
    out.push('}');
    out
}
