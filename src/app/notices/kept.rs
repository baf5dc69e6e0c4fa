//! A small file in `CROSSFADE_STATE_DIR`, read once within a bounded time and written by a thread of its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::app::{memory, on_time};

/// A longer file is none of ours.
const BYTES_MAX: u64 = 256 << 10;
/// A write that has not ended by then is not waited for.
pub(super) const WRITTEN_WITHIN: Duration = Duration::from_millis(500);

/// What the disk had.
pub(super) enum Read {
    /// This.
    Bytes(Vec<u8>),
    /// There is no such file.
    Nothing,
    /// It did not say, or not in time.
    Unknown,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Read {
    let file = path.to_owned();
    let look = move || {
        let mut bytes = Vec::new();
        File::open(file)?.take(BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
    };
    match on_time::on_time("notices", look) {
        Some(Ok(bytes)) => Read::Bytes(bytes),
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Read::Nothing,
        Some(Err(error)) => {
            tracing::warn!(file = %path.display(), %error, "what was told before cannot be read");
            Read::Unknown
        }
        None => Read::Unknown,
    }
}

type Job = (String, Option<oneshot::Sender<bool>>);

/// Where texts are written. The thread ends when this is dropped.
pub(super) struct Shelf(SyncSender<Job>);

impl Shelf {
    /// Writes to this file.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let (sender, jobs) = sync_channel::<Job>(1);
        let life = move || {
            let mut failing = false;
            for (text, told) in jobs {
                let written = memory::write(&path, text.as_bytes());
                if let (Err(error), false) = (&written, failing) {
                    tracing::error!(file = %path.display(), %error, "what was told cannot be saved: a restart forgets it");
                }
                failing = written.is_err();
                // Whoever asked may have gone.
                told.map(|told| told.send(!failing).unwrap_or_default()).unwrap_or_default();
            }
        };
        std::thread::Builder::new().name("notices-write".to_owned()).spawn(life)?;
        Ok(Self(sender))
    }

    /// Leaves a text for the writer; false while it is busy.
    pub(super) fn offer(&self, text: String) -> bool {
        self.0.try_send((text, None)).is_ok()
    }

    /// Writes a text; whether it is on the disk.
    pub(super) async fn put(&self, text: String) -> bool {
        let (told, done) = oneshot::channel();
        if self.0.try_send((text, Some(told))).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(WRITTEN_WITHIN, done).await, Ok(Ok(true)))
    }
}
