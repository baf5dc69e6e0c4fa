//! Comparing what was heard with what was recorded; the rules stand in the harness's essay.

use super::manifest::Entry;
use super::recording::Line;
use super::world::{HTTP, Heard, What};
use base64::Engine as _;
use std::collections::{BTreeMap, HashMap};

/// Compares per connection; returns the number of recorded lines that were matched.
pub fn sequences(entry: &Entry, lines: &[Line], heard: &[Heard]) -> Result<usize, String> {
    let mut recorded: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.server() && !entry.skips(line.number)) {
        if !entry.closes_only || line.kind == "close" {
            let name = if line.conn.is_empty() { HTTP } else { &line.conn };
            recorded.entry(name).or_default().push(line);
        }
    }
    let mut said: BTreeMap<&str, Vec<&Heard>> = BTreeMap::new();
    for heard in heard.iter().filter(|heard| !entry.closes_only || matches!(heard.what, What::Close(_))) {
        said.entry(&heard.conn).or_default().push(heard);
    }
    for (name, wanted) in &entry.frames {
        let frames =
            |heard: &&Heard| heard.conn == *name && matches!(heard.what, What::Text(_) | What::Binary(_));
        let counted = heard.iter().filter(frames).count();
        if counted != *wanted {
            return Err(format!("{name} heard {counted} frames instead of {wanted}"));
        }
    }
    let mut values = Values::default();
    let mut compared = 0;
    for (name, lines) in &recorded {
        let said = said.remove(name).unwrap_or_default();
        compared += one(entry, lines, said, &mut values)?;
    }
    match said.iter().find_map(|(name, said)| said.first().map(|first| (name, first))) {
        Some((name, first)) => {
            Err(format!("{name} heard at {:.0} ms what nobody recorded: {}", first.at_ms, show(&first.what)))
        }
        None => Ok(compared),
    }
}

fn one(entry: &Entry, lines: &[&Line], mut said: Vec<&Heard>, values: &mut Values) -> Result<usize, String> {
    for (index, line) in lines.iter().enumerate() {
        let Some(first) = said.get(index) else {
            return Err(format!(
                "line {}: never came; {} heard {} lines",
                line.number,
                line.conn,
                said.len()
            ));
        };
        let mut difference = values.differs(line, &first.what);
        if let (Some(_), Some(last)) = (&difference, entry.moment(line.number)) {
            let rest = lines.iter().skip(index).take_while(|line| line.number <= last).count();
            let mut others = (index + 1)..said.len().min(index + rest);
            let found = others.find(|other| values.differs(line, &said[*other].what).is_none());
            if let Some(found) = found {
                difference = None;
                said[index..=found].rotate_right(1);
            }
        }
        let Some(first) = said.get(index) else { continue };
        let diff =
            |heard: &&Heard| matches!(&heard.what, What::Text(text) if text.contains("\"presence_diff\""));
        if let (Some(_), Some(second)) = (&difference, said.get(index + 1))
            && (diff(first) || diff(second))
            && values.differs(line, &second.what).is_none()
        {
            difference = None;
            said.swap(index, index + 1);
        }
        if let Some(difference) = difference {
            return Err(format!("line {}: {difference}", line.number));
        }
        let late = said.get(index).map_or(0.0, |heard| heard.at_ms - line.t_ms);
        if late.abs() > entry.tolerance_ms {
            return Err(format!("line {}: {late:+.0} ms apart from the recorded time", line.number));
        }
    }
    match said.get(lines.len()) {
        Some(extra) => Err(format!(
            "{} heard at {:.0} ms one line too many: {}",
            extra.conn,
            extra.at_ms,
            show(&extra.what)
        )),
        None => Ok(lines.len()),
    }
}

fn show(what: &What) -> String {
    format!("{what:?}").chars().take(300).collect()
}

/// Made-up values: each recorded one stands for exactly one of ours.
#[derive(Default)]
struct Values {
    ours: HashMap<String, String>,
    recorded: HashMap<String, String>,
}

impl Values {
    /// The difference, if there is one.
    fn differs(&mut self, line: &Line, what: &What) -> Option<String> {
        let same = match (line.kind.as_str(), what) {
            ("text", What::Text(text)) if line.truncated => truncated(line, text),
            ("text", What::Text(text)) => self.text(line.text.as_deref().unwrap_or_default(), text),
            ("binary", What::Binary(bytes)) => {
                base64::engine::general_purpose::STANDARD
                    .decode(line.base64.as_deref().unwrap_or_default())
                    .ok()?
                    == *bytes
            }
            ("close", What::Close(code)) => line.code == Some(*code),
            ("http", What::Upgraded) => line.status == Some(101),
            ("http", What::Http(answer)) => {
                let header = |name: &str| line.headers.get(name).and_then(Option::as_deref);
                let of = |name: &str| {
                    answer.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
                };
                line.status == Some(answer.status)
                    && line.body.as_deref() == Some(answer.body.as_str())
                    && (header("content-type").is_none() || header("content-type") == answer.content_type)
                    && header("content-length").is_none_or(|length| length == answer.body.len().to_string())
                    && (line.headers.is_empty()
                        || line.status == Some(403) && answer.body.is_empty()
                        || header("x-rate-limit") == of("x-rate-limit"))
                    && header("access-control-allow-origin") == of("access-control-allow-origin")
            }
            _ => false,
        };
        (!same).then(|| {
            let recorded =
                line.text.clone().or(line.base64.clone()).or(line.body.clone()).unwrap_or_default();
            let recorded: String = recorded.chars().take(300).collect();
            let (status, code) = (line.status.unwrap_or(0), line.code.unwrap_or(0));
            format!("recorded {} {status} {code} {recorded:?}, heard {}", line.kind, show(what))
        })
    }

    fn text(&mut self, recorded: &str, ours: &str) -> bool {
        if recorded == ours {
            return true;
        }
        let (left, right) = (made_up(recorded), made_up(ours));
        if left.0 != right.0 || left.1.len() != right.1.len() {
            return false;
        }
        let pairs: Vec<(String, String)> = left.1.into_iter().zip(right.1).collect();
        let fits = pairs.iter().all(|(recorded, ours)| {
            self.ours.get(recorded).is_none_or(|known| known == ours)
                && self.recorded.get(ours).is_none_or(|known| known == recorded)
        });
        if fits {
            for (recorded, ours) in pairs {
                self.ours.insert(recorded.clone(), ours.clone());
                self.recorded.insert(ours, recorded);
            }
        }
        fits
    }
}

fn truncated(line: &Line, text: &str) -> bool {
    let cut = line.text.as_deref().unwrap_or_default();
    let Some((start, end)) = cut.split_once('…') else { return false };
    text.starts_with(start) && text.ends_with(end) && line.bytes == Some(text.len())
}

/// The text with its made-up values taken out, and those values.
fn made_up(text: &str) -> (String, Vec<String>) {
    let (mut rest, mut frame, mut found) = (text, String::new(), Vec::new());
    'next: while let Some(letter) = rest.chars().next() {
        for marker in ["\"phx_ref\":\"", "\"phx_ref_prev\":\""] {
            if let Some(value) = rest.strip_prefix(marker) {
                let end = value.find('"').unwrap_or(value.len());
                frame.push_str(marker);
                found.push(value[..end].to_owned());
                rest = &value[end..];
                continue 'next;
            }
        }
        if let Some(value) = rest.strip_prefix("{\"id\":") {
            let end = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
            if end > 0 {
                frame.push_str("{\"id\":");
                found.push(value[..end].to_owned());
                rest = &value[end..];
                continue 'next;
            }
        }
        if let Some(ids) = rest.strip_prefix("\"ids\":[") {
            let end = ids.find(']').unwrap_or(ids.len());
            frame.push_str("\"ids\":[");
            found.extend(ids[..end].split(',').map(str::to_owned));
            rest = &ids[end..];
            continue;
        }
        if let Some(length) = time_of_day(rest) {
            frame.push_str("TIME");
            // With the zone: a row's own time and its commit's are written differently and need not be the same.
            found.push(rest.get(..=length).unwrap_or(rest).to_owned());
            rest = &rest[length..];
            continue;
        }
        if let Some(uuid) = rest.get(..36).filter(|text| is_uuid(text) && !text.starts_with(GIVEN)) {
            frame.push_str("UUID");
            found.push(uuid.to_owned());
            rest = &rest[36..];
            continue;
        }
        frame.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    (frame, found)
}

/// Length of a time of the recordings' day, the virtual clock's too: such a time was made up by a database.
fn time_of_day(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("2026-11-21T")?;
    let length = rest.find(|letter: char| !letter.is_ascii_digit() && letter != ':' && letter != '.')?;
    (length >= "00:00:00".len()).then_some("2026-11-21T".len() + length)
}

/// The recorder's own ids begin so; they were given, not made up.
const GIVEN: &str = "00000000-";

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(at, letter)| match at {
            8 | 13 | 18 | 23 => letter == '-',
            _ => letter.is_ascii_hexdigit(),
        })
}
