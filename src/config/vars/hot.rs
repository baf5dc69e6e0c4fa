//! The windows of hot sessions.

use crate::config::numbers::{Size, Timeout};
use crate::config::var::{About, Group, Var};

/// The deadline of a hot message.
pub static HOT_DEADLINE: Var<Timeout> = Var::new(
    Group::Hot,
    "CROSSFADE_HOT_DEADLINE",
    "A message that Realtime has not delivered back by then is released from memory.",
)
.default("500ms");

/// One session's window.
pub static WINDOW_SESSION: Var<Size> = Var::new(
    Group::Hot,
    "CROSSFADE_WINDOW_SESSION",
    "Window of one hot session. Full: the session goes to legacy.",
)
.default("256KiB");

/// All windows.
pub static WINDOW_POD: Var<Size> =
    Var::new(Group::Hot, "CROSSFADE_WINDOW_POD", "All windows of the pod together.").default("64MiB");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[&HOT_DEADLINE.about, &WINDOW_SESSION.about, &WINDOW_POD.about];
