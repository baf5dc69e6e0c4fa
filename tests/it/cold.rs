//! The cold lane as a process: clients of the service's wire, fed by a Realtime topic, and the service not asked.
//! The witnesses are the clients' own logs and an independent subscriber; metrics only tell when to go on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossfade::emulator::{Claims, Secret};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::http::ask;
use super::process::{Emulator, HANG, Proxy, now, ran, until};
use super::raw;
use super::subscriber::subscribe;

const SECRET: &str = "a secret of at least 32 bytes for the tests of cold";
const POLICIES: [&str; 6] = [
    "--policy",
    "anon:room:*:rw",
    "--policy",
    "authenticated:room:open:rw",
    "--policy",
    "authenticated:room:read:r",
];
/// Everybody is to be cold, and the breaker is held closed, so that no test waits for ten probes.
const COLD: [(&str, &str); 4] = [
    ("CROSSFADE_ROLLOUT_LANE", "cold"),
    ("CROSSFADE_ROLLOUT_PERCENT", "100"),
    ("CROSSFADE_BREAKER", "forced_closed"),
    ("CROSSFADE_COLD_SOURCE", "room:{path}"),
];
pub(crate) const KEY: (&str, &str) = ("x-user-id", "somebody");

pub(crate) type Client = WebSocketStream<TcpStream>;

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-cold-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// The service: takes every upgrade, and counts them.
pub(crate) struct Service {
    address: SocketAddr,
    upgrades: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, upgrades) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&upgrades);
        let serving = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let head = raw::head(&mut socket).await;
                    if head.is_empty() {
                        return;
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    let key = raw::field(&head, "sec-websocket-key").unwrap();
                    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
                    let refused = head.contains("/refused");
                    let answer = if refused {
                        "HTTP/1.1 402 Payment Required\r\nContent-Length: 4\r\n\r\npay!".to_owned()
                    } else {
                        format!(
                            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                             Sec-WebSocket-Protocol: of.service\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                        )
                    };
                    tokio::io::AsyncWriteExt::write_all(&mut socket, answer.as_bytes()).await.unwrap();
                    raw::drained(socket).await;
                });
            }
        });
        Self { address, upgrades, serving }
    }

    fn upgrades(&self) -> usize {
        self.upgrades.load(Ordering::SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// How an upgrade fared: the socket and the head's word about what was missed, or the refusal.
enum Fared {
    Cold(Box<Client>, String),
    Legacy(Box<Client>),
    Refused(u16, Option<String>),
}

async fn knock(proxy: SocketAddr, target: &str, fields: &[(&'static str, &str)]) -> Fared {
    let mut request = format!("ws://{proxy}{target}").into_client_request().unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let socket = TcpStream::connect(proxy).await.unwrap();
    let asked = tokio_tungstenite::client_async(request, socket);
    let field = |head: &tokio_tungstenite::tungstenite::http::HeaderMap, name: &str| {
        head.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    match tokio::time::timeout(HANG, asked).await.unwrap() {
        Ok((socket, answer)) => match field(answer.headers(), "x-crossfade-resume") {
            Some(resume) => Fared::Cold(Box::new(socket), resume),
            None => Fared::Legacy(Box::new(socket)),
        },
        Err(Error::Http(answer)) => {
            Fared::Refused(answer.status().as_u16(), field(answer.headers(), "x-crossfade-error"))
        }
        Err(error) => {
            // The service speaks a subprotocol that was not asked for: the head is all that counts here.
            assert!(matches!(error, Error::Protocol(_)), "{error:?}");
            Fared::Refused(0, None)
        }
    }
}

pub(crate) async fn refused(
    proxy: SocketAddr,
    target: &str,
    fields: &[(&'static str, &str)],
) -> (u16, String) {
    match knock(proxy, target, fields).await {
        Fared::Refused(status, why) => (status, why.unwrap_or_default()),
        Fared::Cold(..) => (101, "cold".to_owned()),
        Fared::Legacy(_) => (101, "legacy".to_owned()),
    }
}

/// Knocks until the lane takes the client: that Realtime was read back is known to the decision a moment later.
pub(crate) async fn cold(
    proxy: SocketAddr,
    target: &str,
    fields: &[(&'static str, &str)],
) -> (Client, String) {
    until("a cold session", async || match knock(proxy, target, fields).await {
        Fared::Cold(socket, resume) => Some((*socket, resume)),
        Fared::Legacy(_) | Fared::Refused(..) => None,
    })
    .await
}

/// The next message, or the close as `code reason`.
async fn next(client: &mut Client) -> Result<String, String> {
    loop {
        match tokio::time::timeout(HANG, client.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Binary(bytes))) => return Ok(format!("{bytes:?}")),
            Some(Ok(Message::Close(Some(close)))) => {
                return Err(format!("{} {}", u16::from(close.code), close.reason));
            }
            Some(Ok(Message::Close(None))) => return Err("closed".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("ended".to_owned()),
        }
    }
}

/// Publishes as anybody with a key would.
async fn publish(emulator: &Emulator, topic: &str, payload: Value) {
    let address = emulator.url.split_once("://").unwrap().1.trim_end_matches('/').parse().unwrap();
    let key = &emulator.service_key;
    let bearer = format!("Bearer {key}");
    let fields = [("apikey", key.as_str()), ("Authorization", &bearer), ("Content-Type", "application/json")];
    let body = json!({"messages": [{"topic": topic, "event": "said", "payload": payload, "private": true}]});
    let path = ("POST", "/realtime/v1/api/broadcast");
    let (status, _, answer) = ask(address, path, &fields, &body.to_string()).await;
    assert_eq!(status, 202, "{answer}");
}

pub(crate) fn emulator() -> Emulator {
    Emulator::start_with(&[], &[POLICIES.as_slice(), &["--jwt-secret", SECRET]].concat())
}

pub(crate) fn start(service: &Service, emulator: &Emulator, more: &[(&str, &str)]) -> Proxy {
    let anon = [("SUPABASE_ANON_KEY", emulator.anon_key.as_str())];
    Proxy::start(service.address, Some(emulator), &[COLD.as_slice(), &anon, more].concat())
}

pub(crate) fn token(role: &str, exp: i64) -> String {
    Secret::new(SECRET).mint(&Claims::of(role, exp))
}

pub(crate) const PUBLIC: (&str, &str) = ("CROSSFADE_COLD_AUTH", "public");

#[tokio::test]
async fn cold_clients_a_subscriber_and_a_publisher_understand_each_other() {
    let (service, emulator) = (Service::start().await, emulator());
    let proxy = start(&service, &emulator, &[PUBLIC]);
    let heard = Arc::<Mutex<Vec<Value>>>::default();
    let note = Arc::clone(&heard);
    let realtime = emulator.url.split_once("://").unwrap().1.parse().unwrap();
    let key = emulator.service_key.clone();
    subscribe(realtime, &key, "room:a", move |said| note.lock().unwrap().push(said.clone())).await;

    let (mut one, resume) = cold(proxy.clients, "/a", &[KEY]).await;
    assert_eq!(resume, "fresh");
    let (mut two, _) = cold(proxy.clients, "/a", &[KEY]).await;
    let (mut elsewhere, _) = cold(proxy.clients, "/b", &[KEY]).await;
    let before = service.upgrades();
    proxy.until_value("crossfade_sessions{lane=\"cold\"}", 3.0).await;

    for text in ["{\"event\":\"chat\", \"n\":1}", "plain", "[1, 2]"] {
        one.send(Message::text(text)).await.unwrap();
        assert_eq!(next(&mut two).await, Ok(text.to_owned()), "as it was written");
    }
    one.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(next(&mut two).await, Ok("b\"\\x01\\x02\"".to_owned()));
    two.send(Message::text("back")).await.unwrap();
    assert_eq!(next(&mut one).await, Ok("back".to_owned()), "and nothing of its own before it");
    publish(&emulator, "room:a", json!({"from": "outside"})).await;
    assert_eq!(next(&mut one).await, Ok("{\"from\":\"outside\"}".to_owned()));
    assert_eq!(next(&mut two).await, Ok("{\"from\":\"outside\"}".to_owned()));
    publish(&emulator, "room:b", json!({"b": 1})).await;
    assert_eq!(next(&mut elsewhere).await, Ok("{\"b\":1}".to_owned()), "nothing of the other room");

    until("the subscriber hears all", async || (heard.lock().unwrap().len() >= 6).then_some(())).await;
    let said = heard.lock().unwrap().clone();
    assert_eq!((&said[0]["event"], &said[0]["payload"]["n"]), (&json!("chat"), &json!(1)));
    assert_eq!(said[1]["payload"]["data"], "plain");
    assert_eq!(said[3]["payload"]["enc"], "base64");
    assert_eq!(service.upgrades(), before, "the service was not asked");

    // Presence is refused in words, not ignored.
    one.send(Message::text("{\"event\":\"presence\",\"payload\":{}}")).await.unwrap();
    assert_eq!(next(&mut one).await, Err("4406 presence_not_supported".to_owned()));
    // A client that has read its close and does not close its side keeps its connection, as at any server.
    drop((one, two));
    proxy.until_value("crossfade_sessions{lane=\"cold\"}", 1.0).await;
}

#[tokio::test]
async fn who_must_not_get_in_does_not() {
    let (service, emulator) = (Service::start().await, emulator());
    let secret = File::new("secret", SECRET);
    let tuning = File::new(
        "jwt.toml",
        &format!("[cold]\njwt_secret_file = {:?}\njoin_timeout_ms = 30000\n", secret.name()),
    );
    let env = [("CROSSFADE_COLD_AUTH", "jwt"), ("CROSSFADE_TUNING", tuning.name())];
    let proxy = start(&service, &emulator, &env);
    let at = proxy.clients;
    let good = format!("Bearer {}", token("authenticated", 4_000_000_000));
    let bearer = ("authorization", good.as_str());
    let (mut client, _) = cold(at, "/open", &[KEY, bearer]).await;
    let before = service.upgrades();
    let forged =
        format!("Bearer {}", Secret::new("another secret").mint(&Claims::of("authenticated", 4_000_000_000)));
    let old = format!("Bearer {}", token("authenticated", 1_000));
    let mighty = format!("Bearer {}", token("service_role", 4_000_000_000));
    let word = |word: &str| word.to_owned();
    assert_eq!(refused(at, "/open", &[KEY]).await, (401, word("cold_token")));
    for bad in [&forged, &old, &mighty] {
        assert_eq!(refused(at, "/open", &[KEY, ("authorization", bad)]).await, (401, word("cold_token")));
    }
    let evil = ("origin", "https://evil.example");
    assert_eq!(refused(at, "/open", &[KEY, bearer, evil]).await, (403, word("cold_origin")));
    assert_eq!(refused(at, "/open?presence=1", &[KEY, bearer]).await, (501, word("cold_presence")));
    assert_eq!(refused(at, "/closed", &[KEY, bearer]).await, (403, word("cold_denied")));
    assert_eq!(service.upgrades(), before, "none of them reached the service");
    // The right token in another place, and a topic that may be read and not be written.
    let query = format!("/open?token={}", token("authenticated", 4_000_000_000));
    let (mut other, _) = cold(at, &query, &[KEY]).await;
    other.send(Message::text("{\"n\":1}")).await.unwrap();
    assert_eq!(next(&mut client).await, Ok("{\"n\":1}".to_owned()));
    let (mut reader, _) = cold(at, "/read", &[KEY, bearer]).await;
    reader.send(Message::text("{\"n\":2}")).await.unwrap();
    assert_eq!(next(&mut reader).await, Err("4403 write_denied".to_owned()));
}

#[tokio::test]
async fn a_token_that_ends_ends_its_session_and_says_so() {
    let (service, emulator) = (Service::start().await, emulator());
    let secret = File::new("short-secret", SECRET);
    let tuning = File::new("short.toml", &format!("[cold]\njwt_secret_file = {:?}\n", secret.name()));
    let env = [("CROSSFADE_COLD_AUTH", "jwt"), ("CROSSFADE_TUNING", tuning.name())];
    let proxy = start(&service, &emulator, &env);
    let mut client = until("a session before its token ends", async || {
        let unix = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let bearer = format!("Bearer {}", token("authenticated", i64::try_from(unix).unwrap() + 5));
        match knock(proxy.clients, "/open", &[KEY, ("authorization", &bearer)]).await {
            Fared::Cold(socket, _) => Some(*socket),
            Fared::Legacy(_) | Fared::Refused(..) => None,
        }
    })
    .await;
    assert_eq!(next(&mut client).await, Err("4401 token_expired".to_owned()));
    assert!(proxy.value("crossfade_cold_ended_total{reason=\"token_expired\"}").await >= 1.0);
}

#[tokio::test]
async fn the_service_decides_where_it_is_asked() {
    let (service, emulator) = (Service::start().await, emulator());
    let proxy = start(&service, &emulator, &[("CROSSFADE_COLD_AUTH", "upstream")]);
    let offer = ("sec-websocket-protocol", "other, of.service");
    let (mut client, _) = cold(proxy.clients, "/a", &[KEY, offer]).await;
    let before = service.upgrades();
    let (mut other, _) = cold(proxy.clients, "/a", &[KEY, offer]).await;
    assert_eq!(service.upgrades(), before + 1, "it was asked");
    client.send(Message::text("hello")).await.unwrap();
    assert_eq!(next(&mut other).await, Ok("hello".to_owned()));
    assert_eq!(refused(proxy.clients, "/refused", &[KEY]).await, (402, String::new()), "its own words");
}

#[tokio::test]
async fn without_cold_auth_a_flag_that_asks_for_cold_means_legacy_with_a_reason() {
    let (service, emulator) = (Service::start().await, emulator());
    let flags = File::new("flags.json", "{\"schema\":1,\"version\":1,\"percent\":\"100\",\"lane\":\"cold\"}");
    let env = [("CROSSFADE_BREAKER", "forced_closed"), ("CROSSFADE_FLAGS_FILE", flags.name())];
    let proxy = Proxy::start(service.address, Some(&emulator), &env);
    until("the reason", async || {
        let offer = ("sec-websocket-protocol", "of.service");
        let Fared::Legacy(_client) = knock(proxy.clients, "/a", &[KEY, offer]).await else { return None };
        let (_, _, page) = ask(proxy.admin, ("GET", "/api/v1/sessions?limit=100"), &[], "").await;
        let rows = page["sessions"].as_array().unwrap();
        rows.iter().any(|row| row["lane"] == "legacy" && row["reason"] == "cold_not_configured").then_some(())
    })
    .await;
    let env = [
        ("CROSSFADE_UPSTREAM", "ws://127.0.0.1:9"),
        ("SUPABASE_URL", emulator.url.as_str()),
        ("SUPABASE_KEY", emulator.service_key.as_str()),
        ("CROSSFADE_ROLLOUT_LANE", "cold"),
        ("CROSSFADE_ROLLOUT_PERCENT", "1"),
    ];
    let (code, _, said) = ran(&["run"], &env).await;
    assert_ne!(code, Some(0));
    assert!(said.contains("CROSSFADE_COLD_AUTH"), "{said}");
}

#[tokio::test]
async fn a_trip_closes_cold_sessions_with_1012_and_legacy_takes_them_at_once() {
    const CLIENTS: usize = 40;
    let (service, emulator) = (Service::start().await, emulator());
    let proxy = start(&service, &emulator, &[PUBLIC, super::admin::OPERATE]);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(cold(proxy.clients, "/a", &[KEY]).await.0);
    }
    for n in 0..20 {
        publish(&emulator, "room:a", json!({"n": n})).await;
    }
    let logs: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut log = Vec::new();
                loop {
                    match next(&mut client).await {
                        Ok(text) => log.push(text),
                        Err(close) => return (log, close),
                    }
                }
            })
        })
        .collect();
    until("all have read all", async || {
        let down = proxy.value("crossfade_cold_messages_total{what=\"down\"}").await;
        (down >= (20 * CLIENTS) as f64).then_some(())
    })
    .await;
    let (status, answer) =
        proxy.change(("POST", "/api/v1/breaker"), &[], json!({"mode": "forced_open"})).await;
    assert_eq!(status, 200, "{answer}");
    let expect: Vec<_> = (0..20).map(|n| format!("{{\"n\":{n}}}")).collect();
    for log in logs {
        let (log, close) = log.await.unwrap();
        assert_eq!(log, expect, "whole and in order before the close");
        assert!(close.starts_with("1012"), "{close}");
    }
    let before = service.upgrades();
    let offer = ("sec-websocket-protocol", "of.service");
    assert_eq!(refused(proxy.clients, "/a", &[KEY, offer]).await, (101, "legacy".to_owned()));
    assert_eq!(service.upgrades(), before + 1);
    proxy.until_value("crossfade_sessions{lane=\"cold\"}", 0.0).await;
}

#[tokio::test]
async fn who_comes_back_is_given_what_it_missed_or_told_of_a_gap() {
    let (service, emulator) = (Service::start().await, emulator());
    let proxy = start(&service, &emulator, &[PUBLIC]);
    // Somebody stays, so that one of them is not the other.
    let (mut stays, _) = cold(proxy.clients, "/a", &[("x-user-id", "stays")]).await;
    let (mut leaves, resume) = cold(proxy.clients, "/a", &[("x-user-id", "leaves")]).await;
    assert_eq!(resume, "fresh");
    publish(&emulator, "room:a", json!({"n": 0})).await;
    assert_eq!(next(&mut leaves).await, Ok("{\"n\":0}".to_owned()));
    drop(leaves); // without a word
    proxy.until_value("crossfade_sessions{lane=\"cold\"}", 1.0).await;
    for n in 1..4 {
        publish(&emulator, "room:a", json!({"n": n})).await;
    }
    for n in 0..4 {
        assert_eq!(next(&mut stays).await, Ok(format!("{{\"n\":{n}}}")));
    }
    let (mut back, resume) = cold(proxy.clients, "/a", &[("x-user-id", "leaves")]).await;
    assert_eq!(resume, "resumed");
    let mut log = vec![next(&mut back).await.unwrap()];
    while log.last().unwrap() != "{\"n\":3}" {
        log.push(next(&mut back).await.unwrap());
    }
    // At least once: what it had read without our knowing may come again.
    let all: Vec<_> = (0..4).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert!(log == all || log == all[1..], "{log:?}");
    drop(stays);

    // Realtime dies: what is said meanwhile is not known, and nobody is left in the belief that nothing was.
    emulator.process.signal("KILL");
    assert_eq!(next(&mut back).await, Err("1012 gap".to_owned()));
    proxy.until_value("crossfade_cold_interruptions_total", 1.0).await;
}

#[tokio::test]
async fn who_comes_back_too_late_for_the_log_is_told_of_a_gap() {
    let (service, emulator) = (Service::start().await, emulator());
    let tuning = File::new("short.toml", "[cold]\nlog_messages = 2\n");
    let proxy = start(&service, &emulator, &[PUBLIC, ("CROSSFADE_TUNING", tuning.name())]);
    let (mut stays, _) = cold(proxy.clients, "/a", &[("x-user-id", "stays")]).await;
    let (mut leaves, _) = cold(proxy.clients, "/a", &[("x-user-id", "leaves")]).await;
    publish(&emulator, "room:a", json!({"n": 0})).await;
    assert_eq!(next(&mut leaves).await, Ok("{\"n\":0}".to_owned()));
    drop(leaves);
    proxy.until_value("crossfade_sessions{lane=\"cold\"}", 1.0).await;
    // More than is kept: what it has missed cannot be given.
    for n in 1..6 {
        publish(&emulator, "room:a", json!({"n": n})).await;
    }
    for n in 0..6 {
        assert_eq!(next(&mut stays).await, Ok(format!("{{\"n\":{n}}}")));
    }
    let (mut back, resume) = cold(proxy.clients, "/a", &[("x-user-id", "leaves")]).await;
    assert_eq!(resume, "gap", "not as if nothing had been said");
    proxy.until_value("crossfade_cold_resumes_total{outcome=\"gap\"}", 1.0).await;
    publish(&emulator, "room:a", json!({"n": 9})).await;
    while next(&mut back).await.unwrap() != "{\"n\":9}" {}
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_holds_up_nobody() {
    let (service, emulator) = (Service::start().await, emulator());
    let tuning = File::new("slow.toml", "[cold]\noutbox_bytes = 1024\n");
    let proxy = start(&service, &emulator, &[PUBLIC, ("CROSSFADE_TUNING", tuning.name())]);
    let (_slow, _) = cold(proxy.clients, "/a", &[("x-user-id", "slow")]).await;
    let (mut quick, _) = cold(proxy.clients, "/a", &[("x-user-id", "quick")]).await;
    let filler = "x".repeat(100_000);
    let began = now();
    let mut count = 0;
    while proxy.value("crossfade_cold_ended_total{reason=\"slow_client\"}").await < 1.0 {
        assert!(began.elapsed() < HANG, "the slow client was never closed");
        publish(&emulator, "room:a", json!({"n": count, "x": filler})).await;
        let text = next(&mut quick).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["n"], count);
        count += 1;
    }
}

/// The service's database inserts a row.
async fn insert(emulator: &Emulator, n: u64) {
    let address = emulator.url.split_once("://").unwrap().1.trim_end_matches('/').parse().unwrap();
    let key = &emulator.service_key;
    let bearer = format!("Bearer {key}");
    let fields = [("apikey", key.as_str()), ("Authorization", &bearer), ("Content-Type", "application/json")];
    let row = json!({"id": n, "data": {"n": n}}).to_string();
    let (status, _, answer) = ask(address, ("POST", "/rest/v1/feed"), &fields, &row).await;
    assert_eq!(status, 201, "{answer}");
}

#[tokio::test]
async fn a_tables_rows_feed_clients_and_new_ones_are_given_the_last() {
    let table = ["--table", "feed(id bigint primary key, data jsonb)", "--table-policy", "anon:feed:r"];
    let emulator = Emulator::start_with(&[], &[table.as_slice(), &["--policy", "anon:table:*:rw"]].concat());
    let service = Service::start().await;
    let tuning = File::new(
        "table.toml",
        "[cold]\ncolumn = \"data\"\norder = \"id\"\nsnapshot = 2\njoin_timeout_ms = 30000\n",
    );
    let more = [PUBLIC, ("CROSSFADE_TUNING", tuning.name()), ("CROSSFADE_COLD_SOURCE", "table:feed")];
    let anon = ("SUPABASE_ANON_KEY", emulator.anon_key.as_str());
    let proxy = Proxy::start(service.address, Some(&emulator), &[&COLD[..3], &[anon], &more].concat());
    for n in 1..4 {
        insert(&emulator, n).await;
    }
    let (mut client, _) = cold(proxy.clients, "/a", &[KEY]).await;
    insert(&emulator, 4).await;
    for n in 2..5 {
        let text = next(&mut client).await.unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({"n": n}),
            "two rows, then the new one"
        );
    }
}
