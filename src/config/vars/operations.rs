//! Listeners for operators, and the log.

use std::net::SocketAddr;

use crate::config::choices::{LogFilter, LogFormat, Text};
use crate::config::secret::Secret;
use crate::config::var::{About, Group, Var};

/// The metrics listener.
pub static METRICS_LISTEN: Var<SocketAddr> = Var::new(
    Group::Operations,
    "CROSSFADE_METRICS_LISTEN",
    "Listener of `/metrics`, `/healthz`, `/readyz` and the rollout's `/gate`, nothing else.",
)
.default("0.0.0.0:9464");

/// The admin listener.
pub static ADMIN_LISTEN: Var<SocketAddr> = Var::new(
    Group::Operations,
    "CROSSFADE_ADMIN_LISTEN",
    "Listener of the admin API and the dashboard. On another address than loopback it needs a token.",
)
.default("127.0.0.1:9465");

/// The admin token.
pub static ADMIN_TOKEN: Var<Secret> = Var::new(
    Group::Operations,
    "CROSSFADE_ADMIN_TOKEN",
    "What a request that changes something must present.",
)
.unset("nothing can be changed; loopback may view")
.example("a long random text")
.secret();

/// The tuning file.
pub static TUNING: Var<Text> = Var::new(
    Group::Operations,
    "CROSSFADE_TUNING",
    "TOML file with the fine settings, by section: `docs/tuning.schema.json`.",
)
.unset("the defaults")
.example("/etc/crossfade/tuning.toml");

/// The token that may only view.
pub static ADMIN_VIEW_TOKEN: Var<Secret> = Var::new(
    Group::Operations,
    "CROSSFADE_ADMIN_VIEW_TOKEN",
    "What a request that only views must present. With it, nothing is shown without a token.",
)
.unset("loopback may view without a token, except samples and the names of keys")
.example("another long random text")
.secret();

/// The log filter.
pub static LOG: Var<LogFilter> = Var::new(
    Group::Operations,
    "CROSSFADE_LOG",
    "Which events are logged: a level, or `target=level` pairs.",
)
.default("info")
.example("info,crossfade::proxy=debug");

/// The log format.
pub static LOG_FORMAT: Var<LogFormat> =
    Var::new(Group::Operations, "CROSSFADE_LOG_FORMAT", "How events are written to standard error.")
        .default("json");

/// What outlives the process.
pub static STATE_DIR: Var<Text> = Var::new(
    Group::Operations,
    "CROSSFADE_STATE_DIR",
    "Folder for what outlives the process: flags, breaker, plan, reports, records. One for each pod.",
)
.unset("nothing is kept: a pod that starts while its flag store is down puts nobody on Realtime")
.example("/var/lib/crossfade");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[
    &METRICS_LISTEN.about,
    &ADMIN_LISTEN.about,
    &ADMIN_TOKEN.about,
    &TUNING.about,
    &ADMIN_VIEW_TOKEN.about,
    &LOG.about,
    &LOG_FORMAT.about,
    &STATE_DIR.about,
];
