//! The differential tests under TLS on both sides.

mod differential;
