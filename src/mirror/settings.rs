//! How one publisher works: its name and its deadlines.
//! Values, not behaviour; the configuration fills them in.

use std::time::Duration;

/// How one publisher works: one per topic shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pod instance, as the envelope's `src` (≤ 255 bytes).
    pub src: Box<str>,
    /// Not read back after this: a bad sample. Reading back later still confirms.
    pub deadline: Duration,
    /// Accepted and not read back after this: published again.
    pub confirm_within: Duration,
    /// Without a link for so long: what waits is shed as `disconnected`.
    pub disconnected_max: Duration,
    /// Whether the topic is read back; if not, an ok settles as `acked_only`.
    pub readback: bool,
    /// Whether there is a spool: what cannot be published is then given away instead of shed.
    pub spools: bool,
    /// Random bits for batch names.
    pub seed: u64,
}

impl Settings {
    /// The contract's defaults.
    #[must_use]
    pub fn new(src: &str, seed: u64) -> Self {
        Self {
            src: src.into(),
            deadline: Duration::from_millis(500),
            confirm_within: Duration::from_secs(10),
            disconnected_max: Duration::from_secs(30),
            readback: true,
            spools: false,
            seed,
        }
    }
}
