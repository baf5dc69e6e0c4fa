//! The file: read through its name once a second, so that an edit, a rename and a ConfigMap's swapped link are all
//! seen, and a half-written one is refused until it is whole.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::READ_MAX;
use super::desk::Desk;
use crate::app::ops::Word;

/// How often it is read.
const EVERY: Duration = Duration::from_secs(1);

/// Reads it, at most as much as a document may have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(READ_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// Reads it for ever.
pub(super) async fn run(path: PathBuf, mut desk: Desk, words: mpsc::Sender<Word>) {
    loop {
        desk.hear(None, read(&path), &words).await;
        tokio::time::sleep(EVERY).await;
    }
}
