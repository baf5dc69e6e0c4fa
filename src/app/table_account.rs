//! The files in which the table's thread keeps what the table has confirmed. That thread alone waits for the disk.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sinks::account::{Account, Ledger};

/// Below the state directory.
const FOLDER: &str = "table";
const FILE: &str = "confirmed.jsonl";
/// The file before this one.
const OLDER: &str = "confirmed.1.jsonl";
/// A file is followed by a new one beyond this; two are kept: about two months of one pod's minutes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What was confirmed since the last writing is lost with a kill.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Keeper {
    folder: PathBuf,
    at: Instant,
    failing: bool,
}

impl Keeper {
    /// Keeps it below this state directory.
    pub(super) fn new(state: &Path, now: Instant) -> Self {
        Self { folder: state.join(FOLDER), at: now, failing: false }
    }

    /// When something is to be written.
    pub(super) fn next(&self) -> Instant {
        self.at + EVERY
    }

    /// Writes what there is, if it is time. What cannot be written waits for the next time.
    pub(super) fn turn(&mut self, account: &mut Account, now: Instant, is_last: bool) {
        if !is_last && now < self.next() {
            return;
        }
        self.at = now;
        let lines = account.lines();
        let written = if lines.is_empty() { Ok(()) } else { append(&self.folder, &lines) };
        match written {
            Ok(()) => {
                if self.failing {
                    let left_out = account.left_out();
                    tracing::info!(left_out, "the account of the table's rows can be written again");
                }
                account.written();
                self.failing = false;
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, "the account of the table's rows cannot be written; a day of it is kept");
            }
            Err(_) => {}
        }
    }
}

fn append(folder: &Path, lines: &str) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(FILE);
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    if file.metadata()?.len() > FILE_BYTES_MAX {
        std::fs::rename(&path, folder.join(OLDER))?;
        file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    }
    // A line that was cut by a kill ends here, so that it takes no other along.
    file.write_all(format!("\n{lines}").as_bytes())
}

/// Everything that was kept below this state directory; `None` when nothing ever was.
///
/// # Errors
/// A file is there and cannot be read.
pub(crate) fn read(state: &Path) -> io::Result<Option<Ledger>> {
    let mut found = None;
    for name in [OLDER, FILE] {
        match std::fs::read(state.join(FOLDER).join(name)) {
            Ok(bytes) => {
                found.get_or_insert_with(Ledger::default).read(&String::from_utf8_lossy(&bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_two_files_and_a_cut_one_takes_no_other_along() {
        let state = std::env::temp_dir().join(format!("crossfade-account-{}", std::process::id()));
        let folder = state.join(FOLDER);
        assert_eq!(read(&state).unwrap(), None);
        let line = |at: u64| format!("{{\"instance\":\"pod-1\",\"at\":{at},\"rows\":1,\"sum\":\"2\"}}\n");
        append(&folder, &line(0)).unwrap();
        let mut file = OpenOptions::new().append(true).open(folder.join(FILE)).unwrap();
        file.write_all(b"{\"instance\":\"po").unwrap();
        append(&folder, &line(60_000)).unwrap();
        let ledger = read(&state).unwrap().unwrap();
        assert_eq!((ledger.minutes.len(), ledger.unreadable), (2, 1));
        let filler = vec![b'\n'; usize::try_from(FILE_BYTES_MAX).unwrap()];
        for round in 1..4 {
            file = OpenOptions::new().append(true).open(folder.join(FILE)).unwrap();
            file.write_all(&filler).unwrap();
            append(&folder, &line(round * 600_000)).unwrap();
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        let at: Vec<u64> = read(&state).unwrap().unwrap().minutes.keys().map(|(_, at)| *at).collect();
        assert_eq!(at, [1_200_000, 1_800_000], "the oldest have given way");
        std::fs::remove_dir_all(&state).unwrap();
    }
}
