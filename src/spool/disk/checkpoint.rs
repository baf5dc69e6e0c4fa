//! The account of this process on disk, for the process after it: written whole, renamed into place.
//! At most half a second old, so that a kill leaves a figure behind and not a question.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ledger::Account;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The process.
    pub instance: String,
    /// Messages that were in memory only.
    pub messages: u64,
    /// When that was written, in Unix milliseconds. What was seen later is in no account.
    pub at_ms: u64,
}

pub(super) fn crash_of(last: &Checkpoint) -> Option<Crash> {
    let messages = last.in_flight.saturating_sub(last.held);
    let (instance, at_ms) = (last.instance.clone(), last.at_ms);
    (!last.closed).then_some(Crash { instance, messages, at_ms })
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
