//! Rules above the percentage: lists of keys and segments of requests, first match wins. Keys in lists are hashed
//! when the rule is made, so no list holds a credential.

use std::collections::HashSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};
use serde::Deserialize;

use super::bucket::Percent;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Legacy.
    Deny,
    /// Realtime, whatever the percentage.
    Allow,
    /// A percentage of their own.
    Percent(Percent),
}

/// A property of the upgrade request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The path is this one or lies under it: `/chat` covers `/chat/1`, not `/chatter`.
    Path(String),
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
            Self::Path(prefix) => request
                .path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')),
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
    then: Then,
    lane: Option<RealtimeLane>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConditionText {
    Path(String),
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
    /// Errors name the rule and what is wrong with it; they never repeat a key.
    fn compile(&self, hasher: &KeyHasher) -> Result<Rule, RuleError> {
        if self.keys.is_empty() == self.when.is_empty() {
            return Err(RuleError::Whom(self.name.clone()));
        }
        let mut rule = Rule::keys(&self.name, self.keys.iter().map(String::as_str), self.then, hasher);
        rule.lane = self.lane;
        if !self.when.is_empty() {
            let conditions = self.when.iter().map(|text| self.condition(text));
            rule.when = When::All(conditions.collect::<Result<_, _>>()?);
        }
        Ok(rule)
    }

    fn condition(&self, text: &ConditionText) -> Result<Condition, RuleError> {
        Ok(match text {
            ConditionText::Path(prefix) => Condition::Path(prefix.clone()),
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
