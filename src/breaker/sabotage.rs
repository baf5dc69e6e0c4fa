//! Rules that a test can break on purpose, to prove that the suite would notice. In a real build the question is a
//! constant `false`.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// Open stays open.
    NeverHalfOpens,
    /// Judges a ratio on any number of samples.
    IgnoresMinimum,
    /// Holds our own faults against Realtime.
    CountsOwnFaults,
    /// Calls a late read-back an error.
    LateIsAnError,
    /// Trips for ever without calling a person.
    NeverLatches,
    /// Goes on probing after a bad probe.
    ForgivesBadProbes,
    /// Lets a second probe start before the first has ended.
    TwoProbesAtOnce,
    /// Returns everybody at once.
    ForgetsThePace,
    /// The tenth cool-down is as short as the first.
    CooldownNeverGrows,
    /// Judges the time after a return by the samples from before the trip.
    KeepsOldEvidence,
    /// A read-back does not end a stall.
    StallIgnoresReadBack,
    /// Believes a saved state that says all was well.
    ClosesFromSavedState,
}

/// Which rule is broken, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sabotaged {
    #[cfg(test)]
    pub(super) rule: Option<Sabotage>,
}

impl Sabotaged {
    /// Asks whether this rule is broken.
    #[cfg(test)]
    pub(super) fn is(self, rule: Sabotage) -> bool {
        self.rule == Some(rule)
    }

    /// No rule is ever broken outside tests.
    #[cfg(not(test))]
    pub(super) const fn is(self, _: Sabotage) -> bool {
        false
    }
}
