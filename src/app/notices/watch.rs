//! What is in which state now, read from the same snapshots as the pictures.

use std::time::{Duration, Instant};

use super::links::rollout_tag;
use crate::admin::api::model::Plan;
use crate::app::Eyes;
use crate::app::ops::View;
use crate::breaker::State;
use crate::notice::{Action, Facts, Kind, Subject, Told};

/// A gate without data is normal at the beginning of a step; a plan that still has none by then waits for somebody.
const NO_DATA_LASTS: Duration = Duration::from_secs(15 * 60);

/// What one subject is in; `lasts`: how long that must have been so.
pub(super) struct Seen {
    pub(super) subject: Subject,
    pub(super) state: Option<Told>,
    pub(super) lasts: Duration,
    why: Vec<String>,
}

/// Everything at one moment.
pub(super) struct Scene {
    pub(super) seen: Vec<Seen>,
    plan: Plan,
    percent: String,
    rollout: String,
}

fn told(kind: Kind, key: &str) -> Option<Told> {
    Some(Told { kind, key: key.to_owned() })
}

impl Scene {
    /// Looks.
    pub(super) fn look(eyes: &Eyes, settle: Duration, now: Instant) -> Self {
        let plan = eyes.plan(now);
        let standing = std::sync::Arc::clone(&eyes.standing.borrow());
        let hands: Vec<_> = standing.hands.iter().map(|hand| hand.as_str().to_owned()).collect();
        let switch = if hands.is_empty() { Kind::EmergencyOff } else { Kind::EmergencyOn };
        let drill = eyes.records.last_drill().filter(|drill| drill.outcome.is_failure());
        let failed =
            drill.iter().map(|drill| format!("{} ended as {}", drill.number, drill.outcome.as_str()));
        let failed: Vec<_> = failed.collect();
        let drill =
            drill.and_then(|drill| told(Kind::DrillBad, &format!("{} {}", drill.number, drill.at_ms)));
        let over = eyes.parity(now).is_some_and(|parity| {
            parity.checks.iter().any(|(verdict, checks)| *verdict == "over" && *checks > 0)
        });
        let mut seen = vec![
            Seen { subject: Subject::Emergency, state: told(switch, ""), lasts: settle, why: hands },
            Seen { subject: Subject::Drill, state: drill, lasts: settle, why: failed },
            Seen {
                subject: Subject::Parity,
                state: over.then(|| Told { kind: Kind::OverDelivery, key: String::new() }),
                lasts: settle,
                why: Vec::new(),
            },
        ];
        let view = *eyes.view.borrow();
        seen.extend(eyes.mirrors.then(|| breaker(&view, settle)));
        // Before its store has answered, nothing is known of a plan.
        if eyes.fleet.borrow().trouble.is_none() || plan.phase != "none" {
            seen.push(standing_of(&plan, settle));
            seen.extend(gates(&plan, settle));
        }
        let percent = standing.settings.percent().to_string();
        Self { seen, plan, percent, rollout: rollout_tag(&standing) }
    }

    /// What a notice may say.
    pub(super) fn facts(&self, seen: &Seen, service: &str, pod: &str) -> Facts {
        Facts {
            service: service.to_owned(),
            pod: pod.to_owned(),
            percent: self.percent.clone(),
            plan: self.plan.name.clone(),
            step: self.plan.step,
            steps: self.plan.steps.len(),
            why: seen.why.clone(),
        }
    }

    fn has_plan(&self) -> bool {
        matches!(self.plan.phase, "running" | "paused")
    }

    /// The way on, and the version that it is for.
    pub(super) fn promote(&self, kind: Kind) -> Option<(Action, &str)> {
        (kind.asks_promote() && self.has_plan()).then_some((Action::Promote, self.plan.version.as_str()))
    }

    /// The way back: the plan's end, or the emergency switch where there is no plan.
    pub(super) fn rollback(&self, kind: Kind) -> Option<(Action, &str)> {
        let way = if self.has_plan() {
            (Action::Abort, self.plan.version.as_str())
        } else {
            (Action::Off, self.rollout.as_str())
        };
        kind.asks_rollback().then_some(way)
    }
}

fn breaker(view: &View, lasts: Duration) -> Seen {
    let (kind, why) = match &view.state {
        // A person wants Realtime whatever the machine says: nobody is kept on legacy.
        _ if view.admission.mode.overrides_closed() => (Kind::BreakerClosed, None),
        State::Closed { .. } => (Kind::BreakerClosed, None),
        State::HalfOpen { .. } => (Kind::BreakerHalfOpen, None),
        State::Open { trip, latched: true, .. } => (Kind::BreakerLatched, Some(trip)),
        State::Open { trip, .. } => (Kind::BreakerOpen, Some(trip)),
    };
    let why = why.map(|trip| trip.as_str().to_owned()).into_iter().collect();
    Seen { subject: Subject::Breaker, state: told(kind, ""), lasts, why }
}

fn standing_of(plan: &Plan, lasts: Duration) -> Seen {
    let kind = match plan.phase {
        "running" => Some(Kind::PlanAdvanced),
        "paused" => Some(Kind::PlanWaiting),
        "done" => Some(Kind::PlanFinished),
        "aborted" => Some(Kind::PlanRolledBack),
        _ => None,
    };
    let why = match plan.why {
        Some("person") => vec!["a person has paused it".to_owned()],
        Some("fleet_trip") => vec!["breakers have tripped".to_owned()],
        Some("moved") => vec!["somebody else has moved the share".to_owned()],
        _ => Vec::new(),
    };
    Seen { subject: Subject::Plan, state: kind.and_then(|kind| told(kind, &plan.version)), lasts, why }
}

/// The gates of a running plan, or else the match figure by itself. The breaker has its own notice.
fn gates(plan: &Plan, settle: Duration) -> Vec<Seen> {
    let of = |verdict: &str| -> Vec<String> {
        let those = plan.gates.iter().filter(|gate| gate.verdict == verdict && gate.name != "breaker");
        those.map(|gate| format!("{}: {}", gate.name, gate.why)).collect()
    };
    let is_running = plan.phase == "running";
    let (failing, silent) = (of("fail"), of("no_data"));
    let held = |how: &str| told(Kind::PlanHeld, &format!("{} {how}", plan.version));
    let (state, lasts, why) = if !is_running {
        (None, settle, Vec::new())
    } else if !failing.is_empty() {
        (held("fail"), settle, failing)
    } else if !silent.is_empty() {
        (held("no_data"), settle.max(NO_DATA_LASTS), silent)
    } else {
        (told(Kind::PlanReleased, ""), settle, Vec::new())
    };
    let mut seen = vec![Seen { subject: Subject::Gates, state, lasts, why }];
    let matching = plan.gates.iter().find(|gate| gate.name == "match").filter(|_| !is_running);
    let kind = matching.and_then(|gate| match gate.verdict {
        "fail" => Some(Kind::MatchBelow),
        "pass" => Some(Kind::MatchBack),
        _ => None,
    });
    seen.extend(kind.map(|kind| Seen {
        subject: Subject::Match,
        state: told(kind, ""),
        lasts: settle,
        why: matching.map(|gate| gate.why.clone()).into_iter().collect(),
    }));
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::model::Gate;

    #[test]
    fn a_gate_without_data_is_waited_for_longer_than_one_that_fails() {
        let settle = Duration::from_secs(5);
        let seen = |phase, verdict| {
            let gate = Gate { name: "match", verdict, ..Gate::default() };
            let plan = Plan { phase, version: "v".to_owned(), gates: vec![gate], ..Plan::default() };
            let seen = gates(&plan, settle);
            seen.into_iter().map(|one| (one.state.map(|state| state.kind), one.lasts)).collect::<Vec<_>>()
        };
        assert_eq!(seen("running", "fail"), [(Some(Kind::PlanHeld), settle)]);
        assert_eq!(seen("running", "no_data"), [(Some(Kind::PlanHeld), NO_DATA_LASTS)]);
        assert_eq!(seen("running", "pass"), [(Some(Kind::PlanReleased), settle)]);
        assert_eq!(seen("none", "fail"), [(None, settle), (Some(Kind::MatchBelow), settle)]);
        assert_eq!(seen("none", "no_data"), [(None, settle)]);
    }
}
