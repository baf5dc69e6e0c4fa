//! A plan as data: its JSON form, read whole or refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gate::Gates;
use crate::rollout::Percent;

/// The form of the file.
const SCHEMA: u32 = 1;
/// More steps are a mistake.
const STEPS_MAX: usize = 100;
/// A longer bake is a mistake.
const BAKE_MAX: Duration = Duration::from_secs(90 * 86_400);

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The share in this step.
    pub percent: Percent,
    /// How long the gates must hold, in seconds.
    pub bake_seconds: u64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    schema: u32,
    /// Its name.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
    /// What must be true before the next step.
    #[serde(default)]
    pub gates: Gates,
}

/// Why a text is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not JSON, or a field is missing, unknown or of the wrong kind.
    #[error("the plan cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Another form.
    #[error("schema {0} is not known; this build reads schema {SCHEMA}")]
    Schema(u32),
    /// Nothing to do, or too much.
    #[error("a plan has 1 to {STEPS_MAX} steps, not {0}")]
    Steps(usize),
    /// Steps only rise.
    #[error("step {0} ({1} %) does not raise the percentage")]
    Falls(usize, Percent),
    /// A bake that nobody waits for.
    #[error("step {0} bakes longer than 90 days")]
    Bake(usize),
    /// A gate that nothing or everything passes.
    #[error("gate {0}: {1} is no limit for it")]
    Gate(&'static str, f64),
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_slice(text)?;
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), PlanError> {
        if self.schema != SCHEMA {
            return Err(PlanError::Schema(self.schema));
        }
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            return Err(PlanError::Steps(self.steps.len()));
        }
        let mut before = Percent::ZERO;
        for (number, step) in (1..).zip(&self.steps) {
            if step.percent <= before {
                return Err(PlanError::Falls(number, step.percent));
            }
            if step.bake_seconds > BAKE_MAX.as_secs() {
                return Err(PlanError::Bake(number));
            }
            before = step.percent;
        }
        self.gates.check().map_err(|(name, limit)| PlanError::Gate(name, limit))
    }
}
