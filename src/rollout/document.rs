//! The flags document: the one JSON form in which a file, Redis and the table say what the rollout is. It is read
//! whole or not at all, so that half a change never acts.

use serde::Deserialize;

use super::bucket::Percent;
use super::key::KeyHasher;
use super::rules::{Condition, Rule, RuleError, RuleText, Then, When, compile};
use super::tiers::{Flags, RealtimeLane};

/// The form of the document; another number is another form.
pub const SCHEMA: u32 = 1;
/// A longer document is refused before it is looked at.
const BYTES_MAX: usize = 256 * 1024;
/// Rules that are looked at for each upgrade.
const RULES_MAX: usize = 256;
/// Entries of all lists.
const KEYS_MAX: usize = 10_000;
/// The rule that `paths` becomes.
const PATHS_RULE: &str = "paths";

/// A document, understood.
#[derive(Clone, Debug)]
pub struct Document {
    /// Rises with each change; 0 where the store counts by itself or not at all.
    pub version: u64,
    /// What it says.
    pub flags: Flags,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: u32,
    #[serde(default)]
    version: u64,
    percent: Percent,
    #[serde(default)]
    lane: RealtimeLane,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    rules: Vec<RuleText>,
    /// For people.
    #[serde(default, rename = "comment")]
    _comment: String,
}

/// Why a text is no flags document. No key of a list is ever repeated.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Too long to be one.
    #[error("the document has {0} bytes, but at most {BYTES_MAX} are read")]
    TooLong(usize),
    /// Not JSON, or a field is missing, unknown or of the wrong kind.
    #[error("the document cannot be read at line {line}, column {column}: {problem}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Another form.
    #[error("schema {0} is not known; this build reads schema {SCHEMA}")]
    Schema(u32),
    /// A path that no request has.
    #[error("paths: {0:?} does not begin with a slash, as in \"/chat\"")]
    Path(String),
    /// More than can be looked at for each upgrade.
    #[error("{0} {1} are too many, at most {2} are possible")]
    TooMany(usize, &'static str, usize),
    /// A rule that cannot work.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A rule with a name of ours.
    #[error("no rule may be named \"paths\" while the document has paths: that is their rule's name")]
    PathsTwice,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &[u8], hasher: &KeyHasher) -> Result<Self, DocumentError> {
        if text.len() > BYTES_MAX {
            return Err(DocumentError::TooLong(text.len()));
        }
        let read: Text = serde_json::from_slice(text).map_err(|error| DocumentError::Json {
            line: error.line(),
            column: error.column(),
            problem: quiet(&error),
        })?;
        if read.schema != SCHEMA {
            return Err(DocumentError::Schema(read.schema));
        }
        if read.rules.len() > RULES_MAX {
            return Err(DocumentError::TooMany(read.rules.len(), "rules", RULES_MAX));
        }
        let keys = read.rules.iter().map(RuleText::keys).sum();
        if keys > KEYS_MAX {
            return Err(DocumentError::TooMany(keys, "keys", KEYS_MAX));
        }
        let rules = compile(&read.rules, hasher)?;
        let rules = match scope(read.paths)? {
            None => rules,
            Some(_) if rules.iter().any(|rule| &*rule.name == PATHS_RULE) => {
                return Err(DocumentError::PathsTwice);
            }
            Some(scope) => std::iter::once(scope).chain(rules.iter().cloned()).collect(),
        };
        Ok(Self { version: read.version, flags: Flags { percent: read.percent, lane: read.lane, rules } })
    }
}

/// Whoever connects elsewhere stays on legacy, whatever the rules below say.
fn scope(paths: Vec<String>) -> Result<Option<Rule>, DocumentError> {
    if let Some(wrong) = paths.iter().find(|path| !path.starts_with('/')) {
        return Err(DocumentError::Path(wrong.clone()));
    }
    let when = When::All(vec![Condition::Outside(paths.clone())]);
    Ok((!paths.is_empty()).then(|| Rule { name: PATHS_RULE.into(), when, then: Then::Deny, lane: None }))
}

/// serde's words without the value that it quotes: it may be a key. The field's name and what was expected stay.
fn quiet(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(head, _)| head);
    match (text.strip_prefix("invalid type: "), text.split_once(", expected ")) {
        (Some(_), Some((_, expected))) => format!("a value of the wrong kind, expected {expected}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
