//! `GET /api/v1/noise`: the noise rules and their use, as of the last second.

use super::Console;
use crate::admin::api::model::{NoiseList, NoiseRule, Proposed};
use crate::app::Proofs;
use crate::validator::natural::Natural;
use crate::validator::noise::{Allow, DEAD_AFTER, RuleUse};

impl Console {
    /// Nothing without a validator, and until it has looked once.
    pub(super) fn noise(&self) -> Option<NoiseList> {
        self.eyes.proofs().map(|proofs| list(&proofs))
    }
}

fn list(proofs: &Proofs) -> NoiseList {
    let natural = proofs.natural.iter().filter(|one| !one.proposed.is_empty());
    NoiseList {
        rules: proofs.rules.iter().map(rule).collect(),
        dead_after: DEAD_AFTER,
        proposed: natural.map(proposed).collect(),
    }
}

fn rule(one: &RuleUse) -> NoiseRule {
    let (allow, tolerance) = match one.rule.allow {
        Allow::Ignore => ("ignore", None),
        Allow::Tolerance(width) => ("tolerance", Some(width)),
        Allow::Unordered => ("unordered", None),
    };
    NoiseRule {
        pointer: one.rule.pointer.clone(),
        allow,
        tolerance,
        r#type: one.rule.kind.clone(),
        met: one.used.met,
        excused: one.used.excused,
        state: match one.used {
            _ if one.dead => "dead",
            used if used.excused > 0 => "excusing",
            used if used.met > 0 => "met",
            _ => "never_met",
        },
    }
}

fn proposed(one: &Natural) -> Proposed {
    Proposed {
        path: one.path.clone(),
        r#type: one.event.clone(),
        pairs: one.pairs,
        identical: one.identical,
        pointers: one.proposed.clone(),
    }
}
