//! The last good document of a tier on disk: written beside and renamed, so that it is the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::READ_MAX;
use crate::rollout::Tier;

/// The form of the file.
const FORM: u32 = 1;

/// What is saved.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    form: u32,
    tier: String,
    pub(super) version: u64,
    /// When it was taken, in milliseconds since 1970.
    at_unix_ms: u64,
    pub(super) document: String,
}

impl Saved {
    /// How long ago it was taken, by the wall clock; zero when that has gone back.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(unix_ms().saturating_sub(self.at_unix_ms))
    }
}

/// The file of a tier.
pub(super) fn path(folder: &Path, tier: Tier) -> PathBuf {
    folder.join(format!("flags-{}.json", tier.as_str()))
}

/// Reads what was saved; `None` when nothing was.
pub(super) fn load(path: &Path, tier: Tier) -> Result<Option<Saved>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    file.take(READ_MAX * 3).read_to_end(&mut text).map_err(|error| error.to_string())?;
    // serde's words could quote the document, and in it a key.
    let saved: Saved = serde_json::from_slice(&text)
        .map_err(|error| format!("not what was written (line {})", error.line()))?;
    if saved.form != FORM || saved.tier != tier.as_str() {
        return Err(format!("form {} of tier {:?}, not form {FORM} of this one", saved.form, saved.tier));
    }
    Ok(Some(saved))
}

/// Replaces what was saved. The lists in a document are credentials, so nobody else may read it.
pub(super) fn store(path: &Path, tier: Tier, version: u64, document: &[u8]) -> io::Result<()> {
    let saved = Saved {
        form: FORM,
        tier: tier.as_str().to_owned(),
        version,
        at_unix_ms: unix_ms(),
        document: String::from_utf8_lossy(document).into_owned(),
    };
    write(path, &serde_json::to_vec(&saved)?)
}

/// Writes beside, syncs, renames.
pub(super) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[expect(clippy::disallowed_methods, reason = "what is on disk is dated by the wall clock")]
pub(super) fn unix_ms() -> u64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}
