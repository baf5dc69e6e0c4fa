//! Tests on real sockets. Both ends are scripted byte by byte, so that they see what is on the wire and nothing else.

use super::*;

mod circle;
mod draining;
mod faults;
mod forwarding;
mod http2;
mod http2_client;
mod http2_hostile;
mod limits;
mod native;
mod plain;
mod proxied;
mod secure;
mod shim;
mod smuggling;
mod tls;
mod upgrades;
mod world;

/// Whether a [`world::World`] speaks TLS on both sides.
const SECURE: bool = false;
