//! One session after its 101: bytes both ways in one poll function.
//!
//! **Shape.** One task a session, no channel and no timer of its own, no buffer while nothing is held up: bytes
//! are read into the worker's scratch buffer and written on at once; only what the other side's socket does not
//! take is kept, and while something is kept that direction is not read (TCP pushes back on the sender).
//! An echo costs two reads and two writes: tokio's `poll_read` clears readiness after a short read, so that
//! nobody asks an empty socket.
//!
//! **Order of events.** Bytes are written before they are shown to the tap. The tap cannot fail the tunnel: a
//! panic inside it is caught, counted, and ends the copying, not the session.
//!
//! **Ends.** FIN is carried over after all bytes before it; reset is carried over as reset, after what can still
//! be delivered was written; under TLS an end without close_notify stays one. When a side can no longer be written to, the other direction is still drained.
//!
//! **A close of ours** may stand between two frames only. While it waits, no more is read than the frame in progress
//! has left, so that the place is met however the service writes.

mod turn;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;

use super::cell::{Order, SessionCell};
use super::leg::{
    Closing, FULL_HOLD_OFF, Leg, ROUNDS_MAX, as_far_as_the_frame, end_before_close, guarded, poll_chunk,
    poll_end, poll_flush, write_on,
};
use super::taps::DirectionTap;
use super::tunnel::{EndCause, Ended};
use super::windows::Share;
use super::worker::Worker;
use super::{Io, Lane};
use crate::hot::{Fallback, Relay, Source, WindowEvent};
use crate::ws::Boundary;

/// The session's task.
pub(super) struct Tunnel {
    client: Option<Io>,
    upstream: Option<Io>,
    up: Leg,
    down: Leg,
    cell: Rc<SessionCell>,
    worker: Rc<Worker>,
    /// Wanted hot; happens at the next message boundary.
    to_hot: bool,
    closing: Closing,
    reset: Option<EndCause>,
    /// What this session's window holds of the process's limit.
    share: Share,
}

impl Tunnel {
    pub(super) fn new(
        io: (Io, Io),
        cell: Rc<SessionCell>,
        worker: Rc<Worker>,
        taps: [DirectionTap; 2],
    ) -> Self {
        let [up, down] = taps;
        let share = Share::new(Arc::clone(&worker.shared.mirroring.windows));
        Self {
            client: Some(io.0),
            upstream: Some(io.1),
            up: Leg::new(up),
            down: Leg::new(down),
            cell,
            worker,
            to_hot: false,
            closing: Closing::No,
            reset: None,
            share,
        }
    }

    /// Bytes that came together with the 101, before the tunnel was there.
    pub(super) fn early(&mut self, from_client: &Bytes, from_upstream: &Bytes) {
        self.up.outbox.extend(from_client);
        self.up.bytes += from_client.len() as u64;
        self.down.outbox.extend(from_upstream);
        self.down.bytes += from_upstream.len() as u64;
        let now = self.worker.now();
        guarded(&mut self.up.tap, from_client, now, &self.worker);
        guarded(&mut self.down.tap, from_upstream, now, &self.worker);
    }

    fn obey(&mut self, now: Instant) {
        match self.cell.take_order() {
            None => {}
            Some(Order::ToHot) => self.to_hot = self.closing == Closing::No,
            Some(Order::ToLegacy(why)) => {
                // After a full window nobody orders it hot again: the wish waits for the hold-off.
                self.to_hot = why == Fallback::WindowFull;
                self.leave_hot(why);
            }
            Some(Order::Close(code)) => {
                if self.closing == Closing::No {
                    self.closing = Closing::Wanted(code);
                }
                self.to_hot = false;
            }
            Some(Order::Cut) => self.reset = Some(EndCause::Cut),
        }
        let ready = self.down.tap.is_mirrored() && self.cell.relay.borrow().is_none() && !self.down.eof;
        if self.to_hot
            && ready
            && self.cell.may_be_hot(now)
            && let Some(next) = self.down.tap.next_message()
        {
            self.to_hot = false;
            let relay = Relay::new(self.worker.hot_config(), next);
            *self.cell.relay.borrow_mut() = Some(Box::new(relay));
            self.change_lane(Lane::Hot, None);
        }
    }

    fn leave_hot(&mut self, why: Fallback) {
        if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
            relay.pass(why, &mut self.down.outbox);
        }
        if self.cell.lane() == Lane::Hot {
            self.change_lane(Lane::Legacy, Some(why));
        }
    }

    /// A hot session is mirrored whole, in both directions, whatever the sample says.
    fn change_lane(&mut self, to: Lane, why: Option<Fallback>) {
        self.cell.set_lane(to, why);
        let wanted = to == Lane::Hot || self.cell.verdict.mirrored;
        self.up.tap.want(wanted);
        self.down.tap.want(wanted);
        self.worker.sessions().lane_changed(&self.cell, to);
        if let Some(span) = &self.cell.span {
            span.moved(to, why, self.worker.now());
        }
    }

    /// The service's stream has ended, perhaps inside a frame.
    fn end_down(&mut self) {
        self.leave_hot(Fallback::Closing);
        if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
            relay.abandon_control(&mut self.down.outbox);
        }
        self.down.tap.release_header(&mut self.down.outbox);
    }

    /// Client to service.
    fn poll_up(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        let (Some(client), Some(upstream)) = (self.client.as_mut(), self.upstream.as_mut()) else {
            return Poll::Pending;
        };
        let leg = &mut self.up;
        ready!(poll_flush(upstream, leg, cx));
        if leg.is_done() || (self.closing == Closing::BothTold && leg.eof) {
            return Poll::Pending;
        }
        if leg.eof {
            return poll_end(upstream, leg, cx);
        }
        let chunk = match ready!(poll_chunk(client, leg, cx, scratch)) {
            Ok(n) => scratch.get(..n).unwrap_or(&[]),
            Err(_) => {
                self.reset = Some(EndCause::ClientReset);
                return Poll::Ready(());
            }
        };
        if chunk.is_empty() {
            leg.eof = true;
            self.reset = self.reset.or(self.down.broken.then_some(EndCause::ClientReset));
            return Poll::Ready(());
        }
        leg.bytes += chunk.len() as u64;
        match self.closing {
            Closing::BothTold => return Poll::Ready(()),
            Closing::ClientTold => {
                if end_before_close(leg, chunk, &self.worker) {
                    self.closing = Closing::BothTold;
                }
            }
            Closing::No | Closing::Wanted(_) => {
                write_on(upstream, leg, chunk, cx);
                guarded(&mut leg.tap, chunk, self.worker.now(), &self.worker);
            }
        }
        Poll::Ready(())
    }

    /// Service to client.
    fn poll_down(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        self.pump_relay();
        self.tell_client();
        let (Some(client), Some(upstream)) = (self.client.as_mut(), self.upstream.as_mut()) else {
            return Poll::Pending;
        };
        let leg = &mut self.down;
        let flushed = poll_flush(client, leg, cx);
        let mut relay = self.cell.relay.borrow_mut();
        let wants = match relay.as_ref() {
            Some(relay) => relay.wants_bytes(&leg.outbox),
            None => flushed.is_ready(),
        };
        if !wants || leg.is_done() {
            return Poll::Pending;
        }
        if leg.eof {
            // A relay that still holds something keeps the end back: written in order, then the FIN passes.
            if flushed.is_pending() || relay.is_some() {
                return Poll::Pending;
            }
            return poll_end(client, leg, cx);
        }
        let room = as_far_as_the_frame(self.closing, &leg.tap, scratch);
        let read = ready!(poll_chunk(upstream, leg, cx, room));
        let now = self.worker.now();
        let chunk = match read {
            Ok(n) => scratch.get(..n).unwrap_or(&[]),
            Err(_) => {
                drop(relay);
                self.end_down();
                self.reset = Some(EndCause::UpstreamReset);
                return Poll::Ready(());
            }
        };
        if chunk.is_empty() {
            leg.eof = true;
            drop(relay);
            self.end_down();
            self.reset = self.reset.or(self.up.broken.then_some(EndCause::UpstreamReset));
            return Poll::Ready(());
        }
        leg.bytes += chunk.len() as u64;
        if matches!(self.closing, Closing::ClientTold | Closing::BothTold) {
            return Poll::Ready(()); // after our close frame nothing may follow
        }
        match relay.as_mut() {
            Some(relay) => leg.tap.relay(chunk, relay, &mut leg.outbox, now),
            None => {
                write_on(client, leg, chunk, cx);
                if leg.outbox.is_empty() && leg.tap.is_mirrored() {
                    self.worker.leg_taken(now);
                }
                drop(relay);
                guarded(&mut leg.tap, chunk, now, &self.worker);
                self.obey(now); // a wish to become hot waits for a message boundary; this may be it
            }
        }
        Poll::Ready(())
    }

    /// Moves released messages to the outbox, hears what happened in the window, ends a relay that is through.
    fn pump_relay(&mut self) {
        let mut full = false;
        let mut left = false;
        if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
            relay.pump(&mut self.down.outbox);
            while let Some(event) = relay.poll_event() {
                full |= event == WindowEvent::Full;
                self.worker.sessions().window_event(event);
            }
            left = matches!(relay.source(), Source::Legacy(_)) && self.cell.lane() == Lane::Hot;
        }
        if full {
            self.cell.hold_off(self.worker.now() + FULL_HOLD_OFF);
        }
        if left {
            let source = self.cell.relay.borrow().as_ref().map(|relay| relay.source());
            let why = if let Some(Source::Legacy(why)) = source { why } else { Fallback::Untracked };
            self.leave_hot(if full { Fallback::WindowFull } else { why });
            // The policy has not changed, so nobody will order it hot again: the wish waits for the hold-off.
            self.to_hot |= full && self.closing == Closing::No;
        }
        let through = self.cell.relay.borrow().as_ref().is_some_and(|relay| relay.is_passing());
        let relay = (through && self.down.tap.holds_nothing()).then(|| self.cell.relay.borrow_mut().take());
        if let Some(mut relay) = relay.flatten() {
            self.worker.sessions().add_up(&relay.take_stats());
        }
    }

    /// Injects our close frame where a frame may begin.
    fn tell_client(&mut self) {
        let Closing::Wanted(code) = self.closing else { return };
        if self.cell.lane() == Lane::Hot {
            self.leave_hot(Fallback::Closing);
            self.pump_relay();
        }
        let at_boundary = matches!(self.down.tap.boundary(), Boundary::Message | Boundary::Frame);
        if self.cell.relay.borrow().is_none() && at_boundary && !self.down.eof {
            self.down.outbox.extend(&crate::ws::close(code, "", None));
            self.closing = Closing::ClientTold;
            self.cell.told(code);
        }
    }
}

impl Future for Tunnel {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        this.cell.register(cx.waker());
        let worker = Rc::clone(&this.worker);
        let mut scratch = worker.scratch();
        let now = worker.now();
        this.obey(now);
        for _ in 0..ROUNDS_MAX {
            let up = this.poll_up(cx, &mut scratch);
            if this.reset.is_some() {
                break;
            }
            let down = this.poll_down(cx, &mut scratch);
            if this.reset.is_some() {
                break;
            }
            if up.is_pending() && down.is_pending() {
                return this.turn_over(cx, now).map_or(Poll::Pending, Poll::Ready);
            }
        }
        if let Some(ended) = this.turn_over(cx, now) {
            return Poll::Ready(ended);
        }
        if this.reset.is_none() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
