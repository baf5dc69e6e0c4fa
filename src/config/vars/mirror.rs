//! What is copied to Realtime, and how.

use crate::config::choices::{MirrorFormat, Readback, Redact, Table, Text};
use crate::config::numbers::{Percent, Size, Timeout};
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
    "What is read back to prove delivery, besides what hot sessions await. The rest is acked_only and cheaper.",
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

/// The decompressors' memory.
pub static INFLATE_BUFFER: Var<Size> = Var::new(
    Group::Mirror,
    "CROSSFADE_INFLATE_BUFFER",
    "Memory to read compressed sessions: 32 KiB a direction, 56 KiB more while it talks. Beyond it: not mirrored.",
)
.default("64MiB");

/// What is published.
pub static MIRROR_FORMAT: Var<MirrorFormat> = Var::new(
    Group::Mirror,
    "CROSSFADE_MIRROR_FORMAT",
    "`both`: messages to which a rule gives a `topic` are also published there as events for supabase-js.",
)
.default("messages");

/// How long an event is news.
pub static EVENTS_MAX_AGE: Var<Timeout> = Var::new(
    Group::Mirror,
    "CROSSFADE_EVENTS_MAX_AGE",
    "An event that could not be sent by then is left out and counted; its envelope still comes.",
)
.default("10s");

/// What goes into the table.
pub static TABLE: Var<Table> = Var::new(
    Group::Mirror,
    "CROSSFADE_TABLE",
    "Classes that are also stored in the table monitoring_events; apply deploy/supabase/migrations first.",
)
.default("off")
.example("critical");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[
    &MIRROR_PERCENT.about,
    &READBACK.about,
    &REDACT.about,
    &CLASSIFY.about,
    &BUFFER.about,
    &MESSAGE_MAX.about,
    &INFLATE_BUFFER.about,
    &MIRROR_FORMAT.about,
    &EVENTS_MAX_AGE.about,
    &TABLE.about,
];
