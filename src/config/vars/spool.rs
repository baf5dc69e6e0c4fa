//! What cannot be published waits on disk.

use crate::config::choices::Text;
use crate::config::numbers::Size;
use crate::config::secret::SealKey;
use crate::config::var::{About, Group, Var};

/// The directory.
pub static SPOOL_DIR: Var<Text> = Var::new(
    Group::Mirror,
    "CROSSFADE_SPOOL_DIR",
    "Directory for what cannot be published now; one for each pod, on a local file system.",
)
.unset("no spool: it is shed and counted")
.example("/var/spool/crossfade");

/// Its size.
pub static SPOOL_MAX: Var<Size> = Var::new(
    Group::Mirror,
    "CROSSFADE_SPOOL_MAX",
    "Bytes on disk. Beyond it the least urgent class gives way, its oldest messages first. At least 1MiB.",
)
.default("256MiB");

/// Its key.
pub static SPOOL_KEY: Var<SealKey> = Var::new(
    Group::Mirror,
    "CROSSFADE_SPOOL_KEY",
    "Key for encryption at rest (AES-256-GCM): 64 hex digits, for example from `openssl rand -hex 32`.",
)
.unset("not encrypted")
.example("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0")
.secret();

/// In the order of the table.
pub(super) static ALL: &[&About] = &[&SPOOL_DIR.about, &SPOOL_MAX.about, &SPOOL_KEY.about];
