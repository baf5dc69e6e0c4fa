//! The legacy service and this process's names.

use std::net::SocketAddr;

use crate::config::choices::Name;
use crate::config::numbers::Workers;
use crate::config::places::Upstream;
use crate::config::var::{About, Group, Var};

/// The legacy service.
pub static UPSTREAM: Var<Upstream> = Var::new(
    Group::Service,
    "CROSSFADE_UPSTREAM",
    "The legacy service. Only scheme, host and port: each request keeps its own path.",
)
.example("ws://127.0.0.1:3000")
.required();

/// Where clients connect.
pub static LISTEN: Var<SocketAddr> =
    Var::new(Group::Service, "CROSSFADE_LISTEN", "Where clients connect.").default("0.0.0.0:8080");

/// The service in topic names.
pub static SERVICE: Var<Name> = Var::new(
    Group::Service,
    "CROSSFADE_SERVICE",
    "Name of the service in topic names: `crossfade:{service}:{pod}`.",
)
.default("app");

/// The pod in topic names.
pub static POD: Var<Name> = Var::new(
    Group::Service,
    "CROSSFADE_POD",
    "Name of this pod in topic names; unique among the service's pods.",
)
.unset("the host name")
.example("app-7d9f-x2");

/// Data threads.
pub static WORKERS: Var<Workers> = Var::new(
    Group::Service,
    "CROSSFADE_WORKERS",
    "Data threads. `auto`: as many as the CPUs that the cgroup grants.",
)
.unit("threads")
.default("auto");

/// In the order of the table.
pub(super) static ALL: &[&About] =
    &[&UPSTREAM.about, &LISTEN.about, &SERVICE.about, &POD.about, &WORKERS.about];
