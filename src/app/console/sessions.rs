//! Questions about sessions: asked of the workers, each of which knows its own.

use std::time::Instant;

use tokio::sync::oneshot;

use super::{Console, clock, why};
use crate::admin::api::{Problem, Reply, model};
use crate::hot::Fallback;
use crate::lane::{self, Explanation};
use crate::proxy::{Facts, Inquiry, Lane, Moved, Refused, Wish, WorkerHandle, WorkerMessage};
use crate::rollout::Standing;
use crate::session::{SessionId, SessionNo};

/// What may be asked of the list.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    lane: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// Sessions on one page.
const PAGE_MAX: usize = 500;
const PAGE: usize = 100;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveBody {
    lane: String,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseBody {
    code: Option<u16>,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

fn busy() -> Problem {
    Problem::busy("a data worker")
}

async fn ask<T>(
    worker: &WorkerHandle,
    inquiry: impl FnOnce(oneshot::Sender<T>) -> Inquiry,
) -> Result<T, Problem> {
    let (answer, answered) = oneshot::channel();
    worker.post(WorkerMessage::Ask(inquiry(answer))).map_err(|_| busy())?;
    answered.await.map_err(|_| busy())
}

fn id_of(text: &str) -> Result<SessionId, Problem> {
    let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = u128::from_str_radix(text, 16).ok().filter(|_| hex);
    let unknown = || Problem::not_found("there is no such session: an id is 32 hexadecimal digits");
    bits.map(SessionId::from_bits).ok_or_else(unknown)
}

fn gone() -> Problem {
    Problem::not_found("there is no such session, or it has ended")
}

impl Console {
    pub(super) async fn sessions(&self, query: serde_json::Value) -> Reply {
        let query: ListQuery = super::body(query)?;
        let lane = match query.lane.as_deref() {
            None | Some("") => None,
            Some(word) => {
                let found = Lane::ALL.into_iter().find(|lane| lane.as_str() == word);
                Some(found.ok_or_else(|| Problem::field("lane", "is not one of legacy, hot, cold, native"))?)
            }
        };
        let limit = match query.limit.as_deref() {
            None => PAGE,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| Problem::field("limit", format!("is not a number from 1 to {PAGE_MAX}")))?,
        };
        let after = match query.after.as_deref() {
            None => None,
            Some(text) => {
                let no = text.parse().map_err(|_| Problem::field("after", "is not the `next` of a page"))?;
                Some(SessionNo(no))
            }
        };
        let mut found = Vec::new();
        // One page and one more of each worker: enough for the page and for knowing whether there is another.
        for worker in &self.workers {
            found
                .extend(ask(worker, |answer| Inquiry::List { after, lane, limit: limit + 1, answer }).await?);
        }
        found.sort_unstable_by_key(|facts: &Facts| facts.no);
        let more = found.len() > limit;
        found.truncate(limit);
        let now = clock();
        let next = found.last().filter(|_| more).map(|facts| facts.no.0);
        let sessions = found.iter().map(|facts| why::row(facts, self.explain(facts).as_ref(), now)).collect();
        super::json(&model::SessionList { sessions, next })
    }

    pub(super) async fn session(&self, id: &str, with_key: bool) -> Reply {
        let (facts, _) = self.find(id_of(id)?).await?;
        super::json(&self.told(&facts, with_key, clock()))
    }

    fn told(&self, facts: &Facts, with_key: bool, now: Instant) -> model::Session {
        why::session(facts, self.explain(facts).as_ref(), with_key, now)
    }

    fn explain(&self, facts: &Facts) -> Option<Explanation> {
        let subject = facts.verdict.subject.as_ref()?;
        let (decision, verdict) = self.decider.judge(subject, why::lane_of(facts.lane));
        Some(lane::explain(&decision, &verdict))
    }

    async fn find(&self, id: SessionId) -> Result<(Facts, &WorkerHandle), Problem> {
        for worker in &self.workers {
            if let Some(facts) = ask(worker, |answer| Inquiry::One(id, answer)).await? {
                return Ok((facts, worker));
            }
        }
        Err(gone())
    }

    pub(super) async fn move_session(&self, id: &str, asked: serde_json::Value) -> Reply {
        let asked: MoveBody = super::body(asked)?;
        let to = match asked.lane.as_str() {
            "hot" => Wish::Hot,
            "legacy" => Wish::Legacy,
            "auto" => Wish::Auto,
            _ => return Err(Problem::field("lane", "is not one of hot, legacy, auto")),
        };
        let id = id_of(id)?;
        let standing = self.eyes.standing.borrow().clone();
        if to == Wish::Hot && matches!(standing.settings.standing, Standing::EmergencyOff) {
            return Err(Problem::conflict("emergency_off", "the emergency switch is on: nobody becomes hot"));
        }
        let (facts, worker) = self.find(id).await?;
        let version = standing.version;
        let moved =
            ask(worker, |answer| Inquiry::Move { id, to, version, answer }).await?.ok_or_else(gone)?;
        let moved = moved.map_err(refusal)?;
        let before =
            serde_json::json!({ "lane": facts.lane.as_str(), "pinned": facts.pinned.map(Lane::as_str) });
        let pinned = if to == Wish::Auto { None } else { Some(asked.lane.as_str()) };
        let after = serde_json::json!({ "wanted": asked.lane, "pinned": pinned });
        let warnings = match (to, moved) {
            (_, Moved::There) => vec!["it is there already".to_owned()],
            (Wish::Hot, Moved::Ordered) => {
                vec!["it stays hot until the rollout's settings next change".to_owned()]
            }
            _ => Vec::new(),
        };
        super::json(&model::Changed { before, after, warnings })
    }

    pub(super) async fn close_session(&self, id: &str, asked: serde_json::Value) -> Reply {
        let asked: CloseBody = super::body(asked)?;
        let code = asked.code.unwrap_or(1012);
        // RFC 6455 section 7.4: what an endpoint may send, and the ranges for libraries and applications.
        if !matches!(code, 1000 | 1001 | 1008 | 1011 | 1012 | 1013 | 3000..=4999) {
            return Err(Problem::field("code", "is not 1000, 1001, 1008, 1011, 1012, 1013 or 3000 to 4999"));
        }
        let id = id_of(id)?;
        let (facts, worker) = self.find(id).await?;
        if !ask(worker, |answer| Inquiry::Close(id, code, answer)).await? {
            return Err(gone());
        }
        let before = serde_json::json!({ "lane": facts.lane.as_str() });
        let after = serde_json::json!({ "closing": code });
        super::json(&model::Changed { before, after, warnings: Vec::new() })
    }
}

fn refusal(why: Refused) -> Problem {
    let (code, message) = match why {
        Refused::Fixed => (
            "fixed",
            "this session cannot change its lane: it was opened without a tap, or on the lane cold or native",
        ),
        Refused::NoRealtime(Fallback::Breaker) => {
            ("breaker", "the breaker does not let Realtime be used now")
        }
        Refused::NoRealtime(Fallback::Quota) => {
            ("quota", "the plan's message rate was hit: nobody is hot now")
        }
        Refused::NoRealtime(_) => ("realtime_not_ready", "Realtime cannot be read back now"),
        Refused::HeldOff => ("window_full", "its window overflowed less than a minute ago"),
        Refused::Stale => ("stale", "the rollout's settings have just changed: look again, then ask again"),
    };
    Problem::conflict(code, message)
}
