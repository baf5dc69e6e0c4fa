//! The log's page against the code: every line that a release writes at `info` and above, with its fields, so that a
//! renamed field is a visible change. `BLESS=1 cargo test --test logs` rewrites docs/logs.md.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LEVELS: [&str; 3] = ["error", "warn", "info"];
/// What every line has beside its own fields, and no line may call its own.
const COMMON: [&str; 5] = ["timestamp", "level", "target", "message", "span"];

/// One line that is written somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    message: String,
    room: String,
    fields: Vec<String>,
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            found.push(path);
        }
    }
}

/// The arguments of a macro whose text begins behind its opening parenthesis, split at the commas of the top level.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let mut found = vec![String::new()];
    for c in text.chars() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                '"' => quoted = true,
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.push(String::new());
                    continue;
                }
                _ => {}
            }
        }
        found.last_mut().unwrap().push(c);
    }
    found.into_iter().map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// A string literal as it is printed: a backslash at the end of a line and the indentation after it are not in it.
fn literal(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut parts = inner.split("\\\n");
    let mut whole = parts.next()?.to_owned();
    whole.extend(parts.map(|part| part.trim_start().to_owned()));
    Some(whole.replace("\\\"", "\""))
}

/// What is written there: message and names of fields.
fn line(text: &str, room: &str) -> Line {
    let all = arguments(text);
    let at = all.iter().position(|one| one.starts_with('"'));
    assert!(at.is_some(), "{room}: a line without a literal message: {all:?}");
    let at = at.unwrap();
    let name = |one: &String| {
        let name = one.split('=').next().unwrap().trim().trim_start_matches(['%', '?']);
        name.rsplit("self.").next().unwrap().to_owned()
    };
    let fields = all[..at].iter().filter(|one| !one.starts_with("target:")).map(name).collect();
    Line { message: literal(&all[at]).unwrap(), room: room.to_owned(), fields }
}

fn lines() -> BTreeMap<&'static str, BTreeSet<Line>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    sources(&root.join("src"), &mut paths);
    let mut found: BTreeMap<&str, BTreeSet<Line>> = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let inside = path.strip_prefix(root.join("src")).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        for level in LEVELS {
            for part in text.split(&format!("tracing::{level}!(")).skip(1) {
                found.entry(level).or_default().insert(line(part, &room));
            }
        }
    }
    found
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (level, what) in LEVELS.into_iter().zip(MEANINGS) {
        page += &format!("\n## {level}\n\n{what}\n\n| message | fields | room |\n| --- | --- | --- |\n");
        for line in &lines()[level] {
            let fields: Vec<String> = line.fields.iter().map(|field| format!("`{field}`")).collect();
            let message = line.message.replace('|', "\\|");
            page += &format!("| {message} | {} | {} |\n", fields.join(" "), line.room);
        }
    }
    page
}

const MEANINGS: [&str; 3] = [
    "Something cannot do its work, or a promise is broken. Worth an alert.",
    "Something went wrong and was dealt with, or waits for a person.",
    "What happened, once for each session or each change.",
];

const HEAD: &str = "# The log

<!-- Written by `BLESS=1 cargo test --test logs` from the code. -->

One line for each event on standard error, JSON by default (`CROSSFADE_LOG_FORMAT`), from `info` on (`CROSSFADE_LOG`; a filter
such as `info,crossfade::proxy=debug` tells more of one room).

```json
{\"timestamp\":\"2026-11-22T05:01:07.578080Z\",\"level\":\"INFO\",\"message\":\"session opened\",\"session\":\"d693734c503f35a640088745771f8b08\",\"lane\":\"legacy\",\"reason\":\"no_key\",\"target\":\"crossfade::proxy::connection\"}
```

Every line has `timestamp` (RFC 3339, UTC), `level`, `target` (the module) and `message`; its own fields, named below, stand
beside them, flat. A field that has no value is left out. `session` is the session's id everywhere, `trace_id` and `span_id` are
those of W3C trace context ([tracing](tracing.md)), times end in `_ms`, sizes are bytes. Words in braces vary. Messages and fields
are kept from release to release; what changes is in the [changelog](../CHANGELOG.md).

No line has a payload, a key, a token, a query or a webhook's URL in it. A place in the code speaks twenty times in ten seconds
at most; what is swallowed is counted in `crossfade_log_suppressed_total`. A reader of the log that stalls costs lines
(`crossfade_log_lost_total`), never a session. Lines at `debug` are for developers and not listed.
";

#[test]
fn the_page_lists_every_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md");
    let page = page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        current == page,
        "docs/logs.md is not what the code says; BLESS=1 cargo test --test logs rewrites it"
    );
}

#[test]
fn fields_are_named_alike_and_take_no_name_that_every_line_has() {
    let all = lines();
    assert!(all.values().map(BTreeSet::len).sum::<usize>() > 100, "the lines are not found any more");
    let named = all.values().flatten().flat_map(|line| line.fields.iter().map(move |field| (field, line)));
    for (field, line) in named {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(!field.is_empty() && field.chars().all(letters), "{field:?} of {line:?}");
        assert!(!COMMON.contains(&field.as_str()), "{field:?} of {line:?} stands on every line");
        assert!(!["session_id", "sid", "err"].contains(&field.as_str()), "{field:?} has a name: {line:?}");
    }
}

#[test]
fn a_line_is_read_as_meant() {
    let text = "%error, took_ms = since(now, \"a, b\").as_millis(), ?phase, self.name, \"gone, \\\n    and back\"); next()";
    let wanted = ["error", "took_ms", "phase", "name"].map(str::to_owned).to_vec();
    let message = "gone, and back".to_owned();
    assert_eq!(line(text, "app"), Line { message, room: "app".to_owned(), fields: wanted });
}
