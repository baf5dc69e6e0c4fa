//! What is copied to Realtime, and how.

use crate::config::choices::{Readback, Redact, Text};
use crate::config::numbers::{Percent, Size};
use crate::config::var::{About, Group, Var};

/// The mirrored share.
pub static MIRROR_PERCENT: Var<Percent> = Var::new(
    Group::Mirror,
    "CROSSFADE_MIRROR_PERCENT",
    "Share of the sessions that are mirrored. Hot sessions always are.",
)
.default("100");

/// What is read back.
pub static READBACK: Var<Readback> = Var::new(
    Group::Mirror,
    "CROSSFADE_READBACK",
    "What the sidecar reads back to prove delivery. Not in effect yet: everything is read back.",
)
.default("all")
.example("sample:10");

/// Redaction.
pub static REDACT: Var<Redact> = Var::new(
    Group::Mirror,
    "CROSSFADE_REDACT",
    "Directions in which well-known secrets are blanked before a message leaves the process.",
)
.default("up");

/// Classification rules.
pub static CLASSIFY: Var<Text> = Var::new(
    Group::Mirror,
    "CROSSFADE_CLASSIFY",
    "Classification rules, or `@` and the path of a rule file (TOML). None: the class follows the measured rate.",
)
.unset("no rules")
.example("event=alert:critical;path=/health:low");

/// The mirror's buffer.
pub static BUFFER: Var<Size> = Var::new(
    Group::Mirror,
    "CROSSFADE_BUFFER",
    "Bytes that may wait for Realtime. Beyond it messages are shed and counted.",
)
.default("32MiB");

/// The largest mirrored message.
pub static MESSAGE_MAX: Var<Size> = Var::new(
    Group::Mirror,
    "CROSSFADE_MESSAGE_MAX",
    "The largest message that is mirrored. Larger ones pass and are counted.",
)
.default("1MiB");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[
    &MIRROR_PERCENT.about,
    &READBACK.about,
    &REDACT.about,
    &CLASSIFY.about,
    &BUFFER.about,
    &MESSAGE_MAX.about,
];
