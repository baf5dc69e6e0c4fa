//! The two questions of the kubelet, as closures.
//! The wiring knows the answers; this room only asks.

use std::fmt;
use std::sync::Arc;

/// An answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Fine.
    Ok,
    /// Not fine, and why, in a few fixed words such as `draining`.
    Failing(&'static str),
}

/// What the probes ask.
#[derive(Clone)]
pub struct Health {
    /// `/healthz`: whether a restart would help. Depends on the data workers alone.
    pub live: Arc<dyn Fn() -> Status + Send + Sync>,
    /// `/readyz`: whether clients should be sent here.
    pub ready: Arc<dyn Fn() -> Status + Send + Sync>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("live", &(self.live)()).field("ready", &(self.ready)()).finish()
    }
}
