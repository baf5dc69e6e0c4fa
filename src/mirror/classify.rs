//! What a message is and how urgent: event type, then the first rule that matches, then measured frequency.
//! Pure apart from its own table of frequencies; the same call answers `crossfade explain`.

use std::time::Instant;

use super::event_type::{EventType, Frame, read};
use super::frequency::Frequencies;
use super::rules::{Rule, Subject};
use crate::envelope::Class;
use crate::session::{Direction, Opcode};

/// A message to classify.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Route of the session: path without query.
    pub path: &'a str,
    /// The subprotocol that the service has chosen.
    pub subprotocol: Option<&'a str>,
    /// Which way it goes.
    pub dir: Direction,
    /// Its opcode.
    pub op: Opcode,
    /// Its bytes as captured.
    pub payload: &'a [u8],
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The event type.
    pub kind: EventType,
    /// What is done with it.
    pub fate: Fate,
    /// The rule that decided, from 1; `None` = the default.
    pub rule: Option<usize>,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Mirrored with this class; `shared` ones may also go to foreign consumers.
    Mirror {
        /// How urgent.
        class: Class,
        /// Whether a rule marked it shared.
        shared: bool,
    },
    /// Left out by rule. A hot session passes it `direct(skipped)`.
    Skip,
}

/// Rules and frequencies.
#[derive(Debug, Default)]
pub struct Classifier {
    rules: Vec<Rule>,
    frequencies: Frequencies,
}

impl Classifier {
    /// A classifier with these rules, first match first.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, frequencies: Frequencies::default() }
    }

    /// Classifies one message and counts it.
    pub fn classify(&mut self, sample: &Sample<'_>, now: Instant) -> Classified {
        let name = read(&Frame {
            path: sample.path,
            subprotocol: sample.subprotocol,
            op: sample.op,
            payload: sample.payload,
        });
        let (kind, by_frequency) = self.frequencies.count(&name.name, now);
        let subject = Subject { path: sample.path, dir: sample.dir, op: sample.op, kind: &kind };
        let place = self.rules.iter().position(|rule| rule.matches(&subject));
        let action =
            place.and_then(|place| self.rules.get(place)).map(|rule| rule.action).unwrap_or_default();
        let fate = if action.skip {
            Fate::Skip
        } else {
            Fate::Mirror { class: action.class.unwrap_or(by_frequency), shared: action.shared }
        };
        Classified { kind, fate, rule: place.map(|place| place + 1) }
    }

    /// The table of frequencies.
    #[must_use]
    pub const fn frequencies(&self) -> &Frequencies {
        &self.frequencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::tests::start;

    fn classify(rules: &str, payload: &str) -> Classified {
        let mut classifier = Classifier::new(Rule::parse_list(rules).unwrap());
        let payload = payload.as_bytes();
        classifier.classify(
            &Sample { path: "/ws", subprotocol: None, dir: Direction::Down, op: Opcode::Text, payload },
            start(),
        )
    }

    #[test]
    fn rules_come_before_frequency() {
        let rules = "event=alert:critical;event=price:shared;event=debug:skip";
        let alert = classify(rules, r#"{"event":"alert"}"#);
        assert_eq!((&*alert.kind, alert.rule), ("alert", Some(1)));
        assert_eq!(alert.fate, Fate::Mirror { class: Class::Critical, shared: false });
        let price = classify(rules, r#"{"type":"price"}"#);
        assert_eq!(price.fate, Fate::Mirror { class: Class::Medium, shared: true });
        assert_eq!(classify(rules, r#"{"type":"debug"}"#).fate, Fate::Skip);
        let other = classify(rules, "hello");
        assert_eq!((&*other.kind, other.rule), ("text", None));
        assert_eq!(other.fate, Fate::Mirror { class: Class::Medium, shared: false });
    }
}
