//! House rules that a machine can check. Each test names the rule, why it exists, and every place that breaks it.
//!
//! Functions of more than 70 lines and more than 5 arguments are clippy's to refuse (`.clippy.toml`); what is
//! here is what no lint knows: which files may touch the world, which rooms may know each other, how long a file is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// A file is one screenful of thought: at most this many lines without its tests.
const FILE_LINES_MAX: usize = 400;

/// Files that may touch sockets, files, clocks and tasks. Everything else is pure: time and bytes come in as
/// arguments, so that a test can drive it on a virtual clock. A name ending in `/` covers a folder.
const SHELLS: &[&str] = &[
    "src/main.rs",
    "src/telemetry/",
    "src/app/",
    "src/admin/api/",
    "src/admin/process.rs",
    "src/admin/server.rs",
    "src/cli/ask.rs",
    "src/cli/check.rs",
    "src/cli/run.rs",
    "src/cli/drain.rs",
    "src/cli/drill.rs",
    "src/cli/plan.rs",
    "src/cli/report.rs",
    "src/cli/reconcile/",
    "src/cli/health.rs",
    "src/cli/demo.rs",
    "src/cli/emulator.rs",
    "src/cli/inject.rs",
    "src/cli/replay/",
    "src/cli/spool.rs",
    "src/cli/explain.rs",
    "src/config/strings.rs",
    "src/demo/",
    "src/doctor/shell/",
    "src/emulator/cli.rs",
    "src/emulator/http/",
    "src/emulator/shell.rs",
    "src/emulator/shell/",
    "src/hot/relay.rs",
    "src/inject/server.rs",
    "src/mirror/task.rs",
    "src/proxy/",
    "src/realtime/client.rs",
    "src/realtime/client/",
    "src/spool/disk/",
    "src/tap/",
];

/// What a pure file may not say, outside its tests and comments.
const WORLD: &[&str] = &[
    "tokio::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::net::{Tcp",
    "std::fs",
    "std::env",
    "process::Command",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "getrandom::",
    "rand::",
];

/// Rooms that know only the rooms named here (and `session`, `budget`, `ledger`, which everybody may know).
/// A room that is not listed is wiring and may know everything.
const KNOWS: &[(&str, &[&str])] = &[
    ("session", &[]),
    ("budget", &[]),
    ("ledger", &[]),
    ("config", &[]),
    ("ws", &[]),
    ("envelope", &[]),
    ("breaker", &[]),
    ("cold", &[]),
    ("rollout", &[]),
    ("realtime", &[]),
    ("emulator", &[]),
    ("hot", &["ws"]),
    ("drill", &[]),
    ("spans", &[]),
    ("notice", &[]),
    ("incident", &["breaker"]),
    ("inject", &["config", "proxy"]),
    ("tap", &["ws", "hot"]),
    ("mirror", &["envelope", "tap", "hot"]),
    ("sinks", &["envelope", "realtime"]),
    ("validator", &["envelope", "mirror"]),
    ("spool", &["envelope"]),
    ("proxy", &["ws", "tap", "hot", "rollout", "lane", "spans"]),
    ("admin", &["telemetry"]),
    ("telemetry", &["config"]),
];

/// What everybody may know: names, byte budget, account.
const FOUNDATION: &[&str] = &["session", "budget", "ledger"];

/// An essay says problem, decision and limits; less is a label.
const ESSAY_LINES_MIN: usize = 10;

struct Source {
    /// Only compiled for tests: a module declared under `#[cfg(test)]`.
    is_test: bool,
    /// Relative to the crate, with forward slashes.
    name: String,
    text: String,
}

impl Source {
    /// Paths, without an ending, of the modules that this file declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.name.strip_suffix("mod.rs").or_else(|| self.name.strip_suffix("lib.rs")) {
            Some(folder) => folder.to_owned(),
            None => self.name.trim_end_matches(".rs").to_owned() + "/",
        };
        let beside = self.name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let lines: Vec<&str> = self.text.lines().chain([""]).collect();
        let declared = lines.windows(3).filter(|three| three[0] == "#[cfg(test)]").filter_map(|three| {
            if let Some(path) = three[1].strip_prefix("#[path = \"") {
                return Some(format!("{beside}/{}", path.trim_end_matches("\"]").trim_end_matches(".rs")));
            }
            let (_, module) = three[1].strip_suffix(';')?.split_once("mod ")?;
            Some(format!("{folder}{module}"))
        });
        declared.collect()
    }

    /// The lines before the first inline test module.
    fn body(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let inline = |pair: &[&str]| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        };
        let end = lines.windows(2).position(inline).unwrap_or(lines.len());
        lines.into_iter().take(end).enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The body without comment lines.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.body().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn room(&self) -> &str {
        let path = self.name.trim_start_matches("src/");
        path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
    }

    fn is_shell(&self) -> bool {
        SHELLS
            .iter()
            .any(|shell| self.name == *shell || (shell.ends_with('/') && self.name.starts_with(shell)))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "node_modules", ".cache", "__pycache__"].contains(&name.as_str()) {
                files_under(&path, found);
            }
        } else if name != ".git" {
            found.push(path);
        }
    }
    found.sort();
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files_under(&root().join("src"), &mut paths);
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    let read = |path: PathBuf| Source {
        is_test: false,
        name: name_of(&path),
        text: fs::read_to_string(path).unwrap(),
    };
    let mut all: Vec<Source> = rust.map(read).collect();
    let tests: Vec<String> = all.iter().flat_map(Source::test_modules).collect();
    for source in &mut all {
        source.is_test = tests.iter().any(|module| {
            source
                .name
                .strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
    all
}

fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}\n  {}\n", broken.join("\n  "));
}

#[test]
fn files_are_short() {
    let broken = sources().into_iter().filter(|source| !source.is_test).filter_map(|source| {
        let lines = source.body().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.name))
    });
    none("a file has at most 400 lines without its tests; split it by the state it owns:", broken.collect());
}

#[test]
fn pure_files_do_not_touch_the_world() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !source.is_shell() && !source.is_test) {
        for (number, line) in source.code() {
            broken.extend(
                WORLD
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{}:{number} says {word}", source.name)),
            );
        }
    }
    none("time, bytes and randomness are arguments; only shells (see SHELLS) touch the world:", broken);
}

#[test]
fn rooms_know_only_their_neighbours() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        let room = source.room().to_owned();
        let Some((_, known)) = KNOWS.iter().find(|(name, _)| *name == room) else { continue };
        for (number, line) in source.code() {
            for other in rooms_named(line) {
                let foundation = FOUNDATION.contains(&other) && !FOUNDATION.contains(&room.as_str());
                let below = room == "budget" || room == "ledger";
                let allowed =
                    other == room || known.contains(&other) || foundation || (below && other == "session");
                if !allowed {
                    broken.push(format!("{}:{number} knows {other}", source.name));
                }
            }
        }
    }
    none("the drawing in lib.rs is the law (see KNOWS); peers meet in the wiring:", broken);
}

/// The rooms that a line reaches by `crate::ROOM` or `crate::{ROOM, …}`.
fn rooms_named(line: &str) -> Vec<&str> {
    let word =
        |text: &'_ str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut found = Vec::new();
    for (at, mark) in line.match_indices("crate::") {
        let rest = &line[at + mark.len()..];
        match rest.strip_prefix('{') {
            None => found.push(&rest[..word(rest)]),
            Some(list) => found.extend(list.split([',', '}']).map(|item| {
                let item = item.trim();
                &item[..word(item)]
            })),
        }
    }
    found.retain(|room| !room.is_empty());
    found
}

#[test]
fn a_room_opens_with_an_essay_and_a_leaf_with_a_sentence() {
    let all = sources();
    let mut broken = Vec::new();
    for source in &all {
        let essay = source.text.lines().take_while(|line| line.starts_with("//!")).count();
        let folder = source.name.strip_suffix("mod.rs").filter(|folder| folder.matches('/').count() == 2);
        let is_room = folder
            .is_some_and(|folder| all.iter().filter(|other| other.name.starts_with(folder)).count() > 1);
        if is_room && essay < ESSAY_LINES_MIN {
            broken.push(format!("{}: {essay} lines say neither problem, decision nor limits", source.name));
        }
        if essay == 0 && !source.is_test {
            broken.push(format!("{}: opens without a word", source.name));
        }
    }
    none("a room opens with problem, decision, limits; a leaf with what it is:", broken);
}

#[test]
fn there_are_no_macros_and_no_names_that_say_nothing() {
    let macro_word = ["macro_", "rules!"].concat();
    let mut broken = Vec::new();
    for source in sources() {
        if source.text.contains(&macro_word) {
            broken.push(format!("{}: a macro of our own", source.name));
        }
        let file = source.name.rsplit('/').next().unwrap_or_default();
        if ["utils.rs", "util.rs", "helpers.rs", "helper.rs", "common.rs", "misc.rs"].contains(&file) {
            broken.push(format!("{}: a name that says nothing", source.name));
        }
        for (number, line) in source.code() {
            let named = |word: &str| line.contains(&format!("fn {word}"));
            if named("get_") || line.contains("Manager {") || line.contains("Helper {") {
                broken.push(format!("{}:{number}: name the thing, not its grammar", source.name));
            }
        }
    }
    none("plain functions and words that an operator would say:", broken);
}

#[test]
fn nothing_is_silenced_without_a_reason() {
    let allow = ["#[allow", "("].concat();
    let mut broken = Vec::new();
    for source in sources().into_iter().filter(|source| !source.is_test) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let text = line.trim_start();
            let silent = text.starts_with(&allow) || text.starts_with("#![allow(");
            let expects = text.starts_with("#[expect(") || text.starts_with("#![expect(");
            let reason = lines[at..].iter().take(5).any(|line| line.contains("reason ="));
            if silent || (expects && !reason) {
                broken.push(format!("{}:{}: {text}", source.name, at + 1));
            }
        }
    }
    none("a lint is switched off by #[expect(.., reason = \"..\")] on the spot:", broken);
}

#[test]
fn the_repository_knows_no_workplace() {
    // Assembled, so that this file does not contain what it looks for.
    let slash = "/";
    let forbidden =
        [[slash, "work", slash].concat(), [slash, "root", slash].concat(), ["127.0.0.1", ":3128"].concat()];
    let mut paths = Vec::new();
    files_under(root(), &mut paths);
    let mut broken = Vec::new();
    for path in paths {
        // Vendored recordings and lock files are data; binary files are skipped by the UTF-8 check.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if forbidden.iter().any(|name| line.contains(name.as_str())) {
                broken.push(format!("{}:{}", name_of(&path), number + 1));
            }
        }
    }
    none("where it was written does not matter to who reads it:", broken);
}

/// Files outside the source that a line compiles in, relative to the crate; what a macro builds is beyond it.
fn compiled_in(source: &Source) -> Vec<(usize, String)> {
    let folder = source.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let named = source.code().flat_map(|(at, line)| {
        let calls = ["include_str!(\"", "include_bytes!(\""];
        calls.into_iter().flat_map(move |call| line.split(call).skip(1)).map(move |rest| (at, rest))
    });
    let paths = named.map(|(at, rest)| {
        let path = rest.split('"').next().unwrap_or_default();
        let mut parts: Vec<&str> = folder.split('/').collect();
        for part in path.split('/') {
            if part == ".." { parts.truncate(parts.len().saturating_sub(1)) } else { parts.push(part) }
        }
        (at, parts.join("/"))
    });
    paths.collect()
}

/// The image is built from what `.dockerignore` lets in, and CI's own build would not notice what that lacks.
#[test]
fn the_image_is_given_every_file_that_is_compiled_in() {
    let ignore = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let let_in: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*") && let_in.contains(&"src"), "{ignore}");
    let docker = fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(
        docker.lines().any(|line| line == "COPY . ."),
        "the Dockerfile copies less than .dockerignore lets in"
    );
    let is_in =
        |path: &str| let_in.iter().any(|entry| path == *entry || path.starts_with(&format!("{entry}/")));
    let all: Vec<(String, usize, String)> = sources()
        .iter()
        .filter(|source| !source.is_test)
        .flat_map(|source| compiled_in(source).into_iter().map(|(at, path)| (source.name.clone(), at, path)))
        .collect();
    assert!(all.len() > 15, "only {} files are found", all.len());
    let missing = all.iter().filter(|(_, _, path)| !is_in(path) || !root().join(path).exists());
    let told = missing.map(|(name, at, path)| format!("{name}:{at} compiles in {path}")).collect();
    none("a file that the image's build does not get (.dockerignore):", told);
}

#[test]
fn the_rules_bite() {
    let source =
        |name: &str, text: &str| Source { is_test: false, name: name.to_owned(), text: text.to_owned() };
    let tested = source(
        "src/ws/x.rs",
        "//! x\nuse tokio::x;\n// tokio::y\n#[cfg(test)]\nmod tests {\n    use tokio::z;\n}\n",
    );
    assert_eq!(tested.code().filter(|(_, line)| line.contains("tokio::")).count(), 1);
    assert!(!tested.is_shell() && source("src/proxy/tunnel.rs", "").is_shell());
    assert_eq!(
        source("src/ws/mod.rs", "#[cfg(test)]\nmod tests;\nmod walk;\n").test_modules(),
        ["src/ws/tests"]
    );
    assert_eq!(
        source("src/budget.rs", "#[cfg(test)]\npub(crate) mod model;\n\n").test_modules(),
        ["src/budget/model"]
    );
    let compiled = source(
        "src/a/x.rs",
        "//! x\nconst A: &str = include_str!(\"../../docs/a.md\");\nconst B: &[u8] = include_bytes!(\"b\");\n",
    );
    assert_eq!(compiled_in(&compiled), [(2, "docs/a.md".to_owned()), (3, "src/a/b".to_owned())]);
    assert_eq!(tested.room(), "ws");
    assert_eq!(source("src/budget.rs", "").room(), "budget");
    assert_eq!(rooms_named("use crate::{ws::Walker, hot}; // crate::mirror"), ["ws", "hot", "mirror"]);
    assert_eq!(rooms_named("pub(crate) fn x(a: crate::breaker::State)"), ["breaker"]);
}
