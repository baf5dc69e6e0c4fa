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
    let exit = main(args, &strings, &mut Streams { out: &mut out, err: &mut err });
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
    let exit =
        main(["crossfade", "config"], &Strings::of([]), &mut Streams { out: &mut Gone, err: &mut Gone });
    assert_eq!(exit, Exit::Fine);
}
