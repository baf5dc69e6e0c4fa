//! The account of this process on disk, for the process after it: written whole, renamed into place.
//! At most half a second old, so that a kill leaves a figure behind and not a question.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::ledger::Account;
use crate::spool::promise::Promise;

const NAME: &str = "account.json";

/// The account as it is on disk. Counts are messages by recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of this file.
    pub v: u32,
    /// The process.
    pub instance: String,
    /// When it was written, in Unix milliseconds.
    pub at_ms: u64,
    /// Whether the process has ended in order.
    pub closed: bool,
    /// Seen by the tap.
    pub seen: u64,
    /// Taken over from earlier processes.
    pub inherited: u64,
    /// Read back.
    pub confirmed: u64,
    /// Acknowledged where nobody reads back.
    pub acked_only: u64,
    /// On their way.
    pub in_flight: u64,
    /// Of these, on disk as well: a kill does not take them along.
    pub held: u64,
    /// On disk.
    pub spooled: u64,
    /// Given up, for any reason.
    pub shed: u64,
    /// What the process before this one took along, if it ended without a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Crash>,
}

impl Checkpoint {
    pub(super) fn of(account: &Account) -> Self {
        Self {
            v: 1,
            seen: account.seen,
            inherited: account.inherited,
            confirmed: account.confirmed,
            acked_only: account.acked_only,
            in_flight: account.in_flight,
            spooled: account.spooled,
            shed: account.shed_total(),
            ..Self::default()
        }
    }
}

/// What a process that ended without a word took along at most, of what it had seen at its last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// The process.
    pub instance: String,
    /// Messages that were in memory only.
    pub messages: u64,
    /// When that was written, in Unix milliseconds.
    pub at_ms: u64,
    /// An upper bound that holds for what was seen later, too; nothing if there is no promise to take it from.
    pub lost_at_most: Option<u64>,
}

pub(super) fn crash_of(last: &Checkpoint, promise: Option<Promise>) -> Option<Crash> {
    let lost_at_most = promise.map(|promise| promise.lost_at_most());
    // A promise is never older than its account.
    let messages = last.in_flight.saturating_sub(last.held).min(lost_at_most.unwrap_or(u64::MAX));
    let (instance, at_ms) = (last.instance.clone(), last.at_ms);
    (!last.closed).then_some(Crash { instance, messages, at_ms, lost_at_most })
}

/// The file of promises.
pub(super) fn promises(dir: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(super::recover::PROMISE))
}

impl Store {
    /// Writes a promise ahead; from then on it holds.
    pub(super) fn promise(&mut self, next: Promise) {
        #[cfg(test)]
        if self.sabotage == Some(super::tests::Sabotage::NoPromise) {
            return;
        }
        if next.seen > self.promised.seen_max {
            let (seen, promised) = (next.seen, self.promised.seen_max);
            tracing::warn!(seen, promised, "the disk was too slow: more was seen than was promised");
        }
        let next = Promise { number: self.promised.number + 1, ..next };
        let (at, slot) = next.slot();
        // Once it is written a kill leaves it behind; the sync is for the machine.
        let written = self.promises.write_all_at(&slot, at);
        if written.is_ok() {
            self.figures.set_promise(&next);
        }
        let written = written.and_then(|()| self.promises.sync_data());
        match written {
            Ok(()) => {
                (self.promised, self.promise_failed) = (next, false);
            }
            Err(error) if !self.promise_failed => {
                self.promise_failed = true;
                tracing::error!(%error, "no promise can be written: what a kill takes along has no bound from now on");
            }
            Err(_) => {}
        }
    }
}

pub(super) fn read(dir: &Path) -> io::Result<Option<Checkpoint>> {
    match fs::read(dir.join(NAME)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn write(dir: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let aside = dir.join("account.new");
    let mut text = serde_json::to_vec_pretty(checkpoint)?;
    text.push(b'\n');
    let mut file = File::create(&aside)?;
    file.write_all(&text)?;
    file.sync_data()?;
    fs::rename(aside, dir.join(NAME))
}
