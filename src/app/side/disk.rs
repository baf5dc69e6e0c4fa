//! What is between the side thread and the disk: tokens that wait for a sync, copies of what is being published, what
//! was handed out. Each report of the disk moves tokens; nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulid::Ulid;

use super::wholes::Wholes;
use crate::ledger::{Entry, Ledger, Proof, Shed};
use crate::mirror::report::StoredEnd;
use crate::mirror::stored::{ForDisk, Given, Stored};
use crate::spool::disk::{Backlog, Command, Moment, Port, Report, Ticket};
use crate::spool::record::Draft;
use crate::spool::share::Share;

/// How often the account goes to the disk.
const ACCOUNT_EVERY: Duration = Duration::from_millis(250);

/// A copy that is on its way to the disk or there, while its batch is being published.
#[derive(Debug, Default)]
pub(super) struct Twin {
    pub(super) synced: bool,
    /// Tokens that wait for the sync: publishing has failed in the meantime.
    pub(super) tokens: Option<Vec<Entry>>,
}

/// What the side thread remembers of the disk.
pub(crate) struct Spool {
    pub(super) port: Port,
    pub(super) share: Share,
    pub(super) ledger: Arc<Ledger>,
    /// Tokens of batches that are not synced yet.
    pub(super) pending: HashMap<Ulid, Vec<Entry>>,
    pub(super) twins: HashMap<Ulid, Twin>,
    pub(super) out: HashMap<Ulid, (Ticket, u64)>,
    /// Batches of the backlog that are larger than a broadcast, while their pieces are published.
    pub(super) wholes: Wholes,
    /// Small commands that found no room; they are never dropped.
    pub(super) outbox: VecDeque<Command>,
    pub(super) ready: Option<Backlog>,
    /// An answer to `Next` is due.
    pub(super) asked: bool,
    /// There may be something to hand out.
    pub(super) more: bool,
    /// When to look again although there was nothing: reading may have failed.
    pub(super) look_at: Instant,
    pub(super) stopping: bool,
    pub(super) closed: Option<u64>,
    pub(super) account_at: Instant,
    /// The promise that an account was sent for ahead of time, by the level of seen messages it is due at.
    pub(super) promise_asked: u64,
    /// Messages that the disk has reported as lost.
    pub(super) lost_heard: u64,
    pub(super) blocked_since: Option<Instant>,
}

impl Spool {
    pub(crate) fn new(port: Port, ledger: Arc<Ledger>, now: Instant) -> Self {
        Self {
            port,
            share: Share::new(now),
            ledger,
            pending: HashMap::new(),
            twins: HashMap::new(),
            out: HashMap::new(),
            wholes: Wholes::default(),
            outbox: VecDeque::new(),
            ready: None,
            asked: false,
            more: true,
            look_at: now,
            stopping: false,
            closed: None,
            account_at: now,
            promise_asked: u64::MAX,
            lost_heard: 0,
            blocked_since: None,
        }
    }

    /// Sends what waits, in order; whether nothing waits any more.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(command) = self.outbox.pop_front() {
            if let Err(command) = self.port.try_send(command) {
                self.outbox.push_front(*command);
                return false;
            }
        }
        true
    }

    pub(super) fn send(&mut self, command: Command) {
        self.outbox.push_back(command);
        self.flush();
    }

    /// The account of this moment, for the disk.
    pub(super) fn moment(&self, sessions: u64, urgent: bool) -> Command {
        let (account, lost_heard) = (self.ledger.account(), self.lost_heard);
        Command::Account(Box::new(Moment { account, sessions, lost_heard, urgent }))
    }

    /// Sends the account when it is due, or so much was seen that a promise has to be written ahead.
    pub(super) fn keep_account(&mut self, sessions: u64, now: Instant) {
        let due = self.port.figures().promise_due();
        let is_short = self.ledger.seen() >= due && self.promise_asked != due;
        if now < self.account_at && !is_short {
            return;
        }
        self.account_at = now + ACCOUNT_EVERY;
        // If there is no room, the next one is as good.
        if self.port.try_send(self.moment(sessions, false)).is_ok() && is_short {
            self.promise_asked = due;
        }
    }

    pub(super) fn has_room(&mut self) -> bool {
        self.flush() && self.port.has_room()
    }

    /// Nothing is on its way to the disk.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.twins.values().all(|twin| twin.tokens.is_none())
    }

    pub(super) fn store(&mut self, record: ForDisk, held: bool) {
        let messages = u32::try_from(record.messages).unwrap_or(u32::MAX);
        let ForDisk { batch, class, at_ms, body, .. } = record;
        self.send(Command::Append { draft: Draft { batch, class, at_ms, messages, body }, held });
    }

    /// Takes what the publisher has given up.
    pub(super) fn take(&mut self, given: Given) {
        let batch = given.record.batch;
        match self.twins.remove(&batch) {
            Some(twin) if given.copied && twin.synced => {
                let messages = given.tokens.len() as u64;
                given.tokens.into_iter().for_each(Entry::spool);
                self.more = true;
                return self.send(Command::Release(batch, messages));
            }
            Some(_) if given.copied => {
                let tokens = Some(given.tokens);
                self.twins.insert(batch, Twin { synced: false, tokens });
                return;
            }
            // The copy counts messages that have arrived since.
            Some(_) => self.send(Command::Settle(batch)),
            None => {}
        }
        self.pending.insert(batch, given.tokens);
        self.store(given.record, false);
    }

    pub(super) fn hear(&mut self, report: Report) {
        match report {
            Report::Opened { messages, crash } => {
                let crashed = crash.as_ref().map_or(0, |crash| crash.messages);
                self.ledger.inherit(messages, crashed);
                tracing::info!(messages, "the spool is open; this is what an earlier process left in it");
                if let Some(crash) = crash {
                    let lost_at_most = crash.lost_at_most.unwrap_or(crash.messages);
                    self.ledger.declare(lost_at_most);
                    tracing::error!(
                        instance = crash.instance,
                        in_memory = crash.messages,
                        lost_at_most,
                        has_promise = crash.lost_at_most.is_some(),
                        last_account_ms = crash.at_ms,
                        "the process before this one ended without a word: so many messages were in memory only at its \
                         last account, and with what it may have seen later so many are lost at most"
                    );
                }
            }
            Report::Synced(batches) => batches.into_iter().for_each(|batch| self.synced(batch)),
            Report::Failed(batches, why) => {
                for batch in batches {
                    let twin = self.twins.remove(&batch).and_then(|twin| twin.tokens);
                    let tokens = self.pending.remove(&batch).into_iter().chain(twin);
                    tokens.flatten().for_each(|token| token.shed(why));
                }
            }
            Report::Backlog(backlog) => (self.asked, self.ready) = (false, Some(backlog)),
            Report::Empty => (self.asked, self.more) = (false, false),
            Report::Lost { messages, why } => {
                self.ledger.shed_spooled(messages, why);
                self.lost_heard += messages;
            }
            Report::Closed { messages } => self.closed = Some(messages),
        }
    }

    pub(super) fn synced(&mut self, batch: Ulid) {
        if let Some(tokens) = self.pending.remove(&batch) {
            tokens.into_iter().for_each(Entry::spool);
            self.more = true;
            return;
        }
        let Some(twin) = self.twins.get_mut(&batch) else { return };
        twin.synced = true;
        if let Some(tokens) = twin.tokens.take() {
            self.twins.remove(&batch);
            let messages = tokens.len() as u64;
            tokens.into_iter().for_each(Entry::spool);
            self.more = true;
            self.send(Command::Release(batch, messages));
        }
    }

    /// A batch of which the disk has a copy was settled.
    pub(super) fn settled(&mut self, batch: Ulid) {
        if self.twins.remove(&batch).is_some() {
            self.send(Command::Settle(batch));
        }
    }

    /// Whether there is something of the backlog to publish.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some() || !self.wholes.is_empty()
    }

    /// Whether a batch is backlog, or a piece of it.
    pub(super) fn is_backlog(&self, batch: Ulid) -> bool {
        self.out.contains_key(&batch) || self.wholes.contains(batch)
    }

    /// What is to be published next. What is larger than a broadcast is cut.
    pub(super) fn next_stored(&mut self, limit_bytes: u32) -> Option<Stored> {
        if let Some(piece) = self.wholes.next() {
            return Some(piece);
        }
        let Backlog { ticket, batch, messages, body, .. } = self.ready.take()?;
        let messages = u64::from(messages);
        self.out.insert(batch, (ticket, messages));
        let stored = Stored { batch, messages, body };
        if stored.body.len() <= limit_bytes as usize {
            return Some(stored);
        }
        let pieces = stored.cut(limit_bytes);
        if pieces.is_empty() {
            self.ended(batch, StoredEnd::Lost(Shed::TooLarge));
            return None;
        }
        self.wholes.add(batch, pieces);
        self.wholes.next()
    }

    /// A batch of the backlog has ended, or a piece of it.
    pub(super) fn ended(&mut self, batch: Ulid, end: StoredEnd) {
        let Some((batch, end)) = self.wholes.ended(batch, end) else { return };
        let Some((ticket, messages)) = self.out.remove(&batch) else { return };
        match end {
            StoredEnd::Arrived => self.ledger.confirm_spooled(messages, Proof::ReadBack),
            StoredEnd::Lost(why) => {
                self.ledger.shed_spooled(messages, why);
                // Before the disk forgets it: a kill must not find it gone and in no account.
                self.send(self.moment(0, true));
            }
            StoredEnd::Back => {
                self.more = true;
                return self.send(Command::Return(ticket));
            }
        }
        self.send(Command::Done(ticket));
    }

    /// The disk thread is gone: whatever waited for it is lost.
    pub(super) fn end(self) {
        let twins = self.twins.into_values().filter_map(|twin| twin.tokens);
        self.pending.into_values().chain(twins).flatten().for_each(|token| token.shed(Shed::SpoolBroken));
    }
}
