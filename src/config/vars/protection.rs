//! Deadlines and limits that protect the proxy.

use crate::config::lists::Cidrs;
use crate::config::numbers::{Count, Size, Timeout};
use crate::config::var::{About, Group, Var};

/// The connect deadline.
pub static CONNECT_TIMEOUT: Var<Timeout> = Var::new(
    Group::Protection,
    "CROSSFADE_CONNECT_TIMEOUT",
    "Longest wait for a connection to the service; then 502.",
)
.default("2s");

/// The upgrade deadline.
pub static UPGRADE_TIMEOUT: Var<Timeout> = Var::new(
    Group::Protection,
    "CROSSFADE_UPGRADE_TIMEOUT",
    "Longest wait for the service's answer to an upgrade; then 504.",
)
.default("30s");

/// The request head deadline.
pub static REQUEST_HEAD_TIMEOUT: Var<Timeout> = Var::new(
    Group::Protection,
    "CROSSFADE_REQUEST_HEAD_TIMEOUT",
    "Longest wait for a request head; then 408.",
)
.default("10s");

/// The request head's size.
pub static HEADER_BYTES_MAX: Var<Size> =
    Var::new(Group::Protection, "CROSSFADE_HEADER_BYTES_MAX", "Largest request head; beyond it 431.")
        .default("64KiB");

/// The request head's fields.
pub static HEADERS_MAX: Var<Count> =
    Var::new(Group::Protection, "CROSSFADE_HEADERS_MAX", "Most header fields of one request; beyond it 431.")
        .unit("fields")
        .default("100");

/// The plain answer's deadline.
pub static RESPONSE_HEAD_TIMEOUT: Var<Timeout> = Var::new(
    Group::Protection,
    "CROSSFADE_RESPONSE_HEAD_TIMEOUT",
    "Longest wait for the service's answer to a plain request; then 504.",
)
.unset("off: the service thinks as long as it likes")
.example("60s");

/// The idle deadline.
pub static IDLE_TIMEOUT: Var<Timeout> = Var::new(
    Group::Protection,
    "CROSSFADE_IDLE_TIMEOUT",
    "Ends sessions (1001, both sides) and kept-alive connections in which no byte has passed for so long.",
)
.unset("off")
.example("1h");

/// An address's connections.
pub static CONNECTIONS_PER_ADDRESS: Var<Count> = Var::new(
    Group::Protection,
    "CROSSFADE_CONNECTIONS_PER_ADDRESS",
    "Connections of one IPv4 address or IPv6 /64; more are closed at once. Trusted proxies are exempt.",
)
.unit("connections")
.unset("off")
.example("200");

/// The upgrades' rate.
pub static UPGRADES_PER_SECOND: Var<Count> = Var::new(
    Group::Protection,
    "CROSSFADE_UPGRADES_PER_SECOND",
    "Upgrades of this pod in one second, and at once; more are answered 429 with `Retry-After: 1`.",
)
.unit("upgrades/s")
.unset("off")
.example("500");

/// Trusted peers.
pub static TRUSTED_PROXIES: Var<Cidrs> = Var::new(
    Group::Protection,
    "CROSSFADE_TRUSTED_PROXIES",
    "Peers whose `X-Forwarded-*` headers are believed. They are appended to in any case.",
)
.unset("nobody")
.example("10.0.0.0/8,fd00::/8");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[
    &CONNECT_TIMEOUT.about,
    &UPGRADE_TIMEOUT.about,
    &REQUEST_HEAD_TIMEOUT.about,
    &HEADER_BYTES_MAX.about,
    &HEADERS_MAX.about,
    &RESPONSE_HEAD_TIMEOUT.about,
    &IDLE_TIMEOUT.about,
    &CONNECTIONS_PER_ADDRESS.about,
    &UPGRADES_PER_SECOND.about,
    &TRUSTED_PROXIES.about,
];
