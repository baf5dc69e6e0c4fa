//! Which lane: the rollout's wish, the breaker's word and the state of the source, put together.
//!
//! **Problem.** Five conditions decide whether Realtime may feed a client, they change while its socket is open,
//! and an operator asks about each session why it is where it is. A decision that is spread over the proxy can
//! neither be tested nor explained.
//!
//! **Decision.** [`decide`] is a pure function of [`Inputs`] for a new upgrade, [`reconsider`] for an open session.
//! Conditions are asked in a fixed order and the first that fails is the [`Reason`]: the rollout, whether Supabase
//! is configured, the breaker, its paced return, the source, and what the wanted lane needs of its own. Every
//! doubt leads to legacy. The paced return admits the lower buckets of the cohort first, so its steps move nobody
//! back.
//!
//! **Open sessions.** Only hot and legacy change places inside an open socket. A session that should be cold or
//! native stays where it is until it connects again ([`Reason::NextConnection`]); a cold or native one that must
//! leave gets the verdict `legacy`, and its lane closes it with a paced 1012.
//!
//! **Limits.** Nothing here remembers anything; the pace of moves and the retry after `window_full` are the
//! caller's. Shed and window reasons that put a single session on legacy are the hot lane's own.

use serde::Serialize;

use crate::breaker::{Admission, Mode, Phase};
use crate::rollout::{self, Bucket, Decision, Percent, RealtimeLane};

/// What feeds the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The service.
    Legacy,
    /// The service's frames, each after Realtime has given it back.
    Hot,
    /// A Realtime topic.
    Cold,
    /// Supabase, through us.
    Native,
}

impl Lane {
    /// Every lane, in label order.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Hot, Self::Cold, Self::Native];

    /// The metric label and the value of `X-Crossfade-Lane`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::Native => "native",
        }
    }
}

impl From<RealtimeLane> for Lane {
    fn from(lane: RealtimeLane) -> Self {
        match lane {
            RealtimeLane::Hot => Self::Hot,
            RealtimeLane::Cold => Self::Cold,
            RealtimeLane::Native => Self::Native,
        }
    }
}

/// Where our own link to Realtime stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// No Supabase settings: a pure proxy.
    NotConfigured,
    /// Not connected or not joined.
    NotJoined,
    /// Joined, but nothing has been read back since.
    Unproven,
    /// The side thread has not beaten for a second.
    Stalled,
    /// Over the plan's budget; rejoining later.
    Quota,
    /// The plan's budget, shared by so many pods, lets publishes go too far apart.
    Spaced,
    /// Joined and read back.
    Ready,
}

/// The mirror's settings as far as they matter for the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// It runs at all.
    pub on: bool,
    /// What hot sessions publish is read back.
    pub reads_back: bool,
    /// The share of sessions that are copied besides the hot ones.
    pub percent: Percent,
}

/// Everything that counts.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What the rollout wants.
    pub rollout: &'a Decision,
    /// What the breaker admits now.
    pub breaker: Admission,
    /// Our link.
    pub source: Source,
    /// The client offers the subprotocol `realtime` besides its own, and native is part of the rollout
    /// (`Settings::rolls_out`).
    pub offers_realtime: bool,
    /// The cold lane is configured.
    pub cold: bool,
    /// The mirror.
    pub mirror: Mirror,
}

/// Why a session is on its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The rollout says so; on a Realtime lane nothing stood in its way.
    Rollout(rollout::Reason),
    /// Supabase is not configured.
    NoSupabase,
    /// The breaker is open.
    BreakerOpen,
    /// A person has forced the breaker open.
    ForcedOpen,
    /// The breaker is probing.
    HalfOpen,
    /// The return has not reached this bucket yet.
    PacedReturn,
    /// Not joined, or not read back yet.
    RealtimeNotReady,
    /// The side thread does not answer.
    SideStalled,
    /// Over the plan's budget.
    Quota,
    /// The plan's budget allows too few publishes a second for anybody to wait for one.
    Spacing,
    /// Hot needs the mirror.
    MirrorOff,
    /// Hot needs what it publishes read back.
    NoReadBack,
    /// The client does not offer the subprotocol that native needs.
    NativeNotOffered,
    /// `CROSSFADE_COLD_AUTH` is not set.
    ColdNotConfigured,
    /// The open socket cannot change to the wanted lane.
    NextConnection,
}

impl Reason {
    /// The reasons that are not the rollout's own, in the order in which they are asked.
    pub const OWN: [Self; 14] = [
        Self::NoSupabase,
        Self::ForcedOpen,
        Self::BreakerOpen,
        Self::HalfOpen,
        Self::PacedReturn,
        Self::NativeNotOffered,
        Self::ColdNotConfigured,
        Self::SideStalled,
        Self::RealtimeNotReady,
        Self::Quota,
        Self::Spacing,
        Self::MirrorOff,
        Self::NoReadBack,
        Self::NextConnection,
    ];

    /// The metric label and the word in explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollout(reason) => reason.as_str(),
            Self::NoSupabase => "no_supabase",
            Self::BreakerOpen => "breaker_open",
            Self::ForcedOpen => "forced_open",
            Self::HalfOpen => "half_open",
            Self::PacedReturn => "paced_return",
            Self::RealtimeNotReady => "realtime_not_ready",
            Self::SideStalled => "side_stalled",
            Self::Quota => "quota",
            Self::Spacing => "spacing",
            Self::MirrorOff => "mirror_off",
            Self::NoReadBack => "no_read_back",
            Self::NativeNotOffered => "native_not_offered",
            Self::ColdNotConfigured => "cold_not_configured",
            Self::NextConnection => "next_connection",
        }
    }
}

/// What holds for a session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its lane.
    pub lane: Lane,
    /// Why.
    pub reason: Reason,
    /// Copies of its messages go to the mirror.
    pub mirrored: bool,
    /// Take `realtime` out of the subprotocol offer before the service sees it.
    pub strip_offer: bool,
    /// The percentage that was in effect for it, after the paced return.
    pub admitted: Percent,
    /// The breaker's state it was decided by.
    pub breaker: Phase,
}

/// Decides at the upgrade.
#[must_use]
pub fn decide(inputs: &Inputs<'_>) -> Verdict {
    let (lane, reason) = match obstacle(inputs) {
        Ok(lane) => (lane, Reason::Rollout(inputs.rollout.reason)),
        Err(reason) => (Lane::Legacy, reason),
    };
    verdict(inputs, lane, reason)
}

/// Decides for an open session that is on `current` now.
#[must_use]
pub fn reconsider(current: Lane, inputs: &Inputs<'_>) -> Verdict {
    let wanted = decide(inputs);
    match (current, wanted.lane) {
        (Lane::Legacy, Lane::Cold | Lane::Native) => verdict(inputs, Lane::Legacy, Reason::NextConnection),
        // Healthy, in the cohort, and the wanted lane begins with a new connection: no reason to give up hot,
        // if hot itself is still possible.
        (Lane::Hot, Lane::Cold | Lane::Native) => match needs(RealtimeLane::Hot, inputs) {
            Ok(()) => verdict(inputs, Lane::Hot, Reason::NextConnection),
            Err(reason) => verdict(inputs, Lane::Legacy, reason),
        },
        (Lane::Cold | Lane::Native, lane) if lane != current && lane != Lane::Legacy => {
            verdict(inputs, Lane::Legacy, Reason::NextConnection)
        }
        _ => wanted,
    }
}

fn verdict(inputs: &Inputs<'_>, lane: Lane, reason: Reason) -> Verdict {
    let sampled = inputs.rollout.subject.mirror_bucket.is_within(inputs.mirror.percent);
    Verdict {
        lane,
        reason,
        mirrored: inputs.mirror.on && (lane == Lane::Hot || sampled),
        strip_offer: inputs.offers_realtime && lane != Lane::Native,
        admitted: inputs.rollout.percent.scaled(inputs.breaker.share_permille),
        breaker: inputs.breaker.phase,
    }
}

/// The wanted lane, or the first thing that speaks against it.
fn obstacle(inputs: &Inputs<'_>) -> Result<Lane, Reason> {
    let wanted = inputs.rollout.lane.ok_or(Reason::Rollout(inputs.rollout.reason))?;
    if inputs.source == Source::NotConfigured {
        return Err(Reason::NoSupabase);
    }
    admitted(inputs)?;
    needs(wanted, inputs)?;
    Ok(wanted.into())
}

/// The breaker and its paced return.
fn admitted(inputs: &Inputs<'_>) -> Result<(), Reason> {
    let breaker = inputs.breaker;
    if !breaker.serves() {
        return Err(match (breaker.mode, breaker.phase) {
            (Mode::ForcedOpen, _) => Reason::ForcedOpen,
            (_, Phase::HalfOpen) => Reason::HalfOpen,
            (_, Phase::Open) => Reason::BreakerOpen,
            (_, Phase::Closed) => Reason::PacedReturn,
        });
    }
    let all = breaker.share_permille >= 1_000;
    let share = inputs.rollout.percent.scaled(breaker.share_permille);
    let reached = |bucket: Bucket| bucket.is_within(share);
    // Whoever is allowed without a key has no bucket and comes last.
    if all || inputs.rollout.subject.bucket.is_some_and(reached) { Ok(()) } else { Err(Reason::PacedReturn) }
}

/// What a lane needs of its own. Native does not travel over our link; hot does, and what it says of Realtime counts
/// for cold.
fn needs(lane: RealtimeLane, inputs: &Inputs<'_>) -> Result<(), Reason> {
    if lane == RealtimeLane::Native {
        return if inputs.offers_realtime { Ok(()) } else { Err(Reason::NativeNotOffered) };
    }
    if lane == RealtimeLane::Cold && !inputs.cold {
        return Err(Reason::ColdNotConfigured);
    }
    match inputs.source {
        Source::Ready => {}
        // Nobody waits for a read-back there.
        Source::Spaced if lane == RealtimeLane::Cold => {}
        Source::NotConfigured => return Err(Reason::NoSupabase),
        Source::Stalled => return Err(Reason::SideStalled),
        Source::NotJoined | Source::Unproven => return Err(Reason::RealtimeNotReady),
        Source::Quota => return Err(Reason::Quota),
        Source::Spaced => return Err(Reason::Spacing),
    }
    match lane {
        RealtimeLane::Hot if !inputs.mirror.on => Err(Reason::MirrorOff),
        RealtimeLane::Hot if !inputs.mirror.reads_back => Err(Reason::NoReadBack),
        _ => Ok(()),
    }
}

/// The answer to "why is it here?", for the admin and the `explain` command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The lane.
    pub lane: &'static str,
    /// Why it is on this lane.
    pub reason: &'static str,
    /// What the rollout alone says, and why.
    pub rollout_lane: &'static str,
    /// The rollout's reason.
    pub rollout_reason: &'static str,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The bucket of the key.
    pub bucket: Option<Bucket>,
    /// The keyed hash of the key, never the key.
    pub key: Option<String>,
    /// The percentage the bucket was compared with.
    pub percent: Percent,
    /// What the paced return leaves of it.
    pub admitted: Percent,
    /// The tier the percentage comes from.
    pub tier: &'static str,
    /// The breaker's state.
    pub breaker: &'static str,
    /// Whether the mirror copies it.
    pub mirrored: bool,
}

/// Puts a decision and a verdict into words.
#[must_use]
pub fn explain(decision: &Decision, verdict: &Verdict) -> Explanation {
    Explanation {
        lane: verdict.lane.as_str(),
        reason: verdict.reason.as_str(),
        rollout_lane: decision.lane.map_or("legacy", RealtimeLane::as_str),
        rollout_reason: decision.reason.as_str(),
        rule: decision.rule.as_ref().map(ToString::to_string),
        bucket: decision.subject.bucket,
        key: decision.subject.key.map(|key| key.to_string()),
        percent: decision.percent,
        admitted: verdict.admitted,
        tier: decision.tier.as_str(),
        breaker: verdict.breaker.as_str(),
        mirrored: verdict.mirrored,
    }
}

#[cfg(test)]
mod tests;
