//! `crossfade plan`: shows the plan of the running process, starts it, pauses it, goes on, ends it.
//! Same container, same environment, so the same token. A change names the plan that was seen a moment before, so that
//! nobody is overruled unawares.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::drain::reachable;
use super::look::{self, Look, Tone};
use super::{Exit, Streams, ask};
use crate::config::{Ops, Strings};
use crate::rollout::plan::Plan;

const PATH: &str = "/api/v1/plan";
/// The longest plan that is read, in bytes: what the API takes.
const PLAN_BYTES_MAX: u64 = 60 * 1024;

/// The plans that are shipped, by name.
const SHIPPED: [(&str, &str); 3] = [
    ("default", include_str!("../../deploy/plans/default.json")),
    ("eight-weeks", include_str!("../../deploy/plans/eight-weeks.json")),
    ("two-weeks", include_str!("../../deploy/plans/two-weeks.json")),
];

const NO_TOKEN: &str =
    "changing the plan needs CROSSFADE_ADMIN_TOKEN (or _FILE), the same as the running process has";
const OTHER_TOKEN: &str =
    "the running process has another CROSSFADE_ADMIN_TOKEN, or none and can only be looked at";

/// Arguments of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// What to do
    #[command(subcommand)]
    pub what: Option<What>,
    /// Print the API's answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT", global = true)]
    pub reason: Option<String>,
    /// The running process's admin listener, instead of CROSSFADE_ADMIN_LISTEN
    #[arg(long, value_name = "ADDR:PORT", global = true)]
    pub admin: Option<SocketAddr>,
}

/// What can be done with it.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// Where it stands and what each gate says (what `crossfade plan` alone does)
    Show,
    /// Begin with the first step
    Start {
        /// A plan's file, or default, eight-weeks or two-weeks; without it, the plan that is there begins anew
        #[arg(value_name = "PLAN")]
        plan: Option<PathBuf>,
    },
    /// Stay at this step
    Pause,
    /// Go on after a pause: the step's share is written again, and its bake begins anew
    Resume,
    /// Go to the next step now, gates or not
    Promote,
    /// Go to 0 % and end
    Abort,
}

impl What {
    const fn word(&self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Start { .. } => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

/// Where to ask, and with which token.
struct Api {
    admin: SocketAddr,
    token: Option<String>,
}

/// How a command ends early.
type Early = (Exit, String);

pub(super) fn run(args: &PlanArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let done = match args.what.as_ref().unwrap_or(&What::Show) {
        What::Show => show(args, strings, streams.out_look),
        what => change(args, what, strings),
    };
    streams.answered(done)
}

fn show(args: &PlanArgs, strings: &Strings, look: Look) -> Result<String, Early> {
    let (listen, token) = Ops::admin(strings).map_err(|problems| (Exit::Config, problems.to_string()))?;
    let token = token.map(|token| token.secret.expose().to_owned());
    let plan = Api { admin: reachable(args.admin.unwrap_or(listen)), token }.plan()?;
    Ok(if args.json { plan.to_string() + "\n" } else { text(&plan, look) })
}

fn change(args: &PlanArgs, what: &What, strings: &Strings) -> Result<String, Early> {
    let (listen, token) = Ops::operate(strings).map_err(|problems| (Exit::Config, problems.to_string()))?;
    let Some(token) = token else { return Err((Exit::Config, NO_TOKEN.to_owned())) };
    let mut body = json!({});
    if let What::Start { plan: Some(plan) } = what {
        body["plan"] = read(plan).map_err(|why| (Exit::Config, why))?;
    }
    if let Some(reason) = &args.reason {
        body["reason"] = reason.as_str().into();
    }
    let admin = reachable(args.admin.unwrap_or(listen));
    let api = Api { admin, token: Some(token.secret.expose().to_owned()) };
    let version = match what {
        // The way back is not held up by a look.
        What::Pause | What::Abort => "*".to_owned(),
        _ => api.plan()?["version"].as_str().unwrap_or_default().to_owned(),
    };
    let path = format!("{PATH}/{}", what.word());
    let asked = ask::post(admin, &path, api.token.as_deref(), &version, &body.to_string());
    let done = api.judged(asked)?;
    if args.json {
        return Ok(done.to_string() + "\n");
    }
    let mut said = format!("{}: {}\n", what.word(), stand(&done["after"]));
    for warning in done["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        said.push_str(&format!("note: {warning}\n"));
    }
    Ok(said)
}

/// The plan of a file, or one that is shipped; checked here, so that what is wrong with it is told without a network.
fn read(plan: &std::path::Path) -> Result<Value, String> {
    use std::io::Read as _;
    let shipped = SHIPPED.iter().find(|(name, _)| plan.to_str() == Some(*name));
    let text = match shipped {
        Some((_, text)) => (*text).to_owned(),
        None => {
            let at = |error: std::io::Error| {
                format!("{}: {error}; a plan is a file, or default, eight-weeks or two-weeks", plan.display())
            };
            let mut text = String::new();
            std::fs::File::open(plan)
                .and_then(|file| file.take(PLAN_BYTES_MAX + 1).read_to_string(&mut text))
                .map_err(at)?;
            if text.len() as u64 > PLAN_BYTES_MAX {
                return Err(format!("{}: longer than {PLAN_BYTES_MAX} bytes", plan.display()));
            }
            text
        }
    };
    Plan::parse(text.as_bytes()).map_err(|error| format!("{}: {error}", plan.display()))?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

impl Api {
    fn plan(&self) -> Result<Value, Early> {
        self.judged(ask::get(self.admin, PATH, self.token.as_deref()))
    }

    fn judged(&self, answer: std::io::Result<(u16, Vec<u8>)>) -> Result<Value, Early> {
        let admin = self.admin;
        let (status, body) = answer.map_err(|error| {
            let why =
                format!("no answer at {admin}: {error}; is crossfade running? --admin names another address");
            (Exit::Unavailable, why)
        })?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = body["error"]["message"].as_str().map(str::to_owned);
        match status {
            200 => Ok(body),
            401 | 403 => Err((Exit::Config, OTHER_TOKEN.to_owned())),
            400 | 422 => Err((Exit::Config, message.unwrap_or_else(|| format!("{admin} answers {status}")))),
            _ => Err((Exit::Unavailable, message.unwrap_or_else(|| format!("{admin} answers {status}")))),
        }
    }
}

/// One line: which plan, where it stands.
fn stand(plan: &Value) -> String {
    let name = plan["plan"].as_str().or_else(|| plan["name"].as_str());
    let Some(name) = name else { return "there is no plan".to_owned() };
    let phase = plan["phase"].as_str().unwrap_or("unknown");
    let why = plan["why"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
    let step = plan["step"].as_u64().map(|step| format!(", step {step}")).unwrap_or_default();
    let share = plan["percent"].as_f64().map(|percent| format!(", {percent} %")).unwrap_or_default();
    format!("{name} is {phase}{why}{step}{share}")
}

fn text(plan: &Value, look: Look) -> String {
    let mut text = stand(plan) + "\n";
    for (at, step) in plan["steps"].as_array().into_iter().flatten().enumerate() {
        let (percent, bake) = (step["percent"].as_f64().unwrap_or(0.0), step["bake_s"].as_u64().unwrap_or(0));
        let state = step["state"].as_str().unwrap_or_default();
        let baked = plan["baked_s"].as_f64().filter(|_| state == "current");
        let baked = baked.map(|baked| format!(", {} of it baked", span(baked))).unwrap_or_default();
        let bake = span(bake as f64);
        text.push_str(&format!("  step {:<3} {percent:>7} %  bakes {bake:<8} {state}{baked}\n", at + 1));
    }
    let scope = plan["scope"].as_str().unwrap_or_default();
    let verdict = match (plan["pass"] == true, plan["fail"] == true) {
        (true, _) => "pass",
        (false, true) => "fail",
        (false, false) => "hold: not enough data",
    };
    text.push_str(&format!("gates ({scope}): {verdict}\n"));
    text.push_str(&look::table(&gates(plan), look));
    let gates: Vec<_> = plan["gates"].as_array().into_iter().flatten().collect();
    let of_a_gate = |hold: &str| {
        gates.iter().any(|gate| {
            hold == format!("{}: {}", gate["name"].as_str().unwrap_or(""), gate["why"].as_str().unwrap_or(""))
        })
    };
    for hold in plan["holds"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !of_a_gate(hold) {
            text.push_str(&format!("note: {hold}\n"));
        }
    }
    text
}

/// Each gate: what it says, why, and what helps.
fn gates(plan: &Value) -> Vec<look::Row<'_>> {
    fn row(gate: &Value) -> look::Row<'_> {
        let part = |name: &str| gate[name].as_str().unwrap_or_default();
        let (name, state) = (part("name"), part("verdict"));
        let (tone, remedy) = match (state, name) {
            ("pass", _) => (Tone::Good, ""),
            ("fail", "match") => (Tone::Bad, "`crossfade report show` has samples of what did not match"),
            ("fail", "breaker") => (Tone::Bad, "`crossfade report incidents` has what opened it"),
            ("fail", "p95_ms") => {
                (Tone::Bad, "docs/performance.md: batches, distance to the project, the plan's spacing")
            }
            ("fail", "quota") => (Tone::Bad, "docs/quota.md: a larger plan, or fewer mirrored messages"),
            ("fail", _) => (Tone::Bad, ""),
            (_, "match") => (Tone::Doubt, "wait for traffic, or mirror and read back more of it"),
            (_, _) => (Tone::Doubt, "wait; `crossfade check` says whether Realtime is there"),
        };
        look::Row { tone, state, name, found: part("why"), remedy }
    }
    plan["gates"].as_array().into_iter().flatten().map(row).collect()
}

/// Seconds as people say them.
fn span(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{minutes:.0} min"),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plans_that_are_shipped_are_known_by_name_and_others_are_files() {
        for (name, _) in SHIPPED {
            assert_eq!(read(name.as_ref()).unwrap()["name"], name);
        }
        let error = read("no/such/plan.json".as_ref()).unwrap_err();
        assert!(error.contains("no/such/plan.json") && error.contains("eight-weeks"), "{error}");
        assert!(read("Cargo.toml".as_ref()).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn the_plan_is_told_in_lines() {
        let gate = json!({ "name": "match", "verdict": "no_data", "why": "nothing compared" });
        let steps = json!([
            { "percent": 10.0, "bake_s": 1_209_600, "state": "current" },
            { "percent": 100.0, "bake_s": 60, "state": "ahead" },
        ]);
        let plan = json!({
            "name": "p", "phase": "paused", "why": "moved", "step": 1, "steps": steps, "baked_s": 90_000.0,
            "scope": "fleet", "pass": false, "fail": false, "gates": [gate],
            "holds": ["match: nothing compared", "somebody else has moved the share"],
        });
        let told = text(&plan, Look::PLAIN);
        for line in [
            "p is paused (moved), step 1",
            "  step 1        10 %  bakes 14.0 d   current, 25.0 h of it baked",
            "  step 2       100 %  bakes 60 s     ahead",
            "gates (fleet): hold: not enough data",
            "no_data  match  nothing compared",
            "                → wait for traffic, or mirror and read back more of it",
            "note: somebody else has moved the share",
        ] {
            assert!(told.lines().any(|told| told == line), "{line:?} in\n{told}");
        }
        assert_eq!(told.matches("nothing compared").count(), 1, "{told}");
        assert_eq!(
            text(&json!({ "phase": "none", "gates": [] }), Look::PLAIN).lines().next(),
            Some("there is no plan")
        );
    }
}
