//! From one broadcast to the frames of its listeners: encoded once per protocol version, shared by clones.
//! Counting and the message limit are here, because a limit is noticed by the listener, not by the sender.

use super::channel::{PREFIX, Room};
use super::codec::{Broadcast, OutFrame, Version};
use super::fault::{Effects, Who};
use super::machine::{ConnId, Emulator, Out};
use std::time::Instant;

impl Emulator {
    /// Hands a broadcast to everyone in the room but `skip` (a channel id). Returns the channels over their limit.
    pub(super) fn deliver(
        &mut self,
        room: &Room,
        (broadcast, skip): (Broadcast, Option<u64>),
        effects: &Effects,
        now: Instant,
    ) -> Vec<(ConnId, String)> {
        if effects.swallow {
            return Vec::new();
        }
        if effects.reorder && !self.faults.holds(room) {
            self.hold_delivery(room, (broadcast, skip), now);
            return Vec::new();
        }
        let mut over = self.deliver_once(room, (&broadcast, skip), effects, now);
        if effects.duplicate {
            over.extend(self.deliver_once(room, (&broadcast, skip), effects, now));
        }
        if let Some((held, held_skip)) = self.faults.take_held(room) {
            over.extend(self.deliver_once(room, (&held, held_skip), &Effects::default(), now));
        }
        over
    }

    pub(super) fn deliver_once(
        &mut self,
        room: &Room,
        (broadcast, skip): (&Broadcast, Option<u64>),
        effects: &Effects,
        now: Instant,
    ) -> Vec<(ConnId, String)> {
        let topic = format!("{PREFIX}{}", room.name);
        let Some(members) = self.rooms.get(room) else { return Vec::new() };
        let members: Vec<(u64, ConnId)> = members.iter().map(|(channel, id)| (*channel, *id)).collect();
        let mut encoded = Encoded { broadcast, topic: &topic, v1: None, v2: None };
        let mut over = Vec::new();
        let average = self.rates.events.average(now);
        for (channel, id) in members {
            if Some(channel) == skip {
                continue;
            }
            let Some(version) = self.version(id) else { continue };
            let limit = self.channel(id, &topic).map_or(u32::MAX, |found| found.events_limit);
            if effects.over_limit || average >= f64::from(limit) {
                over.push((id, topic.clone()));
            }
            let Some(frame) = encoded.frame(version) else { continue };
            let frame = if effects.corrupt { self.corrupt(&frame) } else { frame };
            self.stats.deliveries += 1;
            self.rates.events.count(1, now);
            match effects.cut {
                Some(Who::Listeners | Who::All) => self.end(id, Out::Cut(frame)),
                _ => self.send(id, frame),
            }
        }
        over
    }
}

/// A broadcast encoded at most once per protocol version.
struct Encoded<'a> {
    broadcast: &'a Broadcast,
    topic: &'a str,
    v1: Option<Option<OutFrame>>,
    v2: Option<Option<OutFrame>>,
}

impl Encoded<'_> {
    fn frame(&mut self, version: Version) -> Option<OutFrame> {
        let slot = match version {
            Version::V1 => &mut self.v1,
            Version::V2 => &mut self.v2,
        };
        slot.get_or_insert_with(|| self.broadcast.frame(self.topic, version)).clone()
    }
}
