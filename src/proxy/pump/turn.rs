//! The end of a turn, and perhaps of the session: what is counted before the task sleeps, and how the sockets end.

use std::task::Context;
use std::time::Instant;

use super::super::Lane;
use super::super::cell::Order;
use super::super::leg::{Closing, FULL_HOLD_OFF, ended, poll_flush, turned};
use super::super::tunnel::{EndCause, Ended};
use super::Tunnel;
use crate::hot::Fallback;
use crate::session::Direction;

impl Tunnel {
    /// The end of a turn that began then, and perhaps of the session.
    pub(super) fn turn_over(&mut self, cx: &mut Context<'_>, began: Instant) -> Option<Ended> {
        let timed = self.cell.lane() == Lane::Legacy && (self.up.has_moved() || self.down.has_moved());
        self.account();
        let ended = self.finish(cx);
        turned([&mut self.up, &mut self.down], (timed, ended.is_some()), &self.worker, began);
        ended
    }

    /// Before the task sleeps: counts what has passed, and asks the worker to look after the clocks while
    /// messages wait.
    fn account(&mut self) {
        for (dir, leg) in [(Direction::Up, &mut self.up), (Direction::Down, &mut self.down)] {
            let total = (leg.bytes, leg.tap.messages);
            if total != leg.counted {
                self.worker.sessions().count(&self.cell, dir, leg.counted, total);
                leg.counted = total;
            }
        }
        self.cell.heard_close(self.up.tap.closed(), self.down.tap.closed());
        let held = self.cell.relay.borrow().as_ref().map_or(0, |relay| relay.held_bytes());
        if self.share.set(held) && self.cell.lane() == Lane::Hot {
            self.cell.hold_off(self.worker.now() + FULL_HOLD_OFF);
            self.cell.order(Order::ToLegacy(Fallback::WindowFull));
        }
        if let Some(relay) = self.cell.relay.borrow_mut().as_mut() {
            if relay.is_waiting() {
                self.worker.sessions().watch(&self.cell);
            } else {
                // The tick may have come between the release and this poll, and does not look here again.
                self.worker.sessions().add_up(&relay.take_stats());
            }
        }
    }

    /// Whether it is over, and how the sockets must end.
    fn finish(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        let cause = if let Some(cause) = self.reset {
            // What the service said before it broke is still written, as far as the client takes it now.
            if cause == EndCause::UpstreamReset
                && let Some(client) = self.client.as_mut()
                && poll_flush(client, &mut self.down, cx).is_pending()
            {
                return None;
            }
            cause
        } else if self.down.dead && self.up.eof {
            EndCause::ClientReset
        } else if self.up.dead && self.down.eof && self.down.outbox.is_empty() {
            EndCause::UpstreamReset
        } else if self.closing == Closing::BothTold && self.up.is_flushed() && self.down.is_flushed() {
            if !(self.up.eof || self.down.eof) {
                return None;
            }
            EndCause::Drained
        } else if self.up.is_done() && self.down.is_done() {
            if self.closing == Closing::No { EndCause::Finished } else { EndCause::Drained }
        } else {
            return None;
        };
        for mut io in [self.client.take(), self.upstream.take()].into_iter().flatten() {
            match cause {
                EndCause::ClientReset | EndCause::UpstreamReset => io.reset(),
                EndCause::Drained => io.farewell(cx),
                _ => {}
            }
        }
        Some(ended([&self.up, &self.down], &self.cell, cause))
    }
}
