//! What a process takes from outside when it begins: the time, and a little randomness.

use std::time::Instant;

use crate::mirror::flight::Epoch;

/// Both clocks at the start.
#[expect(clippy::disallowed_methods, reason = "the process starts here: its clocks are the real ones")]
pub(super) fn epoch() -> Epoch {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Epoch { at: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
}

/// Randomness for jitter and names; not for keys.
pub(super) fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness two pods may share a jitter; that is all.
    getrandom::fill(&mut bytes).unwrap_or_default();
    u64::from_ne_bytes(bytes)
}
