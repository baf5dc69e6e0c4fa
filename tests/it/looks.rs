//! How the command line looks from outside: escape sequences at a terminal alone, one JSON document where it was asked
//! for, completions that a shell loads.

use std::net::TcpListener;

use serde_json::Value;

use super::admin::OPERATE;
use super::process::{HANG, Proxy, ran};

/// Runs a command at a terminal of its own, and prints what it wrote there.
const TERMINAL: &str = "
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
out = b''
while True:
    try:
        some = os.read(fd, 65536)
    except OSError:
        break
    if not some:
        break
    out += some
os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
";

const ESC: char = '\u{1b}';

async fn output(mut command: tokio::process::Command, env: &[(&str, &str)]) -> String {
    let path = std::env::var("PATH").unwrap();
    command.env_clear().env("PATH", path).envs(env.iter().copied()).kill_on_drop(true);
    let ran = tokio::time::timeout(HANG, command.output()).await.unwrap().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

async fn at_a_terminal(args: &[&str], env: &[(&str, &str)]) -> String {
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", TERMINAL, env!("CARGO_BIN_EXE_crossfade")]).args(args);
    output(command, env).await
}

/// The commands that the help names.
async fn commands() -> Vec<String> {
    let (code, help, _) = ran(&["--help"], &[]).await;
    assert_eq!(code, Some(0));
    let groups = help.split("Options:").next().unwrap();
    let named = groups.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let names: Vec<String> = named.map(str::to_owned).collect();
    assert!(names.len() > 15, "{help}");
    names
}

/// A run that logs, and ends because its port is taken.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

const UPSTREAM: (&str, &str) = ("CROSSFADE_UPSTREAM", "ws://127.0.0.1:1");
const PATIENT: [&str; 3] = ["check", "--patience", "1s"];

#[tokio::test]
async fn no_escape_sequence_leaves_through_a_pipe() {
    let (_listener, listen) = taken();
    let run = [UPSTREAM, ("CROSSFADE_LISTEN", &listen), ("CROSSFADE_LOG_FORMAT", "text"), ("TERM", "xterm")];
    let mut outputs = vec![ran(&["run"], &run).await];
    assert!(outputs[0].2.contains("configuration is fine"), "it logs: {}", outputs[0].2);
    for command in commands().await {
        outputs.push(ran(&[&command, "--help"], &run).await);
        outputs.push(ran(&[&command, "-h"], &run).await);
    }
    for args in [
        &["bucket", "42"][..],
        &["bucket"],
        &["config"],
        &["confg"],
        &PATIENT,
        &["health", "--metrics", "127.0.0.1:1"],
        &["plan", "--admin", "127.0.0.1:1"],
        &["report"],
        &["explain", "--request", "/ws"],
        &["completions", "bash"],
        &["man"],
    ] {
        outputs.push(ran(args, &run).await);
    }
    for (_, out, err) in &outputs {
        assert!(!out.is_empty() || !err.is_empty());
        assert!(!out.contains(ESC) && !err.contains(ESC), "{out:?} {err:?}");
    }
    let forced = ran(&["--help"], &[("CLICOLOR_FORCE", "1")]).await;
    assert!(forced.1.contains(ESC), "CLICOLOR_FORCE is a wish");
}

#[tokio::test]
async fn a_terminal_has_colours_unless_it_does_not_want_any() {
    let (_listener, listen) = taken();
    let all: [&[&str]; 4] = [&["--help"], &PATIENT, &["health", "--metrics", "127.0.0.1:1"], &["run"]];
    for args in all {
        let with = async |more: (&'static str, &'static str)| {
            let env = [UPSTREAM, ("CROSSFADE_LISTEN", &listen), ("CROSSFADE_LOG_FORMAT", "text"), more];
            let said = at_a_terminal(args, &env).await;
            assert!(said.len() > 20, "{args:?}: {said:?}");
            said.contains(ESC)
        };
        assert!(with(("TERM", "xterm-256color")).await, "{args:?} at a terminal");
        assert!(!with(("NO_COLOR", "1")).await, "{args:?} with NO_COLOR");
        assert!(!with(("TERM", "dumb")).await, "{args:?} at a terminal that knows none");
    }
}

#[tokio::test]
async fn json_is_one_document_whatever_happens() {
    let missing = "/no/such/place";
    let cases: [(&[&str], i32); 16] = [
        (&["config", "--json"], 0),
        (&["bucket", "42", "--json"], 0),
        (&["explain", "--request", "/ws", "--json"], 0),
        (&["check", "--patience", "1s", "--json"], 69),
        (&["report", "--json"], 64),
        (&["report", "--json", "--dir", missing], 69),
        (&["report", "incidents", "--dir", missing, "--json"], 0),
        (&["report", "--graduation", "--json", "--admin", "127.0.0.1:1"], 69),
        (&["spool", "ls", "--json"], 64),
        (&["spool", "export", "--json"], 64),
        (&["plan", "show", "--json", "--admin", "127.0.0.1:1"], 69),
        (&["drain", "--json"], 64),
        (&["drill", "--json"], 64),
        (&["health", "--json", "--metrics", "127.0.0.1:1"], 69),
        (&["reconcile", "--json"], 64),
        (&["replay", missing, "--to", "ws://127.0.0.1:1", "--json"], 64),
    ];
    for (args, wanted) in cases {
        let (code, out, err) = ran(args, &[UPSTREAM]).await;
        assert_eq!(code, Some(wanted), "{args:?}: {out} {err}");
        let told: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"));
        // What was found to be wrong is an answer; what could not be answered is an error, in both places.
        if !err.is_empty() {
            assert_eq!(told["error"]["exit"], wanted, "{args:?}: {out}");
            let message = told["error"]["message"].as_str().unwrap();
            assert!(err.contains(message.lines().next().unwrap()), "{args:?}: {err} {message}");
        } else {
            assert_eq!(told.get("error"), None, "{args:?}");
        }
    }
    let (code, out, _) = ran(&["bucket", "--json"], &[]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["error"]["exit"]), (Some(64), &Value::from(64)), "a line that cannot be read");
    let (_, out, _) = ran(&["bucket"], &[]).await;
    assert_eq!(out, "", "nobody asked for JSON");
}

#[tokio::test]
async fn what_health_and_drain_have_done_is_one_document_too() {
    let more = [OPERATE, ("CROSSFADE_DRAIN_SETTLE", "0s")];
    let mut proxy = Proxy::start("127.0.0.1:1".parse().unwrap(), None, &more);
    let (metrics, admin) = (proxy.metrics.to_string(), proxy.admin.to_string());
    let answered = async |args: &[&str]| {
        let (code, out, err) = ran(args, &[UPSTREAM, OPERATE]).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}: {out}");
        let told: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"));
        told
    };
    let well = answered(&["health", "--json", "--metrics", &metrics]).await;
    assert_eq!((&well["ok"], &well["asked"]), (&Value::from(true), &Value::from("/healthz")));
    let drained = answered(&["drain", "--json", "--admin", &admin]).await;
    assert_eq!(drained["drained"], true);
    assert!(drained["took_ms"].is_u64(), "{drained}");
    assert!(proxy.process.ended().await.success());
}

/// What bash offers for these words, the last of which is being typed.
async fn offered(words: &[&str]) -> String {
    let script = r#"
source <("$1" completions bash) || exit 1
shift
COMP_WORDS=(crossfade "$@"); COMP_CWORD=$#
_crossfade crossfade "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
echo "${COMPREPLY[@]}"
"#;
    let mut command = tokio::process::Command::new("bash");
    command.args(["--norc", "-c", script, "bash", env!("CARGO_BIN_EXE_crossfade")]).args(words);
    output(command, &[]).await.trim_end().to_owned()
}

#[tokio::test]
async fn bash_loads_the_completions_and_completes() {
    assert_eq!(offered(&["repo"]).await, "report");
    assert_eq!(offered(&["report", "--grad"]).await, "--graduation");
    assert_eq!(offered(&["plan", "sta"]).await, "start");
    assert!(offered(&["completions", ""]).await.contains("fish"));
    assert_eq!(offered(&["no-such-"]).await, "");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = ran(&["completions", shell], &[]).await;
        assert_eq!(code, Some(0));
        assert!(script.contains("graduation"), "{shell}: {script}");
    }
    let (code, page, _) = ran(&["man", "report"], &[]).await;
    assert_eq!(code, Some(0));
    assert!(page.contains(".TH") && page.contains("graduation"), "{page}");
    assert_eq!(ran(&["man", "nothing"], &[]).await.0, Some(64));
}
