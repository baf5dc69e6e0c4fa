//! The documents against the code: what is generated is current, what is named exists, what is linked resolves.
//! `BLESS=1 cargo test --test docs` rewrites the generated pages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crossfade::config::{Group, table, vars};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

/// Our own pages: those at the root, and all of docs/.
fn pages() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root().join("docs"), ".md", &mut found);
    found.extend(["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn generated(name: &str, text: &str) {
    let path = root().join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(current == text, "{name} is not what the code says; BLESS=1 cargo test --test docs rewrites it");
}

#[test]
fn the_configuration_page_is_current() {
    generated("docs/configuration.md", &table::markdown());
}

#[test]
fn the_metrics_page_is_current() {
    let page = crossfade::admin::markdown() + &crossfade::inject::metrics_markdown();
    generated("docs/metrics.md", &page);
}

/// Words of capitals, digits and underscores that begin like a variable of ours.
fn variables_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("CROSSFADE_") || word.starts_with("SUPABASE_")).collect()
}

#[test]
fn every_variable_that_a_page_names_exists() {
    let exists = |word: &str| {
        vars::all().any(|about| about.name == word || word.strip_suffix("_FILE") == Some(about.name))
    };
    let mut broken = Vec::new();
    for (path, text) in pages() {
        // A trailing underscore stands for a family, as in CROSSFADE_*.
        let unknown = variables_in(&text).into_iter().filter(|word| !word.ends_with('_') && !exists(word));
        broken.extend(unknown.map(|word| format!("{}: {word}", path.display())));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Targets of `[text](target)`, outside code blocks.
fn links_in(text: &str) -> Vec<String> {
    let mut in_code = false;
    let prose = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    let targets = prose.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

#[test]
fn every_link_resolves() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        for link in links_in(&text) {
            let target = link.split('#').next().unwrap_or_default();
            let elsewhere = target.starts_with("https://") || target.is_empty();
            if !elsewhere && !path.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What an entry of the runbook answers.
const ANSWERS: [&str; 4] = ["- **Users.** ", "- **First.** ", "- **Then.** ", "- **Wake.** "];

/// Alerts with the page that they point to.
fn alerts() -> Vec<(String, String)> {
    let rules = fs::read_to_string(root().join("charts/crossfade/files/rules/crossfade.yaml")).unwrap();
    let blocks = rules.split("      - alert: ").skip(1);
    let url = |block: &str| {
        let (_, rest) = block.split_once("runbook_url: \"").unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    blocks.map(|block| (block.lines().next().unwrap().to_owned(), url(block))).collect()
}

#[test]
fn every_alert_has_an_entry_and_every_entry_an_alert() {
    let page = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let entries: Vec<(&str, &str)> =
        page.split("\n## ").skip(1).filter_map(|entry| entry.split_once('\n')).collect();
    let alerts = alerts();
    assert!(alerts.len() >= 40, "{} alerts were found", alerts.len());
    for (alert, url) in &alerts {
        assert_eq!(*url, format!("docs/runbook.md#{}", alert.to_lowercase()), "{alert}");
        let found: Vec<&str> =
            entries.iter().filter(|(name, _)| name == alert).map(|(_, text)| *text).collect();
        assert_eq!(found.len(), 1, "entries of {alert}");
        for answer in ANSWERS {
            assert_eq!(found[0].matches(answer).count(), 1, "{alert}: {answer}");
        }
    }
    let old = |name: &str| name.starts_with("Crossfade") && !alerts.iter().any(|(alert, _)| alert == name);
    assert_eq!(entries.iter().map(|(name, _)| *name).find(|name| old(name)), None, "no such alert");
}

/// Our metrics that a text names, without what Prometheus adds to a histogram's name.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c)));
    let ours = words.filter(|word| word.starts_with("crossfade_") && !word.ends_with('_'));
    ours.map(|word| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
    })
    .collect()
}

#[test]
fn every_metric_that_alerts_dashboard_and_runbook_name_exists() {
    let known = crossfade::admin::markdown() + &crossfade::inject::metrics_markdown();
    let mut unknown = BTreeSet::new();
    for name in [
        "charts/crossfade/files/rules/crossfade.yaml",
        "charts/crossfade/files/dashboards/crossfade.json",
        "docs/runbook.md",
    ] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let missing =
            metrics_in(&text).into_iter().filter(|metric| !known.contains(&format!("| `{metric}` |")));
        unknown.extend(missing.map(|metric| format!("{name}: {metric}")));
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_decision_is_listed_and_decides() {
    let list = fs::read_to_string(root().join("docs/decisions/README.md")).unwrap();
    let mut found = Vec::new();
    files(&root().join("docs/decisions"), ".md", &mut found);
    for path in found {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        assert!(list.contains(&format!("({name})")), "{name} is not in the list");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("# {}", &name[..4])), "{name} begins with its number");
        assert!(text.contains("**Decided.**"), "{name} says what was decided");
    }
}

#[test]
fn every_dependency_is_defended_and_no_other_is() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let mut wanted = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies"] {
        wanted.extend(manifest[section].as_table().unwrap().keys().cloned());
    }
    let page = fs::read_to_string(root().join("docs/decisions/0005-dependencies.md")).unwrap();
    let cells = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let defended: BTreeSet<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(defended, wanted);
}

/// Whether a test of this name stands somewhere under src/ or tests/.
fn test_names() -> BTreeSet<String> {
    let mut found = Vec::new();
    files(&root().join("src"), ".rs", &mut found);
    files(&root().join("tests"), ".rs", &mut found);
    let mut names = BTreeSet::new();
    for path in found {
        let text = fs::read_to_string(path).unwrap();
        names.extend(
            text.split("fn ")
                .skip(1)
                .filter_map(|rest| rest.split_once('('))
                .map(|(name, _)| name.to_owned()),
        );
    }
    names
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Invariants")).unwrap();
    let names = test_names();
    let numbered = |line: &str| line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    let mut invariants: Vec<String> = Vec::new();
    for line in section.lines() {
        if numbered(line) {
            invariants.push(String::new());
        }
        if let Some(invariant) = invariants.last_mut() {
            invariant.push_str(line);
        }
    }
    assert!(invariants.len() >= 7, "the seven of the contract, at least");
    for invariant in invariants {
        let quoted: Vec<&str> = invariant.split('`').skip(1).step_by(2).collect();
        assert!(!quoted.is_empty() || invariant.contains("*open*"), "names no test: {invariant}");
        for name in quoted {
            assert!(names.contains(name), "no test is called {name}");
        }
    }
}

/// Names of functions under `#[test]` or `#[tokio::test]`.
fn tests_by_name() -> BTreeSet<String> {
    let mut found = Vec::new();
    files(&root().join("src"), ".rs", &mut found);
    files(&root().join("tests"), ".rs", &mut found);
    let mut names = BTreeSet::new();
    for path in found {
        let text = fs::read_to_string(path).unwrap();
        let after = ["#[test]\n", "#[tokio::test"].into_iter().flat_map(|mark| text.split(mark).skip(1));
        let name = |rest: &str| Some(rest.split_once("fn ")?.1.split_once('(')?.0.to_owned());
        names.extend(after.filter_map(name));
    }
    names
}

#[test]
fn every_row_on_transparency_names_a_test_and_every_limit_has_a_row() {
    let page = fs::read_to_string(root().join("docs/transparency.md")).unwrap();
    let names = tests_by_name();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let mut checked = 0;
    for row in rows {
        let held_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if held_by == "held by" || held_by.starts_with("---") {
            continue;
        }
        let named: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "names no test: {row}");
        for name in named {
            let exists = if name.contains('/') { root().join(name).exists() } else { names.contains(name) };
            assert!(exists, "no test is called {name}");
        }
        checked += 1;
    }
    assert!(checked > 40, "only {checked} rows were understood");
    let limits = vars::all().filter(|about| matches!(about.group, Group::Protection | Group::Drain));
    for about in limits {
        assert!(page.contains(&format!("`{}`", about.name)), "{} has no row", about.name);
    }
}

#[test]
fn every_row_on_realtime_names_a_test_that_exists() {
    let page = fs::read_to_string(root().join("docs/realtime.md")).unwrap();
    let names = tests_by_name();
    let mut checked = 0;
    for section in page.split("\n| Realtime | crossfade | test |\n").skip(1) {
        let mut above: Vec<String> = Vec::new();
        for row in section.lines().skip(1).take_while(|line| line.starts_with('|')) {
            let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let mut named: Vec<String> = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            if tests == "same" {
                named.clone_from(&above);
            }
            assert!(!named.is_empty(), "names no test: {row}");
            for test in &named {
                let name = test.rsplit("::").next().unwrap();
                let exists = match (name.strip_suffix('…'), name.strip_prefix('…'), name.contains('/')) {
                    (_, _, true) => root().join(name).exists(),
                    (Some(start), ..) => names.iter().any(|known| known.starts_with(start)),
                    (_, Some(end), _) => names.iter().any(|known| known.ends_with(end)),
                    _ => names.contains(name),
                };
                assert!(exists, "no test is called {test}");
            }
            above = named;
            checked += 1;
        }
    }
    assert!(checked > 45, "only {checked} rows were understood");
}

#[test]
fn the_pages_are_read_as_meant() {
    assert_eq!(links_in("[a](b.md) and [c](d#e)\n```\n[x](y)\n```\n[z](w)"), ["b.md", "d#e", "w"]);
    let found: Vec<&str> =
        variables_in("`CROSSFADE_LISTEN`, CROSSFADE_* and SUPABASE_KEY_FILE=x").into_iter().collect();
    assert_eq!(found, ["CROSSFADE_", "CROSSFADE_LISTEN", "SUPABASE_KEY_FILE"]);
}

/// What a setting may look like in the chart's values: words of a list where the type is one, else text or number.
fn in_schema(about: &crossfade::config::About) -> serde_json::Value {
    let words: Vec<&str> = about.kind.split(" | ").collect();
    let closed = words.len() > 1 && words.iter().all(|word| !word.contains([':', ',']) && *word != "COUNT");
    let mut schema = match about.kind {
        _ if closed => serde_json::json!({ "enum": words }),
        "duration" => {
            serde_json::json!({ "type": "string", "pattern": "^[0-9]+(ms|s|sec|m|min|h)( ?[0-9]+(ms|s|sec|m|min|h))*$" })
        }
        "percentage" => serde_json::json!({ "type": ["number", "string"], "minimum": 0, "maximum": 100 }),
        _ => serde_json::json!({ "type": ["string", "number"] }),
    };
    schema["description"] = about.doc.into();
    if let Some(default) = about.default {
        schema["default"] = default.into();
    }
    schema
}

/// Places inside the container follow from what is mounted there (`spool`, `state`, `flags`, `tuning`), and the
/// webhook's variables are its pods' alone.
fn set_by_the_chart(about: &crossfade::config::About) -> bool {
    const PLACES: [&str; 4] =
        ["CROSSFADE_SPOOL_DIR", "CROSSFADE_STATE_DIR", "CROSSFADE_FLAGS_FILE", "CROSSFADE_TUNING"];
    PLACES.contains(&about.name) || about.group == Group::Inject
}

/// `charts/crossfade/schema/base.json`, with the variables of the program under `config` and `secrets`.
#[test]
fn the_schema_of_the_chart_is_current() {
    let base = fs::read_to_string(root().join("charts/crossfade/schema/base.json")).unwrap();
    let mut schema: serde_json::Value = serde_json::from_str(&base).unwrap();
    for (section, secret) in [("config", false), ("secrets", true)] {
        let wanted = vars::all().filter(|about| about.secret == secret && !set_by_the_chart(about));
        let properties = wanted.map(|about| {
            let schema = if secret {
                serde_json::json!({ "$ref": "#/definitions/secretReference", "description": about.doc })
            } else {
                in_schema(about)
            };
            (about.name.to_owned(), schema)
        });
        schema["properties"][section] = serde_json::json!({
            "type": "object",
            "additionalProperties": false,
            "properties": properties.collect::<serde_json::Map<_, _>>(),
        });
    }
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    generated("charts/crossfade/values.schema.json", &text);
}
