//! Tests on real sockets. Both ends are scripted byte by byte, so that they see what is on the wire and nothing else.

mod draining;
mod faults;
mod forwarding;
mod limits;
mod native;
mod plain;
mod smuggling;
mod tls;
mod upgrades;
mod world;
