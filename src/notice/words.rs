//! What a notice says. Plain sentences, made from names and figures only.

use super::Kind;

/// What is known when a state is told. No payload, key or secret has a place here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The service.
    pub service: String,
    /// Who tells it.
    pub pod: String,
    /// The share in effect, in percent.
    pub percent: String,
    /// The plan's name.
    pub plan: Option<String>,
    /// Its step, from 1.
    pub step: Option<usize>,
    /// How many it has.
    pub steps: usize,
    /// What opened the breaker, who holds the switch, why the plan waits: words of ours.
    pub why: Vec<String>,
}

/// A notice, ready to be shaped for each target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The state.
    pub kind: Kind,
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// One line.
    pub title: String,
    /// What it means.
    pub text: String,
    /// What is known.
    pub facts: Facts,
    /// Lets the plan go on.
    pub promote_url: Option<String>,
    /// Everybody back on legacy.
    pub rollback_url: Option<String>,
}

/// The notice of a state, without links.
#[must_use]
pub fn notice(kind: Kind, facts: Facts, at_ms: u64) -> Notice {
    let title = format!("{}: {}", facts.service, title(kind));
    let text = format!("{} (pod {}, {} % in effect)", text(kind, &facts), facts.pod, facts.percent);
    Notice { kind, at_ms, title, text, facts, promote_url: None, rollback_url: None }
}

const fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::BreakerOpen => "the breaker is open",
        Kind::BreakerLatched => "the breaker is latched",
        Kind::BreakerHalfOpen => "the breaker probes Realtime",
        Kind::BreakerClosed => "the breaker is closed again",
        Kind::PlanWaiting => "the plan waits for a person",
        Kind::PlanAdvanced => "the plan is in its next step",
        Kind::PlanRolledBack => "the plan was rolled back",
        Kind::PlanFinished => "the plan has finished",
        Kind::PlanHeld => "the plan is held",
        Kind::PlanReleased => "the plan is no longer held",
        Kind::EmergencyOn => "the emergency switch is on",
        Kind::EmergencyOff => "the emergency switch is off again",
        Kind::MatchBelow => "both sides do not match",
        Kind::MatchBack => "both sides match again",
        Kind::DrillBad => "a drill has failed",
        Kind::OverDelivery => "Realtime delivers too much",
    }
}

fn text(kind: Kind, facts: &Facts) -> String {
    let why = facts.why.join("; ");
    let plan = facts.plan.as_deref().unwrap_or("the plan");
    let step = facts.step.map_or_else(String::new, |step| format!(", step {step} of {}", facts.steps));
    match kind {
        Kind::BreakerOpen => format!("Everybody is on legacy. It opened by: {why}."),
        Kind::BreakerLatched => {
            format!("Everybody is on legacy until a person resets the breaker. It opened by: {why}.")
        }
        Kind::BreakerHalfOpen => "Everybody is on legacy while it probes.".to_owned(),
        Kind::BreakerClosed => "Realtime may be used again; the return is paced.".to_owned(),
        Kind::PlanWaiting => format!("{plan}{step} is paused: {why}."),
        Kind::PlanAdvanced => format!("{plan}{step}."),
        Kind::PlanRolledBack => format!("{plan} was ended at 0 %: everybody goes back to legacy."),
        Kind::PlanFinished => format!("{plan} has baked its last step."),
        Kind::PlanHeld => format!("{plan}{step} does not go on: {why}."),
        Kind::PlanReleased => format!("{plan}{step}: no gate fails any more."),
        Kind::EmergencyOn => format!("Everybody stays on legacy until it is let go. Held by: {why}."),
        Kind::EmergencyOff => "Nobody holds it any more.".to_owned(),
        Kind::MatchBelow => format!("The match figure is below its gate: {why}."),
        Kind::MatchBack => "The match figure is above its gate again.".to_owned(),
        Kind::DrillBad => format!("Drill {why}."),
        Kind::OverDelivery => {
            "Realtime lets a user read a topic that the service does not send them: look at the policies."
                .to_owned()
        }
    }
}
