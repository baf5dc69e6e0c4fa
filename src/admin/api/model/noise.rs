//! `GET /api/v1/noise`: the validator's noise rules, and whether each has ever been of use.

use serde::Serialize;

/// `GET /api/v1/noise`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NoiseList {
    /// In the order of the file.
    pub rules: Vec<NoiseRule>,
    /// A rule that has not met its place in so many live samples is dead.
    pub dead_after: u64,
    /// What differs anyway between two legacy sessions that were told the same: places that no rule names yet.
    pub proposed: Vec<Proposed>,
}

/// One rule.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NoiseRule {
    /// Where: a JSON pointer.
    pub pointer: String,
    /// `ignore`, `tolerance` or `unordered`.
    pub allow: &'static str,
    /// How far apart numbers may be; null for another kind of rule.
    pub tolerance: Option<f64>,
    /// Only for events of this type; null for all.
    pub r#type: Option<String>,
    /// Live samples that have the place.
    pub met: u64,
    /// Differences that it has excused.
    pub excused: u64,
    /// `never_met`, `dead` (never met, and tried often), `met` or `excusing`.
    pub state: &'static str,
}

/// What the legacy leg shows about one event type.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Proposed {
    /// The route.
    pub path: String,
    /// The event type.
    pub r#type: String,
    /// Pairs that were compared.
    pub pairs: u64,
    /// Pairs without a difference.
    pub identical: u64,
    /// Pointers of the places that differ.
    pub pointers: Vec<String>,
}
