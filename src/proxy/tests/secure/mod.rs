//! The same tests under TLS on both sides: the files beside this folder once more, in a world that is secure.
//! Sockets stay plain and scripted; `shim.rs` puts TLS around them outside the proxy, its ends included.
//!
//! Left out are the tests that name what TLS changes (`X-Forwarded-Proto`, certificates) or that never reach a
//! service (native lane).
//!
//! Limits: a test that points the proxy at another service than the world's speaks plainly to it.
//! The shim holds what its sockets hold, so that push-back comes a few buffers later.
//! A reset becomes a reset, but bytes under way in the shim may be lost with it.
//! No test here may depend on how many segments its bytes come in.

#[expect(clippy::duplicate_mod, reason = "the same tests in another world")]
#[path = "../draining.rs"]
mod draining;
#[expect(clippy::duplicate_mod, reason = "the same tests in another world")]
#[path = "../faults.rs"]
mod faults;
#[expect(clippy::duplicate_mod, reason = "the same tests in another world")]
#[path = "../plain.rs"]
mod plain;
#[expect(clippy::duplicate_mod, reason = "the same tests in another world")]
#[path = "../smuggling.rs"]
mod smuggling;
#[expect(clippy::duplicate_mod, reason = "the same tests in another world")]
#[path = "../upgrades.rs"]
mod upgrades;
#[expect(clippy::duplicate_mod, reason = "the same tests in another world")]
#[path = "../world.rs"]
mod world;

const SECURE: bool = true;
