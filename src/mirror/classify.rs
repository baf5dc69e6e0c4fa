//! What a message is and how urgent: event type, then the first rule that matches, then measured frequency.
//! Pure apart from its own table of frequencies; the same call answers `crossfade explain`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::event_type::{EventType, Frame, Reading, read};
use super::frequency::{Decided, Frequencies};
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

/// What a rule says about publishing a message as an event, taken from its bytes as they will be carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Where the event goes, if anywhere.
    pub topic: Option<Arc<str>>,
    /// Its own id.
    pub event_id: Option<Arc<str>>,
    /// Whether it becomes a row; `None` leaves it to its class.
    pub table: Option<bool>,
}

/// Rules and frequencies.
#[derive(Debug, Default)]
pub struct Classifier {
    rules: Vec<Rule>,
    frequencies: Frequencies,
}

impl<'a> Sample<'a> {
    /// What its protocol says about it.
    #[must_use]
    pub fn read(&self) -> Reading<'a> {
        let Self { path, subprotocol, op, payload, .. } = *self;
        read(&Frame { path, subprotocol, op, payload })
    }

    /// What rules look at.
    #[must_use]
    pub const fn subject(&self, reading: &'a Reading<'a>) -> Subject<'a> {
        let Self { path, subprotocol, dir, op, payload } = *self;
        Subject { path, subprotocol, dir, op, len: payload.len(), reading }
    }
}

impl Classifier {
    /// A classifier with these rules, first match first.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, frequencies: Frequencies::default() }
    }

    /// Classifies one message and counts it.
    pub fn classify(&mut self, sample: &Sample<'_>, now: Instant) -> Classified {
        let reading = sample.read();
        let (kind, by_frequency) = self.frequencies.count(&reading.name, sample.payload.len(), now);
        let subject = sample.subject(&reading);
        let place = self.rules.iter().position(|rule| rule.matches(&subject));
        let action = place.and_then(|place| self.rules.get(place)).map(|rule| &rule.action);
        let fate = match action {
            Some(action) if action.skip => Fate::Skip,
            Some(action) => {
                Fate::Mirror { class: action.class.unwrap_or(by_frequency), shared: action.shared }
            }
            None => Fate::Mirror { class: by_frequency, shared: false },
        };
        let rule = place.map(|place| place + 1);
        let by_rule = action.is_some_and(|action| action.skip || action.class.is_some());
        self.frequencies.decided(&kind, Decided { rule, by_rule, fate });
        let kind = action.and_then(|action| action.kind.clone()).unwrap_or(kind);
        Classified { kind, fate, rule }
    }

    /// What the rule of a message says about its event, from the bytes that will be carried: those after redaction.
    #[must_use]
    pub fn marks(&self, classified: &Classified, carried: &Sample<'_>) -> Marks {
        let Some(action) = self.rule(classified).map(|rule| &rule.action) else { return Marks::default() };
        if action.topic.is_none() && action.id.is_none() {
            return Marks { table: action.table, ..Marks::default() };
        }
        let document = carried.read().document;
        let topic = action.topic.as_ref().filter(|topic| action.shared || topic.is_personal());
        Marks {
            topic: topic
                .and_then(|topic| topic.render(&classified.kind, carried.path, document))
                .map(Arc::from),
            event_id: action.event_id(document).map(Arc::from),
            table: action.table,
        }
    }

    /// The topics of events that are the same for every message, each once.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let fixed = |rule: &Rule| Some(rule.action.topic.as_ref()?.fixed()?.to_owned());
        self.rules.iter().filter_map(fixed).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The rule that decided.
    #[must_use]
    pub fn rule(&self, classified: &Classified) -> Option<&Rule> {
        self.rules.get(classified.rule?.checked_sub(1)?)
    }

    /// The table of frequencies.
    #[must_use]
    pub const fn frequencies(&self) -> &Frequencies {
        &self.frequencies
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mirror::rules::RuleSet;
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

    #[test]
    fn a_rule_names_type_topic_and_id_from_the_bytes_as_carried() {
        let file = "[[rule]]\nevent = \"alert\"\ntype = \"fire\"\nshared = true\n\
                    topic = \"alerts:{/room}\"\nid = \"/id\"\ntable = true";
        let mut classifier = Classifier::new(RuleSet::parse_file(file).unwrap().rules);
        let mut marks = |seen: &str, carried: &str| {
            let sample = |payload| Sample {
                path: "/ws",
                subprotocol: None,
                dir: Direction::Down,
                op: Opcode::Text,
                payload,
            };
            let classified = classifier.classify(&sample(seen.as_bytes()), start());
            assert_eq!((&*classified.kind, classified.rule), ("fire", Some(1)));
            classifier.marks(&classified, &sample(carried.as_bytes()))
        };
        let whole = r#"{"event":"alert","room":"r7","id":"a1"}"#;
        let full = Marks { topic: Some("alerts:r7".into()), event_id: Some("a1".into()), table: Some(true) };
        assert_eq!(marks(whole, whole), full);
        let redacted = marks(whole, r#"{"event":"alert","room":"[redacted]","id":"a1"}"#);
        assert_eq!(redacted, Marks { topic: None, ..full });
    }

    #[test]
    fn the_list_of_types_says_how_often_how_large_and_why() {
        let mut classifier = Classifier::new(Rule::parse_list("event=alert:critical+shared").unwrap());
        for i in 0..100u32 {
            let payload = if i % 10 == 0 { &br#"{"event":"alert"}"#[..] } else { br#"{"event":"p"}"# };
            let sample =
                Sample { path: "/ws", subprotocol: None, dir: Direction::Down, op: Opcode::Text, payload };
            classifier.classify(&sample, start() + Duration::from_millis(100) * i);
        }
        let seen = classifier.frequencies().snapshot(start() + Duration::from_secs(10));
        let names: Vec<_> =
            seen.iter().map(|seen| (&*seen.kind, seen.count, seen.bytes, seen.rule)).collect();
        assert_eq!(names, [("p", 90, 90 * 13, None), ("alert", 10, 10 * 17, Some(1))]);
        assert!((8.0..10.0).contains(&seen[0].per_s), "{}", seen[0].per_s);
        assert_eq!(seen[1].fate, Fate::Mirror { class: Class::Critical, shared: true });
    }
}
