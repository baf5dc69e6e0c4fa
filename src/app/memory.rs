//! What the breaker remembers across a restart: `breaker.json` in `CROSSFADE_STATE_DIR`.
//!
//! A disk may hang, be full, or hold anything. It is read once, while clients are served already, and for as long as
//! any [look](super::on_time); what comes later is not waited for. It is written by another thread, which is
//! handed the newest state only: the ops thread never touches the disk. Neither can close a breaker: a state that is
//! lost, late or corrupt is no state, and every start without one begins half-open ([`Saved`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::StartError;
use super::on_time::{Looked, Looking};
use crate::breaker::{Breaker, Mark, SAVED_BYTES_MAX, Saved};
use crate::config::Config;

/// The file in the folder.
const FILE: &str = "breaker.json";
/// A write that failed is tried again this much later, unless there is something newer before.
const RETRY: Duration = Duration::from_secs(5);
/// At the end of the process the last write is waited for so long.
const LAST_WRITE_WITHIN: Duration = Duration::from_secs(1);

/// How the writes went, for the API.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    written: AtomicU64,
    failed: AtomicU64,
}

impl Writes {
    /// Written, failed.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// A read that is under way.
pub(super) struct Recall {
    file: PathBuf,
    looking: Looking<io::Result<Vec<u8>>>,
}

impl Recall {
    /// Begins to read; does not wait.
    pub(super) fn begin(folder: &Path) -> Self {
        let file = folder.join(FILE);
        let of = file.clone();
        Self { file, looking: Looking::begin("breaker.json in CROSSFADE_STATE_DIR", move || read(&of)) }
    }

    /// What was saved, if the disk says so in time.
    fn finish(self) -> Option<Saved> {
        let file = self.file.display();
        match self.looking.finish() {
            Looked::InTime(Ok(bytes)) => Saved::parse(&bytes)
                .inspect_err(|error| tracing::warn!(%file, %error, "the breaker starts half-open"))
                .ok(),
            Looked::InTime(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Looked::InTime(Err(error)) => {
                tracing::warn!(%file, %error, "the saved breaker state cannot be read; the breaker starts half-open");
                None
            }
            Looked::Late(_) | Looked::Failed => {
                tracing::warn!(%file, "the saved state is not known; the breaker starts half-open");
                None
            }
        }
    }
}

/// Reads at most a byte more than can be ours.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(SAVED_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl super::Parts {
    /// Takes over what the breaker was before a restart, and starts to write down what it becomes.
    pub(super) fn remember(&mut self, config: &Config) -> Result<Option<Memory>, StartError> {
        let (Some(recall), Some(folder)) = (self.recall.take(), &config.ops.state_dir) else {
            return Ok(None);
        };
        let by_person = restore(&mut self.breaker, recall.finish().as_ref(), clock());
        Memory::start(folder, &Arc::default(), by_person).map(Some).map_err(StartError::Thread)
    }
}

/// Hands the newest state to the thread that writes. Dropping it waits for the last write, for a second at most.
pub(crate) struct Memory {
    desk: Arc<Desk>,
    told: Option<Mark>,
    /// `forced_open` is a person's word of this or an earlier process, and not only the environment's, which the next
    /// process reads anew.
    by_person: bool,
}

#[derive(Default)]
struct Desk {
    state: Mutex<Waiting>,
    changed: Condvar,
    writes: Arc<Writes>,
}

/// One text may wait: a newer one takes its place.
#[derive(Default)]
struct Waiting {
    text: Option<String>,
    /// Nothing will come any more.
    closed: bool,
    /// The writer has ended.
    done: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next text, when there is one; `None` when none will come.
    fn next(&self) -> Option<String> {
        let guard = self.lock();
        let idle = |waiting: &mut Waiting| waiting.text.is_none() && !waiting.closed;
        self.changed.wait_while(guard, idle).unwrap_or_else(PoisonError::into_inner).text.take()
    }

    /// A write failed: it waits for its turn again, or makes room for something newer.
    fn again(&self, text: String) {
        let guard = self.lock();
        let idle = |waiting: &mut Waiting| waiting.text.is_none() && !waiting.closed;
        let waited = self.changed.wait_timeout_while(guard, RETRY, idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.text.is_none() && !waiting.closed {
            waiting.text = Some(text);
        }
    }

    fn write_all(&self, file: &Path) {
        let mut failing = false;
        while let Some(text) = self.next() {
            match write(file, text.as_bytes()) {
                Ok(()) => {
                    failing = false;
                    self.writes.written.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.writes.failed.fetch_add(1, Ordering::Relaxed);
                    if !failing {
                        let file = file.display();
                        tracing::error!(%file, %error, "the breaker's state cannot be saved: a restart forgets it");
                    }
                    failing = true;
                    self.again(text);
                }
            }
        }
        self.lock().done = true;
        self.changed.notify_all();
    }
}

impl Memory {
    /// Starts the thread that writes. `by_person`: what was restored had been forced open by a person.
    ///
    /// # Errors
    /// No thread can be made.
    fn start(folder: &Path, writes: &Arc<Writes>, by_person: bool) -> io::Result<Self> {
        let desk = Arc::new(Desk { writes: Arc::clone(writes), ..Desk::default() });
        let (file, writer) = (folder.join(FILE), Arc::clone(&desk));
        std::thread::Builder::new()
            .name("breaker-write".to_owned())
            .spawn(move || writer.write_all(&file))?;
        Ok(Self { desk, told: None, by_person })
    }

    /// How the writes went.
    pub(super) fn writes(&self) -> (u64, u64) {
        self.desk.writes.read()
    }

    /// A person has spoken: from now on the mode is theirs.
    pub(super) const fn person_spoke(&mut self) {
        self.by_person = true;
    }

    /// Leaves the breaker's state for the writer when it has changed in what a save holds.
    pub(super) fn follow(&mut self, breaker: &Breaker, now: Instant) {
        let mark = breaker.mark();
        if self.told == Some(mark) {
            return;
        }
        self.told = Some(mark);
        let mut saved = breaker.save(now, unix_ms());
        saved.forced_open &= self.by_person;
        self.desk.lock().text = Some(saved.to_json());
        self.desk.changed.notify_all();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut waiting = self.desk.lock();
        waiting.closed = true;
        self.desk.changed.notify_all();
        let done = self.desk.changed.wait_timeout_while(waiting, LAST_WRITE_WITHIN, |waiting| !waiting.done);
        if done.is_ok_and(|(waiting, _)| !waiting.done) {
            tracing::warn!("the breaker's last state may not be on the disk");
        }
    }
}

/// Writes beside, syncs, renames: it is the old state or the new one.
pub(super) fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = file.with_extension("json.new");
    let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(text)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    // The name itself must survive, too.
    File::open(folder)?.sync_all()
}

/// Takes over what was saved, and says so. Returns whether a person had forced it open.
fn restore(breaker: &mut Breaker, saved: Option<&Saved>, now: Instant) -> bool {
    let Some(saved) = saved else { return false };
    breaker.restore(saved, now, unix_ms());
    if let crate::breaker::State::Open { trip, latched, until, .. } = breaker.state() {
        let left_ms = u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            trigger = trip.as_str(),
            latched,
            left_ms,
            mode = breaker.mode().as_str(),
            "the breaker stays open: the process before this one had opened it"
        );
    }
    saved.forced_open
}

#[expect(clippy::disallowed_methods, reason = "a disk is waited for by the real clock")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "what is on disk is dated by the wall clock")]
fn unix_ms() -> u64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
