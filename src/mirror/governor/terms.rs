//! What goes into the governor and what comes out: terms, verdicts, figures, and the arithmetic for operators.

use std::fmt;
use std::time::{Duration, Instant};

use super::forecast::Forecast;
use super::plan::Plan;

/// What the budget follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The plan.
    pub plan: Plan,
    /// Pods that share it; at least 1.
    pub pods: u32,
    /// Subscribers of this pod's topics besides its own read-back.
    pub readers: u32,
}

impl Terms {
    /// What one broadcast counts: itself and each delivery.
    #[must_use]
    pub const fn cost(&self, read_back: bool) -> u32 {
        self.deliveries(read_back).saturating_add(1)
    }

    /// To how many channels one broadcast is delivered.
    #[must_use]
    pub const fn deliveries(&self, read_back: bool) -> u32 {
        self.readers.saturating_add(read_back as u32)
    }
}

/// Whether a batch may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Now.
    Publish,
    /// Not before this; it waits in the batcher and grows.
    Defer {
        /// When to ask again.
        until: Instant,
    },
}

/// What to do about a queue that grows because publishes are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relief {
    /// Nothing: publishes are not withheld, or larger batches are enough.
    None,
    /// What no hot session awaits belongs into the spool, if there is one.
    Spool,
    /// New messages of class `low` are shed as `quota`.
    ShedLow,
}

/// How far apart publishes are, and why: the arithmetic that an operator is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spacing {
    /// From one publish to the next.
    pub every: Duration,
    /// What one counts.
    pub cost: u32,
    /// The plan's limit.
    pub limit: u32,
    /// The part of it that is used.
    pub share: f64,
    /// Pods that share it.
    pub pods: u32,
    /// What refusals have left of it.
    pub factor: f64,
}

impl fmt::Display for Spacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { every, cost, limit, share, pods, factor } = self;
        let ms = every.as_secs_f64() * 1e3;
        write!(f, "{cost} messages × {pods} pods / ({limit} messages/s × {share}")?;
        if *factor < 1.0 {
            write!(f, " × {factor:.2} after a refusal")?;
        }
        write!(f, ") = {ms:.0} ms between publishes")
    }
}

/// The governor's figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// This pod's budget, in messages per second.
    pub budget: f64,
    /// This pod's use, in messages per second over a minute.
    pub per_second: f64,
    /// Part of this pod's equal share of the plan's limit that is used.
    pub used: f64,
    /// From one publish to the next at full use.
    pub spacing: Duration,
    /// Broadcasts since the start.
    pub sends: u64,
    /// Deliveries of them since the start.
    pub deliveries: u64,
    /// Refusals by Realtime since the start.
    pub refusals: u64,
    /// Times that a batch was withheld.
    pub deferred: u64,
    /// Whether the hot lane is refused.
    pub hot_refused: bool,
    /// The project at the present rate, if all pods are like this one.
    pub forecast: Forecast,
}
