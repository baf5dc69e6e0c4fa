//! One worker's book of open sessions: who is hot, who waits for Realtime, who is to be moved or closed.
//!
//! **Moves.** Going back to legacy because Realtime may not be used is immediate for all. What the rollout moves,
//! to hot or back, is paced ([`Moves`]), so that a raised share does not put thousands of windows in front
//! of Realtime in one instant. Cold and native sessions, which can
//! only leave by a new connection, are told so a few at a time ([`CLOSES_A_TICK`]). The clocks of all windows
//! hang on one tick of the worker, which runs only while something waits.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::hot::{Direct, Fallback, ReadBack, WindowEvent};
use crate::session::{Direction, Seq, SessionNo};
use crate::tap::{Opened, Tap, Token};
use crate::ws::CLOSE_SERVICE_RESTART;

use super::SessionCounters;
use super::cell::{Order, SessionCell};
use super::pace::{MovePace, Moves};
use super::tunnel::Ended;
use super::{Follow, Lane, Policy};

/// News for one message in the window of a hot session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose.
    pub no: SessionNo,
    /// Which.
    pub seq: Seq,
    /// What.
    pub what: News,
}

/// See [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The publisher has it: its deadline runs.
    Published,
    /// Realtime delivered it back.
    Returned(ReadBack),
    /// The mirror does not carry it.
    TurnedAway(Direct),
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Cold and native sessions that are told to connect again in one tick of one worker: 400 a second.
const CLOSES_A_TICK: usize = 8;
/// How often clocks are looked at while something waits.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// A side thread that is silent for longer is not waited for.
const SIDE_SILENCE_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    stride: u32,
    next: Cell<u32>,
    cells: RefCell<HashMap<SessionNo, Rc<SessionCell>>>,
    watched: RefCell<HashMap<SessionNo, Rc<SessionCell>>>,
    moves: RefCell<Moves>,
    /// Cold and native sessions that must leave, with the code that they are told.
    to_close: RefCell<VecDeque<(SessionNo, u16)>>,
    policy: Cell<Policy>,
    close_code: Cell<u16>,
    /// When idle sessions are looked for again.
    next_look: Cell<Option<Instant>>,
    /// The side thread was found silent; nobody is hot until it beats again.
    side_stuck: Cell<bool>,
    /// Rung when the first session begins to wait, so that the tick starts.
    stirred: Notify,
    tap: Option<Tap>,
    pub(super) counters: Arc<SessionCounters>,
}

impl Sessions {
    /// The book of worker `index` of `workers`: its session numbers are those that leave `index` when divided by
    /// `workers`, so that a number tells whose it is.
    #[must_use]
    pub fn new(index: u32, workers: u32, tap: Option<Tap>, counters: Arc<SessionCounters>) -> Self {
        Self {
            stride: workers.max(1),
            next: Cell::new(index),
            cells: RefCell::default(),
            watched: RefCell::default(),
            moves: RefCell::new(Moves::new(MovePace::new(None, workers))),
            to_close: RefCell::default(),
            policy: Cell::new(Policy::PASSTHROUGH),
            close_code: Cell::new(CLOSE_SERVICE_RESTART),
            next_look: Cell::new(None),
            side_stuck: Cell::new(false),
            stirred: Notify::new(),
            tap,
            counters,
        }
    }

    /// The same book; the sessions of all workers together move to Realtime at this rate a second.
    #[must_use]
    pub fn paced(mut self, moves_per_second: Option<NonZeroU32>) -> Self {
        self.moves = RefCell::new(Moves::new(MovePace::new(moves_per_second, self.stride)));
        self
    }

    /// Which of `workers` owns a session.
    #[must_use]
    pub const fn owner(no: SessionNo, workers: u32) -> u32 {
        no.0 % if workers == 0 { 1 } else { workers }
    }

    /// The number of the next session.
    pub fn take_number(&self) -> SessionNo {
        let no = self.next.get();
        self.next.set(no.wrapping_add(self.stride));
        SessionNo(no)
    }

    /// The tap, where there is a mirror.
    #[must_use]
    pub const fn tap(&self) -> Option<&Tap> {
        self.tap.as_ref()
    }

    /// Enters a session; orders it hot if the policy says so.
    pub fn enter(&self, cell: &Rc<SessionCell>) {
        self.count_open(cell, cell.lane(), 1);
        self.count_adoption(cell, true);
        add(&self.counters.opened[cell.verdict.lane as usize], 1);
        if let Some(tap) = self.tap.as_ref().filter(|_| cell.verdict.is_tapped()) {
            tap.opened(Opened {
                no: cell.no,
                id: cell.id,
                path: Arc::clone(&cell.path),
                subprotocol: cell.subprotocol.clone(),
                token: cell.verdict.token.as_ref().map(Token::downgrade),
                // Without a subject nobody has chosen: in every share.
                mirror_bucket: cell.verdict.subject.as_ref().map_or(0, |one| one.mirror_bucket.number()),
            });
        }
        self.cells.borrow_mut().insert(cell.no, Rc::clone(cell));
        if !self.side_stuck.get() && self.policy.get().wants(cell.no, cell.follows()).is_ok() {
            cell.order(Order::ToHot);
        }
    }

    /// Takes a session out and adds up what it was.
    pub fn leave(&self, cell: &SessionCell, ended: &Ended) {
        self.count_open(cell, cell.lane(), -1);
        self.count_adoption(cell, false);
        add(&self.counters.ended[ended.cause as usize], 1);
        if let Some(mut relay) = cell.relay.borrow_mut().take() {
            self.add_up(&relay.take_stats());
        }
        self.cells.borrow_mut().remove(&cell.no);
        self.watched.borrow_mut().remove(&cell.no);
        if let Some(tap) = self.tap.as_ref().filter(|_| cell.verdict.is_tapped()) {
            tap.closed(cell.no);
        }
    }

    /// Decides for every open session anew how it follows the hot lane: the settings have changed.
    pub fn follow_anew(&self, follow: &Follow) {
        for cell in self.cells.borrow().values() {
            cell.follow_anew(follow);
            self.count_adoption(cell, true);
        }
    }

    /// Applies a changed policy: back at once where Realtime may not be used, at a pace where the rollout says so,
    /// to hot at a pace, native closed when it must.
    pub fn apply(&self, policy: Policy, close_code: u16) {
        self.policy.set(policy);
        self.close_code.set(close_code);
        let mut moves = self.moves.borrow_mut();
        moves.clear();
        self.to_close.borrow_mut().clear();
        for cell in self.cells.borrow().values() {
            match (policy.wants(cell.no, cell.follows()), cell.lane()) {
                (Err(Fallback::Rollout), Lane::Hot) => moves.push_back(cell.no),
                (Err(why), Lane::Hot) => cell.order(Order::ToLegacy(why)),
                (Err(why), Lane::Legacy) if cell.verdict.is_tapped() => {
                    cell.order(Order::ToLegacy(why)); // takes back a wish that was not met yet
                }
                (Ok(()), Lane::Legacy) => moves.push_hot(cell.no),
                (_, Lane::Cold | Lane::Native) if policy.close_native => {
                    self.to_close.borrow_mut().push_back((cell.no, close_code));
                }
                _ => {}
            }
        }
        self.note_waiting(&moves);
    }

    /// Delivers news to the windows.
    pub fn notify(&self, notices: &[Notice], now: Instant) {
        let cells = self.cells.borrow();
        for notice in notices {
            let Some(cell) = cells.get(&notice.no) else { continue };
            let mut relay = cell.relay.borrow_mut();
            let Some(relay) = relay.as_mut() else {
                if let News::Returned(_) = notice.what {
                    add(&self.counters.late, 1); // its session has left the hot lane meanwhile
                }
                continue;
            };
            match notice.what {
                News::Published => relay.published(notice.seq, now),
                News::Returned(proof) => relay.returned(notice.seq, proof),
                News::TurnedAway(why) => relay.turned_away(notice.seq, why),
            }
            if notice.what != News::Published {
                cell.wake();
            }
        }
    }

    /// Whether the tick has anything to look at.
    #[must_use]
    pub fn wants_tick(&self) -> bool {
        let queued = self.moves.borrow().waiting() != [0, 0] || !self.to_close.borrow().is_empty();
        let drills = self.policy.get().drill.is_some();
        queued || drills || !self.watched.borrow().is_empty() || self.side_stuck.get()
    }

    /// Looks at the clocks of windows that wait, at the side thread's beat, and moves the next few sessions.
    pub fn tick(&self, now: Instant) {
        let silent = self.tap.as_ref().is_some_and(|tap| tap.silence(now) > SIDE_SILENCE_MAX);
        if silent && !self.side_stuck.replace(true) {
            for cell in self.cells.borrow().values().filter(|cell| cell.lane() == Lane::Hot) {
                cell.order(Order::ToLegacy(Fallback::SideStuck));
            }
        } else if !silent && self.side_stuck.replace(false) {
            self.apply(self.policy.get(), self.close_code.get());
        }
        self.watched.borrow_mut().retain(|_, cell| {
            let mut relay = cell.relay.borrow_mut();
            let Some(relay) = relay.as_mut() else { return false };
            if relay.poll_timeout().is_some_and(|then| then <= now) {
                relay.handle_timeout(now);
                cell.wake();
            }
            self.add_up(&relay.take_stats());
            relay.is_waiting()
        });
        if !silent {
            self.move_some(now);
        }
        self.close_some();
        self.counters.drill.count(self.policy.get(), self.cells.borrow().values(), now);
    }

    /// Cold and native sessions must connect again when the breaker opens; not all in the same instant.
    fn close_some(&self) {
        let mut to_close = self.to_close.borrow_mut();
        for _ in 0..CLOSES_A_TICK {
            let Some((no, code)) = to_close.pop_front() else { return };
            if let Some(cell) = self.cells.borrow().get(&no) {
                cell.order(Order::Close(code));
            }
        }
    }

    fn move_some(&self, now: Instant) {
        let (mut moves, cells) = (self.moves.borrow_mut(), self.cells.borrow());
        for cell in moves.take(now).filter_map(|no| cells.get(&no)) {
            match (self.policy.get().wants(cell.no, cell.follows()), cell.lane()) {
                (Ok(()), Lane::Legacy) => cell.order(Order::ToHot),
                (Err(why), Lane::Hot) => cell.order(Order::ToLegacy(why)),
                _ => {}
            }
        }
        self.note_waiting(&moves);
    }

    fn note_waiting(&self, moves: &Moves) {
        for (level, waiting) in self.counters.moves_waiting.iter().zip(moves.waiting()) {
            level.store(waiting as u64, Ordering::Relaxed);
        }
    }

    /// Ends sessions in which nothing has passed for `limit`: told first, cut if nothing comes of that for as long
    /// again. Looks eight times in that span.
    pub(super) fn end_idle(&self, limit: Duration, now: Instant) {
        if self.next_look.get().is_some_and(|then| now < then) {
            return;
        }
        self.next_look.set(Some(now + limit / 8));
        for cell in self.cells.borrow().values().filter(|cell| cell.idle_for(now) >= limit) {
            cell.end_idle(now);
        }
    }

    /// Orders every session closed.
    pub fn close_all(&self, order: Order) {
        for cell in self.cells.borrow().values() {
            cell.order(order);
        }
    }

    /// Orders the sessions closed whose turn it is: the fraction `part` of `parts`.
    pub fn close_part(&self, code: u16, part: u32, parts: u32) {
        for cell in self.cells.borrow().values() {
            if (cell.no.0 / self.stride) % parts.max(1) == part {
                cell.order(Order::Close(code));
            }
        }
    }

    /// The open sessions. To be let go before anything else is done with the book.
    pub(super) fn cells(&self) -> Ref<'_, HashMap<SessionNo, Rc<SessionCell>>> {
        self.cells.borrow()
    }

    /// What holds for open sessions.
    pub(super) fn policy(&self) -> Policy {
        self.policy.get()
    }

    /// Sessions open on this worker.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.borrow().len()
    }

    /// No session is open on this worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.borrow().is_empty()
    }

    pub(crate) fn watch(&self, cell: &Rc<SessionCell>) {
        let mut watched = self.watched.borrow_mut();
        if watched.is_empty() {
            self.stirred.notify_one();
        }
        watched.entry(cell.no).or_insert_with(|| Rc::clone(cell));
    }

    /// Completes when a session has begun to wait.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    pub(crate) fn lane_changed(&self, cell: &SessionCell, to: Lane) {
        let from = if to == Lane::Hot { Lane::Legacy } else { Lane::Hot };
        self.count_open(cell, from, -1);
        self.count_open(cell, to, 1);
        self.count_adoption(cell, true);
        match cell.fallback() {
            Some(why) if to == Lane::Legacy => add(&self.counters.moved_back[why as usize], 1),
            _ => add(&self.counters.moved_to_hot, 1),
        }
    }

    pub(crate) fn window_event(&self, event: WindowEvent) {
        match event {
            WindowEvent::Late(_) | WindowEvent::Full => {}
            WindowEvent::Rescued(seq) => tracing::debug!(seq = seq.0, "rescued from the window"),
            WindowEvent::Altered(seq) => tracing::warn!(seq = seq.0, "realtime delivered an altered message"),
        }
    }

    pub(super) fn tap_panicked(&self) {
        add(&self.counters.tap_panics, 1);
    }

    /// The worker's figures of its sessions.
    pub(super) fn counters(&self) -> &SessionCounters {
        &self.counters
    }

    /// Counts what has passed: bytes and messages, before and now.
    pub(super) fn count(&self, cell: &SessionCell, dir: Direction, then: (u64, u64), now: (u64, u64)) {
        cell.pass(dir, now);
        add(&self.counters.bytes[dir as usize], now.0 - then.0);
        add(&self.counters.messages[dir as usize], now.1 - then.1);
    }
}
