//! Rules that say what a message is: a list in one variable, read once, first match wins.
//! Form: `CONDITION[,CONDITION…]:ACTION[+ACTION…]`, joined by `;`, for example
//! `event=alert:critical;path=/health:low;dir=up,event=typing*:skip`.

use std::fmt;

use crate::envelope::Class;
use crate::session::{Direction, Opcode};

/// More rules than this are a mistake: each message is held against each.
pub const RULES_MAX: usize = 256;

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Route of the session: path without query.
    pub path: &'a str,
    /// Which way the message goes.
    pub dir: Direction,
    /// Its opcode.
    pub op: Opcode,
    /// Its event type.
    pub kind: &'a str,
}

/// Conditions that must all hold, and what follows from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The path starts with this.
    pub path: Option<Box<str>>,
    /// It goes this way.
    pub dir: Option<Direction>,
    /// It has this opcode.
    pub op: Option<Opcode>,
    /// Its event type is this.
    pub event: Option<EventName>,
    /// What follows.
    pub action: Action,
}

/// An event type, or the beginning of several (`typing*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventName {
    /// This one.
    Is(Box<str>),
    /// All that start so.
    StartsWith(Box<str>),
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// The class; `None` leaves it to the measured frequency.
    pub class: Option<Class>,
    /// Not mirrored at all.
    pub skip: bool,
    /// May also be published as a shared event for foreign consumers.
    pub shared: bool,
}

impl Rule {
    /// Whether every condition holds.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let event = match &self.event {
            None => true,
            Some(EventName::Is(name)) => **name == *subject.kind,
            Some(EventName::StartsWith(head)) => subject.kind.starts_with(&**head),
        };
        event
            && self.path.as_ref().is_none_or(|head| subject.path.starts_with(&**head))
            && self.dir.is_none_or(|dir| dir == subject.dir)
            && self.op.is_none_or(|op| op == subject.op)
    }

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
            _ => return Err(Problem::Condition(name.to_owned())),
        };
        if twice {
            return Err(Problem::Twice(name.to_owned()));
        }
        if value.is_empty() {
            return Err(Problem::NoValue(name.to_owned()));
        }
        match (name, value) {
            ("path", path) if path.starts_with('/') => self.path = Some(path.into()),
            ("path", path) => return Err(Problem::Path(path.to_owned())),
            ("dir", "up") => self.dir = Some(Direction::Up),
            ("dir", "down") => self.dir = Some(Direction::Down),
            ("dir", other) => return Err(Problem::Direction(other.to_owned())),
            ("op", "text") => self.op = Some(Opcode::Text),
            ("op", "binary") => self.op = Some(Opcode::Binary),
            ("op", other) => return Err(Problem::Opcode(other.to_owned())),
            (_, event) => self.event = Some(EventName::parse(event)),
        }
        Ok(())
    }
}

impl EventName {
    fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(head) => Self::StartsWith(head.into()),
            None => Self::Is(text.into()),
        }
    }
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
                write!(f, "unknown condition {name:?}; expected path, dir, op, event or *")
            }
            Self::NoValue(name) => write!(f, "{name} has no value; expected {name}=VALUE"),
            Self::Twice(name) => write!(f, "{name} is given twice"),
            Self::Path(path) => write!(f, "path {path:?} does not start with /"),
            Self::Direction(word) => write!(f, "direction {word:?}; expected up or down"),
            Self::Opcode(word) => write!(f, "opcode {word:?}; expected text or binary"),
            Self::Action(word) => write!(
                f,
                "unknown action {word:?}; expected critical, high, medium, low, mirror, shared or skip"
            ),
            Self::SkipAndMore => f.write_str("skip goes with no other action"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(path: &'a str, dir: Direction, kind: &'a str) -> Subject<'a> {
        Subject { path, dir, op: Opcode::Text, kind }
    }

    #[test]
    fn conditions_all_hold_and_the_order_of_the_list_decides() {
        let rules = Rule::parse_list(
            "dir=up, event=typing*:skip; path=/health:low;event=user:login:critical+shared;",
        )
        .unwrap();
        let first = |s: Subject<'_>| rules.iter().position(|rule| rule.matches(&s));
        assert_eq!(first(subject("/health", Direction::Up, "typing_stop")), Some(0));
        assert_eq!(first(subject("/healthz", Direction::Down, "typing_stop")), Some(1));
        assert_eq!(first(subject("/", Direction::Down, "user:login")), Some(2));
        assert_eq!(first(subject("/", Direction::Down, "user")), None);
        assert_eq!(rules[2].action, Action { class: Some(Class::Critical), skip: false, shared: true });
        let every = Rule::parse_list("*:medium").unwrap();
        assert!(every[0].matches(&subject("/", Direction::Up, "text")));
    }

    #[test]
    fn errors_say_which_rule_and_what_was_expected() {
        for (text, place, part) in [
            ("event=a", 1, "no action"),
            ("event=a:low;evnt=b:low", 2, "unknown condition \"evnt\""),
            ("event:low", 1, "event=VALUE"),
            ("event=a,event=b:low", 1, "event is given twice"),
            ("event=a:low+high", 1, "class is given twice"),
            ("path=ws:low", 1, "does not start with /"),
            ("dir=left:low", 1, "expected up or down"),
            ("op=ping:low", 1, "expected text or binary"),
            ("event=a:urgent", 1, "unknown action \"urgent\""),
            ("event=a:", 1, "unknown action \"\""),
            ("event=a:skip+low", 1, "no other action"),
        ] {
            let error = Rule::parse_list(text).unwrap_err();
            assert_eq!(error.place, place, "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        assert!(Rule::parse_list(&"*:low;".repeat(RULES_MAX)).is_ok());
        assert!(Rule::parse_list(&"*:low;".repeat(RULES_MAX + 1)).is_err());
    }
}
