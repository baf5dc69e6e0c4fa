//! When Realtime may not be used.

use crate::config::choices::BreakerMode;
use crate::config::numbers::{Ratio, Timeout};
use crate::config::var::{About, Group, Var};

/// The breaker's mode.
pub static BREAKER: Var<BreakerMode> =
    Var::new(Group::Breaker, "CROSSFADE_BREAKER", "Automatic, or held by a person.").default("auto");

/// The breaker's first open time.
pub static BREAKER_COOLDOWN: Var<Timeout> = Var::new(
    Group::Breaker,
    "CROSSFADE_BREAKER_COOLDOWN",
    "How long the breaker first stays open; doubled at each further trip, up to 30 min.",
)
.default("60s");

/// The breaker's confidence.
pub static BREAKER_CONFIDENCE: Var<Ratio> = Var::new(
    Group::Breaker,
    "CROSSFADE_BREAKER_CONFIDENCE",
    "Trips on the error ratio only when the Wilson lower bound at this confidence is over the limit.",
)
.unset("the plain ratio decides")
.example("0.95");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[&BREAKER.about, &BREAKER_COOLDOWN.about, &BREAKER_CONFIDENCE.about];
