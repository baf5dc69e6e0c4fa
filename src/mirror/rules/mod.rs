//! Rules that say what a message is and what becomes of it: read once, held against each message, first match wins.
//!
//! **Problem.** Only the operator knows that `42["alert",…]` must arrive first, that `/health` does not matter, that a
//! price means the same to everybody and that `/user/email` is nobody's business. A handful of such rules fits into
//! a variable; a real service has dozens, which want names, comments and line numbers in errors.
//!
//! **Decision.** One model ([`RuleSet`]) with two spellings, both of `CROSSFADE_CLASSIFY`: the short form in the
//! variable itself ([`RuleSet::parse_short`]), and a TOML file named by `@/path` ([`RuleSet::parse_file`]), which can say everything.
//! Conditions of a rule must all hold; what a rule leaves open is decided as without it (the class by measured
//! frequency, the type by the message's own protocol). Redaction rules are not part of the first match: each that
//! fits is applied.
//!
//! * **Paths** without `*` match every path that starts so; with it the whole path: `*` within a segment, `**` across.
//! * **Names** (events, subprotocols, texts of JSON values): exact, or `*` for anything.
//! * **JSON pointers** (RFC 6901) count from the message without its framing; `*` stands for every key or index.
//! * **Topics** (for the `events` format): text with `{type}`, `{path}` and `{/pointer}`. A value that is not of
//!   `A-Z a-z 0-9 _ . @ -` (at most 64) makes no topic: a client's text must not reach into topics of others.
//!
//! **Limits.** [`RULES_MAX`] rules, [`PATTERN_BYTES_MAX`] bytes in a pattern. A pointer reads the whole message, once per
//! rule that gets as far as its pointer; put cheap conditions beside it. Changing rules needs a restart.

mod file;
pub mod glob;
mod pointer;
mod short;
mod topic;

#[cfg(test)]
mod tests;

use super::event_type::{EventType, Reading};
use crate::envelope::Class;
use crate::session::{Direction, Opcode};

pub use file::{FileError, FileErrors};
pub use glob::Glob;
pub use pointer::{Pointer, Unreadable};
pub use short::{Problem, RuleError};
pub use topic::Topic;

/// More rules than this are a mistake: each message is held against each.
pub const RULES_MAX: usize = 256;
/// Longer patterns are a mistake.
pub const PATTERN_BYTES_MAX: usize = 256;
/// An event's own id is an id up to this length, and without quotes, backslashes and control characters.
pub const EVENT_ID_BYTES_MAX: usize = 64;

/// All rules of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// First match wins.
    pub rules: Vec<Rule>,
    /// Each that fits is applied.
    pub redactions: Vec<Redaction>,
}

impl RuleSet {
    /// Reads the short form.
    ///
    /// # Errors
    /// [`RuleError`] with the place, the rule as written and what was expected.
    pub fn parse_short(text: &str) -> Result<Self, RuleError> {
        Ok(Self { rules: Rule::parse_list(text)?, redactions: Vec::new() })
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Route of the session: path without query.
    pub path: &'a str,
    /// The subprotocol that the service has chosen.
    pub subprotocol: Option<&'a str>,
    /// Which way the message goes.
    pub dir: Direction,
    /// Its opcode.
    pub op: Opcode,
    /// Its length, in bytes.
    pub len: usize,
    /// Its event type and the document inside.
    pub reading: &'a Reading<'a>,
}

/// Conditions that must all hold, and what follows from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What people call it.
    pub name: Option<Box<str>>,
    /// The path fits this.
    pub path: Option<Glob>,
    /// The negotiated subprotocol fits this.
    pub subprotocol: Option<Glob>,
    /// It goes this way.
    pub dir: Option<Direction>,
    /// It has this opcode.
    pub op: Option<Opcode>,
    /// Its event type fits this.
    pub event: Option<Glob>,
    /// It has at least so many bytes.
    pub size_min: Option<usize>,
    /// It has at most so many bytes.
    pub size_max: Option<usize>,
    /// Each pointer leads to a value that fits.
    pub json: Vec<(Pointer, Glob)>,
    /// What follows.
    pub action: Action,
}

/// What a rule decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// The event type, instead of the protocol's own name.
    pub kind: Option<EventType>,
    /// The class; `None` leaves it to the measured frequency.
    pub class: Option<Class>,
    /// Not mirrored at all.
    pub skip: bool,
    /// May also be published as a shared event for foreign consumers.
    pub shared: bool,
    /// Where such an event goes.
    pub topic: Option<Topic>,
    /// Where the event's own id stands.
    pub id: Option<Pointer>,
    /// Whether it becomes a row; `None` leaves it to its class.
    pub table: Option<bool>,
}

/// A value that is taken out of messages besides the well-known secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// Only in messages that go this way.
    pub dir: Option<Direction>,
    /// Only in sessions whose path fits.
    pub path: Option<Glob>,
    /// Only in messages of these types.
    pub event: Option<Glob>,
    /// The value.
    pub pointer: Pointer,
}

impl Rule {
    /// Whether every condition holds.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.dir.is_none_or(|dir| dir == subject.dir)
            && self.op.is_none_or(|op| op == subject.op)
            && self.size_min.is_none_or(|min| subject.len >= min)
            && self.size_max.is_none_or(|max| subject.len <= max)
            && self.event.as_ref().is_none_or(|event| event.matches(&subject.reading.name))
            && self.path.as_ref().is_none_or(|path| path.matches(subject.path))
            && self
                .subprotocol
                .as_ref()
                .is_none_or(|wanted| subject.subprotocol.is_some_and(|chosen| wanted.matches(chosen)))
            && self.json.iter().all(|(pointer, value)| {
                pointer.texts(subject.reading.document).iter().any(|text| value.matches(text))
            })
    }
}

impl Redaction {
    /// Whether it applies to a message.
    #[must_use]
    pub fn applies(&self, subject: &Subject<'_>) -> bool {
        self.dir.is_none_or(|dir| dir == subject.dir)
            && self.event.as_ref().is_none_or(|event| event.matches(&subject.reading.name))
            && self.path.as_ref().is_none_or(|path| path.matches(subject.path))
    }
}

impl Action {
    /// The event's own id in a document, if this action says where it stands and it can serve as one.
    #[must_use]
    pub fn event_id(&self, document: &[u8]) -> Option<String> {
        let texts = self.id.as_ref()?.texts(document);
        let fits = |id: &String| {
            let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
            !id.is_empty() && id.len() <= EVENT_ID_BYTES_MAX && id.chars().all(plain)
        };
        texts.into_iter().next().filter(fits)
    }
}
