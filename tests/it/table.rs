//! The table sink as a process, against the emulator's PostgREST. What the table holds is asked of the emulator and
//! compared with the logs of service and clients; crossfade's counters only tell when to look.

use std::collections::{BTreeMap, BTreeSet};

use crossfade::demo::log::Log;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::value_in;
use super::process::{Emulator, HANG, until};
use super::stage::Stage;

pub(crate) const TABLE: &str = "monitoring_events(id uuid, event_type text, timestamp timestamptz, data jsonb, source text, \
    created_at timestamptz default now(), instance text, session_no bigint, session_id text, dir text, seq bigint, \
    op text, class text, path text, raw text, crc text, redacted boolean, replay boolean, primary key (id, timestamp))";
const ALL: [(&str, &str); 3] =
    [("CROSSFADE_TABLE", "all"), ("CROSSFADE_TABLE_RATE", "10000"), ("CROSSFADE_REDACT", "off")];
const CLIENTS: u64 = 20;

fn emulator() -> Emulator {
    Emulator::start_with(&[], &["--table", TABLE, "--max-rows", "1000000"])
}

/// Every row, as the table's owner sees it.
pub(crate) async fn rows(emulator: &Emulator) -> Vec<Value> {
    read(emulator, "monitoring_events?order=instance,session_no,dir,seq").await
}

/// What the table's owner reads below `/rest/v1/`.
pub(crate) async fn read(emulator: &Emulator, path: &str) -> Vec<Value> {
    serde_json::from_str(&ask(emulator, "GET", path).await).unwrap()
}

/// The table's owner asks below `/rest/v1/`; the answer's body.
pub(crate) async fn ask(emulator: &Emulator, method: &str, path: &str) -> String {
    let asked = async {
        let address = emulator.url.split_once("://").unwrap().1.trim_end_matches('/').to_owned();
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let key = &emulator.service_key;
        let request = format!(
            "{method} /rest/v1/{path} HTTP/1.1\r\nHost: {address}\r\napikey: {key}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(HANG, asked).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

pub(crate) fn bytes(row: &Value) -> Vec<u8> {
    let hex = row["raw"].as_str().unwrap().strip_prefix("\\x").unwrap();
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The rows as logs of what went down and up, by client: the service's first word to each names it.
fn logs(rows: &[Value]) -> (Log, Log) {
    let (down, up) = (Log::default(), Log::default());
    let mut names: BTreeMap<(&str, u64), String> = BTreeMap::new();
    let session = |row: &'_ Value| row["session_no"].as_u64().unwrap();
    for row in rows.iter().filter(|row| row["seq"] == 1 && row["dir"] == "down") {
        let user = row["data"]["user"].as_str().unwrap().to_owned();
        assert!(names.insert((row["instance"].as_str().unwrap(), session(row)), user).is_none());
    }
    for row in rows {
        let name = &names[&(row["instance"].as_str().unwrap(), session(row))];
        let log = if row["dir"] == "down" { &down } else { &up };
        log.note(name, &bytes(row));
    }
    (down, up)
}

/// Waits until the ledger is at rest and nothing waits for the table.
async fn settled(stage: &Stage) -> String {
    until("the account is closed", async || {
        let scrape = stage.proxy.scrape().await;
        let open = value_in(&scrape, "crossfade_mirror_in_flight")
            + value_in(&scrape, "crossfade_table_waiting_bytes");
        let seen = value_in(&scrape, "crossfade_mirror_messages_total{state=\"seen\"}");
        let said = (stage.service.written.total() + stage.service.read.total()) as f64;
        (open == 0.0 && seen >= said).then_some(scrape)
    })
    .await
}

/// Talks, rests, and holds the table against the service's log.
async fn compare(stage: Stage, emulator: &Emulator) -> String {
    stage.written(2_000).await;
    stage.rest().await;
    let scrape = settled(&stage).await;
    // Another test may have rows of its own in the same database.
    let own = |row: &Value| row["instance"].as_str().is_some_and(|name| name.starts_with("test-0-"));
    let rows: Vec<Value> = rows(emulator).await.into_iter().filter(own).collect();
    let (down, up) = logs(&rows);
    let (down, up) = (Log::compare(&stage.service.written, &down), Log::compare(&stage.service.read, &up));
    assert!(down.is_clean() && down.received >= 2_000, "{down:?}");
    assert!(up.is_clean() && up.received >= CLIENTS, "{up:?}");
    for row in &rows {
        assert_eq!(row["crc"], format!("{:08x}", crc32fast::hash(&bytes(row))), "{row}");
        assert_eq!(row["data"], serde_json::from_slice::<Value>(&bytes(row)).unwrap(), "{row}");
    }
    let stored = value_in(&scrape, "crossfade_table_rows_total{outcome=\"stored\"}");
    assert_eq!(stored, rows.len() as f64, "{scrape}");
    stage.close_clean().await;
    scrape
}

#[tokio::test]
async fn the_rows_are_what_the_service_wrote_and_read() {
    let emulator = emulator();
    let stage = Stage::open(CLIENTS, Some(&emulator), &ALL).await;
    compare(stage, &emulator).await;
}

/// Whatever goes wrong between the sink and the table, each row is there once: also those whose answer was lost.
#[tokio::test]
async fn a_table_that_fails_in_every_way_has_each_row_once() {
    let on_rows = |fault: &str| format!("{fault} path=/rest/v1/*");
    let faults = [
        on_rows("refuse_requests status=503 for_pushes=1"),
        on_rows("lose_answers after_pushes=1 for_pushes=2"),
        on_rows("refuse_requests status=500 after_pushes=3 for_pushes=1"),
        on_rows("cut_requests after_pushes=4 for_pushes=1"),
        on_rows("refuse_requests status=429 retry_after=1 after_pushes=5 for_pushes=1"),
        on_rows("slow_requests delay_ms=300 after_pushes=6 for_pushes=2"),
    ];
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let emulator = Emulator::start_with(&faults, &["--table", TABLE, "--max-rows", "1000000"]);
    let stage = Stage::open(CLIENTS, Some(&emulator), &ALL).await;
    let scrape = compare(stage, &emulator).await;
    assert!(value_in(&scrape, "crossfade_table_requests_total{result=\"failed\"}") >= 6.0, "{scrape}");
}

#[tokio::test]
async fn with_the_breaker_open_the_table_has_every_message_and_confirms_it() {
    let emulator = emulator();
    let open = [ALL.as_slice(), &[("CROSSFADE_BREAKER", "forced_open")]].concat();
    let stage = Stage::open(CLIENTS, Some(&emulator), &open).await;
    let scrape = compare(stage, &emulator).await;
    let by_table = value_in(&scrape, "crossfade_table_proofs_total");
    let of =
        |state: &str| value_in(&scrape, &format!("crossfade_mirror_messages_total{{state=\"{state}\"}}"));
    assert_eq!((of("confirmed"), by_table), (of("seen"), of("seen")), "{scrape}");
    assert_eq!(value_in(&scrape, "crossfade_ledger_imbalance"), 0.0);
}

#[tokio::test]
async fn a_kill_leaves_no_row_twice_and_no_row_that_nobody_wrote() {
    let emulator = emulator();
    let mut said = BTreeSet::new();
    for _ in 0..2 {
        let stage = Stage::open(CLIENTS, Some(&emulator), &ALL).await;
        stage.written(500).await;
        until("rows", async || {
            (stage.proxy.value("crossfade_table_rows_total{outcome=\"stored\"}").await > 100.0).then_some(())
        })
        .await;
        stage.proxy.process.signal("KILL");
        drop(stage);
        let rows = rows(&emulator).await;
        let names: BTreeSet<String> = rows
            .iter()
            .map(|row| format!("{} {} {} {}", row["instance"], row["session_no"], row["dir"], row["seq"]))
            .collect();
        assert_eq!(names.len(), rows.len(), "a message is in two rows");
        assert!(names.len() > said.len() + 100 && names.is_superset(&said), "rows of the life before stay");
        said = names;
    }
}

#[tokio::test]
async fn without_the_table_the_mirror_works_and_says_what_is_missing() {
    let emulator = Emulator::start(&[]);
    let stage = Stage::open(CLIENTS, Some(&emulator), &ALL).await;
    stage.written(500).await;
    let advice = stage.proxy.process.line(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["message"] == "the table takes no rows").then(|| event["advice"].as_str().unwrap().to_owned())
    });
    assert!(advice.contains("deploy/supabase/migrations"), "{advice}");
    stage.rest().await;
    until("Realtime confirms", async || {
        let scrape = stage.proxy.scrape().await;
        let confirmed = value_in(&scrape, "crossfade_mirror_messages_total{state=\"confirmed\"}");
        (confirmed >= stage.service.written.total() as f64).then_some(())
    })
    .await;
    assert_eq!(stage.proxy.value("crossfade_table_rows_total{outcome=\"stored\"}").await, 0.0);
    stage.close_clean().await;
}

#[tokio::test]
async fn rows_that_the_table_refuses_are_kept_apart_and_the_others_arrive() {
    // One row of each type is all that this table takes.
    let table =
        TABLE.replace("primary key (id, timestamp))", "primary key (id, timestamp), unique (event_type))");
    let emulator = Emulator::start_with(&[], &["--table", &table]);
    let file = std::env::temp_dir().join(format!("crossfade-quarantine-{}.jsonl", std::process::id()));
    let kept = [ALL.as_slice(), &[("CROSSFADE_TABLE_QUARANTINE", file.to_str().unwrap())]].concat();
    let stage = Stage::open(CLIENTS, Some(&emulator), &kept).await;
    stage.written(200).await;
    stage.rest().await;
    let scrape = settled(&stage).await;
    let refused: Vec<Value> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(mode & 0o777, 0o600, "it holds payloads");
    assert!(refused.iter().all(|line| line["status"] == 409 && line["code"] == "23505"), "{refused:?}");
    let stored = rows(&emulator).await;
    let types: BTreeSet<String> = stored.iter().map(|row| row["event_type"].to_string()).collect();
    assert!(types.len() > 1 && types.len() == stored.len(), "one row of each type: {types:?}");
    // Together they are what was said.
    let kept = refused.iter().map(|line| line["row"].clone());
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for row in stored.iter().cloned().chain(kept) {
        let list = if row["dir"] == "down" { &mut down } else { &mut up };
        list.push(bytes(&row));
    }
    let said = (stage.service.written.total(), stage.service.read.total());
    assert_eq!((down.len() as u64, up.len() as u64), said, "{scrape}");
    assert_eq!(
        value_in(&scrape, "crossfade_table_rows_total{outcome=\"quarantined\"}"),
        refused.len() as f64,
        "{scrape}"
    );
    let log = stage.proxy.process.output();
    assert!(log.contains("the table refuses a row") && !log.contains("welcome"), "no payload in the log");
    stage.close_clean().await;
}

/// Run by `tests/groups/sql.sh`, which has applied the migrations to a PostgreSQL of its own.
#[tokio::test]
async fn on_a_real_database_the_rows_are_what_the_service_wrote_and_read() {
    let Ok(database) = std::env::var("CROSSFADE_TEST_DATABASE") else {
        println!("skip: CROSSFADE_TEST_DATABASE names no PostgreSQL with deploy/supabase/migrations applied");
        return;
    };
    let emulator = Emulator::start_with(&[], &["--database", &database, "--max-rows", "1000000"]);
    let stage = Stage::open(CLIENTS, Some(&emulator), &ALL).await;
    compare(stage, &emulator).await;
}
