//! The plan: shown, started, paused, resumed, promoted, aborted; and the gate that other programs ask.

use std::time::Instant;

use tokio::sync::oneshot;

use super::status::units;
use super::{Console, clock};
use crate::admin::api::{PlanChange, Problem, Reply, model};
use crate::app::Eyes;
use crate::app::stores::driver::{Asked, FleetView, Home, PlanWord, Undone, tag};
use crate::rollout::plan::{Command, Gate, GateReport, Phase, Plan, PlanError, Step, Verdict, Why, judge};

/// What a person says about the plan.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The plan to start; left out: the one that is there.
    plan: Option<serde_json::Value>,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Console {
    pub(super) fn plan(&self) -> model::Plan {
        self.eyes.plan(clock())
    }

    pub(super) async fn change_plan(
        &self,
        change: PlanChange,
        body: serde_json::Value,
        if_match: Option<&str>,
    ) -> Reply {
        let wanted: Wanted = super::body(body)?;
        let expected = expected(change, if_match)?;
        let word = self.word(change, wanted)?;
        let before = self.plan();
        let (answer, answered) = oneshot::channel();
        let asked = Asked { word, expected, answer };
        self.plan.try_send(asked).map_err(|_| Problem::busy("the plan's driver"))?;
        let done = answered.await.map_err(|_| Problem::busy("the plan's driver"))?;
        let after = self.plan();
        done.map_err(|undone| problem(undone, &after.version))?;
        let mut warnings = Vec::new();
        if change.may_raise() && self.eyes.standing.borrow().tiers.emergency_off {
            warnings.push(
                "the emergency switch is on: everybody stays on legacy, and the plan holds, until it is let go"
                    .to_owned(),
            );
        }
        if after.scope == "this_pod" {
            warnings.push("this pod's plan alone: other pods, if there are any, have none of it".to_owned());
        }
        super::json(&model::Changed { before: summary(&before), after: summary(&after), warnings })
    }

    fn word(&self, change: PlanChange, wanted: Wanted) -> Result<PlanWord, Problem> {
        if change.may_raise() && !self.eyes.mirrors {
            let message = "Supabase is not configured: nobody can be fed by Realtime";
            return Err(Problem::conflict("not_configured", message));
        }
        let command = match change {
            PlanChange::Start => {
                let plan = wanted.plan.map(|plan| Plan::parse(plan.to_string().as_bytes()));
                let plan =
                    plan.transpose().map_err(|error: PlanError| Problem::field("plan", error.to_string()))?;
                return Ok(PlanWord::Start(plan.map(Box::new)));
            }
            PlanChange::Pause => Command::Pause,
            PlanChange::Resume => Command::Resume,
            PlanChange::Promote => Command::Promote,
            PlanChange::Abort => Command::Abort,
        };
        match wanted.plan {
            None => Ok(PlanWord::Say(command)),
            Some(_) => Err(Problem::field("plan", "only start takes a plan")),
        }
    }
}

/// The version that must still hold; `None` for `*`, and where the way back must not be held up.
fn expected(change: PlanChange, if_match: Option<&str>) -> Result<Option<String>, Problem> {
    match if_match.map(|given| given.trim().trim_matches('"')) {
        Some("*") => Ok(None),
        Some(given) => Ok(Some(given.to_owned())),
        None if !change.may_raise() => Ok(None),
        None => {
            let status = axum::http::StatusCode::PRECONDITION_REQUIRED;
            let message = "send `If-Match` with the version that you have seen (GET /api/v1/plan), or `*`";
            Err(Problem::new(status, "if_match_required", message))
        }
    }
}

fn problem(undone: Undone, version: &str) -> Problem {
    match undone {
        Undone::Stale => {
            let status = axum::http::StatusCode::PRECONDITION_FAILED;
            let message =
                format!("the plan stands elsewhere meanwhile: its version is {version} now; look again");
            Problem::new(status, "stale_version", message)
        }
        Undone::Refused(why) => Problem::conflict("plan_refused", why),
        Undone::Away(why) => {
            Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "plan_unavailable", why)
        }
    }
}

fn summary(plan: &model::Plan) -> serde_json::Value {
    let share = plan.step.and_then(|step| plan.steps.get(step - 1)).map(|step| step.percent);
    serde_json::json!({
        "plan": plan.name, "phase": plan.phase, "why": plan.why, "step": plan.step, "percent": share,
        "version": plan.version,
    })
}

/// The gates of the plan, or those of a plan without any of its own, asked now.
fn asked(view: &FleetView, now: Instant) -> GateReport {
    let gates = view.held.as_ref().map(|held| held.plan.gates.clone()).unwrap_or_default();
    judge(&gates, &view.fresh(now))
}

const fn scope(home: Home) -> &'static str {
    match home {
        Home::Redis => "fleet",
        Home::StateDir | Home::Nowhere(_) => "this_pod",
    }
}

const fn phase(phase: Phase) -> (&'static str, Option<&'static str>) {
    match phase {
        Phase::Idle => ("idle", None),
        Phase::Running => ("running", None),
        Phase::Paused(Why::Person) => ("paused", Some("person")),
        Phase::Paused(Why::FleetTrip) => ("paused", Some("fleet_trip")),
        Phase::Paused(Why::Moved) => ("paused", Some("moved")),
        Phase::Done => ("done", None),
        Phase::Aborted => ("aborted", None),
    }
}

fn shown(view: &FleetView, now: Instant) -> model::Plan {
    let report = asked(view, now);
    let mut plan = model::Plan {
        version: tag(view.held.as_ref()),
        phase: "none",
        kept_in: match view.home {
            Home::Redis => Some("redis"),
            Home::StateDir => Some("state_dir"),
            Home::Nowhere(_) => None,
        },
        drives: view.drives,
        scope: scope(view.home),
        pass: report.pass,
        fail: report.fail,
        holds: holds(view, &report),
        gates: report.gates.into_iter().map(gate).collect(),
        ..model::Plan::default()
    };
    let Some(held) = &view.held else { return plan };
    let progress = held.progress;
    (plan.phase, plan.why) = phase(progress.phase);
    plan.name = Some(held.plan.name.clone());
    plan.step = (progress.phase != Phase::Idle).then_some(progress.step + 1);
    plan.baked_s = progress.baked_ms as f64 / 1000.0;
    let bake = held.plan.steps.get(progress.step).map_or(0.0, |step| step.bake_seconds as f64);
    plan.left_s = (progress.phase == Phase::Running).then(|| (bake - plan.baked_s).max(0.0));
    let step = |(at, step): (usize, &Step)| model::Step {
        percent: units(step.percent),
        bake_s: step.bake_seconds,
        state: match plan.step {
            Some(_) if progress.phase == Phase::Done || at < progress.step => "done",
            Some(_) if at == progress.step && progress.phase != Phase::Aborted => "current",
            _ => "ahead",
        },
    };
    plan.steps = held.plan.steps.iter().enumerate().map(step).collect();
    plan
}

/// What keeps the plan from going on.
fn holds(view: &FleetView, report: &GateReport) -> Vec<String> {
    let mut holds: Vec<String> = view.trouble.iter().cloned().collect();
    if let Home::Nowhere(why) = view.home {
        holds.push(why.to_owned());
    }
    match view.held.as_ref().map(|held| held.progress.phase) {
        Some(Phase::Paused(Why::Person)) => holds.push("a person has paused it".to_owned()),
        Some(Phase::Paused(Why::FleetTrip)) => {
            holds.push("breakers have tripped; resume it when you know why".to_owned())
        }
        Some(Phase::Paused(Why::Moved)) => {
            holds.push("somebody else has moved the share; resume to write the step's again".to_owned())
        }
        _ => {}
    }
    let waits = report.gates.iter().filter(|gate| gate.verdict != Verdict::Pass);
    holds.extend(waits.map(|gate| format!("{}: {}", gate.name, gate.why)));
    holds
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::NoData => "no_data",
    }
}

fn gate(gate: Gate) -> model::Gate {
    model::Gate {
        name: gate.name,
        value: gate.value,
        limit: gate.limit,
        verdict: verdict(gate.verdict),
        why: gate.why,
    }
}

impl Eyes {
    /// The plan as it is shown.
    pub(in crate::app) fn plan(&self, now: Instant) -> model::Plan {
        shown(&self.fleet.borrow().clone(), now)
    }

    /// What `/gate` shows.
    pub(in crate::app) fn gate(&self, now: Instant) -> serde_json::Value {
        let view = self.fleet.borrow().clone();
        let plan = shown(&view, now);
        serde_json::json!({
            "pass": plan.pass, "fail": plan.fail, "scope": plan.scope, "gates": plan.gates,
            "plan": view.held.is_some().then(|| serde_json::json!({
                "name": plan.name, "phase": plan.phase, "step": plan.step,
            })),
        })
    }
}
