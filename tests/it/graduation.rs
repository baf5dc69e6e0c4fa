//! `crossfade report --graduation` against a running process: at 0 %, at 100 %, and where nobody answers.

use serde_json::{Value, json};

use super::admin::{OPERATE, TOKEN};
use super::process::{Emulator, ran};
use super::stage::{ALL_HOT, HOT, Stage};
use super::validator::Dir;

const CLIENTS: u64 = 4;
const COMMAND: [(&str, &str); 1] = [("CROSSFADE_ADMIN_TOKEN", TOKEN)];

/// What it says, as JSON; it could be determined, so the exit code is 0.
async fn graduation(stage: &Stage, more: &[&str]) -> Value {
    let admin = stage.proxy.admin.to_string();
    let args: Vec<&str> =
        ["report", "--graduation", "--json", "--admin", &admin].iter().chain(more).copied().collect();
    let (code, said, error) = ran(&args, &COMMAND).await;
    assert_eq!((code, error.as_str()), (Some(0), ""), "{said}");
    serde_json::from_str(&said).unwrap()
}

fn row<'a>(told: &'a Value, name: &str) -> &'a Value {
    let rows = told["rows"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).ok_or_else(|| format!("no row {name}: {told}")).unwrap()
}

fn all_rows(told: &Value) -> String {
    let rows = told["rows"].as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn at_nothing_everything_still_hangs_on_the_service() {
    let emulator = Emulator::start(&[]);
    let stage = Stage::open(CLIENTS, Some(&emulator), &[OPERATE]).await;
    stage.written(50).await;
    let told = graduation(&stage, &[]).await;
    assert_eq!(told["verdict"], "not_yet", "{told}");
    assert_eq!(
        (&row(&told, "share")["state"], &row(&told, "legacy_sessions")["state"]),
        (&json!("open"), &json!("open"))
    );
    let fed = row(&told, "legacy_sessions")["evidence"].as_str().unwrap();
    assert!(fed.contains("4 open sessions: 4 "), "{fed}");
    assert_eq!(row(&told, "match")["state"], "unknown", "no report is kept: {told}");
    assert_eq!(row(&told, "client_messages")["state"], "open", "clients talk, to the service: {told}");
    // A person's word closes what is unknown, and nothing that is seen to be open.
    let vouched = graduation(&stage, &["--vouch", &all_rows(&told)]).await;
    assert_eq!((&vouched["verdict"], &vouched["unknown"]), (&json!("not_yet"), &json!(0)), "{vouched}");
    assert_eq!(vouched["open"], told["open"]);
    stage.close_clean().await;
}

#[tokio::test]
async fn at_a_hundred_percent_hot_the_service_is_still_needed_and_it_says_so() {
    let dir = Dir::new("graduation");
    let emulator = Emulator::start(&[]);
    let env = [
        ALL_HOT[0],
        ALL_HOT[1],
        OPERATE,
        ("CROSSFADE_STATE_DIR", dir.0.to_str().unwrap()),
        ("CROSSFADE_PODS", "1"),
    ];
    let stage = Stage::open(CLIENTS, Some(&emulator), &env).await;
    stage.proxy.until_value(HOT, CLIENTS as f64).await;
    stage.written(200).await;
    let told = graduation(&stage, &[]).await;
    for (name, state, word) in [
        ("share", "done", "100 %"),
        ("rules", "done", "0 rules"),
        ("legacy_sessions", "done", "none of 4 open sessions"),
        ("paths", "done", "has some on Realtime"),
        ("hot_sessions", "open", "4 open sessions on the hot lane"),
        ("client_messages", "open", "only the service handles"),
        ("fleet", "done", "CROSSFADE_PODS is 1"),
        ("left_out", "done", "every session is mirrored"),
        ("producers", "unknown", "not seen from here"),
        ("breaker", "unknown", "forced_closed"),
        ("drill", "unknown", "no drill"),
        ("through_the_sidecar", "open", "4 upgrades"),
    ] {
        let found = row(&told, name);
        assert_eq!(found["state"], state, "{name}: {found}");
        assert!(found["evidence"].as_str().unwrap().contains(word), "{word:?} in {found}");
    }
    let vouched = graduation(&stage, &["--vouch", &all_rows(&told)]).await;
    assert_eq!(vouched["verdict"], "not_yet", "{vouched}");

    let admin = stage.proxy.admin.to_string();
    let (code, text, _) = ran(&["report", "--graduation", "--admin", &admin], &COMMAND).await;
    assert_eq!(code, Some(0));
    assert!(text.lines().last().unwrap().starts_with("not yet: "), "{text}");
    let whole = |line: &str| line.starts_with("open     hot_sessions") && line.ends_with("goes there");
    assert!(text.lines().any(whole), "into a pipe a row is one line: {text}");
    let (code, said, error) =
        ran(&["report", "--graduation", "--admin", &admin, "--json", "--vouch", "everything"], &COMMAND)
            .await;
    assert_eq!(code, Some(64));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["error"]["message"].as_str().unwrap().contains("legacy_sessions"), "{said}");
    assert!(error.starts_with("crossfade: --vouch"), "{error}");
    stage.close_clean().await;
}

#[tokio::test]
async fn without_a_process_there_is_no_report() {
    // A port that nobody has any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = free.local_addr().unwrap().to_string();
    drop(free);
    let (code, said, error) = ran(&["report", "--graduation", "--json", "--admin", &admin], &[]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["error"]["exit"]), (Some(69), &json!(69)));
    assert!(error.contains("is crossfade running?"), "{error}");
}
