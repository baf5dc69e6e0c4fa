//! What is kept of trips and drills: the latest in memory, all that fits in `CROSSFADE_STATE_DIR`, by a thread that may
//! hang without anybody else. What was written by processes before this one is read by the same thread, so that a
//! slow disk holds up no start: until it has answered, only what this process knows is shown.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::drill::{self, Outcome};
use crate::incident::Incident;

/// Incidents, below the state directory.
pub(crate) const INCIDENTS: &str = "incidents";
/// Drills, one a line, in the state directory.
pub(crate) const DRILLS: &str = "drills.jsonl";
/// Incidents that are kept in memory, whole.
const HELD_MAX: usize = 4;
/// Incidents that are kept on disk.
const FILES_MAX: usize = 50;
/// The longest incident that is read again, in bytes. The recorder's bounds keep each far below.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What may wait for the disk.
const WAITING_MAX: usize = 16;

/// The state, shared with whoever shows it.
#[derive(Debug, Default)]
pub(crate) struct Records {
    inner: Mutex<Inner>,
    lost: AtomicU64,
    drills: [AtomicU64; Outcome::ALL.len()],
    incidents: AtomicU64,
    /// To the thread, and its end; taken away when it is to end.
    writer: Mutex<Option<(SyncSender<Job>, JoinHandle<()>)>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The latest incidents of this process, oldest first.
    held: VecDeque<Arc<Incident>>,
    /// The names on disk, oldest first.
    on_disk: Vec<String>,
    /// The latest drills, oldest first; those of earlier processes too.
    drills: VecDeque<drill::Record>,
}

/// What the thread does.
#[derive(Debug)]
enum Job {
    Incident(Arc<Incident>),
    Drill(drill::Record),
    Read(String, oneshot::Sender<Option<Incident>>),
}

impl Records {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never waits: what does not fit is lost on disk, and counted.
    fn send(&self, job: Job) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.as_ref().is_some_and(|(outbox, _)| outbox.try_send(job).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps an incident; one of the same name is replaced.
    pub(super) fn incident(&self, incident: Incident) {
        let incident = Arc::new(incident);
        let mut inner = self.inner();
        let known = inner.held.iter().any(|held| held.id == incident.id);
        inner.held.retain(|held| held.id != incident.id);
        if inner.held.len() >= HELD_MAX {
            inner.held.pop_front();
        }
        inner.held.push_back(Arc::clone(&incident));
        drop(inner);
        if !known {
            self.incidents.fetch_add(1, Ordering::Relaxed);
        }
        self.send(Job::Incident(incident));
    }

    /// Keeps a drill.
    pub(super) fn drill(&self, record: drill::Record) {
        self.drills[record.outcome as usize].fetch_add(1, Ordering::Relaxed);
        keep(&mut self.inner().drills, record.clone());
        self.send(Job::Drill(record));
    }

    /// Drills of this process by [`Outcome::ALL`].
    pub(super) fn outcomes(&self) -> [u64; Outcome::ALL.len()] {
        std::array::from_fn(|at| self.drills[at].load(Ordering::Relaxed))
    }

    /// Incidents of this process.
    pub(super) fn incidents(&self) -> u64 {
        self.incidents.load(Ordering::Relaxed)
    }

    /// What the disk did not take.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The names of all incidents that can be asked for, newest first.
    pub(super) fn names(&self) -> Vec<String> {
        let inner = self.inner();
        let mut names: Vec<String> =
            inner.on_disk.iter().cloned().chain(inner.held.iter().map(|held| held.id.clone())).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.dedup();
        names
    }

    /// The drills that are kept, newest first.
    pub(super) fn drills(&self) -> Vec<drill::Record> {
        self.inner().drills.iter().rev().cloned().collect()
    }

    /// The last drill that passed.
    pub(super) fn last_passed(&self) -> Option<drill::Record> {
        self.inner().drills.iter().rev().find(|one| one.outcome == Outcome::Passed).cloned()
    }

    /// The last drill.
    pub(super) fn last_drill(&self) -> Option<drill::Record> {
        self.inner().drills.back().cloned()
    }

    /// One incident, from memory or from the disk; the disk may take its time, the asker need not.
    pub(super) async fn find(&self, id: &str) -> Option<Incident> {
        let held = self.inner().held.iter().find(|held| held.id == id).map(Arc::clone);
        if let Some(held) = held {
            return Some(Incident::clone(&held));
        }
        if !self.inner().on_disk.iter().any(|name| name == id) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.send(Job::Read(id.to_owned(), answer));
        answered.await.ok().flatten()
    }

    /// Nothing more is taken; waits until the thread has written what it has, however long the disk takes.
    pub(super) fn end(&self) -> std::thread::Result<()> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((outbox, thread)) = writer else { return Ok(()) };
        drop(outbox);
        thread.join()
    }
}

fn keep(drills: &mut VecDeque<drill::Record>, record: drill::Record) {
    if drills.len() >= drill::RECORDS_MAX {
        drills.pop_front();
    }
    drills.push_back(record);
}

/// Starts the thread that writes into `state`, where there is one. It does not wait for the disk.
pub(super) fn start(state: Option<&Path>) -> io::Result<Arc<Records>> {
    let records = Arc::new(Records::default());
    let Some(state) = state.map(Path::to_owned) else { return Ok(records) };
    let (outbox, inbox) = sync_channel(WAITING_MAX);
    // Weak: whoever lets go of the records lets go of the thread.
    let shared = Arc::downgrade(&records);
    let life = move || write_all(&state, &inbox, &shared);
    let thread = std::thread::Builder::new().name("records".to_owned()).spawn(life)?;
    *records.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some((outbox, thread));
    Ok(records)
}

fn write_all(state: &Path, inbox: &Receiver<Job>, records: &Weak<Records>) {
    let folder = state.join(INCIDENTS);
    let shown = |names: io::Result<Vec<String>>| {
        if let (Some(records), Ok(names)) = (records.upgrade(), names) {
            records.inner().on_disk = names;
        }
    };
    shown(list(&folder));
    let earlier = read_drills(&state.join(DRILLS)).unwrap_or_default();
    if let Some(records) = records.upgrade() {
        let mut inner = records.inner();
        let own = std::mem::take(&mut inner.drills);
        earlier.into_iter().chain(own).for_each(|record| keep(&mut inner.drills, record));
    }
    while let Ok(job) = inbox.recv() {
        let done = match job {
            Job::Read(id, answer) => {
                // Whoever asked may have gone.
                drop(answer.send(read(&folder.join(format!("{id}.json"))).ok()));
                Ok(())
            }
            Job::Incident(incident) => write_incident(&folder, &incident).map(|names| shown(Ok(names))),
            Job::Drill(record) => write_drill(state, &record),
        };
        if let Err(error) = done {
            if let Some(records) = records.upgrade() {
                records.lost.fetch_add(1, Ordering::Relaxed);
            }
            tracing::error!(%error, "an incident or a drill could not be written to CROSSFADE_STATE_DIR");
        }
    }
}

/// A reader sees the old one or the new one whole; the oldest files give way.
fn write_incident(folder: &Path, incident: &Incident) -> io::Result<Vec<String>> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let json = serde_json::to_vec(incident).map_err(io::Error::other)?;
    replace(&folder.join(format!("{}.json", incident.id)), &json)?;
    let mut names = list(folder)?;
    let surplus = names.len().saturating_sub(FILES_MAX);
    for name in names.drain(..surplus) {
        std::fs::remove_file(folder.join(format!("{name}.json")))?;
    }
    Ok(names)
}

/// Appends a line; a file that has grown to twice what is kept is written anew.
fn write_drill(state: &Path, record: &drill::Record) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let path = state.join(DRILLS);
    let kept = read_drills(&path).unwrap_or_default();
    let mut line = serde_json::to_vec(record).map_err(io::Error::other)?;
    line.push(b'\n');
    if kept.len() + 1 >= 2 * drill::RECORDS_MAX {
        let mut text = Vec::new();
        for record in kept.iter().skip(kept.len() + 1 - drill::RECORDS_MAX) {
            serde_json::to_writer(&mut text, record).map_err(io::Error::other)?;
            text.push(b'\n');
        }
        text.extend(line);
        return replace(&path, &text);
    }
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    file.write_all(&line)?;
    file.sync_all()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft: PathBuf = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// The names of the incidents in a folder, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(name.filter(|name| !name.starts_with('.')).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// One incident.
///
/// # Errors
/// It is not there, too long, or none.
pub(crate) fn read(path: &Path) -> io::Result<Incident> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long for an incident"));
    }
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// The drills of a file, oldest first. A line that was torn by a crash is left out.
///
/// # Errors
/// The file is there and cannot be read.
pub(crate) fn read_drills(path: &Path) -> io::Result<Vec<drill::Record>> {
    let mut text = String::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
