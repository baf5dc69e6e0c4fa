//! The rule file: TOML with a table for each rule. Errors name the line and the key, all of them at once.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::{Action, Glob, PATTERN_BYTES_MAX, Pointer, RULES_MAX, Redaction, Rule, RuleSet, Topic};
use crate::envelope::Class;
use crate::mirror::event_type::{EventType, NAME_BYTES_MAX};
use crate::session::{Direction, Opcode};

/// One thing that is wrong with a rule file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FileError {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong; begins with the key where one is to blame.
    pub what: String,
}

/// Everything that is wrong with a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileErrors(pub Vec<FileError>);

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if place > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<RuleTable>>,
    #[serde(default)]
    redact: Vec<Spanned<RedactTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    name: Option<String>,
    path: Option<Spanned<String>>,
    subprotocol: Option<Spanned<String>>,
    direction: Option<Direction>,
    opcode: Option<Opcode>,
    event: Option<Spanned<String>>,
    size_min: Option<usize>,
    size_max: Option<usize>,
    #[serde(default)]
    json: BTreeMap<Spanned<String>, Spanned<Value>>,
    #[serde(rename = "type")]
    kind: Option<Spanned<String>>,
    class: Option<Class>,
    mirror: Option<bool>,
    #[serde(default)]
    shared: bool,
    topic: Option<Spanned<String>>,
    id: Option<Spanned<String>>,
    table: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedactTable {
    direction: Option<Direction>,
    path: Option<Spanned<String>>,
    event: Option<Spanned<String>>,
    pointer: Spanned<String>,
}

impl RuleSet {
    /// Reads a rule file.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line. Syntax and unknown keys stop at the first.
    pub fn parse_file(text: &str) -> Result<Self, FileErrors> {
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            FileErrors(vec![FileError { line: line_of(text, at), what: one_line(error.message()) }])
        })?;
        let mut check = Check { text, errors: Vec::new() };
        if file.rule.len() > RULES_MAX || file.redact.len() > RULES_MAX {
            check.fail(0, format!("more than {RULES_MAX} rules"));
        }
        let set = Self {
            rules: file.rule.into_iter().map(|rule| check.rule(rule)).collect(),
            redactions: file.redact.into_iter().filter_map(|table| check.redaction(table)).collect(),
        };
        if check.errors.is_empty() { Ok(set) } else { Err(FileErrors(check.errors)) }
    }
}

/// What was wrong so far.
struct Check<'a> {
    text: &'a str,
    errors: Vec<FileError>,
}

impl Check<'_> {
    fn fail(&mut self, at: usize, what: String) {
        let line = line_of(self.text, at);
        self.errors.push(FileError { line, what });
    }

    fn rule(&mut self, table: Spanned<RuleTable>) -> Rule {
        let at = table.span().start;
        let table = table.into_inner();
        let skip = table.mirror == Some(false);
        let decides = table.shared || table.class.is_some() || table.topic.is_some() || table.table.is_some();
        if skip && decides {
            self.fail(at, "mirror = false goes with no class, shared, topic or table".to_owned());
        }
        if let (Some(min), Some(max)) = (table.size_min, table.size_max)
            && min > max
        {
            self.fail(at, format!("size_min {min} is above size_max {max}"));
        }
        let json = table.json.into_iter().filter_map(|(pointer, value)| self.test(pointer, value)).collect();
        let action = Action {
            kind: self.kind(table.kind),
            class: table.class,
            skip,
            shared: table.shared,
            topic: table.topic.and_then(|topic| self.topic(&topic)),
            id: table.id.and_then(|id| self.pointer("id", &id)),
            table: table.table,
        };
        Rule {
            name: table.name.map(String::into_boxed_str),
            path: self.path(table.path),
            subprotocol: self.name("subprotocol", table.subprotocol),
            dir: table.direction,
            op: table.opcode,
            event: self.name("event", table.event),
            size_min: table.size_min,
            size_max: table.size_max,
            json,
            action,
        }
    }

    fn redaction(&mut self, table: Spanned<RedactTable>) -> Option<Redaction> {
        let table = table.into_inner();
        let (path, event) = (self.path(table.path), self.name("event", table.event));
        let pointer = self.pointer("pointer", &table.pointer)?;
        Some(Redaction { dir: table.direction, path, event, pointer })
    }

    fn path(&mut self, path: Option<Spanned<String>>) -> Option<Glob> {
        let path = path?;
        if !path.get_ref().starts_with(['/', '*']) {
            self.fail(path.span().start, format!("path {:?} does not start with /", path.get_ref()));
        }
        self.bounded("path", &path).then(|| Glob::path(path.get_ref()))
    }

    fn name(&mut self, key: &str, name: Option<Spanned<String>>) -> Option<Glob> {
        let name = name?;
        self.bounded(key, &name).then(|| Glob::name(name.get_ref()))
    }

    fn test(&mut self, pointer: Spanned<String>, value: Spanned<Value>) -> Option<(Pointer, Glob)> {
        let at = value.span().start;
        let text = match value.into_inner() {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Float(number) => number.to_string(),
            _ => {
                self.fail(
                    at,
                    format!("json.{:?}: expected a text, a number, true or false", pointer.get_ref()),
                );
                return None;
            }
        };
        Some((self.pointer("json", &pointer)?, Glob::name(&text)))
    }

    fn pointer(&mut self, key: &str, text: &Spanned<String>) -> Option<Pointer> {
        let pointer = Pointer::parse(text.get_ref());
        if pointer.is_none() {
            let example = "expected a JSON pointer such as /data/id";
            self.fail(text.span().start, format!("{key} {:?}: {example}", text.get_ref()));
        }
        pointer
    }

    fn topic(&mut self, text: &Spanned<String>) -> Option<Topic> {
        Topic::parse(text.get_ref())
            .map_err(|what| self.fail(text.span().start, format!("topic {:?} {what}", text.get_ref())))
            .ok()
    }

    fn kind(&mut self, kind: Option<Spanned<String>>) -> Option<EventType> {
        let kind = kind?;
        let name = kind.get_ref();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            self.fail(kind.span().start, format!("type: expected 1 to {NAME_BYTES_MAX} bytes of plain text"));
        }
        Some(EventType::new(name))
    }

    fn bounded(&mut self, key: &str, text: &Spanned<String>) -> bool {
        let fits = (1..=PATTERN_BYTES_MAX).contains(&text.get_ref().len());
        if !fits {
            self.fail(text.span().start, format!("{key}: expected 1 to {PATTERN_BYTES_MAX} bytes"));
        }
        fits
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
