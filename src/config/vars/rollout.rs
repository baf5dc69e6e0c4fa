//! Who is fed by Realtime.

use crate::config::choices::{RolloutLane, Text};
use crate::config::lists::KeyChain;
use crate::config::numbers::Percent;
use crate::config::var::{About, Group, Var};

/// The cohort's share.
pub static ROLLOUT_PERCENT: Var<Percent> = Var::new(
    Group::Rollout,
    "CROSSFADE_ROLLOUT_PERCENT",
    "Share of the users on the Realtime side, in steps of 0.001. Raising it never moves anyone out.",
)
.default("0")
.example("12.5");

/// The cohort's lane.
pub static ROLLOUT_LANE: Var<RolloutLane> = Var::new(
    Group::Rollout,
    "CROSSFADE_ROLLOUT_LANE",
    "The lane of the cohort: `hot` rehearses on open legacy sockets, `native` goes to Supabase itself.",
)
.default("hot");

/// The key chain.
pub static ROLLOUT_KEY: Var<KeyChain> = Var::new(
    Group::Rollout,
    "CROSSFADE_ROLLOUT_KEY",
    "Where the key of a user is found; the first that exists counts. No key: legacy.",
)
.default("header:x-user-id,jwt:sub");

/// The salt.
pub static ROLLOUT_SALT: Var<Text> = Var::new(
    Group::Rollout,
    "CROSSFADE_ROLLOUT_SALT",
    "Salt of the bucket function. Changing it deals all users anew.",
)
.default("crossfade");

/// The emergency switch as a file.
pub static EMERGENCY_FILE: Var<Text> = Var::new(
    Group::Rollout,
    "CROSSFADE_EMERGENCY_FILE",
    "While a file of this name exists, everybody is on legacy. SIGUSR1 does the same, SIGUSR2 ends it.",
)
.unset("no such file")
.example("/etc/crossfade/emergency-off");

/// Whether the 101 names the lane.
pub static LANE_HEADER: Var<bool> =
    Var::new(Group::Rollout, "CROSSFADE_LANE_HEADER", "Adds `X-Crossfade-Lane` to the 101.").default("off");

/// Whether a page may ask which lane feeds it.
pub static LANE_ENDPOINT: Var<bool> = Var::new(
    Group::Rollout,
    "CROSSFADE_LANE_ENDPOINT",
    "Answers `/.crossfade/lane` and `/.crossfade/indicator.js` in place of the service.",
)
.default("off");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[
    &ROLLOUT_PERCENT.about,
    &ROLLOUT_LANE.about,
    &ROLLOUT_KEY.about,
    &ROLLOUT_SALT.about,
    &EMERGENCY_FILE.about,
    &LANE_HEADER.about,
    &LANE_ENDPOINT.about,
];
