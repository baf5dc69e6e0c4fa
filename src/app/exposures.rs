//! The exposure log: `exposures.jsonl` in the state directory, written on a thread of its own.
//!
//! **Problem.** An experiment is evaluated from who was exposed to what. Whoever writes that down stands beside the
//! upgrade of a live user, and a disk may be full, slow or hung.
//!
//! **Decision.** A worker hands an exposure to a bounded queue and never waits; the thread behind it knows who was
//! written already, writes line by line, and counts. Nobody waits for the thread, not even the end of the process.
//!
//! **Limits.** [`WAITING_MAX`] exposures wait; beyond it they are dropped and counted, and written when the user comes
//! again. [`FILE_BYTES_MAX`] and [`FILES_KEPT`] bound the disk. A user is written at least once, not exactly once:
//! after a restart, and when 50,000 others have come, again.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::StartError;
use super::adoption::{Exposed, RolloutFigures};
use super::decide::Decider;
use crate::config::Config;
use crate::proxy;
use crate::rollout::{Exposure, Seen};

/// Below the state directory.
const FILE: &str = "exposures.jsonl";
/// Exposures that may wait for the disk.
const WAITING_MAX: usize = 4_096;
/// A longer file is put aside.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files that are kept beside the one in use: `.1` is the youngest.
const FILES_KEPT: u32 = 4;

/// What is told of exposures: nothing where they are switched off or have no place.
pub(super) fn told(config: &Config, decider: &Decider) -> Result<Option<proxy::Exposed>, StartError> {
    let Some(state) = config.ops.state_dir.as_ref().filter(|_| decider.fine.rollout.exposures) else {
        return Ok(None);
    };
    let log = Exposures::start(state, Arc::clone(&decider.figures)).map_err(StartError::Thread)?;
    Ok(Some(decider.exposed_fn(log)))
}

/// The workers' end.
#[derive(Clone)]
pub(super) struct Exposures {
    queue: SyncSender<Exposure>,
    figures: Arc<RolloutFigures>,
}

impl Exposures {
    /// Starts the thread that writes below `state`. It ends when every end like this one is gone.
    pub(super) fn start(state: &Path, figures: Arc<RolloutFigures>) -> io::Result<Self> {
        let (queue, inbox) = sync_channel(WAITING_MAX);
        let counted = Arc::clone(&figures);
        let folder = state.to_owned();
        let life = move || Writer::new(folder, FILE_BYTES_MAX).run(&inbox, &counted);
        std::thread::Builder::new().name("exposures".to_owned()).spawn(life)?;
        Ok(Self { queue, figures })
    }

    /// Hands one over; never waits.
    pub(super) fn offer(&self, exposure: Exposure) {
        if self.queue.try_send(exposure).is_err() {
            self.figures.exposed(Exposed::Dropped);
        }
    }
}

/// The file, and who is in it.
struct Writer {
    folder: PathBuf,
    limit: u64,
    file: Option<(File, u64)>,
    seen: Seen,
    failing: bool,
}

impl Writer {
    fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit, file: None, seen: Seen::default(), failing: false }
    }

    fn run(mut self, inbox: &Receiver<Exposure>, figures: &RolloutFigures) {
        while let Ok(exposure) = inbox.recv() {
            figures.exposed(self.take(&exposure));
        }
    }

    /// Writes it down unless that was done before.
    fn take(&mut self, exposure: &Exposure) -> Exposed {
        if self.seen.knows(exposure) {
            return Exposed::Repeated;
        }
        match self.write(&exposure.line()) {
            Ok(()) => {
                self.seen.note(exposure);
                self.failing = false;
                Exposed::Written
            }
            Err(error) => {
                self.file = None;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(
                        %error,
                        "exposures cannot be written to CROSSFADE_STATE_DIR; they are counted as failed until they can"
                    );
                }
                Exposed::Failed
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.file.as_ref().is_some_and(|(_, size)| size + length > self.limit) {
            self.file = None;
            self.rotate()?;
        }
        let (mut file, size) = match self.file.take() {
            Some(open) => open,
            None => open(&self.folder)?,
        };
        // One write for one line: a line that is torn by the end of the process is the last of its file.
        file.write_all(line)?;
        self.file = Some((file, size + length));
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        let place = |number: u32| match number {
            0 => self.folder.join(FILE),
            _ => self.folder.join(format!("{FILE}.{number}")),
        };
        for number in (0..FILES_KEPT).rev() {
            match std::fs::rename(place(number), place(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opens the file and ends a line that an earlier process has left torn.
fn open(folder: &Path) -> io::Result<(File, u64)> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(FILE);
    let mut file = std::fs::OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Bucket;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("crossfade-exposures-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn lines(&self, file: &str) -> Vec<String> {
            let text = std::fs::read_to_string(self.0.join(file)).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap_or(());
        }
    }

    fn of(user: u32) -> Exposure {
        Exposure {
            at_ms: 1,
            experiment: "autumn".into(),
            arm: "b".into(),
            bucket: Bucket::of(b"", b""),
            key: format!("key:{user:016x}").parse().unwrap(),
            lane: "legacy",
        }
    }

    #[test]
    fn each_user_is_written_once_and_a_torn_line_costs_nobody_else_his() {
        let folder = Folder::new("once");
        std::fs::write(folder.0.join(FILE), "{\"v\":1,\"at").unwrap();
        let mut writer = Writer::new(folder.0.clone(), FILE_BYTES_MAX);
        let outcomes = [1, 2, 1, 2, 3].map(|user| writer.take(&of(user)));
        let (new, known) = (Exposed::Written, Exposed::Repeated);
        assert_eq!(outcomes, [new, new, known, known, new]);
        let lines = folder.lines(FILE);
        assert_eq!(lines.len(), 4, "{lines:?}");
        for line in &lines[1..] {
            let read: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(read["experiment"], "autumn");
        }
    }

    #[test]
    fn files_are_put_aside_and_the_oldest_goes() {
        let folder = Folder::new("rotate");
        let mut writer = Writer::new(folder.0.clone(), of(0).line().len() as u64 * 10);
        for user in 0..75 {
            assert_eq!(writer.take(&of(user)), Exposed::Written);
        }
        assert_eq!(folder.lines(FILE).len(), 5);
        for number in 1..=FILES_KEPT {
            assert_eq!(folder.lines(&format!("{FILE}.{number}")).len(), 10, "{number}");
        }
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1 + FILES_KEPT as usize);
    }

    #[test]
    fn what_could_not_be_written_is_written_when_the_user_comes_again() {
        let folder = Folder::new("failing");
        let blocked = folder.0.join("blocked");
        std::fs::write(&blocked, "a file where a folder should be").unwrap();
        let mut writer = Writer::new(blocked.clone(), FILE_BYTES_MAX);
        assert_eq!([writer.take(&of(1)), writer.take(&of(1))], [Exposed::Failed; 2]);
        std::fs::remove_file(&blocked).unwrap();
        assert_eq!([writer.take(&of(1)), writer.take(&of(1))], [Exposed::Written, Exposed::Repeated]);
    }

    #[test]
    fn a_disk_that_hangs_is_waited_for_by_nobody() {
        let figures = Arc::<RolloutFigures>::default();
        let (queue, inbox) = sync_channel(2);
        let exposures = Exposures { queue, figures: Arc::clone(&figures) };
        (0..5).for_each(|user| exposures.offer(of(user)));
        assert_eq!(figures.exposures(Exposed::Dropped), 3);
        assert_eq!(inbox.try_iter().count(), 2);
    }
}
