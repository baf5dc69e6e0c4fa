//! Who is fed by Realtime.

use crate::config::choices::{RolloutLane, Text};
use crate::config::lists::KeyChain;
use crate::config::numbers::{Percent, Timeout};
use crate::config::secret::Secret;
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
    "The lane of the cohort: `hot` rehearses on legacy sockets, `cold` is served by us, `native` by Supabase.",
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

/// The file tier.
pub static FLAGS_FILE: Var<Text> = Var::new(
    Group::Rollout,
    "CROSSFADE_FLAGS_FILE",
    "A flags document (docs/rollout.md) that stands above the environment; read again every second.",
)
.unset("no file tier")
.example("/etc/crossfade/flags.json");

/// The Redis tier.
pub static REDIS_URL: Var<Secret> = Var::new(
    Group::Rollout,
    "CROSSFADE_REDIS_URL",
    "Shared store of flags, plan and pods: `redis://` or, with TLS, `rediss://USER:PASSWORD@HOST:PORT/DB`.",
)
.unset("no Redis tier")
.example("rediss://crossfade:secret@redis:6380/0")
.secret();

/// Polling behind the push.
pub static FLAGS_POLL: Var<Timeout> = Var::new(
    Group::Rollout,
    "CROSSFADE_FLAGS_POLL",
    "How often Redis and the table are asked for the flags, besides being told.",
)
.default("10s");

/// The secret behind hashed keys.
pub static KEY_HASH_SECRET: Var<Secret> = Var::new(
    Group::Rollout,
    "CROSSFADE_KEY_HASH_SECRET",
    "Secret of the short hashes that stand for user keys in lists and logs; the same in every pod.",
)
.unset("one of this process: hashes are of no use elsewhere")
.example("a long random text")
.secret();

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
    &FLAGS_FILE.about,
    &REDIS_URL.about,
    &FLAGS_POLL.about,
    &KEY_HASH_SECRET.about,
    &LANE_HEADER.about,
    &LANE_ENDPOINT.about,
];
