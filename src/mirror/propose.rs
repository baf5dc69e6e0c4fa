//! A rule file proposed from what was seen: one rule for each event type that no rule has decided about, with the
//! figures that speak for it. Text for people to edit, not settings.

use super::classify::Fate;
use super::frequency::Seen;
use crate::envelope::Class;

/// Words in the names of messages that keep connections alive. Nobody misses them in a mirror.
const KEEPALIVE: [&str; 5] = ["ping", "pong", "heartbeat", "keepalive", "noop"];
/// Words in the names of messages that somebody waits for.
const URGENT: [&str; 6] = ["alert", "alarm", "error", "fail", "critical", "payment"];

/// A rule file for `CROSSFADE_CLASSIFY=@/path`. It always parses.
#[must_use]
pub fn proposed_rules(seen: &[Seen]) -> String {
    let total: u64 = seen.iter().map(|seen| seen.count).sum();
    let decided: u64 = seen.iter().filter(|seen| seen.rule.is_some()).map(|seen| seen.count).sum();
    let mut out =
        String::from("# Proposed by crossfade from the traffic of one pod. Read it before you use it:\n");
    out += "# the first rule that matches wins, and a class says what is given up when buffers fill.\n";
    push_line(
        &mut out,
        &format!("# {} event types, {total} messages, {decided} of them decided by rules.", seen.len()),
    );
    for seen in seen {
        propose(&mut out, seen);
    }
    out
}

fn propose(out: &mut String, seen: &Seen) {
    let figures = format!(
        "{:.1}/s lately, {} messages, {} bytes on average",
        seen.per_s,
        seen.count,
        seen.bytes / seen.count.max(1)
    );
    if let Some(rule) = seen.rule {
        push_line(out, &format!("\n# {}: rule {rule} decides ({figures})", quoted(&seen.kind)));
        return;
    }
    let name = seen.kind.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    push_line(out, &format!("\n# {figures}\n[[rule]]"));
    if matches!(&*seen.kind, "text" | "binary") {
        out.push_str("# no reader found a name in it: narrow it by path, subprotocol or size\n");
    }
    push_line(out, &format!("event = {}", quoted(&seen.kind)));
    if has(&KEEPALIVE) {
        out.push_str("mirror = false  # keeps connections alive, says nothing\n");
        return;
    }
    let (class, why) = match (seen.fate, has(&URGENT)) {
        (_, true) => (Class::Critical, "by its name"),
        (Fate::Mirror { .. } | Fate::Skip, false) => (seen.measured, "by its rate"),
    };
    push_line(out, &format!("class = {}  # {why}", quoted(class.as_str())));
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
}
