//! What each end wrote and read, and the comparison that decides.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crossfade::demo::log::{Findings, Log, Print, print_of};

use crate::Failure;

/// One message: whether it was written or read, whose it is, and its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    written: bool,
    client: u32,
    print: Print,
}

/// Every message of one end, in order.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    entries: Mutex<Vec<Entry>>,
    /// Read and written, so far.
    counts: [AtomicUsize; 2],
}

impl Diary {
    /// Notes one message.
    pub(crate) fn note(&self, written: bool, client: u32, bytes: &[u8]) {
        let entry = Entry { written, client, print: print_of(bytes) };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        self.counts[usize::from(written)].fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, written: bool) -> usize {
        self.counts[usize::from(written)].load(Ordering::Relaxed)
    }

    /// Messages written so far.
    pub(crate) fn written(&self) -> usize {
        self.count(true)
    }

    /// Messages read so far.
    pub(crate) fn read(&self) -> usize {
        self.count(false)
    }

    /// Writes them to a file, one a line.
    pub(crate) fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        for entry in self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let side = if entry.written { 'w' } else { 'r' };
            writeln!(file, "{side} {} {}", entry.client, entry.print)?;
        }
        file.flush()
    }
}

/// Reads a file that [`Diary::save`] wrote. A line that is none is a bug, not an empty log.
pub(crate) fn load(path: &Path) -> Result<Vec<Entry>, Failure> {
    let file = BufReader::new(std::fs::File::open(path)?);
    let mut entries = Vec::new();
    for line in file.lines() {
        let line = line?;
        let mut parts = line.split(' ');
        let side = parts.next();
        let client = parts.next().and_then(|part| part.parse().ok());
        let print = parts.next().and_then(|part| part.parse().ok());
        let (Some(side @ ("w" | "r")), Some(client), Some(print)) = (side, client, print) else {
            return Err(Failure::Broken(format!("{}: a line is none of ours", path.display())));
        };
        entries.push(Entry { written: side == "w", client, print });
    }
    Ok(entries)
}

fn log_of(entries: &[Entry], written: bool) -> Log {
    let log = Log::default();
    for entry in entries.iter().filter(|entry| entry.written == written) {
        log.note(&entry.client.to_string(), &entry.print.to_le_bytes());
    }
    log
}

/// What the clients read against what the service wrote, and the other way round.
pub(crate) fn compare(service: &[Entry], clients: &[Entry]) -> (Findings, Findings) {
    let down = Log::compare(&log_of(service, true), &log_of(clients, false));
    let up = Log::compare(&log_of(clients, true), &log_of(service, false));
    (down, up)
}

/// Damages the clients' log in each way that must be noticed; names the first damage that is not.
pub(crate) fn is_blind_to(service: &[Entry], clients: &[Entry]) -> Option<&'static str> {
    let reads: Vec<usize> =
        (0..clients.len()).filter(|at| clients.get(*at).is_some_and(|entry| !entry.written)).collect();
    let (Some(first), Some(last)) = (reads.first().copied(), reads.last().copied()) else {
        return Some("everything: no client has read anything");
    };
    let tampered = |damage: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = clients.to_vec();
        damage(&mut entries);
        compare(service, &entries).0
    };
    let lost = |entries: &mut Vec<Entry>| {
        entries.remove(first);
    };
    if tampered(&lost).lost != 1 {
        return Some("a lost message");
    }
    if tampered(&|entries| entries.extend(clients.get(last).copied())).duplicated != 1 {
        return Some("a doubled message");
    }
    let moved = |entries: &mut Vec<Entry>| {
        let entry = entries.remove(first);
        entries.push(entry);
    };
    if tampered(&moved).reordered != 1 {
        return Some("a message out of order");
    }
    None
}
