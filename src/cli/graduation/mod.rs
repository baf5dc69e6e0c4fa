//! `crossfade report --graduation`: what still depends on the legacy service.
//!
//! **Problem.** At 100 % everything looks done, and is not: a hot session is fed by the service's own frames, what clients
//! say goes to the service, and the copies in Realtime end with the feed that they are copies of. Whoever switches the
//! service off on the word of a fader finds out from users.
//!
//! **Decision.** The running process is asked by its admin API (which also reads the reports in its CROSSFADE_STATE_DIR);
//! what it says becomes rows with a state, evidence and a remedy ([`clients`], [`proof`]: pure), and the rows one verdict
//! ([`page`]). A row is `done`, `open` or `unknown`; unknown is never counted as done. What no sidecar can see (who else
//! writes to a topic, other pods) stays unknown until a person vouches for it by name (`--vouch`), which the answer
//! shows. Nobody can vouch for what is seen to be open.
//!
//! **Limits.** One pod at one moment. [`PAGES_MAX`] pages of sessions and [`READ_MAX`] hourly reports are read; when there
//! are more, what follows from all of them is unknown. It reads only.

mod clients;
mod evidence;
mod page;
mod proof;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use serde::Serialize;
use serde_json::Value;

use super::drain::reachable;
use super::{Exit, Streams, ask};
use crate::config::{Ops, Strings};
use evidence::{Evidence, Sessions, list};

/// Pages of 500 sessions.
const PAGES_MAX: usize = 40;
/// Hourly reports that are read besides the last hour.
const READ_MAX: usize = 24;

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Done,
    Open,
    Unknown,
}

/// What a row that is not done stands in the way of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Blocks {
    /// Ending the service's feed.
    Feed,
    /// Taking the sidecar away.
    Sidecar,
}

/// State, evidence, remedy.
type Told = (State, String, String);

fn done(evidence: impl Into<String>) -> Told {
    (State::Done, evidence.into(), String::new())
}

fn open(evidence: impl Into<String>, remedy: impl Into<String>) -> Told {
    (State::Open, evidence.into(), remedy.into())
}

fn unknown(evidence: impl Into<String>, remedy: impl Into<String>) -> Told {
    (State::Unknown, evidence.into(), remedy.into())
}

/// One thing that may still depend on the service.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: &'static str,
    state: State,
    blocks: Blocks,
    evidence: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
    /// It was unknown, and a person has vouched for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    vouched: bool,
}

impl Row {
    fn new(
        name: &'static str,
        blocks: Blocks,
        (state, evidence, remedy): (State, String, impl Into<String>),
    ) -> Self {
        Self { name, state, blocks, evidence, remedy: remedy.into(), vouched: false }
    }
}

/// Every row, in the order of the table.
fn rows(seen: &Evidence, vouched: &[String]) -> Vec<Row> {
    let mut rows: Vec<Row> = clients::rows(seen).into_iter().chain(proof::rows(seen)).collect();
    rows.sort_by_key(|row| row.blocks == Blocks::Sidecar);
    for row in rows
        .iter_mut()
        .filter(|row| row.state == State::Unknown && vouched.iter().any(|name| name == row.name))
    {
        (row.state, row.vouched) = (State::Done, true);
    }
    rows
}

/// How a question ends early.
type Early = (Exit, String);

/// Where to ask, and for whom a person vouches.
pub(super) struct Asked<'a> {
    pub(super) admin: Option<SocketAddr>,
    pub(super) vouched: &'a [String],
    pub(super) json: bool,
}

pub(super) fn run(asked: &Asked<'_>, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let found = answer(asked, strings, streams);
    streams.answered(found)
}

fn answer(asked: &Asked<'_>, strings: &Strings, streams: &Streams<'_>) -> Result<String, Early> {
    let names: Vec<&str> = rows(&Evidence::default(), &[]).iter().map(|row| row.name).collect();
    if let Some(wrong) = asked.vouched.iter().find(|name| !names.contains(&name.as_str())) {
        return Err((
            Exit::Config,
            format!("--vouch {wrong:?} is no row; the rows are {}", names.join(", ")),
        ));
    }
    let (listen, token) = Ops::admin(strings).map_err(|problems| (Exit::Config, problems.to_string()))?;
    let token = token.map(|token| token.secret.expose().to_owned());
    let api = Api { admin: reachable(asked.admin.unwrap_or(listen)), token };
    let seen = api.evidence()?;
    let rows = rows(&seen, asked.vouched);
    Ok(if asked.json { page::json(&seen, &rows) } else { page::text(&seen, &rows, streams.out_look) })
}

struct Api {
    admin: SocketAddr,
    token: Option<String>,
}

impl Api {
    fn evidence(&self) -> Result<Evidence, Early> {
        // Without the status nothing at all is known, and that is no report.
        let status = self.get("/api/v1/status")?;
        if status.is_none() {
            return Err((Exit::Unavailable, format!("{} does not tell its status", self.admin)));
        }
        let mut seen = Evidence {
            status,
            sessions: self.sessions()?,
            rollout: self.get("/api/v1/rollout")?,
            plan: self.get("/api/v1/plan")?,
            types: self.get("/api/v1/types")?,
            drills: self.get("/api/v1/drill")?,
            config: self.get("/api/v1/config")?,
            reports: self.get("/api/v1/reports")?,
            read: Vec::new(),
        };
        let hourly =
            seen.reports.iter().flat_map(|all| list(all, "reports")).filter(|one| one["span"] == "hourly");
        let ids: Vec<String> = hourly.filter_map(|one| one["id"].as_str()).map(str::to_owned).collect();
        let newest = ids.iter().rev().take(READ_MAX).map(String::as_str);
        for id in std::iter::once("rolling").chain(newest).filter(|_| seen.reports.is_some()) {
            seen.read.extend(self.get(&format!("/api/v1/reports/{id}"))?);
        }
        Ok(seen)
    }

    fn sessions(&self) -> Result<Option<Sessions>, Early> {
        let mut sessions = Sessions::default();
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let Some(page) = self.get(&format!("/api/v1/sessions?limit=500{after}"))? else {
                return Ok(None);
            };
            sessions.take(&page);
            let Some(next) = page["next"].as_u64() else { break };
            after = format!("&after={next}");
        }
        Ok(Some(sessions))
    }

    /// `None`: there is nothing there, or it is null.
    fn get(&self, path: &str) -> Result<Option<Value>, Early> {
        let admin = self.admin;
        match ask::get(admin, path, self.token.as_deref()) {
            Ok((200, body)) => Ok(serde_json::from_slice(&body).ok().filter(|body: &Value| !body.is_null())),
            Ok((401 | 403, _)) => {
                let why =
                    "the running process has another CROSSFADE_ADMIN_VIEW_TOKEN or CROSSFADE_ADMIN_TOKEN";
                Err((Exit::Config, why.to_owned()))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                let why = format!(
                    "no answer at {admin}: {error}; is crossfade running? --admin names another address"
                );
                Err((Exit::Unavailable, why))
            }
        }
    }
}
