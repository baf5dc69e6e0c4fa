//! The validator as a process: faults at the emulator come out under their names, reports are left behind and can be
//! read, and what the table lacks is found and posted.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::value_in;
use super::process::{Emulator, HANG, Process, until};
use super::stage::Stage;
use super::table::{TABLE, bytes, rows};

pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-it-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn of(scrape: &str, kind: &str) -> f64 {
    value_in(scrape, &format!("crossfade_match_messages_total{{kind=\"{kind}\"}}"))
}

/// Somebody else with a key publishes on the pod's own topic.
pub(crate) async fn intrude(emulator: &Emulator) {
    let envelope = json!({
        "v": 1, "src": "intruder-1", "batch": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "at": 1, "replay": false,
        "messages": [{
            "to": [[900, 1], [901, 1]], "dir": "down", "op": "text", "type": "x", "class": "low", "path": "/",
            "at": 1, "id": "0", "enc": "text", "data": "hi", "len": 2,
            "crc": format!("{:08x}", crc32fast::hash(b"hi")),
        }],
        "sessions": [],
    });
    let message = json!({ "topic": "crossfade:shop:test-0", "event": "messages", "payload": envelope, "private": true });
    let body = json!({ "messages": [message] }).to_string();
    let asked = async {
        let address = emulator.url.split_once("://").unwrap().1.trim_end_matches('/').to_owned();
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let (key, length) = (&emulator.service_key, body.len());
        let request = format!(
            "POST /realtime/v1/api/broadcast HTTP/1.1\r\nHost: {address}\r\napikey: {key}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    };
    tokio::time::timeout(HANG, asked).await.unwrap();
}

/// Runs a command to its end; exit code and everything it said.
pub(crate) async fn command(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut process = Process::start(args, env);
    let status = process.ended().await;
    let said = until("its last line", async || {
        let said = process.output();
        (!said.is_empty()).then_some(said)
    })
    .await;
    (status.code(), said)
}

#[tokio::test]
async fn faults_come_out_under_their_names_and_in_the_reports() {
    let emulator = Emulator::start(&[
        "duplicate topic=crossfade:shop:* after_pushes=40 for_pushes=5",
        "corrupt topic=crossfade:shop:* after_pushes=80 for_pushes=5",
    ]);
    let dir = Dir::new("reports");
    let state = dir.0.to_str().unwrap();
    let env = [
        ("CROSSFADE_SERVICE", "shop"),
        ("CROSSFADE_STATE_DIR", state),
        ("CROSSFADE_BREAKER", "forced_closed"),
        ("CROSSFADE_DRAIN_GRACE", "5s"),
        ("CROSSFADE_DRAIN_SETTLE", "0s"),
    ];
    let mut stage = Stage::open(10, Some(&emulator), &env).await;
    let seen = async |kinds: &[&str]| {
        until("every fault is seen", async || {
            let scrape = stage.proxy.scrape().await;
            kinds.iter().all(|kind| of(&scrape, kind) > 0.0).then_some(scrape)
        })
        .await
    };
    // The faults are over then: they act on five pushes each, whoever pushes.
    seen(&["duplicate", "altered"]).await;
    stage.written(1_000).await;
    intrude(&emulator).await;
    let scrape = seen(&["duplicate", "altered", "extra"]).await;
    assert_eq!(of(&scrape, "extra"), 2.0, "{scrape}");
    assert_eq!((of(&scrape, "missing"), of(&scrape, "reordered")), (0.0, 0.0), "{scrape}");
    assert!(
        of(&scrape, "matched") > 100.0
            && value_in(&scrape, "crossfade_self_tests_total{result=\"passed\"}") > 0.0
    );
    assert_eq!(value_in(&scrape, "crossfade_self_tests_total{result=\"failed\"}"), 0.0, "{scrape}");
    stage.rest().await;
    stage.proxy.process.signal("TERM");
    assert_eq!(stage.proxy.process.ended().await.code(), Some(0));

    let (code, listed) = command(&["report", "list", "--json"], &[("CROSSFADE_STATE_DIR", state)]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(code, Some(0));
    let step = listed["reports"].as_array().unwrap().iter().find(|one| one["span"] == "step").unwrap();
    let kinds = &step["match"]["kinds"];
    assert!(kinds["duplicate"].as_u64() > Some(0) && kinds["altered"].as_u64() > Some(0), "{listed}");
    assert_eq!(
        (&kinds["extra"], &kinds["missing"], &step["percent"]),
        (&2.into(), &0.into(), &json!(0.0)),
        "{listed}"
    );
    let id = step["id"].as_str().unwrap();
    let (code, shown) = command(&["report", "show", id, "--dir", state], &[]).await;
    assert!(code == Some(0) && shown.contains("altered") && shown.contains("self-test"), "{shown}");
    let file = dir.0.join(format!("reports/{id}.json"));
    let (code, shown) = command(&["report", "--incident", file.to_str().unwrap(), "--json"], &[]).await;
    let report: Value = serde_json::from_str(&shown).unwrap();
    assert!(code == Some(0) && !report["samples"].as_array().unwrap().is_empty(), "{shown}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds samples");
    let page = std::fs::read_to_string(file.with_extension("html")).unwrap();
    assert!(page.contains("Coverage") && !page.contains("<script"), "{page}");
    assert_eq!(command(&["report", "show", "nothing", "--dir", state], &[]).await.0, Some(69));
    assert_eq!(command(&["report"], &[]).await.0, Some(64));
}

/// A run whose reports become rows: what the table holds of this process afterwards.
async fn reported(emulator: &Emulator, pod: &str) -> Vec<Value> {
    let dir = Dir::new(pod);
    let tuning = dir.0.join("tuning.toml");
    std::fs::write(&tuning, "[validator]\nreports_table = true\n").unwrap();
    let env = [
        ("CROSSFADE_TUNING", tuning.to_str().unwrap()),
        ("CROSSFADE_POD", pod),
        ("CROSSFADE_BREAKER", "forced_closed"),
        ("CROSSFADE_DRAIN_SETTLE", "0s"),
    ];
    let mut stage = Stage::open(5, Some(emulator), &env).await;
    stage.written(300).await;
    stage.rest().await;
    until("pairs and a copy", async || {
        let scrape = stage.proxy.scrape().await;
        (of(&scrape, "matched") > 0.0 && of(&scrape, "duplicate") > 0.0).then_some(())
    })
    .await;
    stage.proxy.process.signal("TERM");
    assert_eq!(stage.proxy.process.ended().await.code(), Some(0));
    let rows = super::table::read(emulator, "crossfade_reports?order=kind,period_start").await;
    rows.into_iter()
        .filter(|row| row["instance"].as_str().is_some_and(|name| name.starts_with(pod)))
        .collect()
}

/// The hour's and the step's, each once, without a sample.
fn judge_reported(rows: &[Value], pod: &str) {
    // One more of each kind, where an hour ended during the test.
    let kinds: Vec<&str> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert!(kinds == ["hourly", "step"] || kinds == ["hourly", "hourly", "step"], "{rows:?}");
    for row in rows {
        let report = &row["report"];
        assert_eq!(
            (&report["pod"], &report["span"], &report["samples"]),
            (&pod.into(), &row["kind"], &json!([]))
        );
        assert_eq!(row["verdict"], report["match"]["verdict"]);
        assert!(row["period_start"].as_str() <= row["period_end"].as_str(), "{row}");
    }
    let step = &rows.last().unwrap()["report"]["match"]["kinds"];
    assert!(step["matched"].as_u64() > Some(0) && step["duplicate"].as_u64() > Some(0), "{rows:?}");
}

const COPIES: &str = "duplicate topic=crossfade:* after_pushes=5 for_pushes=3";

#[tokio::test]
async fn reports_become_rows_once_each_whatever_the_table_says_first() {
    let table = "crossfade_reports(service text not null, instance text not null, kind text not null, \
        period_start timestamptz not null, period_end timestamptz not null, verdict text not null, report jsonb not null, \
        created_at timestamptz default now(), primary key (service, instance, kind, period_start))";
    let faults = [
        COPIES,
        "refuse_requests status=503 path=/rest/v1/crossfade_reports for_pushes=1",
        "lose_answers path=/rest/v1/crossfade_reports after_pushes=1 for_pushes=1",
    ];
    let emulator = Emulator::start_with(&faults, &["--table", table]);
    judge_reported(&reported(&emulator, "rows-0").await, "rows-0");
}

/// Run by `tests/groups/sql.sh`.
#[tokio::test]
async fn on_a_real_database_reports_become_rows() {
    let Ok(database) = std::env::var("CROSSFADE_TEST_DATABASE") else {
        println!("skip: CROSSFADE_TEST_DATABASE names no PostgreSQL with deploy/supabase/migrations applied");
        return;
    };
    let emulator = Emulator::start_with(&[COPIES], &["--database", &database]);
    let pod = format!("real-{}", std::process::id());
    judge_reported(&reported(&emulator, &pod).await, &pod);
}

/// As `crossfade spool export` writes them.
pub(crate) fn export(count: u64) -> String {
    let line = |n: u64| {
        let (enc, data) = if n.is_multiple_of(10) {
            ("base64", "AP8=".to_owned())
        } else {
            ("text", format!("{{\"n\":{n}}}"))
        };
        let class = ["critical", "high", "medium", "low"][(n % 4) as usize];
        json!({
            "src": "pod-9-0000000a", "session": n % 7, "dir": "down", "seq": n + 1, "at": 1_760_000_000_000 + n * 1_000,
            "path": "/ws", "op": if n.is_multiple_of(10) { "binary" } else { "text" }, "type": "tick", "class": class,
            "enc": enc, "data": data,
        })
        .to_string()
            + "\n"
    };
    (0..count).map(line).collect()
}

#[tokio::test]
async fn what_the_table_lacks_is_found_posted_and_then_there() {
    let emulator = Emulator::start_with(&[], &["--table", TABLE, "--max-rows", "1000000"]);
    let dir = Dir::new("reconcile");
    let file = dir.0.join("export.jsonl");
    std::fs::write(&file, export(250)).unwrap();
    let (url, key) = (emulator.url.clone(), emulator.service_key.clone());
    let env = [
        ("CROSSFADE_UPSTREAM", "ws://127.0.0.1:1"),
        ("SUPABASE_URL", url.as_str()),
        ("SUPABASE_KEY", key.as_str()),
        ("CROSSFADE_TABLE", "all"),
    ];
    let from = file.to_str().unwrap();
    let account = async |more: &[&str]| {
        let args = [&["reconcile", "--json", "--from", from], more].concat();
        let (code, said) = command(&args, &env).await;
        let account: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        (code, ["examined", "present", "missing", "posted"].map(|name| account[name].as_u64().unwrap()))
    };
    assert_eq!(account(&["--dry-run"]).await, (Some(0), [250, 0, 250, 0]));
    assert!(rows(&emulator).await.is_empty(), "a dry run posts nothing");
    // A part of the time first: messages 0 to 99.
    assert_eq!(account(&["--until", "2025-10-09T08:54:59Z"]).await, (Some(0), [250, 0, 100, 100]));
    assert_eq!(rows(&emulator).await.len(), 100);
    assert_eq!(account(&[]).await, (Some(0), [250, 100, 150, 150]));
    assert_eq!(account(&[]).await, (Some(0), [250, 250, 0, 0]), "nothing is posted twice");
    let rows = rows(&emulator).await;
    assert_eq!(rows.len(), 250);
    for row in &rows {
        let n = row["seq"].as_u64().unwrap() - 1;
        let expected =
            if n.is_multiple_of(10) { vec![0, 255] } else { format!("{{\"n\":{n}}}").into_bytes() };
        assert_eq!(
            (bytes(row), &row["replay"], &row["instance"]),
            (expected, &true.into(), &"pod-9-0000000a".into())
        );
    }
    // Only the classes of the table are expected there.
    let critical = [&env[..3], &[("CROSSFADE_TABLE", "critical")]].concat();
    let (_, said) = command(&["reconcile", "--json", "--dry-run", "--from", from], &critical).await;
    let account: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&account["present"], &account["left_out"]), (&63.into(), &187.into()), "{said}");
    drop(emulator);
    assert_eq!(command(&["reconcile", "--from", from], &env).await.0, Some(69), "no table, no claim");
}

/// Run by `tests/groups/sql.sh`, which has applied the migrations to a PostgreSQL of its own.
#[tokio::test]
async fn on_a_real_database_what_is_lacking_is_posted_once() {
    let Ok(database) = std::env::var("CROSSFADE_TEST_DATABASE") else {
        println!("skip: CROSSFADE_TEST_DATABASE names no PostgreSQL with deploy/supabase/migrations applied");
        return;
    };
    let emulator = Emulator::start_with(&[], &["--database", &database, "--max-rows", "1000000"]);
    let dir = Dir::new("reconcile-real");
    let file = dir.0.join("export.jsonl");
    std::fs::write(
        &file,
        export(120).replace("pod-9-0000000a", &format!("pod-{}-0000000b", std::process::id())),
    )
    .unwrap();
    let env = [
        ("CROSSFADE_UPSTREAM", "ws://127.0.0.1:1"),
        ("SUPABASE_URL", emulator.url.as_str()),
        ("SUPABASE_KEY", emulator.service_key.as_str()),
        ("CROSSFADE_TABLE", "all"),
    ];
    for expected in [[120, 0, 120, 120], [120, 120, 0, 0]] {
        let (code, said) = command(&["reconcile", "--json", "--from", file.to_str().unwrap()], &env).await;
        let account: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        let found = ["examined", "present", "missing", "posted"].map(|name| account[name].as_u64().unwrap());
        assert_eq!((code, found), (Some(0), expected), "{said}");
    }
}
