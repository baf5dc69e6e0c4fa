//! Rules above the percentage: lists of keys and segments of requests, first match wins. Keys in lists are hashed
//! when the rule is made, so no list holds a credential.

use std::collections::HashSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};
use serde::Deserialize;

use super::bucket::Percent;
use super::experiment::{Experiment, ExperimentError, ExperimentText};
use super::key::{KeyHash, KeyHasher, Request};
use super::tiers::RealtimeLane;

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name: in the explanation, and the memory of open sessions.
    pub name: Arc<str>,
    /// Whom it concerns.
    pub when: When,
    /// What happens to them.
    pub then: Then,
    /// Their lane, if not the rollout's.
    pub lane: Option<RealtimeLane>,
}

/// Whom a rule concerns.
#[derive(Clone, Debug)]
pub enum When {
    /// These keys.
    Keys(HashSet<KeyHash>),
    /// Requests for which all of these hold.
    All(Vec<Condition>),
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Legacy.
    Deny,
    /// Realtime, whatever the percentage.
    Allow,
    /// A percentage of their own.
    Percent(Percent),
    /// An arm, for those who take part; the rules below decide for the others.
    Experiment(Arc<Experiment>),
}

/// A property of the upgrade request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The path is this one or lies under it: `/chat` covers `/chat/1`, not `/chatter`.
    Path(String),
    /// The path lies under none of these.
    Outside(Vec<String>),
    /// A cookie has exactly this value.
    Cookie(String, String),
    /// One of the fields with this name has exactly this value.
    Header(HeaderName, String),
    /// The bearer token says so (unverified).
    Claim(String, String),
    /// The client offers this subprotocol.
    Subprotocol(String),
    /// The client's address lies in this network.
    Cidr(Cidr),
}

impl Rule {
    /// A list of keys, plain or hashed, with one fate.
    #[must_use]
    pub fn keys<'a>(
        name: &str,
        entries: impl IntoIterator<Item = &'a str>,
        then: Then,
        hasher: &KeyHasher,
    ) -> Self {
        let keys = entries.into_iter().map(|entry| hasher.entry(entry)).collect();
        Self { name: name.into(), when: When::Keys(keys), then, lane: None }
    }

    /// True when the lane is one that this rule can lead to.
    pub(super) fn leads_to(&self, lane: RealtimeLane) -> bool {
        match &self.then {
            Then::Experiment(experiment) => experiment.leads_to(lane),
            _ => self.lane == Some(lane),
        }
    }

    /// True when the rule is a segment and the request lies in it.
    pub(super) fn covers(&self, request: &Request<'_>) -> bool {
        match &self.when {
            When::Keys(_) => false,
            When::All(conditions) => conditions.iter().all(|condition| condition.holds(request)),
        }
    }
}

impl Condition {
    fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Path(prefix) => under(request.path, prefix),
            Self::Outside(prefixes) => !prefixes.iter().any(|prefix| under(request.path, prefix)),
            Self::Cookie(name, value) => request.cookie(name).is_some_and(|found| found == value.as_bytes()),
            Self::Header(name, value) => {
                request.headers.get_all(name).into_iter().any(|found| found.as_bytes() == value.as_bytes())
            }
            Self::Claim(name, value) => request.claim(name).as_ref() == Some(value),
            Self::Subprotocol(name) => request
                .headers
                .get_all(SEC_WEBSOCKET_PROTOCOL)
                .into_iter()
                .filter_map(|value| value.to_str().ok())
                .any(|value| value.split(',').any(|offer| offer.trim() == name)),
            Self::Cidr(cidr) => cidr.contains(request.peer),
        }
    }
}

fn under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

/// A network of addresses. An address without a length is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    length: u8,
}

impl Cidr {
    /// True when the address lies in it. IPv4 in IPv6 clothing counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (base, width) = bits(self.base);
        let (found, found_width) = bits(address.to_canonical());
        let open = width - u32::from(self.length);
        width == found_width && (open >= 128 || (base ^ found) >> open == 0)
    }
}

/// An address as a number and its width in bits.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// The text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network; write for example 10.0.0.0/8 or 2001:db8::/32")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, length) =
            text.trim().split_once('/').map_or((text.trim(), None), |(a, l)| (a, Some(l)));
        let base = address.parse::<IpAddr>().map_err(|_| wrong())?;
        let (_, width) = bits(base);
        let length = match length {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse::<u32>().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        let length = u8::try_from(length).ok().filter(|_| length <= width).ok_or_else(wrong)?;
        Ok(Self { base, length })
    }
}

/// A rule as a file or a store writes it (JSON):
/// `{"name":"beta","when":[{"path":"/beta"},{"header":["x-plan","gold"]}],"then":{"percent":"50"},"lane":"cold"}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleText {
    name: String,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    when: Vec<ConditionText>,
    then: ThenText,
    lane: Option<RealtimeLane>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ThenText {
    Deny,
    Allow,
    Percent(Percent),
    Experiment(ExperimentText),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConditionText {
    Path(String),
    Outside(Vec<String>),
    Cookie(String, String),
    Header(String, String),
    Claim(String, String),
    Subprotocol(String),
    Cidr(String),
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It would concern everybody or nobody.
    #[error("rule {0:?} needs either keys or conditions, not both and not neither")]
    Whom(String),
    /// The name is the memory of open sessions, so it must be unique.
    #[error("two rules are named {0:?}")]
    Twice(String),
    /// A header name that cannot exist.
    #[error("rule {0:?}: {1:?} is not a header name")]
    Header(String, String),
    /// A network that cannot exist.
    #[error("rule {0:?}: {1}")]
    Cidr(String, CidrError),
    /// An experiment that cannot be run.
    #[error("rule {0:?}: {1}")]
    Experiment(String, ExperimentError),
    /// A lane beside those of the arms.
    #[error("rule {0:?}: the arms of an experiment name their lanes themselves; leave out \"lane\"")]
    LaneOfExperiment(String),
    /// An experiment over a list: a list has one fate.
    #[error("rule {0:?}: an experiment takes conditions or everybody, not keys")]
    KeysOfExperiment(String),
}

/// Makes rules of their texts, in order.
///
/// # Errors
/// The first thing that is wrong.
pub fn compile(texts: &[RuleText], hasher: &KeyHasher) -> Result<Arc<[Rule]>, RuleError> {
    let mut names = HashSet::new();
    if let Some(twice) = texts.iter().find(|text| !names.insert(text.name.as_str())) {
        return Err(RuleError::Twice(twice.name.clone()));
    }
    texts.iter().map(|text| text.compile(hasher)).collect()
}

impl RuleText {
    /// Entries of its list.
    pub(super) const fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Errors name the rule and what is wrong with it; they never repeat a key.
    fn compile(&self, hasher: &KeyHasher) -> Result<Rule, RuleError> {
        let then = self.then()?;
        let everybody = matches!(then, Then::Experiment(_)) && self.keys.is_empty();
        if self.keys.is_empty() == self.when.is_empty() && !everybody {
            return Err(RuleError::Whom(self.name.clone()));
        }
        let mut rule = Rule::keys(&self.name, self.keys.iter().map(String::as_str), then, hasher);
        rule.lane = self.lane;
        if !self.when.is_empty() || everybody {
            let conditions = self.when.iter().map(|text| self.condition(text));
            rule.when = When::All(conditions.collect::<Result<_, _>>()?);
        }
        Ok(rule)
    }

    fn then(&self) -> Result<Then, RuleError> {
        Ok(match &self.then {
            ThenText::Deny => Then::Deny,
            ThenText::Allow => Then::Allow,
            ThenText::Percent(percent) => Then::Percent(*percent),
            ThenText::Experiment(_) if self.lane.is_some() => {
                return Err(RuleError::LaneOfExperiment(self.name.clone()));
            }
            ThenText::Experiment(_) if !self.keys.is_empty() => {
                return Err(RuleError::KeysOfExperiment(self.name.clone()));
            }
            ThenText::Experiment(text) => {
                let experiment =
                    text.compile().map_err(|why| RuleError::Experiment(self.name.clone(), why))?;
                Then::Experiment(Arc::new(experiment))
            }
        })
    }

    fn condition(&self, text: &ConditionText) -> Result<Condition, RuleError> {
        Ok(match text {
            ConditionText::Path(prefix) => Condition::Path(prefix.clone()),
            ConditionText::Outside(prefixes) => Condition::Outside(prefixes.clone()),
            ConditionText::Cookie(name, value) => Condition::Cookie(name.clone(), value.clone()),
            ConditionText::Header(name, value) => {
                let parsed = name.parse().map_err(|_| RuleError::Header(self.name.clone(), name.clone()))?;
                Condition::Header(parsed, value.clone())
            }
            ConditionText::Claim(name, value) => Condition::Claim(name.clone(), value.clone()),
            ConditionText::Subprotocol(name) => Condition::Subprotocol(name.clone()),
            ConditionText::Cidr(text) => {
                Condition::Cidr(text.parse().map_err(|why| RuleError::Cidr(self.name.clone(), why))?)
            }
        })
    }
}
