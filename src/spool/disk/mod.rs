//! The disk thread: takes commands from a bounded queue, never makes anybody wait, answers by reports.
//!
//! **Problem.** A disk stalls for seconds, fills up, turns read-only or lies about a sync; whoever feeds hot sessions
//! must not notice.
//!
//! **Decision.** [`Port`] is what the side thread holds: it leaves a [`Command`] if there is room and polls [`Report`]s.
//! [`Worker`] is the other end: each turn takes what waits, writes it, syncs once, and only then reports it as synced.
//! [`spawn`] gives it a thread (`life.rs`); a simulation calls its turns itself. Files are `store.rs`, `upkeep.rs`, `recover.rs`,
//! `reader.rs` and `checkpoint.rs`.
//!
//! **Limits.** [`QUEUE_MAX`] commands and [`QUEUE_BYTES`] of bodies wait; beyond it an append is refused and the caller
//! sheds with a reason. Reports that nobody fetches stop the disk thread, not the caller.

mod checkpoint;
mod figures;
mod life;
mod reader;
mod recover;
mod store;
mod upkeep;

#[cfg(test)]
mod days;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use ulid::Ulid;

use super::index::Limits;
use super::record::Draft;
use super::seal::Seal;
use crate::envelope::Class;
use crate::ledger::{Account, Shed};

pub use checkpoint::{Checkpoint, Crash};
pub use figures::{Figures, State};
pub use life::spawn;
pub use recover::{Inventory, SegmentFacts, inspect};
pub use store::{OpenError, Store};

/// Commands that may wait.
pub const QUEUE_MAX: usize = 4096;
/// Bytes of bodies that may wait.
pub const QUEUE_BYTES: u64 = 16 << 20;
/// Commands of one turn, and of one sync.
const TURN_MAX: usize = 512;
/// How old the account on disk may be.
pub const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

/// Where and how the spool is kept.
#[derive(Debug)]
pub struct Settings {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// How much it may hold.
    pub limits: Limits,
    /// Encryption at rest.
    pub seal: Option<Seal>,
    /// The name of this process, for the account.
    pub instance: String,
}

/// Names one stored record while it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Its class.
    pub class: Class,
    /// Its number there.
    pub seq: u64,
}

/// What the disk is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Store a batch. `held` = it is being published at the same time and is no backlog yet.
    Append {
        /// The batch.
        draft: Draft,
        /// See above.
        held: bool,
    },
    /// A held batch has arrived or was given up for good.
    Settle(Ulid),
    /// A held batch is backlog from now on.
    /// Says how many messages it stands for, should the disk have given it up in the meantime.
    Release(Ulid, u64),
    /// Hand out one batch of the backlog.
    Next,
    /// A batch that was handed out has arrived or was given up for good.
    Done(Ticket),
    /// A batch that was handed out could not be published now.
    Return(Ticket),
    /// The account of this moment.
    Account(Box<Moment>),
    /// Nothing more will come; write down what remains.
    Close,
}

/// What the disk is told from time to time.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The account.
    pub account: Account,
    /// Sessions that are open.
    pub sessions: u64,
    /// Of the messages that [`Report::Lost`] has named, those that the account knows of.
    pub lost_heard: u64,
    /// Something was given up that is still on the disk: to be written before the disk forgets it.
    pub urgent: bool,
}

/// A batch of the backlog.
#[derive(Clone, PartialEq, Eq)]
pub struct Backlog {
    /// To be given back by [`Command::Done`] or [`Command::Return`].
    pub ticket: Ticket,
    /// Its name, the same each time.
    pub batch: Ulid,
    /// When the oldest of its messages was seen, in Unix milliseconds.
    pub at_ms: u64,
    /// Its messages by recipient.
    pub messages: u32,
    /// The envelope.
    pub body: Bytes,
}

impl std::fmt::Debug for Backlog {
    /// Bytes stay out of logs (invariant 7).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backlog({:?}, {} messages)", self.ticket, self.messages)
    }
}

/// What the disk has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// It is there; what an earlier process left.
    Opened {
        /// Messages that wait in it.
        messages: u64,
        /// What the process before this one took along, if it ended without a word.
        crash: Option<Crash>,
    },
    /// These batches are on the disk for good.
    Synced(Vec<Ulid>),
    /// These are not, and why.
    Failed(Vec<Ulid>, Shed),
    /// As asked by [`Command::Next`].
    Backlog(Backlog),
    /// There is none.
    Empty,
    /// Messages that were spooled and are no more.
    Lost {
        /// How many, by recipient.
        messages: u64,
        /// Why.
        why: Shed,
    },
    /// As asked by [`Command::Close`]: messages that remain for the next process.
    Closed {
        /// How many, by recipient.
        messages: u64,
    },
}

/// The side thread's end.
#[derive(Debug)]
pub struct Port {
    commands: SyncSender<Command>,
    reports: mpsc::Receiver<Report>,
    waiting: Arc<AtomicU64>,
    figures: Arc<Figures>,
}

impl Port {
    /// Leaves a command, if there is room.
    ///
    /// # Errors
    /// The command, if the disk is too far behind or its thread is gone.
    pub fn try_send(&self, command: Command) -> Result<(), Box<Command>> {
        let bytes = body_len(&command);
        if self.waiting.load(Ordering::Relaxed) + bytes > QUEUE_BYTES {
            return Err(Box::new(command));
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.commands.try_send(command).map_err(|error| {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            let (std::sync::mpsc::TrySendError::Full(command)
            | std::sync::mpsc::TrySendError::Disconnected(command)) = error;
            Box::new(command)
        })
    }

    /// What the disk shows.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Whether the disk keeps up.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < QUEUE_BYTES / 2
    }

    /// Whether the disk thread has ended and everything it said was heard.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.reports.is_closed() && self.reports.is_empty()
    }

    /// The next report that is there.
    pub fn try_report(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Waits for the next report; nothing once the disk thread is gone.
    pub async fn next_report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }
}

fn body_len(command: &Command) -> u64 {
    match command {
        Command::Append { draft, .. } => draft.body.len() as u64,
        _ => 0,
    }
}

/// The disk's end, before there is a store.
#[derive(Debug)]
pub struct Plug {
    commands: Receiver<Command>,
    reports: mpsc::Sender<Report>,
    waiting: Arc<AtomicU64>,
    figures: Arc<Figures>,
}

/// Both ends.
#[must_use]
pub fn connect(figures: Arc<Figures>) -> (Port, Plug) {
    let (commands, taken) = sync_channel(QUEUE_MAX);
    let (reports, heard) = mpsc::channel(QUEUE_MAX);
    let waiting = Arc::new(AtomicU64::new(0));
    let port =
        Port { commands, reports: heard, waiting: Arc::clone(&waiting), figures: Arc::clone(&figures) };
    (port, Plug { commands: taken, reports, waiting, figures })
}

/// The disk's end, at work.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    plug: Plug,
}

impl Worker {
    /// Opens the store.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(settings: Settings, plug: Plug) -> Result<Self, (OpenError, Plug)> {
        match Store::open(settings, Arc::clone(&plug.figures)) {
            Ok(store) => Ok(Self { store, plug }),
            Err(error) => Err((error, plug)),
        }
    }

    /// One turn: everything that waits, one sync, the reports. Whether anybody still listens.
    pub fn turn(&mut self, first: Option<Command>, now_ms: u64) -> bool {
        let mut bytes = 0;
        let mut next = first;
        self.plug.figures.set_busy(now_ms);
        for _ in 0..TURN_MAX {
            let Some(command) = next.take().or_else(|| self.plug.commands.try_recv().ok()) else { break };
            bytes += body_len(&command);
            self.store.apply(command, now_ms);
        }
        self.store.finish_turn(now_ms);
        self.plug.figures.set_busy(0);
        self.plug.waiting.fetch_sub(bytes, Ordering::Relaxed);
        let mut heard = !self.plug.reports.is_closed();
        for report in self.store.take_reports() {
            heard &= self.plug.report(report);
        }
        heard
    }
}

#[expect(clippy::disallowed_methods, reason = "the disk thread is a shell: its clock is the real one")]
pub(crate) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
