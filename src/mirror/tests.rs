//! Batcher and publisher against a simulated Realtime on a virtual clock.

use std::sync::OnceLock;
use std::time::Instant;

/// The one instant that every virtual clock of this room starts from.
pub(super) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant cannot be made of nothing; only its offsets are used"
    )]
    *START.get_or_init(Instant::now)
}
