//! The table sink's machine: rows in, requests out, answers in. One request at a time, at most [`BATCH_ROWS_MAX`] rows.
//! A row leaves it stored, quarantined or abandoned, and each is counted; until then its bytes are paid for.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::Reply;
use super::account::Account;
use super::answer::{Verdict, judge};
use super::pace::{Backoff, Pace};
use super::row::Row;
use crate::budget::Lease;
use crate::ledger::Second;

/// Rows of one request, at most.
pub const BATCH_ROWS_MAX: usize = 500;
/// Encoded bytes of one request, at most, unless a single row is larger.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// What a waiting row costs besides its bytes.
pub const ROW_OVERHEAD: usize = 512;

/// A row on its way, and what hangs on it.
#[derive(Debug)]
pub struct Item {
    /// The row.
    pub row: Row,
    /// Pays for its bytes.
    pub lease: Lease,
    /// The ledger's second way, where the message has one.
    pub second: Option<Second>,
    /// Goes without `data` from now on.
    plain: bool,
}

impl Item {
    /// A row that has not been tried.
    #[must_use]
    pub const fn new(row: Row, lease: Lease, second: Option<Second>) -> Self {
        Self { row, lease, second, plain: false }
    }
}

/// A row that the table refuses.
pub struct Quarantined {
    /// The row.
    pub row: Row,
    /// The last status.
    pub status: u16,
    /// The server's reason, without the values that it may quote.
    pub code: String,
}

impl fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quarantined({:?}, {} {})", self.row, self.status, self.code)
    }
}

/// What became of rows, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that the table has.
    pub stored: u64,
    /// Of these, without `data` because the table refused it.
    pub plain: u64,
    /// Rows that the table refuses.
    pub quarantined: u64,
    /// Rows given up at the end of the process.
    pub abandoned: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that were not answered with success.
    pub failures: u64,
}

/// See the module.
#[derive(Debug)]
pub struct TableSink {
    queue: VecDeque<Item>,
    /// Pieces that were sent and are to be sent again, first things first.
    again: VecDeque<Vec<Item>>,
    in_flight: Option<Vec<Item>>,
    pace: Pace,
    backoff: Backoff,
    wait_until: Option<Instant>,
    quarantine: VecDeque<Quarantined>,
    state: Option<Verdict>,
    counts: Counts,
    account: Account,
}

impl TableSink {
    /// A sink for at most `rate` rows a second. `seed` is for jitter.
    #[must_use]
    pub fn new(rate: u32, seed: u64, now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            again: VecDeque::new(),
            in_flight: None,
            pace: Pace::new(rate, now),
            backoff: Backoff::new(seed),
            wait_until: None,
            quarantine: VecDeque::new(),
            state: None,
            counts: Counts::default(),
            account: Account::default(),
        }
    }

    /// Takes a row. It is bounded by the budget that pays for it.
    pub fn push(&mut self, item: Item) {
        self.queue.push_back(item);
    }

    /// The body of the next request, an array of rows. The answer goes to [`handle_reply`](Self::handle_reply).
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if self.in_flight.is_some() || self.wait_until.is_some_and(|at| now < at) {
            return None;
        }
        self.wait_until = None;
        let piece = match self.again.pop_front() {
            Some(piece) => piece,
            None => self.next_piece(now)?,
        };
        let mut body = Vec::with_capacity(piece.iter().map(|item| item.row.encoded_len()).sum());
        for (at, item) in piece.iter().enumerate() {
            body.push(if at == 0 { b'[' } else { b',' });
            item.row.write(item.plain, &mut body);
        }
        body.push(b']');
        self.counts.requests += 1;
        self.in_flight = Some(piece);
        Some(body.into())
    }

    fn next_piece(&mut self, now: Instant) -> Option<Vec<Item>> {
        let free = self.pace.free(now).min(BATCH_ROWS_MAX);
        let mut bytes = 0_usize;
        let fits = |item: &&Item| {
            bytes = bytes.saturating_add(item.row.encoded_len());
            bytes <= BATCH_BYTES_MAX
        };
        let fit = self.queue.iter().take(free).take_while(fits).count();
        // A row that alone is too large goes alone.
        let rows = fit.max(1).min(free).min(self.queue.len());
        if rows == 0 {
            return None;
        }
        self.pace.take(rows);
        Some(self.queue.drain(..rows).collect())
    }

    /// Takes the answer to the request in flight. Returns a verdict that a person should hear of: the first of its
    /// kind since the last success.
    pub fn handle_reply(&mut self, reply: &Reply, now: Instant) -> Option<Verdict> {
        let piece = self.in_flight.take()?;
        let verdict = judge(reply);
        let asked = match reply {
            Reply::Answer { retry_after, .. } => *retry_after,
            Reply::Unknown => None,
        };
        if verdict == Verdict::Stored {
            self.backoff.reset();
            self.state = None;
            self.store(piece);
            return None;
        }
        self.counts.failures += 1;
        match verdict {
            // The database works: no reason to wait.
            Verdict::Bad => self.bisect(piece, reply),
            Verdict::TooMuch => {
                self.wait_until = Some(now + self.backoff.wait(asked));
                self.bisect(piece, reply);
            }
            Verdict::Slow if piece.len() > 1 => {
                self.wait_until = Some(now + self.backoff.wait(asked));
                self.bisect(piece, reply);
            }
            Verdict::Stored | Verdict::Slow | Verdict::Later | Verdict::Key | Verdict::Setup => {
                self.wait_until = Some(now + self.backoff.wait(asked));
                self.again.push_front(piece);
            }
        }
        let news = !matches!(verdict, Verdict::Bad | Verdict::TooMuch) && self.state != Some(verdict);
        self.state = Some(verdict);
        news.then_some(verdict)
    }

    fn store(&mut self, piece: Vec<Item>) {
        for item in piece {
            self.counts.stored += 1;
            self.counts.plain += u64::from(item.plain);
            self.account.note(&item.row);
            if let Some(second) = item.second {
                second.stored();
            }
        }
    }

    /// Halves what was refused; a single row goes once more without its `data`, and then into the quarantine.
    fn bisect(&mut self, mut piece: Vec<Item>, reply: &Reply) {
        if piece.len() > 1 {
            let rest = piece.split_off(piece.len() / 2);
            self.again.push_front(rest);
            self.again.push_front(piece);
            return;
        }
        let Some(mut item) = piece.pop() else { return };
        if !item.plain {
            item.plain = true;
            self.again.push_front(vec![item]);
            return;
        }
        let Reply::Answer { status, body, .. } = reply else { return };
        self.counts.quarantined += 1;
        // A word of the server's, for a log: letters and digits of a SQLSTATE or of PostgREST's own.
        let code = super::answer::code(body).chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        self.quarantine.push_back(Quarantined { row: item.row, status: *status, code });
    }

    /// The next row that the table refuses. To be asked after each answer: it is not kept for long.
    pub fn poll_quarantined(&mut self) -> Option<Quarantined> {
        self.quarantine.pop_front()
    }

    /// When there is something to do that nothing else would wake us for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.in_flight.is_some() || self.is_empty() {
            return None;
        }
        let pace = if self.again.is_empty() { Some(self.pace.next_at()) } else { None };
        self.wait_until.into_iter().chain(pace).max()
    }

    /// Whether every row has been settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.again.is_empty() && self.in_flight.is_none()
    }

    /// Whether an answer is awaited.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Gives up what is left. A request in flight may still have its effect; its rows count as abandoned.
    pub fn abandon(&mut self) {
        let again: usize = self.again.iter().map(Vec::len).sum();
        let flying = self.in_flight.as_ref().map_or(0, Vec::len);
        self.counts.abandoned += (self.queue.len() + again + flying) as u64;
        self.queue.clear();
        self.again.clear();
        self.in_flight = None;
    }

    /// What the table has confirmed and no file holds yet.
    pub const fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// The figures.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// What stands in the way now.
    #[must_use]
    pub const fn state(&self) -> Option<Verdict> {
        self.state
    }
}
