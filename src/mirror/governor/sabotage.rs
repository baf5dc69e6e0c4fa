//! Named ways to break the governor, each of which its tests must notice. Compiled into tests only.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Deliveries are not counted.
    ForgetDeliveries,
    /// Every publish is allowed.
    NeverDefer,
    /// The bucket drains at the full budget although it also holds a second of it.
    ForgetTheBurst,
    /// Other pods are not thought of.
    ForgetPods,
    /// `Too many messages per second` changes nothing.
    IgnoreQuota,
    /// A deferred publish is never allowed again.
    NeverRelent,
    /// A backlog may use all of the budget.
    BacklogUnbounded,
    /// The hot lane is refused and admitted at the same spacing.
    NoHysteresis,
}
