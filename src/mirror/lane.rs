//! One queue of the batcher: first in, first out, where identical messages collapse.
//! Collapsing may move a message forward in the queue, so it is only done where that cannot overtake another
//! message of the same session and direction.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::record::Record;
use crate::session::{Direction, Key, Opcode, SessionNo};

/// What makes two messages candidates; the bytes decide.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Content {
    crc: u32,
    len: usize,
    dir: Direction,
    op: Opcode,
}

#[derive(Debug)]
pub(super) struct Lane {
    /// A record and when it came.
    queue: VecDeque<(Record, Instant)>,
    /// Position of the front; no two that wait share one.
    base: u64,
    newest: HashMap<Content, u64>,
    /// The last position at which a session's direction has a message waiting.
    last: HashMap<(SessionNo, Direction), u64>,
    /// So many records are a batch …
    count: usize,
    /// … and so long the first may wait.
    age: Duration,
    /// In how many batches in a row the front found no room.
    pub(super) passed_over: u8,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.len)
    }
}

impl Lane {
    pub(super) fn new(count: usize, age: Duration) -> Self {
        Self {
            queue: VecDeque::new(),
            base: 1 << 32, // there is room before it: see `cut_front`
            newest: HashMap::new(),
            last: HashMap::new(),
            count,
            age,
            passed_over: 0,
        }
    }

    /// Queues a record of one message; whether it collapsed into one that waits.
    pub(super) fn push(&mut self, record: Record, now: Instant) -> bool {
        let content = content(&record);
        let twin = self.newest.get(&content).copied().filter(|at| self.may_join(&record, *at));
        let at = match twin {
            Some(at) => at,
            None => self.base + self.queue.len() as u64,
        };
        for session in record.keys().map(place) {
            self.last.insert(session, at);
        }
        match self.index(at).and_then(|index| self.queue.get_mut(index)) {
            Some((waiting, _)) => waiting.absorb(record),
            None => {
                self.newest.insert(content, at);
                self.queue.push_back((record, now));
            }
        }
        twin.is_some()
    }

    /// Nobody waits for anything in it any more; who did.
    pub(super) fn unawait(&mut self) -> Vec<Key> {
        self.queue.iter_mut().flat_map(|(record, _)| record.unawait()).collect()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Record> {
        self.queue.front_mut().map(|(record, _)| record)
    }

    pub(super) fn pop(&mut self) -> Option<Record> {
        let (record, _) = self.queue.pop_front()?;
        let at = self.base;
        self.base += 1;
        let content = content(&record);
        if self.newest.get(&content) == Some(&at) {
            self.newest.remove(&content);
        }
        self.forget(&record, at);
        Some(record)
    }

    /// Puts what was cut out of the record that was popped last in its place. Nothing joins it any more: what would have
    /// joined has joined the whole.
    pub(super) fn cut_front(&mut self, pieces: Vec<Record>, came: Instant) {
        for piece in pieces.into_iter().rev() {
            self.base -= 1;
            self.queue.push_front((piece, came));
        }
    }

    /// When the front came.
    pub(super) fn front_came(&self) -> Option<Instant> {
        self.queue.front().map(|(_, came)| *came)
    }

    /// Takes recipients off the front record; see [`Record::split_front`].
    pub(super) fn split_front(&mut self, room: usize) -> Option<Record> {
        let part = self.front_mut()?.split_front(room)?;
        self.forget(&part, self.base);
        Some(part)
    }

    /// The sessions of what has left from the front have nothing waiting there any more. Those that are also in
    /// the rest of a split record lose nothing: no position is before the front.
    fn forget(&mut self, gone: &Record, at: u64) {
        for session in gone.keys().map(place) {
            if self.last.get(&session) == Some(&at) {
                self.last.remove(&session);
            }
        }
    }

    /// When the lane is due; in the past if it is full.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let (_, came) = self.queue.front()?;
        Some(if self.queue.len() >= self.count { *came } else { *came + self.age })
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn may_join(&self, record: &Record, at: u64) -> bool {
        let same = self.index(at).and_then(|index| self.queue.get(index));
        same.is_some_and(|(waiting, _)| waiting.same_content(record))
            && record.keys().all(|key| self.last.get(&place(key)).is_none_or(|last| *last <= at))
    }

    fn index(&self, at: u64) -> Option<usize> {
        usize::try_from(at.checked_sub(self.base)?).ok()
    }
}

fn content(record: &Record) -> Content {
    Content { crc: record.crc(), len: record.payload().len(), dir: record.dir(), op: record.facts().op }
}

const fn place(key: Key) -> (SessionNo, Direction) {
    (key.session, key.dir)
}
