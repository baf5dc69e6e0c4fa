//! Both spellings, what they match, and what their errors say.

use super::*;
use crate::mirror::event_type::{Frame, read};

/// A message whose event type is `kind`, or one with a whole payload.
struct Made<'a> {
    path: &'a str,
    subprotocol: Option<&'a str>,
    dir: Direction,
    payload: &'a str,
}

impl Made<'_> {
    fn fits(&self, rule: &Rule) -> bool {
        let payload = self.payload.as_bytes();
        let frame = Frame { path: self.path, subprotocol: self.subprotocol, op: Opcode::Text, payload };
        let reading = read(&frame);
        rule.matches(&Subject {
            path: self.path,
            subprotocol: self.subprotocol,
            dir: self.dir,
            op: Opcode::Text,
            len: payload.len(),
            reading: &reading,
        })
    }

    fn first(&self, rules: &[Rule]) -> Option<usize> {
        rules.iter().position(|rule| self.fits(rule))
    }
}

fn down<'a>(path: &'a str, payload: &'a str) -> Made<'a> {
    Made { path, subprotocol: None, dir: Direction::Down, payload }
}

#[test]
fn conditions_all_hold_and_the_order_of_the_list_decides() {
    let rules = Rule::parse_list(
        "dir=up, event=typing*:skip; path=/health:low;event=user:login:critical+shared;\
         sub=graphql*:high;json=/data/level=3:critical;json=/data/id:medium",
    )
    .unwrap();
    let stop = r#"{"event":"typing_stop"}"#;
    assert_eq!(Made { dir: Direction::Up, ..down("/health", stop) }.first(&rules), Some(0));
    assert_eq!(down("/healthz", stop).first(&rules), Some(1));
    assert_eq!(down("/", r#"{"event":"user:login"}"#).first(&rules), Some(2));
    assert_eq!(down("/", r#"{"event":"user"}"#).first(&rules), None);
    assert_eq!(Made { subprotocol: Some("graphql-ws"), ..down("/", "{}") }.first(&rules), Some(3));
    assert_eq!(down("/", r#"{"data":{"level":3,"id":1}}"#).first(&rules), Some(4));
    assert_eq!(down("/", r#"{"data":{"level":4,"id":1}}"#).first(&rules), Some(5));
    let wanted = Action { class: Some(Class::Critical), shared: true, ..Action::default() };
    assert_eq!(rules[2].action, wanted);
    let every = Rule::parse_list("*:medium").unwrap();
    assert!(down("/", "text").fits(&every[0]));
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
        ("json=data:low", 1, "expected a JSON pointer"),
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

const FILE: &str = r#"
# Alerts first.
[[rule]]
name = "alerts"
path = "/ws/*"
direction = "down"
event = "alert*"
json = { "/data/level" = 3, "/data/source" = "fire*" }
type = "alert.raised"
class = "critical"
shared = true
topic = "alerts:{/data/room}"
id = "/data/id"
table = true

[[rule]]
subprotocol = "mqtt"
opcode = "binary"
size_min = 10
size_max = 1000
mirror = false

[[redact]]
direction = "down"
event = "profile"
pointer = "/user/email"
"#;

#[test]
fn a_file_says_everything() {
    let set = RuleSet::parse_file(FILE).unwrap();
    assert_eq!((set.rules.len(), set.redactions.len()), (2, 1));
    let alert = &set.rules[0];
    assert_eq!(alert.name.as_deref(), Some("alerts"));
    let payload = r#"{"event":"alert","data":{"level":3,"source":"fire-1","id":"a-1","room":"r7"}}"#;
    assert!(down("/ws/eu", payload).fits(alert));
    assert!(!down("/ws/eu/1", payload).fits(alert));
    assert!(!Made { dir: Direction::Up, ..down("/ws/eu", payload) }.fits(alert));
    assert!(!down("/ws/eu", &payload.replace("fire-1", "water")).fits(alert));
    assert!(!down("/ws/eu", &payload.replace(":3", ":4")).fits(alert));
    assert_eq!(alert.action.event_id(payload.as_bytes()).as_deref(), Some("a-1"));
    assert_eq!(alert.action.event_id(br#"{"data":{"id":"a\"b"}}"#), None, "cannot serve as an id");
    let topic = alert.action.topic.as_ref().unwrap();
    assert_eq!(topic.render("alert", "/ws", payload.as_bytes()).as_deref(), Some("alerts:r7"));
    assert_eq!(alert.action.kind.as_deref(), Some("alert.raised"));
    assert!(set.rules[1].action.skip && set.rules[1].size_min == Some(10));
    assert_eq!(RuleSet::parse_file("").unwrap(), RuleSet::default());
}

#[test]
fn every_error_of_a_file_names_its_line_and_key() {
    for (text, line, part) in [
        ("[[rule]]\nevnt = \"a\"", 2, "unknown field `evnt`"),
        ("[[rule]]\nclass = \"urgent\"", 2, "unknown variant `urgent`"),
        ("[[rule]\n", 1, "]"),
        ("[[rule]]\nsize_min = \"1\"", 2, "invalid type"),
        ("[[redact]]\ndirection = \"up\"", 1, "missing field `pointer`"),
        ("\n[[redact]]\npointer = \"user\"", 3, "pointer \"user\""),
        ("[[rule]]\n\npath = \"ws\"", 3, "does not start with /"),
        ("[[rule]]\nevent = \"\"", 2, "event: expected 1 to"),
        ("[[rule]]\nid = \"x\"", 2, "id \"x\""),
        ("[[rule]]\ntopic = \"{user}\"", 2, "{user} is unknown"),
        ("[[rule]]\njson = { \"/a\" = [1] }", 2, "expected a text"),
        ("[[rule]]\ntype = \"a\\nb\"", 2, "type: expected"),
        ("[[rule]]\nsize_min = 2\nsize_max = 1", 1, "above"),
        ("[[rule]]\nmirror = false\nclass = \"low\"", 1, "mirror = false"),
    ] {
        let errors = RuleSet::parse_file(text).unwrap_err();
        let error = &errors.0[0];
        assert!(error.what.contains(part), "{text}: {error}");
        assert_eq!(error.line, line, "{text}: {error}");
    }
    let both = RuleSet::parse_file("[[rule]]\npath = \"a\"\n[[rule]]\nid = \"b\"").unwrap_err();
    assert_eq!(both.0.len(), 2, "{both}");
    let many = "[[rule]]\nclass = \"low\"\n".repeat(RULES_MAX + 1);
    assert!(RuleSet::parse_file(&many).unwrap_err().to_string().contains("more than 256"));
}
