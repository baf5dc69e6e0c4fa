//! The admission webhook, `crossfade inject`. Nothing else reads these.

use std::net::SocketAddr;

use crate::config::choices::Text;
use crate::config::var::{About, Group, Var};

/// The webhook's listener.
pub static INJECT_LISTEN: Var<SocketAddr> = Var::new(
    Group::Inject,
    "CROSSFADE_INJECT_LISTEN",
    "HTTPS listener of `POST /mutate`, `POST /mutate/redirect` and `GET /healthz`.",
)
.default("0.0.0.0:8443");

/// Its certificate.
pub static INJECT_TLS_DIR: Var<Text> = Var::new(
    Group::Inject,
    "CROSSFADE_INJECT_TLS_DIR",
    "Directory of `tls.crt` and `tls.key`; used anew when they change.",
)
.default("/run/secrets/tls");

/// What it adds.
pub static INJECT_TEMPLATE: Var<Text> = Var::new(
    Group::Inject,
    "CROSSFADE_INJECT_TEMPLATE",
    "What is added to pods, as the chart renders it; used anew when it changes.",
)
.default("/etc/crossfade/sidecar.json");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[&INJECT_LISTEN.about, &INJECT_TLS_DIR.about, &INJECT_TEMPLATE.about];
