//! Questions about open sessions, asked by the admin through a worker's inbox. A question that looks at many
//! sessions does so in slices, and sessions get their turn between two of them.

use std::cell::Ref;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::cell::{Order, SessionCell};
use super::worker::Worker;
use super::{Follow, Lane, Policy, TraceId, Verdict};
use crate::hot::Fallback;
use crate::session::{SessionId, SessionNo};

/// Sessions that are looked at before others get their turn.
const SLICE: usize = 256;

/// A question. Whoever asked may have gone: then nobody hears the answer.
#[derive(Debug)]
pub enum Inquiry {
    /// The first `limit` sessions after a number, in the order of their numbers.
    List {
        /// Beyond this one.
        after: Option<SessionNo>,
        /// On this lane alone.
        lane: Option<Lane>,
        /// At most.
        limit: usize,
        /// Where to.
        answer: oneshot::Sender<Vec<Facts>>,
    },
    /// One session.
    One(SessionId, oneshot::Sender<Option<Facts>>),
    /// A person wants it on another lane.
    Move {
        /// Which.
        id: SessionId,
        /// Where to.
        to: Wish,
        /// The version of the settings that the person has seen.
        version: u64,
        /// What became of it; `None` when there is no such session.
        answer: oneshot::Sender<Option<Result<Moved, Refused>>>,
    },
    /// A person wants it closed with this code.
    Close(SessionId, u16, oneshot::Sender<bool>),
    /// What another rollout would move.
    Count(Follow, oneshot::Sender<Tally>),
}

/// Where a person wants a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Hot, until the settings next change.
    Hot,
    /// Legacy, until the person says otherwise.
    Legacy,
    /// Where the rollout has it.
    Auto,
}

/// A move that happens, or has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The session is told.
    Ordered,
    /// It is there already.
    There,
}

/// Why a session is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was opened without a tap, or on a lane that an open socket cannot leave.
    Fixed,
    /// Realtime may not be used.
    NoRealtime(Fallback),
    /// Its window overflowed less than a minute ago.
    HeldOff,
    /// The settings have changed since.
    Stale,
}

/// What a worker knows about a session.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its number.
    pub no: SessionNo,
    /// Its name to the outside.
    pub id: SessionId,
    /// Its path, without the query.
    pub path: Arc<str>,
    /// What feeds the client now.
    pub lane: Lane,
    /// The decision at the upgrade.
    pub verdict: Verdict,
    /// Why it left the hot lane last.
    pub fallback: Option<Fallback>,
    /// Where a person has put it.
    pub pinned: Option<Lane>,
    /// When the 101 was relayed.
    pub opened_at: Instant,
    /// Bytes and data messages, up and down.
    pub passed: [(u64, u64); 2],
    /// Messages and bytes in its window.
    pub window: (usize, usize),
    /// The trace of its upgrade.
    pub trace: Option<TraceId>,
}

/// What another rollout would move.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Sessions open.
    pub open: u64,
    /// From legacy to hot.
    pub to_realtime: u64,
    /// From hot to legacy.
    pub to_legacy: u64,
    /// Messages a second that would have to be published in addition, by the sessions' averages so far.
    pub messages_per_s_more: f64,
    /// Messages a second to the clients that would become hot: each waits for a publish.
    pub awaited_per_s: f64,
    /// For how many seconds the sessions that would move have been open, added up: what the rates rest on.
    pub watched_s: f64,
}

/// Answers on the worker's thread.
pub(super) async fn answer(worker: Rc<Worker>, inquiry: Inquiry) {
    match inquiry {
        Inquiry::List { after, lane, limit, answer } => {
            reply(answer, list(&worker, (after, lane), limit).await);
        }
        Inquiry::One(id, answer) => {
            let found = find(&worker.sessions().cells(), id).map(|cell| cell.facts());
            reply(answer, found);
        }
        Inquiry::Move { id, to, version, answer } => {
            let cell = find(&worker.sessions().cells(), id);
            reply(answer, cell.map(|cell| move_one(&worker, &cell, to, version)));
        }
        Inquiry::Close(id, code, answer) => {
            let cell = find(&worker.sessions().cells(), id);
            if let Some(cell) = &cell {
                cell.order(Order::Close(code));
            }
            reply(answer, cell.is_some());
        }
        Inquiry::Count(follow, answer) => reply(answer, count(&worker, &follow).await),
    }
}

/// Whoever asked may have gone.
fn reply<T>(to: oneshot::Sender<T>, what: T) {
    if to.send(what).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}

type Cells<'a> = Ref<'a, HashMap<SessionNo, Rc<SessionCell>>>;

fn find(cells: &Cells<'_>, id: SessionId) -> Option<Rc<SessionCell>> {
    cells.values().find(|cell| cell.id == id).map(Rc::clone)
}

/// The cells of these sessions, as far as they are still open, a slice at a time.
async fn each(worker: &Worker, numbers: &[SessionNo], mut look: impl FnMut(&SessionCell)) {
    for slice in numbers.chunks(SLICE) {
        {
            let cells = worker.sessions().cells();
            slice.iter().filter_map(|no| cells.get(no)).for_each(|cell| look(cell));
        }
        tokio::task::yield_now().await;
    }
}

async fn list(worker: &Worker, which: (Option<SessionNo>, Option<Lane>), limit: usize) -> Vec<Facts> {
    let (after, lane) = which;
    let mut numbers: Vec<SessionNo> = {
        let cells = worker.sessions().cells();
        let wanted = |cell: &&Rc<SessionCell>| {
            after.is_none_or(|after| cell.no > after) && lane.is_none_or(|lane| cell.lane() == lane)
        };
        cells.values().filter(wanted).map(|cell| cell.no).collect()
    };
    if limit < numbers.len() {
        numbers.select_nth_unstable(limit);
        numbers.truncate(limit);
    }
    numbers.sort_unstable();
    let mut found = Vec::with_capacity(numbers.len());
    each(worker, &numbers, |cell| found.push(cell.facts())).await;
    found
}

async fn count(worker: &Worker, follow: &Follow) -> Tally {
    let numbers: Vec<SessionNo> = worker.sessions().cells().keys().copied().collect();
    let now = worker.now();
    let mut tally = Tally { open: numbers.len() as u64, ..Tally::default() };
    // Where the sessions end up when Realtime may be used and the paced return is over.
    let policy = Policy { hot: Ok(()), share_permille: 1000, ..Policy::PASSTHROUGH };
    each(worker, &numbers, |cell| {
        let Some(subject) = cell.verdict.subject.as_ref().filter(|_| cell.verdict.is_tapped()) else {
            return;
        };
        let hot = cell.pinned() != Some(Lane::Legacy)
            && policy.wants_hot(follow.decide(subject, cell.assigned()).follows).is_ok();
        let sign = match (cell.lane(), hot) {
            (Lane::Legacy, true) => 1.0,
            (Lane::Hot, false) => -1.0,
            _ => return,
        };
        if hot {
            tally.to_realtime += 1;
        } else {
            tally.to_legacy += 1;
        }
        let age = now.saturating_duration_since(cell.opened_at).as_secs_f64();
        tally.watched_s += age;
        if age <= 0.0 {
            return;
        }
        let [(_, up), (_, down)] = cell.passed();
        if !cell.verdict.mirrored {
            tally.messages_per_s_more += sign * (up + down) as f64 / age;
        }
        if hot {
            tally.awaited_per_s += down as f64 / age;
        }
    })
    .await;
    tally
}

fn move_one(worker: &Worker, cell: &SessionCell, to: Wish, version: u64) -> Result<Moved, Refused> {
    let policy = worker.sessions().policy();
    if policy.version != version {
        return Err(Refused::Stale);
    }
    if matches!(cell.lane(), Lane::Cold | Lane::Native) || !cell.verdict.is_tapped() {
        return Err(Refused::Fixed);
    }
    let hot = match to {
        Wish::Hot => true,
        Wish::Legacy => false,
        Wish::Auto => {
            cell.pin(None);
            cell.follow_anew(&worker.shared.mirroring.follow);
            worker.sessions().count_adoption(cell, true);
            policy.wants(cell.no, cell.follows()).is_ok()
        }
    };
    if hot && cell.lane() == Lane::Legacy {
        policy.hot.map_err(Refused::NoRealtime)?;
        if !cell.may_be_hot(worker.now()) {
            return Err(Refused::HeldOff);
        }
    }
    match to {
        Wish::Hot => cell.pin(Some(Lane::Hot)),
        Wish::Legacy => cell.pin(Some(Lane::Legacy)),
        Wish::Auto => {}
    }
    match (hot, cell.lane()) {
        (true, Lane::Legacy) => cell.order(Order::ToHot),
        // Legacy as well: takes back a wish that was not met yet.
        (false, lane) => {
            cell.order(Order::ToLegacy(Fallback::Person));
            return Ok(if lane == Lane::Legacy { Moved::There } else { Moved::Ordered });
        }
        (true, _) => return Ok(Moved::There),
    }
    Ok(Moved::Ordered)
}
