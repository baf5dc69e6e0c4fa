//! Where the flags come from. Tiers are data: the highest configured one decides, and one that has never answered
//! decides for nobody.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::bucket::Percent;
use super::key::{KeyChain, KeyHasher};
use super::rules::Rule;

/// A lane on the Realtime side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RealtimeLane {
    /// The service answers; each message waits for Realtime to give it back.
    #[default]
    Hot,
    /// A Realtime topic feeds the client.
    Cold,
    /// The client speaks to Supabase through us.
    Native,
}

impl RealtimeLane {
    /// Every lane, in label order.
    pub const ALL: [Self; 3] = [Self::Hot, Self::Cold, Self::Native];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::Native => "native",
        }
    }
}

/// The text names no Realtime lane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Realtime lane; use hot, cold or native")]
pub struct LaneError(String);

impl FromStr for RealtimeLane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        let lanes = [Self::Hot, Self::Cold, Self::Native];
        let found = lanes.into_iter().find(|lane| lane.as_str() == text.trim());
        found.ok_or_else(|| LaneError(text.to_owned()))
    }
}

/// Who has said what the percentage is, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The emergency switch of this pod: everybody on legacy.
    EmergencyOff,
    /// The shared store.
    Redis,
    /// The table `crossfade_flags`.
    Supabase,
    /// A mounted file.
    File,
    /// The environment.
    Env,
}

impl Tier {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmergencyOff => "emergency_off",
            Self::Redis => "redis",
            Self::Supabase => "supabase",
            Self::File => "file",
            Self::Env => "env",
        }
    }
}

/// What a tier can say.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The rollout's share.
    pub percent: Percent,
    /// The rollout's lane.
    pub lane: RealtimeLane,
    /// First match wins, before the percentage.
    pub rules: Arc<[Rule]>,
}

/// One tier above the environment.
#[derive(Clone, Debug, Default)]
pub enum Slot {
    /// Not in use.
    #[default]
    NotConfigured,
    /// In use, but it has never answered and nothing was saved.
    Silent,
    /// The last good value and when it was confirmed.
    Known(Flags, Instant),
}

/// All tiers.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// Works without anything outside the process.
    pub emergency_off: bool,
    /// The shared store.
    pub redis: Slot,
    /// The table.
    pub supabase: Slot,
    /// The file.
    pub file: Slot,
    /// Always there.
    pub env: Flags,
}

impl Slot {
    /// How long ago the value was confirmed; `None` without one.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Known(_, at) => Some(now.saturating_duration_since(*at)),
            Self::NotConfigured | Self::Silent => None,
        }
    }
}

impl Tiers {
    /// What a store has said; `None` for the tiers that are no stores.
    #[must_use]
    pub const fn slot(&self, tier: Tier) -> Option<&Slot> {
        match tier {
            Tier::Redis => Some(&self.redis),
            Tier::Supabase => Some(&self.supabase),
            Tier::File => Some(&self.file),
            Tier::EmergencyOff | Tier::Env => None,
        }
    }

    /// What holds now.
    #[must_use]
    pub fn settings(&self, identity: &Arc<Identity>) -> Settings {
        let settings = |tier, standing, confirmed| Settings {
            identity: Arc::clone(identity),
            tier,
            standing,
            confirmed,
        };
        if self.emergency_off {
            return settings(Tier::EmergencyOff, Standing::EmergencyOff, None);
        }
        let stores = [(Tier::Redis, &self.redis), (Tier::Supabase, &self.supabase), (Tier::File, &self.file)];
        for (tier, slot) in stores {
            match slot {
                Slot::NotConfigured => {}
                Slot::Silent => return settings(tier, Standing::Unknown, None),
                Slot::Known(flags, at) => return settings(tier, Standing::Flags(flags.clone()), Some(*at)),
            }
        }
        settings(Tier::Env, Standing::Flags(self.env.clone()), None)
    }
}

/// What says who a user is. Fixed for the life of the process: another salt would move everybody.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `CROSSFADE_ROLLOUT_SALT`.
    pub salt: String,
    /// `CROSSFADE_ROLLOUT_KEY`.
    pub chain: KeyChain,
    /// For the names of keys.
    pub hasher: KeyHasher,
}

/// The rollout's settings at one moment: an immutable snapshot, exchanged as a whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Salt and key chain.
    pub identity: Arc<Identity>,
    /// The tier that decides.
    pub tier: Tier,
    /// What it says.
    pub standing: Standing,
    /// When it was last confirmed; `None` for what cannot grow old.
    pub confirmed: Option<Instant>,
}

/// What the deciding tier says.
#[derive(Clone, Debug)]
pub enum Standing {
    /// These flags.
    Flags(Flags),
    /// Everybody on legacy.
    EmergencyOff,
    /// It has never answered: nobody is in the cohort.
    Unknown,
}

impl Settings {
    /// The percentage in effect.
    #[must_use]
    pub const fn percent(&self) -> Percent {
        match &self.standing {
            Standing::Flags(flags) => flags.percent,
            Standing::EmergencyOff | Standing::Unknown => Percent::ZERO,
        }
    }

    /// True when the rollout or one of its rules leads to this lane. Without native in it, nobody's subprotocol
    /// offer is touched.
    #[must_use]
    pub fn rolls_out(&self, lane: RealtimeLane) -> bool {
        match &self.standing {
            Standing::Flags(flags) => {
                flags.lane == lane || flags.rules.iter().any(|rule| rule.leads_to(lane))
            }
            Standing::EmergencyOff | Standing::Unknown => false,
        }
    }

    /// How old the value is; zero for tiers that cannot grow old.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        self.confirmed.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }
}
