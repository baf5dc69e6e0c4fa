//! Notices: what people are told in a chat when the breaker, the plan or the emergency switch enters a state, and the
//! links by which they answer.
//!
//! **Problem.** A person who decides about a rollout sits in a chat and not before a dashboard. Alerts that repeat
//! themselves are soon read by nobody. And a link in a chat is fetched by machines before a person has seen it, copied,
//! and found again months later.
//!
//! **Decision.** A state is told once: when it was entered and has lasted ([`Teller`]). What it was is remembered, so
//! that neither a restart nor another pod tells it again. A text is made from closed placeholders only ([`Template`]),
//! so that no payload, key or secret can get in. A link is a signed token ([`Signer`]) for one action, on one version
//! of the plan or rollout, until one time; it is used up by its first use ([`Used`]).
//!
//! **Limits.** [`TARGETS_MAX`] targets; [`WAITING_MAX`] notices wait for each, the oldest gives way and is counted;
//! [`ATTEMPTS_MAX`] attempts each. [`USED_MAX`] used links are remembered until they expire; one more is refused.
//!
//! **Not here.** Sockets, files, Redis and the clock: `src/app/notices`.

mod link;
mod outbox;
mod settings;
mod teller;
mod template;
#[cfg(test)]
mod tests;
mod used;
mod words;

pub use link::{Action, Claims, LinkError, NONCE_BYTES, SECRET_BYTES_MIN, Signer};
pub use outbox::{ATTEMPTS_MAX, Answer, Outbox, WAITING_MAX, Wrong};
pub use settings::{Links, Place, Section, Settings, TARGETS_MAX, Target, without_urls};
pub use teller::{Heard, Teller, Told};
pub use template::{Format, Template};
pub use used::{BurnError, USED_MAX, Used};
pub use words::{Facts, Notice, notice};

use serde::{Deserialize, Serialize};

/// What can be in a state. Each is told by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The breaker of a pod.
    Breaker,
    /// Where the plan stands.
    Plan,
    /// Whether the plan's gates let it go on.
    Gates,
    /// The emergency switch.
    Emergency,
    /// Whether both sides carry the same messages.
    Match,
    /// The last drill.
    Drill,
    /// Whether Realtime lets anybody read what the service does not send them.
    Parity,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Breaker, Self::Plan, Self::Gates, Self::Emergency, Self::Match, Self::Drill, Self::Parity];

    /// The word in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Plan => "plan",
            Self::Gates => "gates",
            Self::Emergency => "emergency",
            Self::Match => "match",
            Self::Drill => "drill",
            Self::Parity => "parity",
        }
    }

    /// Whether it is the same for all pods: then one of them tells for all.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        !matches!(self, Self::Drill)
    }
}

/// A state that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Everybody is on legacy.
    BreakerOpen,
    /// And only a person can end it.
    BreakerLatched,
    /// It probes.
    BreakerHalfOpen,
    /// Realtime may be used again.
    BreakerClosed,
    /// The plan is paused.
    PlanWaiting,
    /// The plan is in another step.
    PlanAdvanced,
    /// The plan was ended at 0 %.
    PlanRolledBack,
    /// Its last step has baked.
    PlanFinished,
    /// A gate keeps it from going on.
    PlanHeld,
    /// No gate fails any more.
    PlanReleased,
    /// Somebody holds the emergency switch.
    EmergencyOn,
    /// Nobody does any more.
    EmergencyOff,
    /// The match figure is below the gate.
    MatchBelow,
    /// It is above it again.
    MatchBack,
    /// A drill has failed.
    DrillBad,
    /// Somebody may read on Realtime what the service does not send them.
    OverDelivery,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::BreakerOpen,
        Self::BreakerLatched,
        Self::BreakerHalfOpen,
        Self::BreakerClosed,
        Self::PlanWaiting,
        Self::PlanAdvanced,
        Self::PlanRolledBack,
        Self::PlanFinished,
        Self::PlanHeld,
        Self::PlanReleased,
        Self::EmergencyOn,
        Self::EmergencyOff,
        Self::MatchBelow,
        Self::MatchBack,
        Self::DrillBad,
        Self::OverDelivery,
    ];

    /// The word in settings, notices and the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::BreakerLatched => "breaker_latched",
            Self::BreakerHalfOpen => "breaker_half_open",
            Self::BreakerClosed => "breaker_closed",
            Self::PlanWaiting => "plan_waiting",
            Self::PlanAdvanced => "plan_advanced",
            Self::PlanRolledBack => "plan_rolled_back",
            Self::PlanFinished => "plan_finished",
            Self::PlanHeld => "plan_held",
            Self::PlanReleased => "plan_released",
            Self::EmergencyOn => "emergency_on",
            Self::EmergencyOff => "emergency_off",
            Self::MatchBelow => "match_below",
            Self::MatchBack => "match_back",
            Self::DrillBad => "drill_bad",
            Self::OverDelivery => "over_delivery",
        }
    }

    /// What it is a state of.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self {
            Self::BreakerOpen | Self::BreakerLatched | Self::BreakerHalfOpen | Self::BreakerClosed => {
                Subject::Breaker
            }
            Self::PlanWaiting | Self::PlanAdvanced | Self::PlanRolledBack | Self::PlanFinished => {
                Subject::Plan
            }
            Self::PlanHeld | Self::PlanReleased => Subject::Gates,
            Self::EmergencyOn | Self::EmergencyOff => Subject::Emergency,
            Self::MatchBelow | Self::MatchBack => Subject::Match,
            Self::DrillBad => Subject::Drill,
            Self::OverDelivery => Subject::Parity,
        }
    }

    /// It is the end of something that was told: where nothing was, there is nothing to say.
    #[must_use]
    pub const fn is_calm(self) -> bool {
        matches!(
            self,
            Self::BreakerClosed
                | Self::BreakerHalfOpen
                | Self::PlanReleased
                | Self::EmergencyOff
                | Self::MatchBack
        )
    }

    /// Told unless the settings say otherwise. Half-open comes with every cool-down: few want to hear of it.
    #[must_use]
    pub const fn is_usual(self) -> bool {
        !matches!(self, Self::BreakerHalfOpen)
    }

    /// A person may want to let the plan go on.
    #[must_use]
    pub const fn asks_promote(self) -> bool {
        matches!(self, Self::PlanWaiting | Self::PlanHeld)
    }

    /// A person may want everybody back on legacy.
    #[must_use]
    pub const fn asks_rollback(self) -> bool {
        matches!(
            self,
            Self::PlanWaiting
                | Self::PlanHeld
                | Self::PlanAdvanced
                | Self::BreakerOpen
                | Self::BreakerLatched
                | Self::MatchBelow
                | Self::OverDelivery
        )
    }
}
