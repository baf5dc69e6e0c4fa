//! What the worker and a session's task share: the orders for the session, and its relay while it is hot.
//!
//! Both live on the same thread, so that plain cells do; no borrow is held across a wait.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::hot::{Fallback, Relay};
use crate::rollout::RealtimeLane;
use crate::session::{Direction, SessionId, SessionNo};

use super::spans::Open;
use super::tunnel::EndCause;
use super::{Facts, Follow, Follows, Lane, TraceId, Verdict};
use crate::ws::CLOSE_GOING_AWAY;

/// What a session is told to do at its next poll. A later order replaces an earlier one that was not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let Realtime feed the client, from the next message on.
    ToHot,
    /// Let the legacy leg feed the client, at once.
    ToLegacy(Fallback),
    /// Close both sides between two frames: this code to the client, 1001 to the service.
    Close(u16),
    /// The time to close is over: end it now.
    Cut,
}

/// See the module.
#[derive(Debug)]
pub struct SessionCell {
    /// The session's number.
    pub no: SessionNo,
    /// Its name to the outside.
    pub id: SessionId,
    /// Its path, shared with every message that the tap copies.
    pub path: Arc<str>,
    /// The subprotocol that the service has chosen, for whoever reads the messages.
    pub subprotocol: Option<Arc<str>>,
    /// The decision at the upgrade.
    pub verdict: Verdict,
    /// When the 101 was relayed.
    pub opened_at: Instant,
    /// The trace of its upgrade.
    trace: Option<TraceId>,
    /// Its span, where it has one.
    pub(super) span: Option<Box<Open>>,
    lane: Cell<Lane>,
    /// Where a person has put it.
    pinned: Cell<Option<Lane>>,
    /// Bytes and data messages so far, up and down.
    passed: [Cell<(u64, u64)>; 2],
    follows: Cell<Follows>,
    /// What the rollout has said about it last, whatever a person has done with it since.
    assigned: Cell<Follows>,
    wants: Cell<Option<RealtimeLane>>,
    /// As what it is counted: wanted on this lane, and whether it is there.
    pub(super) counted: Cell<Option<(RealtimeLane, bool)>>,
    why: Cell<Option<Fallback>>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
    /// The down leg while it is hot (and until its window is written after that).
    pub(crate) relay: RefCell<Option<Box<Relay>>>,
    /// Bytes have passed since they were last asked after.
    stirred: Cell<bool>,
    /// When that was found so.
    active_at: Cell<Instant>,
    /// It is ended for want of bytes.
    idle: Cell<bool>,
    /// Not before this moment may the session become hot again (after `window_full`).
    not_hot_before: Cell<Option<Instant>>,
}

impl SessionCell {
    /// A session that starts on the legacy (or cold, or native) lane.
    #[must_use]
    pub fn new(no: SessionNo, id: SessionId, path: Arc<str>, verdict: Verdict, opened_at: Instant) -> Self {
        let lane = match verdict.lane {
            Lane::Hot | Lane::Legacy => Lane::Legacy,
            fixed @ (Lane::Cold | Lane::Native) => fixed,
        };
        let follows = Cell::new(verdict.follows);
        let (assigned, wants) = (Cell::new(verdict.follows), Cell::new(verdict.wants));
        Self {
            no,
            id,
            path,
            subprotocol: None,
            verdict,
            opened_at,
            trace: None,
            span: None,
            lane: Cell::new(lane),
            pinned: Cell::new(None),
            passed: Default::default(),
            follows,
            assigned,
            wants,
            counted: Cell::new(None),
            why: Cell::new(None),
            order: Cell::new(None),
            waker: RefCell::new(None),
            relay: RefCell::new(None),
            stirred: Cell::new(false),
            active_at: Cell::new(opened_at),
            idle: Cell::new(false),
            not_hot_before: Cell::new(None),
        }
    }

    /// With the trace that its upgrade belongs to, and its span.
    #[must_use]
    pub(super) fn traced(self, trace: Option<TraceId>, span: Option<Box<Open>>) -> Self {
        Self { trace, span, ..self }
    }

    /// What can be told about it.
    pub(super) fn facts(&self) -> Facts {
        let relay = self.relay.borrow();
        Facts {
            no: self.no,
            id: self.id,
            path: Arc::clone(&self.path),
            lane: self.lane.get(),
            verdict: Verdict { token: None, ..self.verdict.clone() },
            fallback: self.why.get(),
            pinned: self.pinned.get(),
            opened_at: self.opened_at,
            passed: self.passed(),
            window: relay.as_ref().map_or((0, 0), |relay| (relay.waiting(), relay.held_bytes())),
            trace: self.trace,
        }
    }

    /// Bytes and data messages so far, up and down.
    pub(super) fn passed(&self) -> [(u64, u64); 2] {
        [self.passed[0].get(), self.passed[1].get()]
    }

    /// Where a person has put it.
    pub(super) fn pinned(&self) -> Option<Lane> {
        self.pinned.get()
    }

    /// A person puts it there, or lets it go.
    pub(super) fn pin(&self, lane: Option<Lane>) {
        self.pinned.set(lane);
        match lane {
            Some(Lane::Hot) => self.follows.set(Follows::Always),
            Some(_) => self.follows.set(Follows::Never),
            None => {}
        }
    }

    /// The same session with the subprotocol of its 101.
    #[must_use]
    pub fn speaking(mut self, subprotocol: Option<&str>) -> Self {
        self.subprotocol = subprotocol.map(Arc::from);
        self
    }

    /// What feeds the client now.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.lane.get()
    }

    /// How it follows the hot lane now.
    #[must_use]
    pub fn follows(&self) -> Follows {
        self.follows.get()
    }

    /// Decides anew how it follows. What a person has put on legacy stays there; what one has made hot is let go,
    /// because the new settings may be an emergency.
    pub fn follow_anew(&self, follow: &Follow) {
        if self.pinned.get() == Some(Lane::Legacy) {
            return;
        }
        self.pinned.set(None);
        // What was not tapped at its upgrade cannot become hot.
        if let Some(subject) = self.verdict.subject.as_ref().filter(|_| self.verdict.is_tapped()) {
            let course = follow.decide(subject, self.assigned.get());
            self.follows.set(course.follows);
            self.assigned.set(course.follows);
            self.wants.set(course.wants);
        }
    }

    /// What the rollout has said about it last.
    pub(super) fn assigned(&self) -> Follows {
        self.assigned.get()
    }

    /// The lane that the rollout alone has for it.
    pub(super) fn wants(&self) -> Option<RealtimeLane> {
        self.wants.get()
    }

    /// Why the session left the hot lane, if it did.
    #[must_use]
    pub fn fallback(&self) -> Option<Fallback> {
        self.why.get()
    }

    /// Whether the session may become hot at `now`.
    #[must_use]
    pub fn may_be_hot(&self, now: Instant) -> bool {
        self.lane.get() == Lane::Legacy && self.not_hot_before.get().is_none_or(|then| now >= then)
    }

    /// Leaves an order and wakes the session's task. A close is not taken back by a lane.
    pub fn order(&self, order: Order) {
        let closing = matches!(self.order.get(), Some(Order::Close(_) | Order::Cut));
        if !closing || matches!(order, Order::Close(_) | Order::Cut) {
            self.order.set(Some(order));
        }
        self.wake();
    }

    /// Notes what has passed so far. No clock is read for it.
    pub(super) fn pass(&self, dir: Direction, now: (u64, u64)) {
        self.passed[dir as usize].set(now);
        self.stirred.set(true);
    }

    /// For how long nothing has passed, as exactly as this is called often.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        if self.stirred.take() {
            self.active_at.set(now);
        }
        now.saturating_duration_since(self.active_at.get())
    }

    /// Ends it for want of bytes: says so first, and cuts it when called again.
    pub(super) fn end_idle(&self, now: Instant) {
        self.active_at.set(now);
        let told = self.idle.replace(true);
        self.order(if told { Order::Cut } else { Order::Close(CLOSE_GOING_AWAY) });
    }

    /// The cause of its end: what only carries out an idle timeout is called so.
    pub(super) fn end_cause(&self, cause: EndCause) -> EndCause {
        let ours = matches!(cause, EndCause::Drained | EndCause::Cut);
        if ours && self.idle.get() { EndCause::Idle } else { cause }
    }

    /// The codes of close frames that were seen so far, from the client and from the service.
    pub(super) fn heard_close(&self, client: Option<u16>, service: Option<u16>) {
        if let Some(span) = &self.span {
            span.heard_close(client, service);
        }
    }

    /// The client is told to close.
    pub(super) fn told(&self, code: u16) {
        if let Some(span) = &self.span {
            span.closed_by_us(code);
        }
    }

    /// Wakes the session's task.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    #[cfg(test)]
    pub(super) fn is_ordered_for_tests(&self) -> bool {
        self.order.get().is_some()
    }

    pub(crate) fn take_order(&self) -> Option<Order> {
        self.order.take()
    }

    pub(crate) fn set_lane(&self, lane: Lane, why: Option<Fallback>) {
        self.lane.set(lane);
        self.why.set(why);
    }

    pub(crate) fn hold_off(&self, until: Instant) {
        self.not_hot_before.set(Some(until));
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}
