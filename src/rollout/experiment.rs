//! A/B experiments: arms on the bucket line of a salt of their own, so that one experiment says nothing about the
//! next, nor about the fader.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::bucket::{BUCKETS, Bucket, Percent};
use super::tiers::RealtimeLane;

/// The most arms of one experiment.
const ARMS_MAX: usize = 8;

/// One arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arm {
    /// Its name in the exposure log.
    pub name: Arc<str>,
    /// What its users get; `None` is legacy.
    pub lane: Option<RealtimeLane>,
    /// Its buckets: from, and up to but without.
    range: (u32, u32),
}

/// An experiment. The first arm takes the lowest buckets and grows upwards, the last one the highest and grows
/// downwards, those between stand after the first. So two arms can grow without anyone changing his arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    salt: String,
    arms: Vec<Arm>,
}

impl Experiment {
    /// The bucket of a key in this experiment.
    #[must_use]
    pub fn bucket(&self, key: &[u8]) -> Bucket {
        Bucket::of(self.salt.as_bytes(), key)
    }

    /// The arm that has this bucket; `None`: takes no part.
    #[must_use]
    pub fn arm(&self, bucket: Bucket) -> Option<&Arm> {
        let number = bucket.number();
        self.arms.iter().find(|arm| (arm.range.0..arm.range.1).contains(&number))
    }

    pub(super) fn leads_to(&self, lane: RealtimeLane) -> bool {
        self.arms.iter().any(|arm| arm.lane == Some(lane))
    }
}

/// An experiment as a document writes it:
/// `{"salt":"autumn","arms":[{"name":"a","percent":"50","lane":"legacy"},{"name":"b","percent":"50","lane":"hot"}]}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentText {
    salt: String,
    arms: Vec<ArmText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmText {
    name: String,
    percent: Percent,
    lane: ArmLane,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ArmLane {
    Legacy,
    Hot,
    Cold,
    Native,
}

/// What is wrong with an experiment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExperimentError {
    /// Without a salt it would repeat another's deal.
    #[error("an experiment needs a salt of its own")]
    Salt,
    /// Too few or too many arms.
    #[error("an experiment has 1 to {ARMS_MAX} arms, not {0}")]
    Arms(usize),
    /// Names tell arms apart.
    #[error("two arms are named {0:?}")]
    Twice(String),
    /// More than everybody.
    #[error("the arms share out more than 100 %")]
    TooMuch,
}

impl ExperimentText {
    /// Lays the arms out on the bucket line.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn compile(&self) -> Result<Experiment, ExperimentError> {
        if self.salt.is_empty() {
            return Err(ExperimentError::Salt);
        }
        if self.arms.is_empty() || self.arms.len() > ARMS_MAX {
            return Err(ExperimentError::Arms(self.arms.len()));
        }
        let mut names = HashSet::new();
        if let Some(twice) = self.arms.iter().find(|arm| !names.insert(arm.name.as_str())) {
            return Err(ExperimentError::Twice(twice.name.clone()));
        }
        if self.arms.iter().map(|arm| u64::from(arm.percent.units())).sum::<u64>() > u64::from(BUCKETS) {
            return Err(ExperimentError::TooMuch);
        }
        let last = self.arms.len() - 1;
        let mut from = 0;
        let lay = |(at, arm): (usize, &ArmText)| {
            let width = arm.percent.units();
            let start = if at == last && last > 0 { BUCKETS - width } else { from };
            from = start + width;
            let lane = match arm.lane {
                ArmLane::Legacy => None,
                ArmLane::Hot => Some(RealtimeLane::Hot),
                ArmLane::Cold => Some(RealtimeLane::Cold),
                ArmLane::Native => Some(RealtimeLane::Native),
            };
            Arm { name: arm.name.as_str().into(), lane, range: (start, start + width) }
        };
        Ok(Experiment { salt: self.salt.clone(), arms: self.arms.iter().enumerate().map(lay).collect() })
    }
}
