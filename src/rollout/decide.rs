//! The decision: settings and a request in, a lane with its reason out. A session keeps its [`Decision`], from
//! which it can be decided again when the settings change, without its request.

use std::sync::Arc;

use super::bucket::{Bucket, Percent};
use super::key::{KeyHash, Request};
use super::rules::{Rule, Then, When};
use super::tiers::{Flags, RealtimeLane, Settings, Standing, Tier};

/// The salt that chooses mirrored sessions.
pub const MIRROR_SALT: &str = "mirror";

/// What the rollout says about one session, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The lane it should have; `None` is legacy.
    pub lane: Option<RealtimeLane>,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<Arc<str>>,
    /// The arm, if the rule is an experiment.
    pub arm: Option<Arc<str>>,
    /// The share that was compared with the bucket: the rollout's, the rule's, or 100 for an allowed one.
    pub percent: Percent,
    /// Who has said so.
    pub tier: Tier,
    /// Who the session is.
    pub subject: Subject,
}

/// What is kept of a request to decide again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The bucket of its key; `None` without a key.
    pub bucket: Option<Bucket>,
    /// The name of its key.
    pub key: Option<KeyHash>,
    /// The bucket that chooses mirrored sessions: of the key, or of the session's number.
    pub mirror_bucket: Bucket,
    /// The first segment it fell into at the upgrade.
    pub segment: Option<Arc<str>>,
    /// The experiments above that segment that covered it, by rule, with its bucket in each: usually none.
    pub trials: Arc<[(Arc<str>, Bucket)]>,
}

/// Why the rollout decided so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The switch of this pod.
    EmergencyOff,
    /// The configured flag store has never answered.
    TierUnknown,
    /// A rule says legacy.
    Denied,
    /// A rule says Realtime.
    Allowed,
    /// Within the percentage of its segment.
    InSegment,
    /// Outside the percentage of its segment.
    OutsideSegment,
    /// In an arm of an experiment, which names the lane: legacy as well as Realtime.
    InArm,
    /// The request has no key.
    NoKey,
    /// Within the percentage.
    InCohort,
    /// Outside the percentage.
    OutsideCohort,
}

impl Reason {
    /// Every reason, in the order of precedence.
    pub const ALL: [Self; 10] = [
        Self::EmergencyOff,
        Self::TierUnknown,
        Self::Denied,
        Self::Allowed,
        Self::InSegment,
        Self::OutsideSegment,
        Self::InArm,
        Self::NoKey,
        Self::InCohort,
        Self::OutsideCohort,
    ];

    /// The metric label and the word in explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmergencyOff => "emergency_off",
            Self::TierUnknown => "tier_unknown",
            Self::Denied => "denied",
            Self::Allowed => "allowed",
            Self::InSegment => "in_segment",
            Self::OutsideSegment => "outside_segment",
            Self::InArm => "in_arm",
            Self::NoKey => "no_key",
            Self::InCohort => "in_cohort",
            Self::OutsideCohort => "outside_cohort",
        }
    }
}

/// Decides at the upgrade.
#[must_use]
pub fn decide(settings: &Settings, request: &Request<'_>) -> Decision {
    let identity = &settings.identity;
    let key = identity.chain.find(request);
    let number = request.session.0.to_string();
    let mirror_key = key.as_ref().map_or(number.as_bytes(), |key| key.bytes());
    let mut subject = Subject {
        bucket: key.as_ref().map(|key| Bucket::of(identity.salt.as_bytes(), key.bytes())),
        key: key.as_ref().map(|key| identity.hasher.hash(key)),
        mirror_bucket: Bucket::of(MIRROR_SALT.as_bytes(), mirror_key),
        segment: None,
        trials: Arc::from([]),
    };
    if let Standing::Flags(flags) = &settings.standing {
        let mut trials = Vec::new();
        for rule in flags.rules.iter().filter(|rule| rule.covers(request)) {
            let Then::Experiment(experiment) = &rule.then else {
                subject.segment = Some(Arc::clone(&rule.name));
                break;
            };
            if let Some(key) = &key {
                trials.push((Arc::clone(&rule.name), experiment.bucket(key.bytes())));
            }
        }
        if !trials.is_empty() {
            subject.trials = trials.into();
        }
    }
    decide_again(settings, subject)
}

/// Decides for an open session. Lists of keys and percentages act at once; a segment acts on those who were in it,
/// by its name, at the upgrade, so that a new segment concerns new connections.
#[must_use]
pub fn decide_again(settings: &Settings, subject: Subject) -> Decision {
    let legacy = |reason, subject| Decision {
        lane: None,
        reason,
        rule: None,
        arm: None,
        percent: Percent::ZERO,
        tier: settings.tier,
        subject,
    };
    let flags = match &settings.standing {
        Standing::EmergencyOff => return legacy(Reason::EmergencyOff, subject),
        Standing::Unknown => return legacy(Reason::TierUnknown, subject),
        Standing::Flags(flags) => flags,
    };
    let found = flags.rules.iter().find_map(|rule| match (&rule.when, &rule.then) {
        (When::Keys(keys), _) => subject.key.filter(|key| keys.contains(key)).map(|_| (rule, None)),
        (When::All(_), Then::Experiment(experiment)) => {
            let (_, bucket) = subject.trials.iter().find(|(name, _)| *name == rule.name)?;
            experiment.arm(*bucket).map(|arm| (rule, Some(arm)))
        }
        (When::All(_), _) => (subject.segment.as_ref() == Some(&rule.name)).then_some((rule, None)),
    });
    let (rule, arm) = found.unzip();
    if let Some(arm) = arm.flatten() {
        return Decision {
            lane: arm.lane,
            reason: Reason::InArm,
            rule: rule.map(|rule| Arc::clone(&rule.name)),
            arm: Some(Arc::clone(&arm.name)),
            percent: if arm.lane.is_some() { Percent::FULL } else { Percent::ZERO },
            tier: settings.tier,
            subject,
        };
    }
    let (percent, reason) = outcome(flags, rule, subject.bucket);
    let realtime = matches!(reason, Reason::Allowed | Reason::InSegment | Reason::InCohort);
    let lane = rule.and_then(|rule| rule.lane).unwrap_or(flags.lane);
    Decision {
        lane: realtime.then_some(lane),
        reason,
        rule: rule.map(|rule| Arc::clone(&rule.name)),
        arm: None,
        percent,
        tier: settings.tier,
        subject,
    }
}

fn outcome(flags: &Flags, rule: Option<&Rule>, bucket: Option<Bucket>) -> (Percent, Reason) {
    let (percent, inside, outside) = match rule.map(|rule| &rule.then) {
        Some(Then::Deny) => return (Percent::ZERO, Reason::Denied),
        Some(Then::Allow) => return (Percent::FULL, Reason::Allowed),
        Some(Then::Percent(percent)) => (*percent, Reason::InSegment, Reason::OutsideSegment),
        // An experiment decides by its arms alone.
        Some(Then::Experiment(_)) | None => (flags.percent, Reason::InCohort, Reason::OutsideCohort),
    };
    match bucket {
        None => (percent, Reason::NoKey),
        Some(bucket) if bucket.is_within(percent) => (percent, inside),
        Some(_) => (percent, outside),
    }
}
