//! The short form: `CONDITION[,CONDITION…]:ACTION[+ACTION…]`, joined by `;`, for example
//! `event=alert:critical;path=/health:low;dir=up,event=typing*:skip;json=/data/level=critical:critical`.

use std::fmt;

use super::{Action, Glob, Pointer, RULES_MAX, Rule};
use crate::envelope::Class;
use crate::session::{Direction, Opcode};

impl Rule {
    /// Reads the list of `CROSSFADE_CLASSIFY`. Empty pieces are skipped.
    ///
    /// # Errors
    /// [`RuleError`] with the place, the rule as written and what was expected.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, RuleError> {
        let pieces = text.split(';').map(str::trim).filter(|piece| !piece.is_empty());
        pieces.enumerate().map(|(index, piece)| Self::parse(index + 1, piece)).collect()
    }

    fn parse(place: usize, piece: &str) -> Result<Self, RuleError> {
        let fail = |problem| RuleError { place, rule: piece.to_owned(), problem };
        if place > RULES_MAX {
            return Err(fail(Problem::TooMany));
        }
        // From the right: event types such as `user:login` have colons of their own.
        let (conditions, actions) = piece.rsplit_once(':').ok_or_else(|| fail(Problem::NoAction))?;
        let mut rule = Self { action: Action::parse(actions).map_err(fail)?, ..Self::default() };
        if conditions.trim() != "*" {
            for condition in conditions.split(',') {
                rule.add(condition.trim()).map_err(fail)?;
            }
        }
        Ok(rule)
    }

    fn add(&mut self, condition: &str) -> Result<(), Problem> {
        let (name, value) = condition.split_once('=').unwrap_or((condition, ""));
        let (name, value) = (name.trim(), value.trim());
        let twice = match name {
            "path" => self.path.is_some(),
            "dir" => self.dir.is_some(),
            "op" => self.op.is_some(),
            "event" => self.event.is_some(),
            "sub" => self.subprotocol.is_some(),
            "json" => false,
            _ => return Err(Problem::Condition(name.to_owned())),
        };
        if twice {
            return Err(Problem::Twice(name.to_owned()));
        }
        if value.is_empty() {
            return Err(Problem::NoValue(name.to_owned()));
        }
        match (name, value) {
            ("path", path) if path.starts_with('/') => self.path = Some(Glob::path(path)),
            ("path", path) => return Err(Problem::Path(path.to_owned())),
            ("dir", "up") => self.dir = Some(Direction::Up),
            ("dir", "down") => self.dir = Some(Direction::Down),
            ("dir", other) => return Err(Problem::Direction(other.to_owned())),
            ("op", "text") => self.op = Some(Opcode::Text),
            ("op", "binary") => self.op = Some(Opcode::Binary),
            ("op", other) => return Err(Problem::Opcode(other.to_owned())),
            ("json", test) => self.json.push(json_test(test)?),
            ("sub", name) => self.subprotocol = Some(Glob::name(name)),
            (_, event) => self.event = Some(Glob::name(event)),
        }
        Ok(())
    }
}

/// `POINTER=VALUE`, or a pointer alone: the value is there.
fn json_test(text: &str) -> Result<(Pointer, Glob), Problem> {
    let (pointer, value) = text.split_once('=').unwrap_or((text, "*"));
    let parsed = Pointer::parse(pointer.trim()).ok_or_else(|| Problem::Pointer(pointer.to_owned()))?;
    Ok((parsed, Glob::name(value.trim())))
}

impl Action {
    fn parse(text: &str) -> Result<Self, Problem> {
        let mut action = Self::default();
        let mut mirror = false;
        for word in text.split('+').map(str::trim) {
            match word {
                "skip" => action.skip = true,
                "mirror" => mirror = true,
                "shared" => action.shared = true,
                other => {
                    let class = Class::ALL.into_iter().find(|class| class.as_str() == other);
                    let class = class.ok_or_else(|| Problem::Action(other.to_owned()))?;
                    if action.class.replace(class).is_some() {
                        return Err(Problem::Twice("class".to_owned()));
                    }
                }
            }
        }
        if action.skip && (mirror || action.shared || action.class.is_some()) {
            return Err(Problem::SkipAndMore);
        }
        Ok(action)
    }
}

/// A rule that cannot be read. Rules are configuration, not user data, so their text may be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {place} ({rule}): {problem}")]
pub struct RuleError {
    /// Which rule, from 1.
    pub place: usize,
    /// The rule as written.
    pub rule: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a rule, with the words that are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// More than [`RULES_MAX`].
    TooMany,
    /// There is no colon.
    NoAction,
    /// Not the name of a condition.
    Condition(String),
    /// A condition without `=VALUE`.
    NoValue(String),
    /// Given twice in one rule.
    Twice(String),
    /// A path that does not start with a slash.
    Path(String),
    /// Not a direction.
    Direction(String),
    /// Not an opcode.
    Opcode(String),
    /// Not a JSON pointer.
    Pointer(String),
    /// Not an action.
    Action(String),
    /// `skip` together with something else.
    SkipAndMore,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "more than {RULES_MAX} rules"),
            Self::NoAction => {
                f.write_str("no action; expected CONDITION:ACTION, such as event=alert:critical")
            }
            Self::Condition(name) => {
                write!(f, "unknown condition {name:?}; expected path, sub, dir, op, event, json or *")
            }
            Self::NoValue(name) => write!(f, "{name} has no value; expected {name}=VALUE"),
            Self::Twice(name) => write!(f, "{name} is given twice"),
            Self::Path(path) => write!(f, "path {path:?} does not start with /"),
            Self::Direction(word) => write!(f, "direction {word:?}; expected up or down"),
            Self::Opcode(word) => write!(f, "opcode {word:?}; expected text or binary"),
            Self::Pointer(word) => write!(f, "json {word:?}; expected a JSON pointer such as /data/id"),
            Self::Action(word) => write!(
                f,
                "unknown action {word:?}; expected critical, high, medium, low, mirror, shared or skip"
            ),
            Self::SkipAndMore => f.write_str("skip goes with no other action"),
        }
    }
}
