//! Faults meeting the machine: injecting, clearing, holding messages back, and what happens by itself.

use super::super::channel::{Notice, Room};
use super::super::codec::{Broadcast, Message, OutFrame};
use super::super::config::fits;
use super::super::machine::{ConnId, Emulator, Out};
use super::super::timers::Timer;
use super::active::{DEFERRED_MAX, Deferred, Effects, HELD_ROOMS_MAX, HeldDelivery, REORDER_WAITS, Wait};
use super::{Fault, FaultKind, Who};
use bytes::Bytes;
use std::time::{Duration, Instant};

impl Emulator {
    /// Arms a fault. The number serves to clear it.
    pub fn inject(&mut self, fault: Fault, now: Instant) -> u64 {
        let begins = now + Duration::from_millis(fault.after_ms);
        let number = self.faults.arm(fault, now);
        self.timers.add(begins, Timer::Fault);
        self.time_fault_ends();
        number
    }

    /// Disarms one fault, or all; what they held goes on.
    pub fn clear_faults(&mut self, number: Option<u64>, now: Instant) {
        self.faults.armed.retain(|armed| number.is_some_and(|number| armed.number != number));
        self.fault_due(now);
    }

    /// A decoded message on its way in.
    pub(in super::super) fn meet_faults(&mut self, id: ConnId, message: Message, now: Instant) {
        if self.faults.idle() {
            self.meet(id, message, &Effects::default(), now);
            return;
        }
        let topic = message.topic.as_text().unwrap_or_default().to_owned();
        let name = self.channel(id, &topic).map(|channel| channel.name().to_owned());
        let (effects, wait) = match name {
            Some(name) if message.event == "broadcast" => self.faults.on_push(&name, now),
            _ => (Effects::default(), self.faults.frozen(now)),
        };
        self.time_fault_ends();
        let wait = wait.or_else(|| self.faults.behind(id, &message.topic));
        match wait {
            Some(wait) if self.faults.deferred.len() < DEFERRED_MAX => {
                if let Wait::At(at) = wait {
                    self.timers.add(at, Timer::Fault);
                }
                self.stats.faulted += 1;
                self.faults.deferred.push_back(Deferred { wait, id, message, effects });
            }
            Some(_) => {
                self.stats.shed += 1;
                self.meet_with(id, message, &effects, now);
            }
            None => self.meet_with(id, message, &effects, now),
        }
    }

    fn meet_with(&mut self, id: ConnId, message: Message, effects: &Effects, now: Instant) {
        let Effects { swallow, lose, nack, duplicate, reorder, corrupt, over_limit, .. } = *effects;
        let acted = swallow || lose || nack || duplicate || reorder || corrupt || over_limit;
        self.stats.faulted += u64::from(acted || effects.cut.is_some() || effects.reset.is_some());
        if !lose {
            self.meet(id, message, effects, now);
        }
        for fault in &effects.then {
            self.happen(fault, now);
        }
    }

    /// Something may be due: a beginning, an end, a held message.
    pub(in super::super) fn fault_due(&mut self, now: Instant) {
        for fault in self.faults.take_due(now) {
            self.happen(&fault, now);
        }
        for held in self.faults.take_deferred(now) {
            self.meet_with(held.id, held.message, &held.effects, now);
        }
        let flush: Vec<Room> = self
            .faults
            .held
            .iter()
            .filter(|(_, held)| held.until <= now)
            .map(|(room, _)| room.clone())
            .collect();
        for room in flush {
            if let Some((broadcast, skip)) = self.faults.take_held(&room) {
                let over = self.deliver_once(&room, (&broadcast, skip), &Effects::default(), now);
                self.throw_out(&over);
            }
        }
    }

    /// Holds a delivery until the next one of its room.
    pub(in super::super) fn hold_delivery(
        &mut self,
        room: &Room,
        (broadcast, skip): (Broadcast, Option<u64>),
        now: Instant,
    ) {
        if self.faults.held.len() >= HELD_ROOMS_MAX {
            self.stats.shed += 1;
            self.deliver_once(room, (&broadcast, skip), &Effects::default(), now);
            return;
        }
        let until = now + REORDER_WAITS;
        self.faults.held.insert(room.clone(), HeldDelivery { broadcast, skip, until });
        self.timers.add(until, Timer::Fault);
    }

    /// Resets and cuts that follow a push.
    pub(in super::super) fn after_push(&mut self, id: ConnId, room: &Room, effects: &Effects) {
        if matches!(effects.reset, Some(Who::Listeners | Who::All)) {
            let members: Vec<ConnId> =
                self.rooms.get(room).into_iter().flatten().map(|(_, id)| *id).collect();
            for member in members.into_iter().filter(|member| *member != id) {
                self.end(member, Out::Reset);
            }
        }
        let sender = |who: Option<Who>| matches!(who, Some(Who::Sender | Who::All));
        if sender(effects.reset) || sender(effects.cut) {
            self.end(id, Out::Reset);
        }
    }

    /// The frame with one character of its payload changed; its length stays.
    pub(in super::super) fn corrupt(&mut self, frame: &OutFrame) -> OutFrame {
        let random = usize::try_from(self.random() >> 33).unwrap_or(0);
        let change = |bytes: &Bytes| {
            let mut copy = bytes.to_vec();
            // The second half is payload in every form of frame; a digit changed to another keeps JSON valid.
            let start = copy.len() / 2;
            let digits: Vec<usize> =
                (start..copy.len()).filter(|at| matches!(copy.get(*at), Some(b'1'..=b'9'))).collect();
            let mut letters =
                (start..copy.len()).filter(|at| copy.get(*at).is_some_and(u8::is_ascii_lowercase));
            let at = digits.get(random % digits.len().max(1)).copied().or_else(|| letters.next_back());
            if let Some(byte) = at.and_then(|at| copy.get_mut(at)) {
                *byte = match *byte {
                    b'9' => b'1',
                    b'z' => b'a',
                    other => other + 1,
                };
            } else if let Some(byte) = copy.last_mut() {
                *byte ^= 1;
            }
            Bytes::from(copy)
        };
        match frame {
            OutFrame::Text(bytes) => OutFrame::Text(change(bytes)),
            OutFrame::Binary(bytes) => OutFrame::Binary(change(bytes)),
        }
    }

    fn happen(&mut self, fault: &Fault, now: Instant) {
        self.stats.faulted += 1;
        match fault.kind {
            FaultKind::Restart { down_ms, kill } => self.restart(Duration::from_millis(down_ms), kill, now),
            FaultKind::Expire => {
                for (id, topic) in self.in_scope(fault.topic.as_deref()) {
                    self.shut(id, &topic, &Notice::error("Token has expired 0 seconds ago"));
                }
            }
            FaultKind::Reset { .. } => {
                let mut ids: Vec<ConnId> = match fault.topic.as_deref() {
                    Some(_) => self.in_scope(fault.topic.as_deref()).into_iter().map(|(id, _)| id).collect(),
                    None => self.conns.keys().copied().collect(),
                };
                ids.sort_unstable();
                for id in ids {
                    self.end(id, Out::Reset);
                }
            }
            _ => {}
        }
    }

    fn in_scope(&self, pattern: Option<&str>) -> Vec<(ConnId, String)> {
        let mut found: Vec<(ConnId, String)> = Vec::new();
        for (id, conn) in &self.conns {
            let channels = conn
                .channels
                .values()
                .filter(|channel| pattern.is_none_or(|pattern| fits(pattern, channel.name())));
            found.extend(channels.map(|channel| (*id, channel.topic.clone())));
        }
        found.sort_unstable();
        found
    }

    /// Makes sure the machine wakes up when a fault ends.
    pub(super) fn time_fault_ends(&mut self) {
        for armed in &mut self.faults.armed {
            if let Some(end) = armed.ends.filter(|_| !armed.end_timed) {
                armed.end_timed = true;
                self.timers.add(end, Timer::Fault);
            }
        }
    }
}
