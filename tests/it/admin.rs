//! The admin API of a real process: access, sessions one by one and by thousands, events.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::http::ask;
use super::process::{Emulator, HANG, Proxy, until};
use super::raw;
use super::stage::{ALL_HOT, HOT, LEGACY, Stage};

pub(crate) const TOKEN: &str = "a-long-random-token-for-this-test";
pub(crate) const OPERATE: (&str, &str) = ("CROSSFADE_ADMIN_TOKEN", TOKEN);
const BEARER: (&str, &str) = ("Authorization", "Bearer a-long-random-token-for-this-test");
const JSON: (&str, &str) = ("Content-Type", "application/json");

impl Proxy {
    /// What the API shows; with the token.
    pub(crate) async fn shows(&self, path: &str) -> Value {
        let (status, _, body) = ask(self.admin, ("GET", path), &[BEARER], "").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// What becomes of a change.
    pub(crate) async fn change(
        &self,
        what: (&str, &str),
        fields: &[(&str, &str)],
        body: Value,
    ) -> (u16, Value) {
        let fields: Vec<_> = [BEARER, JSON].iter().chain(fields).copied().collect();
        let (status, _, answer) = ask(self.admin, what, &fields, &body.to_string()).await;
        (status, answer)
    }
}

#[tokio::test]
async fn only_the_token_changes_anything_and_no_foreign_page_reaches_it() {
    let stage = Stage::open(3, None, &[OPERATE]).await;
    let admin = stage.proxy.admin;
    let switch = ("POST", "/api/v1/rollout/emergency-off");
    for (fields, wanted) in [
        (vec![JSON], (401, "unauthorized")),
        (vec![JSON, ("Authorization", "Bearer a-long-random-token-for-this-tesT")], (401, "unauthorized")),
        (vec![BEARER], (415, "not_json")),
        (vec![BEARER, JSON, ("Host", "rebound.example")], (421, "foreign_host")),
        (vec![BEARER, JSON, ("Origin", "http://elsewhere.example")], (403, "foreign_origin")),
    ] {
        let (status, _, answer) = ask(admin, switch, &fields, r#"{"on":true}"#).await;
        assert_eq!((status, answer["error"]["code"].as_str().unwrap()), wanted, "{fields:?}");
    }
    let (status, _, answer) = ask(admin, ("GET", "/api/v1/status"), &[("Host", "rebound.example")], "").await;
    assert_eq!((status, &answer["error"]["code"]), (421, &json!("foreign_host")));
    assert_eq!(
        stage.proxy.shows("/api/v1/rollout").await["emergency"],
        json!([]),
        "nothing came of all that"
    );

    let (status, _, shown) = ask(admin, ("GET", "/api/v1/status"), &[], "").await;
    assert_eq!(status, 200, "loopback may view");
    assert_eq!(shown["sessions"]["open"]["legacy"], 3);
    assert_eq!(shown["breaker"], Value::Null, "no Supabase, no breaker");
    let settings = stage.proxy.shows("/api/v1/config").await;
    assert!(!settings.to_string().contains(TOKEN), "the token is never shown");
    let own = settings["settings"].as_array().unwrap().iter().find(|row| row["name"] == OPERATE.0).unwrap();
    assert_eq!(
        (&own["source"], &own["value"], &own["secret"]),
        (&json!("environment"), &Value::Null, &json!(true))
    );
    stage.close_clean().await;
}

#[tokio::test]
async fn without_a_token_it_says_how_to_get_one() {
    let stage = Stage::open(1, None, &[]).await;
    let (status, answer) = stage.proxy.change(("POST", "/api/v1/breaker/reset"), &[], json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("read_only")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("CROSSFADE_ADMIN_TOKEN"));
    stage.close_clean().await;
}

/// Every session, page by page.
async fn all_sessions(proxy: &Proxy, limit: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = proxy.shows(&format!("/api/v1/sessions?limit={limit}{after}")).await;
        let rows = page["sessions"].as_array().unwrap();
        assert!(rows.len() <= limit);
        found.extend(rows.iter().cloned());
        match page["next"].as_u64() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_session_says_why_it_is_here_is_moved_and_is_closed() {
    const CLIENTS: u64 = 25;
    let emulator = Emulator::start(&[]);
    let stage = Stage::open(CLIENTS, Some(&emulator), &[ALL_HOT[0], ALL_HOT[1], OPERATE]).await;
    let proxy = &stage.proxy;
    proxy.until_value(HOT, CLIENTS as f64).await;
    let rows = all_sessions(proxy, 10).await;
    let ids: BTreeSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((rows.len(), ids.len()), (25, 25), "each once");
    assert!(rows.iter().all(|row| row["lane"] == "hot" && row["reason"] == "in_cohort"), "{rows:?}");

    let path = format!("/api/v1/sessions/{}", ids.first().unwrap());
    let one = proxy.shows(&path).await;
    assert_eq!(one["decision"]["reason"], "in_cohort");
    assert_eq!(one["decision"]["percent"], 100.0);
    let sentence = one["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("Realtime releases") && sentence.contains("below the rollout's 100 %"),
        "{sentence}"
    );
    let key = one["decision"]["key"].as_str().unwrap();
    let (_, _, seen) = ask(proxy.admin, ("GET", &path), &[], "").await;
    assert_eq!(seen["decision"]["key"], Value::Null, "the name of its key needs a token");
    assert!(!seen.to_string().contains(key));

    let moved = format!("{path}/move");
    let (status, answer) =
        proxy.change(("POST", &moved), &[], json!({"lane": "legacy", "reason": "a look"})).await;
    assert_eq!((status, &answer["before"]["lane"]), (200, &json!("hot")), "{answer}");
    proxy.until_value(LEGACY, 1.0).await;
    let there = proxy.shows(&path).await;
    assert_eq!(
        (&there["lane"], &there["reason"], &there["pinned"]),
        (&json!("legacy"), &json!("person"), &json!("legacy"))
    );
    stage.written(500).await;
    assert!((proxy.value(LEGACY).await - 1.0).abs() < f64::EPSILON, "it stays");
    let (status, _) = proxy.change(("POST", &moved), &[], json!({"lane": "auto"})).await;
    assert_eq!(status, 200);
    proxy.until_value(HOT, CLIENTS as f64).await;
    let (status, answer) = proxy.change(("POST", &moved), &[], json!({"lane": "native"})).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("lane")));
    stage.written(500).await;
    stage.close_clean().await;
}

#[tokio::test]
async fn a_person_closes_one_session_and_no_other() {
    let stage = Stage::open(5, None, &[OPERATE]).await;
    let proxy = &stage.proxy;
    let rows = all_sessions(proxy, 500).await;
    let path = format!("/api/v1/sessions/{}", rows[2]["id"].as_str().unwrap());
    let close = format!("{path}/close");
    let (status, answer) = proxy.change(("POST", &close), &[], json!({"code": 1005})).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("code")), "no endpoint may send 1005");
    let (status, answer) = proxy.change(("POST", &close), &[], json!({"code": 1012})).await;
    assert_eq!((status, &answer["after"]["closing"]), (200, &json!(1012)));
    until("one close", async || (stage.clients.unasked_closes.load(Ordering::Relaxed) == 1).then_some(()))
        .await;
    until("it is gone", async || {
        let (status, _, _) = ask(proxy.admin, ("GET", &path), &[BEARER], "").await;
        (status == 404).then_some(())
    })
    .await;
    stage.written(100).await;
    assert_eq!(stage.clients.unasked_closes.load(Ordering::Relaxed), 1);
    let (status, _) = proxy.change(("POST", &close), &[], json!({})).await;
    assert_eq!(status, 404);
}

/// Echoes on one of two thousand sessions while all of them are listed again and again.
#[tokio::test]
async fn two_thousand_sessions_are_listed_while_one_talks() {
    const SESSIONS: usize = 2000;
    const ECHOES: u64 = 500;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &[OPERATE]);
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(raw::session(proxy.clients, &service).await);
    }
    let (client, upstream) = sessions.last_mut().unwrap();
    // A masked frame of one byte, and back as it came: what passes is the sessions' business.
    let frame = [0x82, 0x81, 0, 0, 0, 0, 7];
    let talk = async {
        for _ in 0..ECHOES {
            let mut seen = [0; 7];
            client.write_all(&frame).await.unwrap();
            upstream.read_exact(&mut seen).await.unwrap();
            upstream.write_all(&[0x82, 1, seen[6]]).await.unwrap();
            client.read_exact(&mut seen[..3]).await.unwrap();
            assert_eq!(seen[..3], [0x82, 1, 7]);
        }
    };
    let mut listed = 0;
    let list = async {
        loop {
            let ids: BTreeSet<_> =
                all_sessions(&proxy, 500).await.iter().map(|row| row["id"].to_string()).collect();
            assert_eq!(ids.len(), SESSIONS);
            listed += 1;
        }
    };
    tokio::time::timeout(HANG, async {
        tokio::select! {
            () = talk => {}
            () = list => {}
        }
    })
    .await
    .unwrap();
    let messages: u64 =
        all_sessions(&proxy, 500).await.iter().map(|row| row["messages_up"].as_u64().unwrap()).sum();
    assert_eq!(messages, ECHOES, "whole lists meanwhile: {listed}");
}

#[tokio::test]
async fn events_tell_the_status_and_what_people_do() {
    let stage = Stage::open(2, None, &[OPERATE]).await;
    let admin = stage.proxy.admin;
    let mut socket = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(socket).lines();
    let mut next = async |name: &str| {
        let wanted = format!("event: {name}");
        let find = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the stream ended");
                if line == wanted {
                    let data = lines.next_line().await.unwrap().unwrap();
                    return serde_json::from_str::<Value>(data.strip_prefix("data: ").unwrap()).unwrap();
                }
            }
        };
        tokio::time::timeout(HANG, find).await.unwrap()
    };
    assert_eq!(next("status").await["sessions"]["open"]["legacy"], 2);
    let asked = json!({"on": true, "reason": "a drill"});
    let (status, _) = stage.proxy.change(("POST", "/api/v1/rollout/emergency-off"), &[], asked).await;
    assert_eq!(status, 200);
    let entry = next("audit").await;
    assert_eq!((&entry["action"], &entry["reason"]), (&json!("emergency_off"), &json!("a drill")));
    assert_eq!((&entry["role"], &entry["outcome"]), (&json!("operate"), &json!("done")));
    assert!(entry["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(next("status").await["rollout"]["emergency"], json!(["api"]));
    stage.close_clean().await;
}
