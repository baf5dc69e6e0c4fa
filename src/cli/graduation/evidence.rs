//! What the running process has said, and what is read out of it. Pure: answers of the admin API in, figures out.
//! What an answer does not have is `None`, and nobody downstream may take that for zero.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Sessions by lane and reason, of the pages that were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    /// By lane, then by reason.
    pub(super) lanes: BTreeMap<String, BTreeMap<String, u64>>,
    /// By path, then by lane.
    pub(super) paths: BTreeMap<String, BTreeMap<String, u64>>,
    /// Sessions whose clients have said something, by lane.
    pub(super) talking: BTreeMap<String, u64>,
    /// All pages were read.
    pub(super) whole: bool,
}

/// Paths that are told apart.
const PATHS_MAX: usize = 1_000;

impl Sessions {
    /// Takes a page in.
    pub(super) fn take(&mut self, page: &Value) {
        for row in list(page, "sessions") {
            let word = |name: &str| row[name].as_str().unwrap_or("unknown").to_owned();
            let lane = word("lane");
            *self.lanes.entry(lane.clone()).or_default().entry(word("reason")).or_default() += 1;
            let path = word("path");
            let path = if self.paths.contains_key(&path) || self.paths.len() < PATHS_MAX {
                path
            } else {
                "other".to_owned()
            };
            *self.paths.entry(path).or_default().entry(lane.clone()).or_default() += 1;
            // A session that does not say how much was said is not silent.
            if row["messages_up"].as_u64() != Some(0) {
                *self.talking.entry(lane).or_default() += 1;
            }
        }
        self.whole = page["next"].is_null() && page["sessions"].is_array();
    }

    pub(super) fn on(&self, lane: &str) -> u64 {
        self.lanes.get(lane).map_or(0, |reasons| reasons.values().sum())
    }

    pub(super) fn all(&self) -> u64 {
        self.lanes.keys().map(|lane| self.on(lane)).sum()
    }
}

/// Answers of the admin API; `None` where there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) status: Option<Value>,
    pub(super) sessions: Option<Sessions>,
    pub(super) rollout: Option<Value>,
    pub(super) plan: Option<Value>,
    pub(super) types: Option<Value>,
    pub(super) drills: Option<Value>,
    pub(super) config: Option<Value>,
    /// The list of the validator's reports.
    pub(super) reports: Option<Value>,
    /// The last hour, and the newest hourly ones.
    pub(super) read: Vec<Value>,
}

/// What the reports say of one event type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) pairs: u64,
    pub(super) bad: u64,
}

impl Evidence {
    /// A part of the status; `None` where it is missing or null.
    pub(super) fn status(&self, pointer: &str) -> Option<&Value> {
        self.status.as_ref()?.pointer(pointer).filter(|value| !value.is_null())
    }

    pub(super) fn number(&self, pointer: &str) -> Option<f64> {
        self.status(pointer)?.as_f64()
    }

    pub(super) fn count(&self, pointer: &str) -> Option<u64> {
        self.status(pointer)?.as_u64()
    }

    pub(super) fn word(&self, pointer: &str) -> Option<&str> {
        self.status(pointer)?.as_str()
    }

    /// A variable as it applies, and where it comes from.
    pub(super) fn setting(&self, name: &str) -> Option<(Option<&str>, &str)> {
        let row = list(self.config.as_ref()?, "settings").find(|row| row["name"] == name)?;
        Some((row["value"].as_str(), row["source"].as_str().unwrap_or("unknown")))
    }

    /// How long the share has been what it is, in seconds, at least: since the end of the last step of another share, else
    /// since this process began.
    pub(super) fn share_holds_s(&self) -> Option<f64> {
        let (percent, now) = (self.number("/rollout/percent")?, self.count("/at")?);
        let uptime = self.number("/uptime_s")?;
        let steps: Vec<&Value> = self
            .reports
            .iter()
            .flat_map(|all| list(all, "reports"))
            .filter(|one| one["span"] == "step")
            .collect();
        let same = |one: &Value| one["percent"].as_f64().is_some_and(|was| (was - percent).abs() < 1e-9);
        let other = steps.iter().filter(|one| !same(one)).filter_map(|one| one["to_ms"].as_u64()).max();
        let since = match other {
            Some(ended) => steps
                .iter()
                .filter(|one| same(one))
                .filter_map(|one| one["from_ms"].as_u64())
                .filter(|from| *from >= ended)
                .min()
                .or(Some(ended)),
            None => steps.iter().filter_map(|one| one["from_ms"].as_u64()).min(),
        };
        Some(since.map_or(uptime, |since| now.saturating_sub(since) as f64 / 1000.0))
    }

    /// Every event type that was seen, with what the reports say of it.
    pub(super) fn proofs(&self) -> BTreeMap<&str, Proof> {
        let mut found: BTreeMap<&str, Proof> = BTreeMap::new();
        for (name, share) in self.read.iter().filter_map(|one| one["types"].as_object()).flatten() {
            let proof = found.entry(name).or_default();
            proof.pairs = proof.pairs.max(share["pairs"].as_u64().unwrap_or(0));
            proof.bad += share["bad"].as_u64().unwrap_or(0);
        }
        found
    }

    /// Names of the event types that crossfade has seen.
    pub(super) fn seen(&self) -> Option<BTreeSet<&str>> {
        let types = self.types.as_ref().filter(|types| types["types"].is_array())?;
        Some(list(types, "types").filter_map(|row| row["type"].as_str()).collect())
    }
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}
