//! What the machine wakes up for, ordered by time. A timer for something that has ended meanwhile is harmless:
//! whoever handles it looks whether its channel still carries the same id.

use super::channel::Notice;
use super::codec;
use super::machine::{ConnId, Emulator, IDLE_STEP, IDLE_STEPS, Out, SWEEP, Waiting};
use std::collections::BTreeMap;
use std::time::Instant;

/// A reason to wake up.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    /// Answer a refused upgrade.
    Refuse(ConnId),
    /// Answer a refused join.
    Release(ConnId),
    /// One idle step of a socket.
    Idle(ConnId),
    /// Finish a leave.
    Leave(ConnId, String, u64),
    /// Look at a token's expiry.
    Token(ConnId, String, u64),
    /// Say whether the database subscription works.
    Subscribed(ConnId, String, u64),
    /// Look at the database for changed rows.
    Look,
    /// Say that database broadcasts work.
    Replication(ConnId, String, u64),
    /// Kill sockets whose channels were all left.
    Sweep,
    /// Close sockets in a shutdown: those with channels, or all.
    Drain { joined_only: bool },
    /// The process is gone.
    Gone,
    /// The process is back.
    Start,
    /// A fault begins, ends, or has something due.
    Fault,
}

/// Timers by time, then by order of addition.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeMap<(Instant, u64), Timer>,
    added: u64,
}

impl Timers {
    pub(super) fn add(&mut self, at: Instant, timer: Timer) {
        self.added += 1;
        self.set.insert((at, self.added), timer);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.set.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        let first = self.set.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), timer) = first.remove_entry();
        Some((at, timer))
    }

    /// Forgets whatever belongs to the process that died.
    pub(super) fn clear_process(&mut self) {
        self.set.retain(|_, timer| matches!(timer, Timer::Start | Timer::Sweep | Timer::Fault));
    }
}

impl Emulator {
    pub(super) fn fire(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Refuse(id) => {
                if let Some(answer) = self.pending.remove(&id) {
                    self.transmit(id, Out::Http(answer));
                }
            }
            Timer::Release(id) => self.release(id, now),
            Timer::Idle(id) => self.idle_step(id, now),
            Timer::Leave(id, topic, channel) => self.finish_leave(id, &topic, channel),
            Timer::Token(id, topic, channel) => self.look_at_token(id, &topic, channel, now),
            Timer::Subscribed(id, topic, channel) => self.tell_subscribed(id, &topic, channel),
            Timer::Replication(id, topic, channel) => {
                self.tell(id, &topic, channel, &Notice::ok("Replication connection established"));
            }
            Timer::Look => self.look(now),
            Timer::Sweep => self.sweep(now),
            Timer::Drain { joined_only } => self.drain(joined_only),
            Timer::Gone => self.gone(),
            Timer::Start => self.start(now),
            Timer::Fault => self.fault_due(now),
        }
    }

    /// Sends `notice` to a channel if it is still the same one.
    pub(super) fn tell(&mut self, id: ConnId, topic: &str, channel: u64, notice: &Notice) {
        let Some(version) = self.version(id) else { return };
        let Some(found) = self.channel(id, topic).filter(|found| found.id == channel) else { return };
        let frame = codec::system(version, &found.join_ref, topic, notice);
        self.send(id, frame);
    }

    fn idle_step(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.quiet = conn.quiet.saturating_add(1);
        if conn.quiet >= IDLE_STEPS {
            self.stats.idle += 1;
            self.end(id, Out::Close { code: 1000 });
        } else {
            self.timers.add(now + IDLE_STEP, Timer::Idle(id));
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.timers.add(now + SWEEP, Timer::Sweep);
        let left: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.user && conn.channels.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            self.end(id, Out::Reset);
        }
    }

    /// Answers the refused join, then everything that waited behind it, in order.
    fn release(&mut self, id: ConnId, now: Instant) {
        let Some(held) = self.conns.get_mut(&id).and_then(|conn| conn.held.take()) else { return };
        self.transmit(id, Out::Frame(held.answer));
        if held.then_close {
            self.end(id, Out::Close { code: 1001 });
            return;
        }
        self.close_replaced(id, &held.topic);
        while let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.held.is_none()) {
            match conn.waiting.pop_front() {
                Some(Waiting::In(frame)) => self.take(id, frame, now),
                Some(Waiting::Out(frame)) => self.transmit(id, Out::Frame(frame)),
                None => break,
            }
        }
    }
}
