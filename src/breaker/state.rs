//! Where the breaker stands, what that admits, and what it reports about its moves.

use std::time::Instant;

use super::outcome::{Trigger, Trip};

/// The state with its data, for decisions and for the admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Realtime may be used.
    Closed {
        /// Since when.
        since: Instant,
        /// The share of the cohort that the paced return has reached, in 0.1 %; 1,000 when it is over.
        share_permille: u16,
    },
    /// Pure passthrough.
    Open {
        /// Since when.
        since: Instant,
        /// When probing may begin, unless latched or forced.
        until: Instant,
        /// What opened it.
        trip: Trigger,
        /// Only a person can end it.
        latched: bool,
    },
    /// Passthrough for everybody; one probe at a time.
    HalfOpen {
        /// Since when.
        since: Instant,
        /// When it opens again if nothing else has been decided.
        until: Instant,
        /// Good probes in a row.
        probes_good: u32,
        /// A probe is on its way.
        probing: bool,
    },
}

impl State {
    /// The state without its data.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Closed { .. } => Phase::Closed,
            Self::Open { .. } => Phase::Open,
            Self::HalfOpen { .. } => Phase::HalfOpen,
        }
    }
}

/// The three states by name. Standard polarity: closed lets Realtime be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Realtime may be used.
    Closed,
    /// Pure passthrough.
    Open,
    /// Probing.
    HalfOpen,
}

impl Phase {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Who decides: the machine or a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The machine.
    Auto,
    /// A person wants passthrough; nothing is probed.
    ForcedOpen,
    /// A person wants Realtime; no trigger acts or is reported.
    ForcedClosed,
    /// Realtime is used whatever happens; triggers are only reported.
    ObserveOnly,
}

impl Mode {
    /// The word for metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::ObserveOnly => "observe_only",
        }
    }

    /// True when a person has taken the triggers' power away.
    #[must_use]
    pub const fn overrides_closed(self) -> bool {
        matches!(self, Self::ForcedClosed | Self::ObserveOnly)
    }
}

/// What a person may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// Passthrough until released.
    Open,
    /// Realtime until released.
    Closed,
    /// Realtime until released, with would-trip reports.
    ObserveOnly,
    /// Back to the machine. After `Open` it probes first; after the others it goes on where the machine stands.
    Release,
    /// Ends a cool-down or a latch and forgets past trips; the breaker probes, it does not close.
    Reset,
}

/// What the breaker admits at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The machine's state.
    pub phase: Phase,
    /// Who decides.
    pub mode: Mode,
    /// Which part of the cohort may be served by Realtime, in 0.1 %: 0 nobody, 1,000 everybody in it.
    pub share_permille: u16,
    /// What the mirror may publish.
    pub publish: Publish,
}

impl Admission {
    /// True when Realtime may serve at least a part of the cohort.
    #[must_use]
    pub const fn serves(&self) -> bool {
        self.share_permille > 0
    }

    /// True when it is closed, by the machine or by a person while the machine does not object. Half-open under
    /// `forced_closed` is: users are on Realtime, and the probes only find out what the machine will do on release. Open is
    /// not, whoever has forced what: it has seen a reason.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        match self.phase {
            Phase::Closed => true,
            Phase::HalfOpen => self.mode.overrides_closed(),
            Phase::Open => false,
        }
    }
}

/// What may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Publish {
    /// Everything.
    All,
    /// The breaker's probes, nothing else.
    ProbesOnly,
    /// Nothing.
    Nothing,
}

/// A probe that the caller publishes on the pod's own topic and reports on by `Outcome::Probe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe(pub(super) u64);

/// A move worth telling: for metrics, logs, the flight recorder and the open sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Passthrough from now on.
    Opened {
        /// Why, with figures.
        trip: Trip,
        /// When probing may begin.
        until: Instant,
        /// Only a person can end it.
        latched: bool,
    },
    /// Probing begins.
    HalfOpened,
    /// Realtime may be used by this share of the cohort.
    Closed {
        /// In 0.1 %.
        share_permille: u16,
    },
    /// The paced return has reached its next step.
    Share {
        /// In 0.1 %.
        share_permille: u16,
    },
    /// It would have opened, but a person has said `observe_only`.
    WouldTrip(Trip),
    /// A person has taken over or handed back.
    Mode(Mode),
}
