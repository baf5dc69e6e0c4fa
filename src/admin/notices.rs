//! The family of notices.

use super::metrics::{Family, counter, counts};

pub(super) static FAMILIES: [Family; 1] = [counter(
    "crossfade_notices_total",
    "outcome",
    "Notices to each target of [notices]: delivered, failed after all attempts, or dropped by a full queue or the end.",
    |s| counts(&s.snapshot.notices),
)];
