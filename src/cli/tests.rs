//! The command line as its users meet it: arguments and environment in, text and exit code out.

use super::*;

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn crossfade(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let strings = Strings::of(env.iter().copied());
    let args = std::iter::once(&"crossfade").chain(args);
    let exit = main(args, &strings, &mut Streams::new(&mut out, &mut err));
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[test]
fn exit_codes_are_the_published_ones() {
    let codes = [Exit::Fine, Exit::Config, Exit::Unavailable, Exit::Bug].map(Exit::code);
    assert_eq!(codes, [0, 64, 69, 70]);
}

#[test]
fn nothing_typed_means_run_and_a_wrong_configuration_ends_it() {
    for args in [&[][..], &["run"]] {
        let ran = crossfade(args, &[("CROSSFADE_LISTEN", "x")]);
        assert_eq!(ran.exit, Exit::Config);
        assert!(ran.out.is_empty());
        assert!(ran.err.starts_with("crossfade: configuration: 2 problems\n"), "{}", ran.err);
        assert!(
            ran.err.contains("CROSSFADE_UPSTREAM") && ran.err.contains("CROSSFADE_LISTEN"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn a_wrong_command_line_is_a_configuration_error_with_a_suggestion() {
    let ran = crossfade(&["confg"], &[]);
    assert_eq!(ran.exit, Exit::Config);
    assert!(ran.err.contains("config"), "{}", ran.err);
    assert_eq!(crossfade(&["bucket"], &[]).exit, Exit::Config);
    assert_eq!(crossfade(&["demo", "--for", "soon"], &[]).exit, Exit::Config);
}

#[test]
fn help_and_version_are_answers() {
    let help = crossfade(&["--help"], &[]);
    assert_eq!(help.exit, Exit::Fine);
    for command in ["run", "demo", "drain", "health", "check", "config", "bucket", "emulator", "Exit codes"] {
        assert!(help.out.contains(command), "{}", help.out);
    }
    assert_eq!(crossfade(&["--version"], &[]).out, format!("crossfade {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn config_prints_the_tables_even_where_the_configuration_is_wrong() {
    let wrong = [("CROSSFADE_LISTEN", "x")];
    assert!(crossfade(&["config"], &wrong).out.contains("CROSSFADE_UPSTREAM"));
    assert!(crossfade(&["config", "--markdown"], &wrong).out.starts_with("# Configuration\n"));
    let json: serde_json::Value =
        serde_json::from_str(&crossfade(&["config", "--json"], &wrong).out).unwrap();
    assert_eq!(json[0]["name"], "CROSSFADE_UPSTREAM");
    assert_eq!(crossfade(&["config", "--json", "--markdown"], &[]).exit, Exit::Config);
}

#[test]
fn bucket_answers_for_the_environment_or_for_what_is_typed() {
    let vectors = include_str!("../../tests/vectors/bucket.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(vectors).unwrap();
    let wanted = |vector: &&serde_json::Value| vector["salt"] == "crossfade" && vector["key"] == "0";
    let bucket = vectors.iter().find(wanted).unwrap()["bucket"].as_u64().unwrap();

    let out = crossfade(&["bucket", "0"], &[("CROSSFADE_ROLLOUT_PERCENT", "100")]).out;
    assert_eq!(out, format!("0\t{bucket}\tin\n"));
    assert_eq!(crossfade(&["bucket", "0"], &[]).out, format!("0\t{bucket}\tout\n"));
    let edge = |thousandths: u64| format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    let typed = |percent: &str| crossfade(&["bucket", "0", "--percent", percent], &[]).out;
    assert!(typed(&edge(bucket)).ends_with("out\n"), "a bucket equal to the share is outside");
    assert!(typed(&edge(bucket + 1)).ends_with("in\n"));
    assert_ne!(crossfade(&["bucket", "0", "--salt", "other"], &[]).out, out);
    let json = crossfade(&["bucket", "0", "a \"b", "--percent", "100", "--json"], &[]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0], serde_json::json!({ "key": "0", "bucket": bucket, "verdict": "in" }));
    assert_eq!(json[1]["key"], "a \"b");
    let wrong = crossfade(&["bucket", "0"], &[("CROSSFADE_ROLLOUT_PERCENT", "101")]);
    assert_eq!(wrong.exit, Exit::Config);
}

#[test]
fn a_wrong_rule_is_told_together_with_everything_else() {
    let settings = [("CROSSFADE_LISTEN", "nowhere"), ("CROSSFADE_CLASSIFY", "event=alert:extremely")];
    let ran = crossfade(&["run"], &settings);
    assert_eq!(ran.exit, Exit::Config);
    for name in ["CROSSFADE_UPSTREAM", "CROSSFADE_LISTEN", "CROSSFADE_CLASSIFY", "3 problems"] {
        assert!(ran.err.contains(name), "{name} is missing in {}", ran.err);
    }
}

/// Runs `explain` on a message of its own file, with rules of their own file.
fn explain(payload: &str, rules: &str, args: &[&str]) -> Ran {
    let file =
        std::env::temp_dir().join(format!("crossfade-explain-{}-{}", std::process::id(), payload.len()));
    std::fs::write(&file, payload).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let strings = Strings::of([("CROSSFADE_CLASSIFY", "@/rules.toml")]).with_file("/rules.toml", rules);
    let name = file.to_str().unwrap();
    let args = ["crossfade", "explain", "--message", name].into_iter().chain(args.iter().copied());
    let exit = main(args, &strings, &mut Streams::new(&mut out, &mut err));
    std::fs::remove_file(&file).unwrap();
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[test]
fn explain_says_what_becomes_of_a_message_and_shows_none_of_it() {
    let rules = "[[rule]]\nname = \"fires\"\nevent = \"alert\"\nclass = \"critical\"\nshared = true\n\
                 topic = \"alerts:{/1/room}\"\nid = \"/1/id\"\n[[redact]]\npointer = \"/1/who\"\n";
    let payload = r#"42["alert",{"room":"r7","id":"a1","who":"hunter2","password":"hunter3"}]"#;
    let ran = explain(payload, rules, &["--path", "/ws", "--direction", "up", "--json"]);
    assert_eq!(ran.exit, Exit::Fine, "{}", ran.err);
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    for (key, value) in [
        ("type", "alert"),
        ("format", "socket.io"),
        ("class", "critical"),
        ("why", "rule"),
        ("rule_name", "fires"),
        ("topic", "alerts:r7"),
        ("event_id", "a1"),
    ] {
        assert_eq!(answer[key], value, "{key}");
    }
    assert_eq!((&answer["rule"], &answer["shared"]), (&1.into(), &true.into()));
    assert_eq!(answer["values_taken_out"], 2);
    let ran = explain(payload, rules, &["--direction", "down"]);
    assert!(ran.out.contains("1 values taken out") && ran.out.contains("rule 1 (fires)"), "{}", ran.out);
    assert!(!ran.out.contains("hunter"), "{}", ran.out);
    let ran = explain("hello", rules, &[]);
    assert!(ran.out.contains("none matches") && ran.out.contains("by frequency"), "{}", ran.out);
    let skipped = explain(payload, "[[rule]]\nevent = \"al*\"\nmirror = false\n", &[]);
    assert!(skipped.out.contains("no: skipped by the rule"), "{}", skipped.out);
    let wrong = explain(payload, "[[rule]]\nevnt = \"x\"\n", &[]);
    assert_eq!(wrong.exit, Exit::Config);
    assert!(wrong.err.contains("CROSSFADE_CLASSIFY") && wrong.err.contains("line 2"), "{}", wrong.err);
}

#[test]
fn explain_says_which_lane_an_upgrade_gets_and_never_the_key() {
    let env = [("CROSSFADE_ROLLOUT_PERCENT", "50")];
    let ran = |key: &str| {
        let header = format!("x-user-id: {key}");
        crossfade(&["explain", "--request", "/ws?a=b", "--header", &header, "--json"], &env)
    };
    let lanes: Vec<String> = (0..40)
        .map(|i| {
            let key = format!("secret-user-{i}");
            let ran = ran(&key);
            assert!(!ran.out.contains(&key), "{}", ran.out);
            let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!(answer["key"], "header:x-user-id");
            let bucket = answer["bucket"].as_u64().unwrap();
            let bucket_says = crossfade(&["bucket", &key], &env).out;
            assert!(bucket_says.contains(&bucket.to_string()), "{bucket_says}");
            assert_eq!(answer["in_cohort"], bucket < 50_000);
            answer["lane"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(lanes.iter().any(|lane| lane == "hot") && lanes.iter().any(|lane| lane == "legacy"));
    let nobody = crossfade(&["explain", "--request", "/ws"], &env);
    assert!(nobody.out.contains("no_key"), "{}", nobody.out);
    assert_eq!(crossfade(&["explain"], &[]).exit, Exit::Config);
}

struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let exit = main(["crossfade", "config"], &Strings::of([]), &mut Streams::new(&mut Gone, &mut Gone));
    assert_eq!(exit, Exit::Fine);
}

/// Every command and every command below one, by its path.
fn every_command() -> Vec<(String, clap::Command)> {
    fn walk(path: &str, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name()).trim().to_owned();
            walk(&path, below, found);
            found.push((path, below.clone()));
        }
    }
    let mut all = help::command();
    all.build();
    let mut found = Vec::new();
    walk("", &all, &mut found);
    found
}

/// Commands that answer nothing a program could read, and why.
const WITHOUT_JSON: [(&str, &str); 5] = [
    ("run", "a server: its answers are the log, the metrics and the API"),
    ("inject", "a server"),
    ("emulator", "a server: it prints the variables to set"),
    ("completions", "a script for a shell"),
    ("man", "roff"),
];

#[test]
fn every_command_that_answers_something_has_json() {
    let all = every_command();
    for (path, command) in &all {
        let excused = WITHOUT_JSON.iter().any(|(name, _)| name == path);
        let below = command.get_subcommands().any(|below| below.get_name() != "help");
        let json = command.get_arguments().any(|arg| arg.get_long() == Some("json"));
        assert_eq!(json, !excused, "{path}");
        assert!(!(excused && below), "{path}");
    }
    assert!(
        WITHOUT_JSON.iter().all(|(name, _)| all.iter().any(|(path, _)| path == name)),
        "an excuse for nobody"
    );
}

#[test]
fn every_command_has_a_place_examples_exit_codes_and_words_for_every_argument() {
    let main = crossfade(&["--help"], &[]).out;
    for (path, command) in every_command() {
        let args: Vec<&str> = path.split(' ').chain(["--help"]).collect();
        let told = crossfade(&args, &[]);
        assert_eq!(told.exit, Exit::Fine, "{path}");
        assert!(
            told.out.contains("Example") && told.out.contains(&format!("crossfade {path}")),
            "{}",
            told.out
        );
        assert!(told.out.contains("Exit codes: 0"), "{}", told.out);
        for line in told.out.lines().chain(main.lines()) {
            assert!(line.chars().count() <= 100, "{path}: {line}");
        }
        assert!(!told.out.contains('\u{1b}'), "{path}");
        for arg in command.get_arguments() {
            assert!(
                arg.get_help().is_some_and(|help| help.to_string().len() > 5),
                "{path}: {}",
                arg.get_id()
            );
        }
        if !path.contains(' ') {
            assert_eq!(main.matches(&format!("\n  {path:<11} ")).count(), 1, "{path} in {main}");
        }
    }
    for heading in ["Run:", "Look:", "Change:", "Kubernetes:", "Develop:"] {
        assert!(main.lines().any(|line| line == heading), "{heading} in {main}");
    }
}

/// The words of a command, as a shell with single quotes sees them.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, piece) in command.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn the_examples_of_the_help_can_be_typed() {
    let (mut typed, variables) = (0, crossfade(&["config", "--json"], &[]).out);
    for (path, _) in every_command() {
        let args: Vec<&str> = path.split(' ').chain(["--help"]).collect();
        let told = crossfade(&args, &[]).out;
        let examples = told.split("Example").nth(1).unwrap().split("Exit codes").next().unwrap();
        for line in examples.lines().filter(|line| line.starts_with("  ")) {
            let before = typed;
            // Each command that a shell would run: of a pipe, and the one whose output is a file.
            for command in line.split(" | ").flat_map(|stage| stage.split("<(")) {
                let words = words(command.split(" > ").next().unwrap().trim_end_matches(')'));
                let set: Vec<&str> =
                    words.iter().map_while(|word| word.split_once('=')).map(|set| set.0).collect();
                let unknown = set.iter().find(|name| !variables.contains(&format!("\"{name}\"")));
                assert_eq!(unknown, None, "{line}");
                let words = &words[set.len()..];
                if words.first().is_some_and(|first| first == "crossfade") {
                    let parsed = help::command().try_get_matches_from(words);
                    assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                    typed += 1;
                }
            }
            assert!(typed > before, "nothing of ours in {line}");
        }
    }
    assert!(typed > 40, "{typed}");
}

#[test]
fn json_was_asked_for_at_any_depth_or_not_at_all() {
    let json = |args: &[&str]| wants_json(&help::command().try_get_matches_from(args).unwrap());
    assert!(json(&["crossfade", "bucket", "1", "--json"]));
    assert!(json(&["crossfade", "plan", "--json", "show"]) && json(&["crossfade", "plan", "show", "--json"]));
    assert!(json(&["crossfade", "spool", "ls", "--json"]));
    assert!(!json(&["crossfade", "plan"]) && !json(&["crossfade"]) && !json(&["crossfade", "man"]));
    let ran = crossfade(&["drain", "--json"], &[("CROSSFADE_UPSTREAM", "ws://127.0.0.1:1")]);
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["error"]["exit"], 64);
    assert!(
        told["error"]["message"].as_str().unwrap().contains("CROSSFADE_ADMIN_TOKEN") && !ran.err.is_empty()
    );
}
