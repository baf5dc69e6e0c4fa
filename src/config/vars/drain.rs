//! How the process stops.

use std::time::Duration;

use crate::config::numbers::{CloseCode, Timeout};
use crate::config::var::{About, Group, Var};

/// The drain's end.
pub static DRAIN_GRACE: Var<Timeout> = Var::new(
    Group::Drain,
    "CROSSFADE_DRAIN_GRACE",
    "From SIGTERM to the exit, at most. Keep it below terminationGracePeriodSeconds.",
)
.default("25s");

/// The drain's start.
pub static DRAIN_SETTLE: Var<Duration> = Var::new(
    Group::Drain,
    "CROSSFADE_DRAIN_SETTLE",
    "From \"not ready\" to the end of accepting, so that load balancers notice first.",
)
.default("2s");

/// The drain's close code.
pub static DRAIN_CODE: Var<CloseCode> = Var::new(
    Group::Drain,
    "CROSSFADE_DRAIN_CODE",
    "Close code that open sessions get (RFC 6455 section 7.4).",
)
.default("1012");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[&DRAIN_GRACE.about, &DRAIN_SETTLE.about, &DRAIN_CODE.about];
