//! `GET /api/v1/plan`: the steps, where the plan stands, and what each gate says.

use serde::Serialize;

/// `GET /api/v1/plan`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// For `If-Match`. It changes with the plan, its step and its phase; baking alone does not change it.
    pub version: String,
    /// `none`, `idle`, `running`, `paused`, `done` or `aborted`.
    pub phase: &'static str,
    /// Why it is paused: `person`, `fleet_trip` or `moved`.
    pub why: Option<&'static str>,
    /// Its name.
    pub name: Option<String>,
    /// In order.
    pub steps: Vec<Step>,
    /// The step it is in, from 1; null before the start.
    pub step: Option<usize>,
    /// Watched time of this step with every gate passing.
    pub baked_s: f64,
    /// What this step still needs; null unless it runs.
    pub left_s: Option<f64>,
    /// `redis`, `state_dir`, or null where no plan can be kept.
    pub kept_in: Option<&'static str>,
    /// This pod drives it.
    pub drives: bool,
    /// Every gate passes.
    pub pass: bool,
    /// A gate fails, in contrast to having no data.
    pub fail: bool,
    /// Whose figures the gates are asked about: `fleet` or `this_pod`.
    pub scope: &'static str,
    /// What each gate says; those of a plan without any of its own where there is none.
    pub gates: Vec<Gate>,
    /// What keeps it from going on, in plain English.
    pub holds: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Step {
    /// The share.
    pub percent: f64,
    /// How long its gates must pass.
    pub bake_s: u64,
    /// `done`, `current` or `ahead`.
    pub state: &'static str,
}

/// One gate.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Gate {
    /// `match`, `breaker`, `p95_ms` or `quota`.
    pub name: &'static str,
    /// What was measured; null without data.
    pub value: Option<f64>,
    /// What it is compared with.
    pub limit: f64,
    /// `pass`, `fail` or `no_data`.
    pub verdict: &'static str,
    /// In plain English.
    pub why: String,
}
