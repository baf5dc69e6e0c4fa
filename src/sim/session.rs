//! One session: the service's socket, the tunnel's downward half as `proxy::tunnel` drives it, the client's socket.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Sabotage;
use super::oracle::Reader;
use super::script::{Dice, Script};
use crate::hot::{self, Fallback, Outbox, Relay, Source, WindowEvent};
use crate::proxy::taps::DirectionTap;
use crate::proxy::{EndCause, Ended, Follows, Lane, Order, SessionCell, Sessions, Verdict};
use crate::session::{Direction, Seq, SessionId};
use crate::tap::Tap;
use crate::ws::{Limits, Negotiated};

/// As in the tunnel: a session whose window overflowed stays on legacy for this long.
const FULL_HOLD_OFF: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Session {
    pub(super) cell: Rc<SessionCell>,
    pub(super) script: Script,
    pub(super) reader: Reader,
    pub(super) is_over: bool,
    tap: DirectionTap,
    outbox: Outbox,
    to_hot: bool,
    hot: hot::Config,
    sabotage: Option<Sabotage>,
    /// Bytes that the service has written and the tunnel has not read.
    socket: Vec<u8>,
    written: usize,
    /// What the client's socket takes now; `None` = everything.
    room: Option<usize>,
    reads_at: Instant,
    pub(super) most_waiting: usize,
    /// Ends of the service's writes in its stream, and when they were written, until the client has read them.
    unread: VecDeque<(u64, Instant)>,
    /// Bytes that the service has written and the client has read.
    bytes: (u64, u64),
    /// When the service wrote, and how long the client waited for it, while the session was hot.
    pub(super) delays: Vec<(Instant, Duration)>,
}

impl Session {
    pub(super) fn new(
        (sessions, tap, script): (&Sessions, &Tap, Script),
        (hot, sabotage): (hot::Config, Option<Sabotage>),
        (slow, follows): (bool, Follows),
        now: Instant,
    ) -> Self {
        let no = sessions.take_number();
        let path: Arc<str> = "/feed".into();
        let verdict = Verdict {
            lane: Lane::Hot,
            reason: "sim",
            mirrored: true,
            follows,
            wants: None,
            subject: None,
            token: None,
        };
        let id = SessionId::from_bits(u128::from(no.0) + 7);
        let cell = Rc::new(SessionCell::new(no, id, Arc::clone(&path), verdict, now));
        let mut down = DirectionTap::new(no, Direction::Down).negotiated(Negotiated::None);
        down.mirror_into(tap.clone(), path, Limits::default(), Negotiated::None);
        down.want(true);
        sessions.enter(&cell);
        Self {
            cell,
            script,
            reader: Reader::default(),
            is_over: false,
            tap: down,
            outbox: Outbox::default(),
            to_hot: false,
            hot,
            sabotage,
            socket: Vec::new(),
            written: 0,
            room: slow.then_some(0),
            reads_at: now,
            most_waiting: 0,
            unread: VecDeque::new(),
            bytes: (0, 0),
            delays: Vec::new(),
        }
    }

    /// The client reads on without a pause from now on.
    pub(super) fn read_freely(&mut self) {
        self.room = None;
    }

    /// When the service writes or the client reads next.
    pub(super) fn wake(&self, begin: Instant) -> Option<Instant> {
        let write =
            self.script.writes.get(self.written).map(|write| begin + Duration::from_millis(write.at_ms));
        let read = (self.room.is_some() && !self.outbox.is_empty()).then_some(self.reads_at);
        [write, read].into_iter().flatten().min()
    }

    /// The service writes what is due, the client reads, the tunnel does what it can.
    pub(super) fn turn(
        &mut self,
        sessions: &Sessions,
        dice: &mut Dice,
        times: (Instant, Instant),
    ) -> Result<(), String> {
        let (begin, now) = times;
        while let Some(write) = self.script.writes.get(self.written)
            && begin + Duration::from_millis(write.at_ms) <= now
        {
            self.socket.extend_from_slice(&write.bytes);
            self.written += 1;
            self.bytes.0 += write.bytes.len() as u64;
            self.unread.push_back((self.bytes.0, begin + Duration::from_millis(write.at_ms)));
        }
        if self.room.is_some() && self.reads_at <= now {
            self.room = Some(dice.between(1, 6_000) as usize);
            self.reads_at = now + Duration::from_millis(dice.between(1, 150));
        }
        if self.is_over {
            return Ok(());
        }
        self.obey(sessions, now);
        while self.poll_down(sessions, dice, now)? {}
        self.most_waiting = self.most_waiting.max(self.outbox.len());
        while let Some((_, at)) = self.unread.pop_front_if(|(end, _)| *end <= self.bytes.1) {
            if self.cell.lane() == Lane::Hot {
                self.delays.push((at, now - at));
            }
        }
        if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
            if relay.is_waiting() {
                sessions.watch(&self.cell);
            } else {
                sessions.add_up(&relay.take_stats());
            }
        }
        let ended = self.script.closes && self.written == self.script.writes.len();
        if ended && self.socket.is_empty() && self.cell.relay.borrow().is_none() && self.outbox.is_empty() {
            self.is_over = true;
            let (cause, messages) = (EndCause::Finished, self.tap.messages);
            let ended = Ended {
                cause,
                lane: self.cell.lane(),
                bytes_up: 0,
                bytes_down: 0,
                messages_up: 0,
                messages_down: messages,
            };
            sessions.leave(&self.cell, &ended);
        }
        Ok(())
    }

    fn obey(&mut self, sessions: &Sessions, now: Instant) {
        match self.cell.take_order() {
            Some(Order::ToHot) => self.to_hot = true,
            Some(Order::ToLegacy(why)) => {
                self.to_hot = false;
                self.leave_hot(why, sessions);
            }
            _ => {}
        }
        if self.to_hot
            && self.cell.relay.borrow().is_none()
            && self.cell.may_be_hot(now)
            && let Some(next) = self.tap.next_message()
        {
            self.to_hot = false;
            let mut relay = Relay::new(self.hot, next);
            match self.sabotage {
                Some(Sabotage::Window(by)) => relay.sabotage(by),
                Some(Sabotage::LoseNoticesAndClock) => relay.sabotage(hot::Sabotage::ForgetDeadline),
                _ => {}
            }
            *self.cell.relay.borrow_mut() = Some(Box::new(relay));
            self.cell.set_lane(Lane::Hot, None);
            sessions.lane_changed(&self.cell, Lane::Hot);
        }
    }

    fn leave_hot(&mut self, why: Fallback, sessions: &Sessions) {
        if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
            relay.pass(why, &mut self.outbox);
        }
        if self.cell.lane() == Lane::Hot {
            self.cell.set_lane(Lane::Legacy, Some(why));
            sessions.lane_changed(&self.cell, Lane::Legacy);
        }
    }

    /// One read of the service and what follows from it. Returns whether to go on.
    fn poll_down(&mut self, sessions: &Sessions, dice: &mut Dice, now: Instant) -> Result<bool, String> {
        self.pump_relay(sessions, now);
        self.flush()?;
        let wants = match self.cell.relay.borrow().as_ref() {
            Some(relay) => relay.wants_bytes(&self.outbox),
            None => self.outbox.is_empty(),
        };
        if !wants || self.socket.is_empty() {
            return Ok(false);
        }
        let most = match dice.number(4) {
            0 if self.socket.len() < 4_096 => dice.between(1, 8),
            1 if self.socket.len() < 16_384 => dice.between(1, 300),
            _ => 64 * 1024,
        };
        let rest = self.socket.split_off(self.socket.len().min(most as usize));
        let chunk = std::mem::replace(&mut self.socket, rest);
        let is_hot = self.cell.relay.borrow().is_some();
        if is_hot {
            if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
                self.tap.relay(&chunk, relay, &mut self.outbox, now);
            }
        } else {
            self.outbox.extend(&chunk);
            self.tap.observe(&chunk, now);
            if self.to_hot {
                self.obey(sessions, now);
            }
        }
        Ok(true)
    }

    fn pump_relay(&mut self, sessions: &Sessions, now: Instant) {
        let (mut full, mut left, mut late) = (false, None, Vec::new());
        if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
            relay.pump(&mut self.outbox);
            while let Some(event) = relay.poll_event() {
                full |= event == WindowEvent::Full;
                if let WindowEvent::Late(seq) = event {
                    late.push(seq);
                }
                sessions.window_event(event);
            }
            if let Source::Legacy(why) = relay.source()
                && self.cell.lane() == Lane::Hot
            {
                left = Some(why);
            }
        }
        if self.sabotage == Some(Sabotage::DeliverLateTwice) {
            late.into_iter().for_each(|seq| self.deliver_again(seq));
        }
        if full {
            self.cell.hold_off(now + FULL_HOLD_OFF);
        }
        if let Some(why) = left {
            self.leave_hot(if full { Fallback::WindowFull } else { why }, sessions);
            self.to_hot |= full;
        }
        let through = self.cell.relay.borrow().as_ref().is_some_and(|relay| relay.is_passing());
        if through
            && self.tap.holds_nothing()
            && let Some(mut relay) = self.cell.relay.borrow_mut().take()
        {
            sessions.add_up(&relay.take_stats());
        }
    }

    /// The client takes what its socket has room for.
    fn flush(&mut self) -> Result<(), String> {
        while !self.outbox.is_empty() {
            let front = self.outbox.front();
            let n = front.len().min(self.room.unwrap_or(usize::MAX));
            if n == 0 {
                break;
            }
            self.reader.take(&front[..n], &self.script)?;
            self.bytes.1 += n as u64;
            self.outbox.advance(n);
            self.room = self.room.map(|room| room - n);
        }
        Ok(())
    }

    fn deliver_again(&mut self, seq: Seq) {
        if let Some(body) = self.script.bodies.get(seq.0 as usize - 1) {
            self.outbox.extend(&crate::ws::frame(crate::ws::FrameKind::Text, body, None));
        }
    }
}
