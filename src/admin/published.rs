//! The figures and families of what was published: bytes, recipients, what collapsing and splitting did.

use super::metrics::{Family, counter, float, one};

/// What was published, and for how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Bytes of broadcasts, repetitions included.
    pub bytes: u64,
    /// Messages of sessions that they stand for.
    pub recipients: u64,
    /// Messages that travelled on another one's bytes.
    pub collapsed: u64,
    /// Messages in pieces.
    pub split: u64,
}

pub(super) static FAMILIES: [Family; 4] = [
    counter(
        "crossfade_mirror_published_bytes_total",
        "",
        "Bytes of the broadcasts, repetitions included.",
        |s| one(float(s.snapshot.published.bytes)),
    ),
    counter(
        "crossfade_mirror_published_recipients_total",
        "",
        "Messages of sessions that went into broadcasts; bytes by this is what one recipient costs.",
        |s| one(float(s.snapshot.published.recipients)),
    ),
    counter(
        "crossfade_mirror_collapsed_total",
        "",
        "Messages that travelled on the bytes of an identical one.",
        |s| one(float(s.snapshot.published.collapsed)),
    ),
    counter(
        "crossfade_mirror_split_total",
        "",
        "Messages that were larger than a broadcast and travel in pieces.",
        |s| one(float(s.snapshot.published.split)),
    ),
];
