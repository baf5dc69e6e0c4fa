//! Links from notices: what one would do, and doing it. The same words reach the plan and the switch as by the API.

use serde_json::{Value, json};

use super::super::notices::links::{Links, Unused, rollout_tag};
use super::{Console, clock};
use crate::admin::api::{LinkToken, PlanChange, Problem, Reply, model};
use crate::notice::{Action, Claims, LinkError};

/// A refusal: its word, and a sentence.
type Refused = (&'static str, String);

impl Console {
    /// What a link would do now.
    pub(super) async fn look_link(&self, token: &LinkToken) -> Reply {
        let links = self.links()?;
        let claims = match unused(links, token).await {
            Ok(claims) => claims,
            Err(answer) => return Ok(answer),
        };
        Ok(match self.may(&claims).await {
            Ok(says) => told(&claims, ("ready", "ready"), &says),
            Err(why) => refused(&claims, why),
        })
    }

    /// Uses a link up, and does what it says.
    pub(super) async fn use_link(&self, token: &LinkToken) -> Reply {
        let links = self.links()?;
        let claims = match unused(links, token).await {
            Ok(claims) => claims,
            Err(answer) => return Ok(answer),
        };
        let says = match self.may(&claims).await {
            Ok(says) => says,
            Err(why) => return Ok(refused(&claims, why)),
        };
        match links.burn(&claims).await {
            Ok(()) => {}
            Err(Unused::Used) => return Ok(refused(&claims, used())),
            Err(Unused::Unknown) => return Ok(refused(&claims, unknown())),
        }
        Ok(match self.act(&claims).await {
            Ok(done) => {
                let mut answer = told(&claims, ("done", "done"), &format!("Done. {says}"));
                for part in ["before", "after", "warnings"] {
                    answer[part] = done[part].clone();
                }
                answer
            }
            Err(problem) => refused(&claims, (problem.code, problem.message)),
        })
    }

    fn links(&self) -> Result<&Links, Problem> {
        self.links.as_deref().ok_or_else(|| Problem::not_found("there are no links here"))
    }

    /// What would be done, if the state still stands and no gate fails.
    async fn may(&self, claims: &Claims) -> Result<String, Refused> {
        let plan = self.plan();
        let overtaken = |what: &str| {
            let why = format!(
                "{what} has moved on since this link was made, so it does nothing any more. Newer notices have newer links."
            );
            Err(("link_overtaken", why))
        };
        match claims.action {
            Action::Off => {
                let standing = std::sync::Arc::clone(&self.eyes.standing.borrow());
                if !standing.hands.is_empty() {
                    let why = "the emergency switch is on already: everybody is on legacy".to_owned();
                    return Err(("link_overtaken", why));
                }
                if rollout_tag(&standing) != claims.version {
                    return overtaken("the rollout");
                }
                let moves = self.sentence(0.0).await;
                let pod = &self.names.pod;
                Ok(format!("The emergency switch of the pod {pod}: everybody there back on legacy. {moves}"))
            }
            Action::Abort | Action::Promote if plan.version != claims.version => overtaken("the plan"),
            Action::Abort => {
                let name = plan.name.as_deref().unwrap_or_default();
                let moves = self.sentence(0.0).await;
                Ok(format!("The plan {name} ends at 0 %: everybody back on legacy. {moves}"))
            }
            Action::Promote if plan.fail => {
                let why = "a gate fails, and a link never overrides one";
                Err(("link_gate_fails", format!("{why}: {}", plan.holds.join("; "))))
            }
            Action::Promote => self.way_on(&plan).await,
        }
    }

    async fn way_on(&self, plan: &model::Plan) -> Result<String, Refused> {
        let name = plan.name.as_deref().unwrap_or_default();
        let (Some(step), true) = (plan.step, matches!(plan.phase, "running" | "paused")) else {
            return Err(("link_overtaken", "the plan is in no step that it could go on from".to_owned()));
        };
        let to = if plan.phase == "paused" { step } else { step + 1 };
        let Some(percent) = plan.steps.get(to - 1).map(|step| step.percent) else {
            return Ok(format!("The plan {name} finishes: its last step is not waited for any longer."));
        };
        let moves = self.sentence(percent).await;
        let word = if plan.phase == "paused" { "resumes" } else { "goes on to" };
        Ok(format!("The plan {name} {word} step {to} of {}, {percent} %. {moves}", plan.steps.len()))
    }

    /// What that share would move, where it can be told.
    async fn sentence(&self, percent: f64) -> String {
        let preview = self.preview(json!({ "percent": percent })).await;
        preview.ok().and_then(|preview| preview["sentence"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    async fn act(&self, claims: &Claims) -> Reply {
        let body = json!({ "reason": format!("link {}", claims.id()) });
        let version = Some(claims.version.as_str());
        match claims.action {
            Action::Off => self.emergency(json!({ "on": true })).await,
            Action::Abort => self.change_plan(PlanChange::Abort, body, version).await,
            Action::Promote => {
                let is_paused = self.eyes.plan(clock()).phase == "paused";
                let change = if is_paused { PlanChange::Resume } else { PlanChange::Promote };
                self.change_plan(change, body, version).await
            }
        }
    }
}

/// What the link says, if it is one of ours and was not used; else the answer.
async fn unused(links: &Links, token: &LinkToken) -> Result<Claims, Value> {
    let claims = links.open_token(&token.0).map_err(void)?;
    if links.was_used(&claims).await { Err(refused(&claims, used())) } else { Ok(claims) }
}

fn told(claims: &Claims, (state, code): (&str, &str), says: &str) -> Value {
    json!({
        "id": claims.id(), "action": claims.action.audited(), "state": state, "code": code, "says": says,
    })
}

fn refused(claims: &Claims, (code, why): Refused) -> Value {
    told(claims, ("refused", code), &why)
}

fn void(error: LinkError) -> Value {
    match error {
        LinkError::Forged => json!({
            "id": null, "action": "link", "state": "refused", "code": "link_forged",
            "says": "this is no link of ours, or not a whole one; open it from the notice again",
        }),
        LinkError::Expired(claims) => refused(
            &claims,
            ("link_expired", "this link has expired; use the dashboard, or `crossfade plan`".to_owned()),
        ),
    }
}

fn used() -> Refused {
    ("link_used", "this link was used before, and each works once".to_owned())
}

fn unknown() -> Refused {
    let why = "whether this link was used before cannot be told or remembered now (Redis or the disk is away); use the \
               dashboard, or `crossfade plan`";
    ("link_unknown", why.to_owned())
}
