//! The cold lane.

use crate::config::choices::{ColdAuth, Text};
use crate::config::var::{About, Group, Var};

/// Who lets clients in.
pub static COLD_AUTH: Var<ColdAuth> = Var::new(
    Group::Rollout,
    "CROSSFADE_COLD_AUTH",
    "Who lets clients onto the cold lane: their token, the service, or nobody. Not set: there is no cold lane.",
)
.unset("no cold lane")
.example("jwt");

/// Where messages come from.
pub static COLD_SOURCE: Var<Text> = Var::new(
    Group::Rollout,
    "CROSSFADE_COLD_SOURCE",
    "What feeds cold clients: a topic with {path}, {sub} or {query:NAME} in it, or table:NAME; see docs/cold.md.",
)
.unset("required with CROSSFADE_COLD_AUTH")
.example("room:{path}");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[&COLD_AUTH.about, &COLD_SOURCE.about];
