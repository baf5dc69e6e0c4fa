//! The differential tests under TLS on both sides.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its own functions included")]

mod differential;
