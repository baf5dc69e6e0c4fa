//! What the table had confirmed against what is there: rows that were deleted behind our back are told, and come back
//! where an export of the spool still has them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crossfade::sinks::account::Confirmed;
use serde_json::Value;

use super::process::Emulator;
use super::stage::Stage;
use super::table::{TABLE, ask, read};
use super::validator::{Dir, command, export};

type Env<'a> = [(&'a str, &'a str); 5];

fn env<'a>(emulator: &'a Emulator, state: &'a Dir) -> Env<'a> {
    [
        ("CROSSFADE_UPSTREAM", "ws://127.0.0.1:1"),
        ("SUPABASE_URL", emulator.url.as_str()),
        ("SUPABASE_KEY", emulator.service_key.as_str()),
        ("CROSSFADE_TABLE", "all"),
        ("CROSSFADE_STATE_DIR", state.0.to_str().unwrap()),
    ]
}

/// Exit code, and what the ledger's part of the account says, with how many were posted before.
async fn reconciled(env: &Env<'_>, more: &[&str]) -> (Option<i32>, [u64; 5], String) {
    let (code, said) = command(&[&["reconcile", "--json"], more].concat(), env).await;
    let account: Value = serde_json::from_str(&said).unwrap_or_default();
    let ledger = &account["ledger"];
    let found =
        ["minutes", "confirmed", "there", "gone"].map(|name| ledger[name].as_u64().unwrap_or(u64::MAX));
    let [minutes, confirmed, there, gone] = found;
    (code, [minutes, confirmed, there, gone, account["posted"].as_u64().unwrap_or(u64::MAX)], said)
}

/// A time in the zone of whatever database said it.
fn unix_seconds(text: &str) -> u64 {
    let (clock, zone) = text.split_at(19);
    let at = humantime::parse_rfc3339_weak(clock)
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let Some(place) = zone.find(['+', '-']) else { return at };
    let (hours, minutes) = zone[place + 1..].split_once(':').unwrap();
    let ahead = hours.parse::<u64>().unwrap() * 3_600 + minutes.parse::<u64>().unwrap() * 60;
    if zone[place..].starts_with('+') { at - ahead } else { at + ahead }
}

/// The account that a process would have kept of these rows.
fn account(rows: &[Value]) -> String {
    let mut minutes: BTreeMap<(&str, u64), Confirmed> = BTreeMap::new();
    for row in rows {
        let at = unix_seconds(row["timestamp"].as_str().unwrap());
        let key = (row["instance"].as_str().unwrap(), (at - at % 60) * 1_000);
        minutes.entry(key).or_default().add(row["id"].as_str().unwrap());
    }
    let mut text = String::new();
    for ((instance, at), confirmed) in minutes {
        let Confirmed { rows, sum } = confirmed;
        writeln!(text, r#"{{"instance":"{instance}","at":{at},"rows":{rows},"sum":"{sum:016x}"}}"#).unwrap();
    }
    text
}

/// Posts rows of last year, takes some away, looks, and brings them back. `pod` names them in a database of many.
async fn rows_that_are_gone(emulator: &Emulator, pod: &str) {
    let dir = Dir::new(pod);
    let env = env(emulator, &dir);
    let file = dir.0.join("export.jsonl");
    std::fs::write(&file, export(250).replace("pod-9-0000000a", pod)).unwrap();
    let from = ["--from", file.to_str().unwrap()];
    let (code, [.., posted], said) = reconciled(&env, &from).await;
    assert_eq!((code, posted), (Some(0), 250), "{said}");
    let mine = format!("monitoring_events?instance=eq.{pod}&order=session_no,seq");
    let rows = read(emulator, &mine).await;
    std::fs::create_dir(dir.0.join("table")).unwrap();
    std::fs::write(dir.0.join("table/confirmed.jsonl"), account(&rows)).unwrap();
    // The rows are a second apart: 250 of them touch five minutes.
    let (code, found, said) = reconciled(&env, &[]).await;
    assert_eq!((code, found), (Some(0), [5, 250, 250, 0, 0]), "{said}");
    for row in &rows[..3] {
        let id = row["id"].as_str().unwrap();
        ask(emulator, "DELETE", &format!("monitoring_events?id=eq.{id}")).await;
    }
    for more in [&[][..], &["--dry-run"]] {
        let (code, found, said) = reconciled(&env, more).await;
        assert_eq!((code, found), (Some(69), [5, 250, 247, 3, 0]), "gone, and nothing has them: {said}");
        assert!(said.contains(&format!("{pod} minute 2025-10-09T")), "{said}");
    }
    // A part of the time only: from the second minute that the rows touch.
    let (_, [minutes, ..], said) = reconciled(&env, &["--since", "2025-10-09T08:54:00Z"]).await;
    assert_eq!(minutes, 4, "{said}");
    let (code, [_, _, there, gone, posted], said) = reconciled(&env, &from).await;
    assert_eq!(
        (code, there, gone, posted),
        (Some(0), 250, 0, 3),
        "what the spool still has comes back: {said}"
    );
}

#[tokio::test]
async fn rows_that_are_gone_are_told_and_come_back_from_the_spool() {
    let emulator = Emulator::start_with(&[], &["--table", TABLE]);
    rows_that_are_gone(&emulator, "pod-7-0000000a").await;
}

/// Run by `tests/groups/sql.sh`.
#[tokio::test]
async fn on_a_real_database_rows_that_are_gone_are_told() {
    let Ok(database) = std::env::var("CROSSFADE_TEST_DATABASE") else {
        println!("skip: CROSSFADE_TEST_DATABASE names no PostgreSQL with deploy/supabase/migrations applied");
        return;
    };
    let emulator = Emulator::start_with(&[], &["--database", &database]);
    rows_that_are_gone(&emulator, &format!("gone-{}", std::process::id())).await;
}

#[tokio::test]
async fn a_process_leaves_an_account_of_what_the_table_confirmed() {
    let emulator = Emulator::start_with(&[], &["--table", TABLE, "--max-rows", "1000000"]);
    let dir = Dir::new("account");
    let state = dir.0.to_str().unwrap();
    let tuning = dir.0.join("tuning.toml");
    std::fs::write(&tuning, "[table]\nrate = 10000\n").unwrap();
    let more = [
        ("CROSSFADE_TABLE", "all"),
        ("CROSSFADE_STATE_DIR", state),
        ("CROSSFADE_TUNING", tuning.to_str().unwrap()),
    ];
    let mut stage = Stage::open(5, Some(&emulator), &more).await;
    stage.written(200).await;
    stage.rest().await;
    stage.proxy.process.signal("TERM");
    assert_eq!(stage.proxy.process.ended().await.code(), Some(0));
    let rows = super::table::rows(&emulator).await;
    assert!(rows.len() >= 200);
    let env = env(&emulator, &dir);
    // A dry run may look at what is young.
    let young = ["--dry-run", "--until", "2099-01-01T00:00:00Z"];
    let (code, [_, confirmed, there, gone, _], said) = reconciled(&env, &young).await;
    assert_eq!((code, confirmed, there, gone), (Some(0), rows.len() as u64, rows.len() as u64, 0), "{said}");
    ask(&emulator, "DELETE", &format!("monitoring_events?id=eq.{}", rows[0]["id"].as_str().unwrap())).await;
    let (code, [.., gone, _], said) = reconciled(&env, &young).await;
    assert_eq!((code, gone), (Some(69), 1), "{said}");
}
