//! The open spool: appends, syncs, settles, makes room. The first failed write or sync ends the appending for good.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ulid::Ulid;

use super::checkpoint::{self, Checkpoint, Crash};
use super::figures::{Figures, State};
use super::reader::Cursor;
use super::recover::{Inventory, inspect, segment_path};
use super::{Command, Moment, Report, Settings, Ticket};
use crate::envelope::Class;
use crate::ledger::Shed;
use crate::spool::index::{Index, Room};
use crate::spool::promise::{Ahead, Promise};
use crate::spool::record::{Draft, HEADER_LEN, write};

const LOCK: &str = "lock";
/// What sealing adds to a body.
const SEAL_LEN: u64 = 28;

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made, read or written.
    #[error("CROSSFADE_SPOOL_DIR {dir}: cannot be used")]
    Directory {
        /// The directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("CROSSFADE_SPOOL_DIR {dir}: another process has it open; give each pod a directory of its own")]
    Locked {
        /// The directory.
        dir: String,
    },
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ticket: Ticket,
    /// The segment.
    pub(super) base: u64,
    /// The offset of its header.
    pub(super) at: u64,
    pub(super) messages: u32,
}

/// A record that is being published at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) place: Place,
    /// The cursor has gone past it.
    pub(super) passed: bool,
}

#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    pub(super) base: u64,
    dirty: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    pub(super) settings: Settings,
    pub(super) index: Index,
    pub(super) cursors: [Cursor; Class::ALL.len()],
    pub(super) held: HashMap<Ulid, Held>,
    /// Handed out.
    pub(super) out: HashMap<Ticket, Place>,
    /// Behind the cursor and to be handed out (again).
    pub(super) returned: BTreeMap<Ticket, Place>,
    pub(super) reports: Vec<Report>,
    pub(super) figures: Arc<Figures>,
    pub(super) state: State,
    pub(super) writers: [Option<Writer>; Class::ALL.len()],
    /// Appended and not yet synced.
    unsynced: Vec<Ulid>,
    scratch: Vec<u8>,
    pub(super) lists: Vec<(Class, u64, u64)>,
    pub(super) account: Option<Checkpoint>,
    pub(super) written_ms: u64,
    pub(super) before: Option<Crash>,
    pub(super) promises: File,
    pub(super) promised: Promise,
    pub(super) promise_failed: bool,
    pub(super) ahead: Ahead,
    /// The last word about the moment, until it is written.
    pub(super) moment: Option<Moment>,
    /// Messages of [`Report::Lost`] since the start.
    pub(super) lost: u64,
    /// Held for as long as the store lives.
    _lock: File,
    #[cfg(test)]
    pub(super) sabotage: Option<super::tests::Sabotage>,
}

impl Store {
    /// Locks the directory, looks at what is there, repairs torn tails.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: Settings, figures: Arc<Figures>) -> Result<Self, OpenError> {
        let name = || settings.dir.display().to_string();
        let failed = |source| OpenError::Directory { dir: name(), source };
        fs::create_dir_all(&settings.dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(settings.dir.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(OpenError::Locked { dir: name() }),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let inventory = inspect(&settings.dir).map_err(failed)?;
        let promises = checkpoint::promises(&settings.dir).map_err(failed)?;
        let mut store = Self {
            index: Index::new(settings.limits),
            cursors: Default::default(),
            held: HashMap::new(),
            out: HashMap::new(),
            returned: BTreeMap::new(),
            reports: Vec::new(),
            figures,
            state: State::Ok,
            writers: Default::default(),
            unsynced: Vec::new(),
            scratch: Vec::new(),
            lists: Vec::new(),
            account: None,
            written_ms: 0,
            before: None,
            promises,
            promised: Promise::default(),
            promise_failed: false,
            ahead: Ahead::default(),
            moment: None,
            lost: 0,
            _lock: lock,
            settings,
            #[cfg(test)]
            sabotage: None,
        };
        store.adopt(inventory).map_err(|source| {
            let dir = store.settings.dir.display().to_string();
            OpenError::Directory { dir, source }
        })?;
        Ok(store)
    }

    fn adopt(&mut self, inventory: Inventory) -> io::Result<()> {
        let promise = inventory.promise;
        for facts in inventory.segments {
            for (from, to) in &facts.damaged {
                self.figures.damaged.fetch_add(1, Ordering::Relaxed);
                tracing::error!(file = %facts.path.display(), from, to, "the spool is damaged here; what was in these bytes is lost");
            }
            if let Some(from) = facts.torn {
                tracing::warn!(file = %facts.path.display(), from, "the last write to the spool did not end; cut off");
                OpenOptions::new().write(true).open(&facts.path)?.set_len(from)?;
            }
            let (class, base) = (facts.class, facts.segment.base);
            let empty = facts.segment.open == 0;
            self.index.adopt(class, facts.segment, facts.last_seq);
            if empty && self.index.forget_newest(class).is_some() {
                self.remove_files(class, base);
            }
        }
        let last = checkpoint::read(&self.settings.dir).unwrap_or_else(|error| {
            tracing::error!(%error, "the account of the process before this one cannot be read: what it lost is unknown");
            None
        });
        let messages = Class::ALL.into_iter().map(|class| self.index.open(class).1).sum();
        let crash = last.as_ref().and_then(|last| checkpoint::crash_of(last, promise));
        self.figures.set_crash(crash.as_ref());
        self.before.clone_from(&crash);
        self.reports.push(Report::Opened { messages, crash });
        self.account = Some(Checkpoint::default());
        self.set_state(State::Ok);
        if let Err(error) = self.write_account(0) {
            // A full disk does not keep anybody from reading it.
            if State::of(&error) != State::Full {
                return Err(error);
            }
            self.write_failed(&error);
        }
        // After the account: until then the older promise belongs to the older account.
        let seen_max = self.ahead.account(0, 0);
        self.promised.number = promise.map_or(0, |last| last.number);
        self.promise(Promise { seen_max, ..Promise::default() });
        Ok(())
    }

    /// Does what a command says; results are reported after [`finish_turn`](Self::finish_turn).
    pub(super) fn apply(&mut self, command: Command, now_ms: u64) {
        match command {
            Command::Append { draft, held } => self.append(&draft, held),
            Command::Settle(batch) => {
                if let Some(held) = self.held.remove(&batch) {
                    self.settle(held.place);
                }
            }
            Command::Release(batch, messages) => match self.held.remove(&batch) {
                Some(Held { place, passed: true }) => drop(self.returned.insert(place.ticket, place)),
                Some(_) => {}
                None => self.lose(messages, Shed::SpoolFull),
            },
            Command::Next => self.hand_out(),
            Command::Done(ticket) => {
                if let Some(place) = self.out.remove(&ticket) {
                    self.settle(place);
                }
            }
            Command::Return(ticket) => self.take_back(ticket),
            Command::Account(moment) => {
                self.account = Some(Checkpoint::of(&moment.account));
                let urgent = moment.urgent || self.moment.is_some_and(|one| one.urgent);
                self.moment = Some(Moment { urgent, ..*moment });
            }
            Command::Close => self.close(now_ms),
        }
    }

    fn append(&mut self, draft: &Draft, held: bool) {
        let why = match self.try_append(draft, held) {
            Ok(()) => {
                self.unsynced.push(draft.batch);
                return;
            }
            Err(why) => why,
        };
        self.reports.push(Report::Failed(vec![draft.batch], why));
    }

    fn try_append(&mut self, draft: &Draft, held: bool) -> Result<(), Shed> {
        if self.state == State::Broken {
            return Err(Shed::SpoolBroken);
        }
        let sealing = if self.settings.seal.is_some() { SEAL_LEN } else { 0 };
        let len = HEADER_LEN as u64 + draft.body.len() as u64 + sealing;
        let base = self.make_room(draft.class, len)?;
        let at = self.index.series(draft.class).back().map_or(0, |last| last.len);
        self.scratch.clear();
        let seq = self.index.next_seq(draft.class);
        let mut nonce = [0; 12];
        let seal = match &self.settings.seal {
            Some(seal) => {
                getrandom::fill(&mut nonce).map_err(|_| Shed::SpoolBroken)?;
                Some((seal, nonce))
            }
            None => None,
        };
        let header = write(&mut self.scratch, draft, seq, seal).ok_or(Shed::TooLarge)?;
        let Some(Some(writer)) = self.writers.get_mut(draft.class as usize) else {
            return Err(Shed::SpoolBroken);
        };
        let written = writer.file.write_all_at(&self.scratch, at);
        #[cfg(test)]
        let written = written.and(super::tests::Sabotage::spoil(self.sabotage));
        if let Err(error) = written {
            return Err(self.write_failed(&error));
        }
        writer.dirty = true;
        self.index.appended(&header);
        if held {
            let ticket = Ticket { class: draft.class, seq };
            let place = Place { ticket, base, at, messages: draft.messages };
            self.held.insert(draft.batch, Held { place, passed: false });
        }
        if matches!(self.state, State::Full | State::ReadOnly) {
            tracing::info!("the spool's disk takes what it is given again");
            self.set_state(State::Ok);
        }
        Ok(())
    }

    /// A full or read-only disk may take something again; anything else is final.
    fn write_failed(&mut self, error: &io::Error) -> Shed {
        let state = State::of(error);
        if state == State::Broken {
            self.fail(error);
            return Shed::SpoolBroken;
        }
        if self.state != state {
            let state = state.as_str();
            tracing::error!(%error, state, "the spool's disk takes nothing: what cannot be published is lost until it does");
        }
        self.set_state(state);
        if state == State::Full { Shed::SpoolFull } else { Shed::SpoolBroken }
    }

    fn fail(&mut self, error: &io::Error) {
        if self.state != State::Broken {
            tracing::error!(%error, "the spool is broken: nothing more is stored until the process starts anew");
        }
        self.set_state(State::Broken);
    }

    pub(super) fn set_state(&mut self, state: State) {
        self.state = state;
        self.figures.set_state(state);
    }

    /// The segment that takes `len` bytes.
    fn make_room(&mut self, class: Class, len: u64) -> Result<u64, Shed> {
        loop {
            let none = self.writers.get(class as usize).is_none_or(Option::is_none);
            match self.index.room_for(class, len, none) {
                Room::Here => {
                    return self.index.series(class).back().map(|last| last.base).ok_or(Shed::SpoolBroken);
                }
                Room::NewSegment => self.open_segment(class)?,
                Room::Evict(victim) => self.evict(victim),
                Room::Refused => return Err(Shed::SpoolFull),
            }
        }
    }

    fn open_segment(&mut self, class: Class) -> Result<(), Shed> {
        self.sync();
        if self.state == State::Broken {
            return Err(Shed::SpoolBroken);
        }
        let base = self.index.open_segment(class);
        let path = segment_path(&self.settings.dir, class, base);
        let created = OpenOptions::new().write(true).create_new(true).open(&path);
        match created.and_then(|file| File::open(&self.settings.dir)?.sync_all().map(|()| file)) {
            Ok(file) => {
                if let Some(writer) = self.writers.get_mut(class as usize) {
                    *writer = Some(Writer { file, base, dirty: false });
                }
                self.sweep(class);
                Ok(())
            }
            Err(error) => {
                self.index.forget_newest(class);
                Err(self.write_failed(&error))
            }
        }
    }

    pub(super) fn settle(&mut self, place: Place) {
        let Ticket { class, seq } = place.ticket;
        if self.index.settle(class, place.base, seq, place.messages) {
            self.lists.push((class, place.base, seq));
        }
    }

    /// Syncs what was appended since the last time, and says so.
    pub(super) fn sync(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        let batches = std::mem::take(&mut self.unsynced);
        let mut result = Ok(());
        for (class, writer) in Class::ALL.into_iter().zip(&mut self.writers) {
            if let Some(writer) = writer.as_mut().filter(|writer| writer.dirty) {
                writer.dirty = false;
                result = result.and_then(|()| writer.file.sync_data());
                self.index.synced(class);
            }
        }
        #[cfg(test)]
        if self.sabotage == Some(super::tests::Sabotage::SyncFails) {
            result = Err(io::Error::other("sabotage"));
        }
        self.figures.syncs.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) => self.reports.push(Report::Synced(batches)),
            Err(error) => {
                // Whether these bytes are there is unknown: they are called lost, and may yet be found by a later process.
                self.fail(&error);
                for batch in &batches {
                    if let Some(held) = self.held.remove(batch) {
                        self.settle(held.place);
                    }
                }
                self.reports.push(Report::Failed(batches, Shed::SpoolBroken));
            }
        }
    }

    /// What there is to say, in order.
    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }
}
