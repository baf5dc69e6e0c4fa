//! A rule file proposed from what was seen: one rule for each event type that no rule has decided about, with the
//! figures that speak for it. Text for people to edit, not settings.
//!
//! **Limits.** What the loader takes: [`RULES_MAX`] rules and [`TEXT_BYTES_MAX`] bytes. The most frequent types come first;
//! what does not fit is counted in the last line.

use super::classify::Fate;
use super::frequency::Seen;
use super::rules::RULES_MAX;
use crate::envelope::Class;

/// The text is at most this long, in bytes: below the 64 KiB of a rule file, with room to edit.
pub const TEXT_BYTES_MAX: usize = 60 * 1024;
/// Kept free for the line that says what was left out.
const LAST_LINE: usize = 128;

/// Words in the names of messages that keep connections alive. Nobody misses them in a mirror.
const KEEPALIVE: [&str; 5] = ["ping", "pong", "heartbeat", "keepalive", "noop"];
/// Words in the names of messages that somebody waits for.
const URGENT: [&str; 6] = ["alert", "alarm", "error", "fail", "critical", "payment"];

/// What is proposed for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// A class, and what speaks for it.
    Class(Class, &'static str),
    /// To leave it out.
    Skip,
}

impl Proposal {
    /// The word for it: a class, or `skip`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class(class, _) => class.as_str(),
            Self::Skip => "skip",
        }
    }
}

/// What is proposed for an event type; nothing where a rule decides already.
#[must_use]
pub fn proposal(seen: &Seen) -> Option<Proposal> {
    if seen.rule.is_some() {
        return None;
    }
    let name = seen.kind.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&KEEPALIVE) {
        return Some(Proposal::Skip);
    }
    Some(match (seen.fate, has(&URGENT)) {
        (_, true) => Proposal::Class(Class::Critical, "by its name"),
        (Fate::Mirror { .. } | Fate::Skip, false) => Proposal::Class(seen.measured, "by its rate"),
    })
}

/// A rule file for `CROSSFADE_CLASSIFY=@/path`. It always parses.
#[must_use]
pub fn proposed_rules(seen: &[Seen]) -> String {
    let total: u64 = seen.iter().map(|seen| seen.count).sum();
    let decided: u64 = seen.iter().filter(|seen| seen.rule.is_some()).map(|seen| seen.count).sum();
    let mut out = String::from(
        "# Proposed by crossfade from the traffic of one pod. Read it before you use it:\n\
         # the first rule that matches wins, and a class says what is given up when buffers fill.\n\
         # Rules that decide already are named, not repeated: keep them above these.\n",
    );
    push_line(
        &mut out,
        &format!("# {} event types, {total} messages, {decided} of them decided by rules.", seen.len()),
    );
    let (mut rules, mut left_out) = (0, 0usize);
    for seen in seen {
        let text = propose(seen);
        let a_rule = usize::from(seen.rule.is_none());
        if rules + a_rule > RULES_MAX || out.len() + text.len() + LAST_LINE > TEXT_BYTES_MAX {
            left_out += 1;
            continue;
        }
        rules += a_rule;
        out += &text;
    }
    if left_out > 0 {
        push_line(&mut out, &format!("\n# {left_out} more event types did not fit."));
    }
    out
}

fn propose(seen: &Seen) -> String {
    let mut out = String::new();
    let figures = format!(
        "{:.1}/s lately, {} messages, {} bytes on average",
        seen.per_s,
        seen.count,
        seen.bytes / seen.count.max(1)
    );
    let (rule, name) = (seen.rule.unwrap_or_default(), quoted(&seen.kind));
    let Some(proposal) = proposal(seen) else {
        push_line(&mut out, &format!("\n# {name}: rule {rule} decides ({figures})"));
        return out;
    };
    push_line(&mut out, &format!("\n# {figures}\n[[rule]]"));
    if matches!(&*seen.kind, "text" | "binary") {
        out.push_str("# no reader found a name in it: narrow it by path, subprotocol or size\n");
    }
    if seen.kind.contains('*') {
        out.push_str("# * stands for anything here: look whether this takes in more than it should\n");
    }
    push_line(&mut out, &format!("event = {name}"));
    match proposal {
        Proposal::Skip => out.push_str("mirror = false  # keeps connections alive, says nothing\n"),
        Proposal::Class(class, why) => {
            push_line(&mut out, &format!("class = {}  # {why}", quoted(class.as_str())));
        }
    }
    out
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// JSON's escapes are a part of TOML's, and a name has no control characters.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mirror::classify::{Classifier, Sample};
    use crate::mirror::frequency::TYPES_MAX;
    use crate::mirror::rules::{Rule, RuleSet};
    use crate::mirror::tests::start;
    use crate::session::{Direction, Opcode};

    #[test]
    fn the_proposal_parses_and_decides_about_everything_that_was_seen() {
        let payloads = [
            r#"{"event":"price \"x\\y"}"#,
            r#"{"type":"fire_alert"}"#,
            r#"42["ping2",1]"#,
            "MESSAGE\ndestination:/topic/room.4711\n\n\0",
            r#"{"event":"known"}"#,
            "plain",
        ];
        let sample = |payload: &'static str| Sample {
            path: "/ws",
            subprotocol: None,
            dir: Direction::Down,
            op: Opcode::Text,
            payload: payload.as_bytes(),
        };
        let mut classifier = Classifier::new(Rule::parse_list("event=known:low").unwrap());
        for i in 0..300u32 {
            let at = start() + Duration::from_millis(5) * i;
            classifier.classify(&sample(payloads[if i % 10 < 5 { 0 } else { i as usize % 10 - 4 }]), at);
        }
        let text = proposed_rules(&classifier.frequencies().snapshot(start() + Duration::from_secs(2)));
        let rules = RuleSet::parse_file(&text).unwrap_or_else(|error| panic!("{error}\n{text}")).rules;
        assert!(
            text.contains("\"known\": rule 1 decides") && text.contains("6 event types, 300 messages, 30"),
            "{text}"
        );
        let mut proposed = Classifier::new(rules);
        let mut fate = |payload| {
            let classified = proposed.classify(&sample(payload), start());
            assert!(classified.rule.is_some() || payload.contains("known"), "{payload}\n{text}");
            classified.fate
        };
        let mirror = |class| Fate::Mirror { class, shared: false };
        assert_eq!(
            payloads.map(&mut fate),
            [
                mirror(Class::High),
                mirror(Class::Critical),
                Fate::Skip,
                mirror(Class::Medium),
                mirror(Class::Medium),
                mirror(Class::Medium)
            ]
        );
    }

    #[test]
    fn a_full_table_of_long_names_is_a_file_that_the_loader_takes() {
        let mut classifier = Classifier::default();
        let names: Vec<String> = (0..TYPES_MAX + 9).map(|i| format!("{i:04}{}", "\\\"".repeat(30))).collect();
        for name in &names {
            let payload = serde_json::json!({ "event": name }).to_string();
            let (op, payload) = (Opcode::Text, payload.as_bytes());
            let sample = Sample { path: "/", subprotocol: None, dir: Direction::Down, op, payload };
            classifier.classify(&sample, start());
        }
        let seen = classifier.frequencies().snapshot(start());
        assert_eq!(seen.len(), TYPES_MAX);
        let text = proposed_rules(&seen);
        assert!(text.len() <= TEXT_BYTES_MAX, "{}", text.len());
        let rules = RuleSet::parse_file(&text).unwrap_or_else(|error| panic!("{error}")).rules;
        let left_out = TYPES_MAX - rules.len();
        assert!(
            rules.len() > 200 && text.ends_with(&format!("# {left_out} more event types did not fit.\n"))
        );
    }
}
