//! `crossfade replay` over TLS and into a topic: the logs of the service and of a subscriber say what was played.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::made::Authority;
use super::process::{Emulator, ran, until};
use super::reader::Reader;
use super::subscriber::subscribe;

const TOPIC: &str = "replay:test";

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replay-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    /// An export with these lines.
    fn export(name: &str, lines: &[Value]) -> Self {
        Self::new(name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>())
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

/// One line of an export: a text of a session, seen so many milliseconds after the first.
fn line(session: u32, dir: &str, (seq, at): (u64, u64), data: &str) -> Value {
    json!({ "src": "pod-1", "session": session, "dir": dir, "seq": seq, "at": 1_700_000_000_000 + at,
        "path": format!("/room/{session}"), "op": "text", "type": "text", "class": "medium", "enc": "text", "data": data })
}

fn piece(mut line: Value, place: u16, of: u16) -> Value {
    line["part"] = json!([place, of]);
    line
}

fn account(out: &str) -> Value {
    let account = serde_json::from_str(out);
    assert!(account.is_ok(), "no JSON: {out}");
    account.unwrap()
}

/// Path and texts of each session, as the service has them.
type Log = Arc<Mutex<Vec<(String, Vec<String>)>>>;

/// A service behind this certificate; it answers every text with itself.
async fn service(server: rustls::ServerConfig) -> (u16, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, log) = (listener.local_addr().unwrap().port(), Log::default());
    let (acceptor, noted) = (TlsAcceptor::from(Arc::new(server)), Arc::clone(&log));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&noted));
            tokio::spawn(async move {
                let Ok(socket) = acceptor.accept(socket).await else { return };
                let mut path = String::new();
                #[expect(clippy::result_large_err, reason = "the library's own types")]
                let upgraded =
                    tokio_tungstenite::accept_hdr_async(socket, |asked: &Request, answer: Response| {
                        path = asked.uri().path().to_owned();
                        Ok(answer)
                    });
                let mut socket = upgraded.await.unwrap();
                let mut texts = Vec::new();
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(text) = &message {
                        texts.push(text.to_string());
                        socket.send(message).await.unwrap_or(());
                    }
                }
                log.lock().unwrap().push((path, texts));
            });
        }
    });
    (port, log)
}

#[tokio::test]
async fn sessions_are_played_over_tls_to_a_service_that_is_trusted() {
    let authority = Authority::new();
    let (port, log) = service(authority.issue(&["127.0.0.1"]).server()).await;
    let export = File::export(
        "tls.jsonl",
        &[
            line(1, "up", (1, 0), "one"),
            line(1, "down", (1, 1), "what the service said is not said again"),
            piece(line(1, "up", (2, 100), "in two "), 1, 2),
            piece(line(1, "up", (2, 100), "pieces"), 2, 2),
            piece(line(1, "up", (3, 200), "half a message"), 1, 2),
            line(2, "up", (1, 50), "other"),
        ],
    );
    let (ca, to) = (File::new("ca.pem", &authority.pem()), format!("wss://127.0.0.1:{port}"));
    let args = ["replay", export.name(), "--to", &to, "--speed", "50", "--json"];

    let (code, out, _) = ran(&args, &[]).await;
    let failures = account(&out)["failures"].to_string();
    assert!(code == Some(69) && failures.contains("not trusted") && failures.contains("--ca"), "{out}");
    assert!(log.lock().unwrap().is_empty(), "nothing was said to a stranger");

    let played = [
        ("/room/1".to_owned(), vec!["one".to_owned(), "in two pieces".to_owned()]),
        ("/room/2".to_owned(), vec!["other".to_owned()]),
    ];
    let by_ca = [&args[..], &["--ca", ca.name()][..]].concat();
    let by_system = [("SSL_CERT_FILE", ca.name())];
    for (args, env) in [(&by_ca[..], &[][..]), (&args[..], &by_system[..])] {
        let (code, out, err) = ran(args, env).await;
        let told = account(&out);
        assert_eq!(code, Some(0), "{out} {err}");
        let [sent, answered, left_out] = ["sent", "answered", "left_out"].map(|name| told[name].clone());
        assert_eq!((told["sessions"].clone(), sent, left_out), (json!(2), json!(3), json!(1)), "{out}");
        assert!(answered.as_u64() <= Some(3), "{out}");
        let mut heard = until("both sessions end", async || {
            let mut log = log.lock().unwrap();
            (log.len() == 2).then(|| std::mem::take(&mut *log))
        })
        .await;
        heard.sort();
        assert_eq!(heard, played);
    }
}

#[tokio::test]
async fn a_service_that_refuses_or_hangs_up_is_named() {
    let export =
        File::export("refused.jsonl", &[line(1, "up", (1, 0), "one"), line(1, "up", (2, 60_000), "two")]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("ws://{}", listener.local_addr().unwrap());
    let args = ["replay", export.name(), "--to", &to];
    let refuse = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        super::raw::head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    };
    let ((code, out, _), ()) = tokio::join!(ran(&args, &[]), refuse);
    assert!(code == Some(69) && out.contains("answers the upgrade with 401"), "{out}");
    let hang_up = async {
        let (socket, _) = listener.accept().await.unwrap();
        drop(tokio_tungstenite::accept_async(socket).await.unwrap());
    };
    let ((code, out, _), ()) = tokio::join!(ran(&args, &[]), hang_up);
    assert!(code == Some(69) && out.contains("ended the session early"), "{out}");
    drop(listener);
    let (code, out, _) = ran(&args, &[]).await;
    assert!(code == Some(69) && out.contains("refused the connection"), "{out}");
}

#[tokio::test]
async fn a_topic_gets_everything_in_order_and_marked_as_replay() {
    const CROWD: u32 = 500;
    let emulator = Emulator::start(&[]);
    let at = emulator.url.strip_prefix("http://").unwrap().parse().unwrap();
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let noted = Arc::clone(&heard);
    let note = move |said: &Value| noted.lock().unwrap().push(said["payload"].clone());
    subscribe(at, &emulator.service_key, TOPIC, note).await;
    // One message to many, then some of both directions, the last of them ten seconds later.
    let all = |no| {
        let mut one = line(no, "down", (1, 0), "to all");
        one["path"] = json!("/lobby");
        one
    };
    let mut lines: Vec<Value> = (1..=CROWD).map(all).collect();
    lines.extend((1..=40).map(|seq| line(1, "up", (seq, seq * 100), &format!("said {seq}"))));
    lines.push(piece(line(2, "down", (2, 10_000), "in two "), 1, 2));
    lines.push(piece(line(2, "down", (2, 10_000), "pieces"), 2, 2));
    let export = File::export("topic.jsonl", &lines);
    let env = [("SUPABASE_URL", emulator.url.as_str()), ("SUPABASE_KEY", &emulator.service_key)];
    let args = ["replay", export.name(), "--to-topic", TOPIC, "--speed", "20", "--json"];
    let (code, out, err) = ran(&args, &env).await;
    let told = account(&out);
    assert_eq!((code, &told["sent"]), (Some(0), &json!(lines.len())), "{out} {err}");
    assert!(told["took_ms"].as_u64() >= Some(10_000 / 20), "{out}");

    let broadcasts = told["answered"].as_u64().unwrap();
    let heard = until("every broadcast", async || {
        let heard = heard.lock().unwrap();
        (heard.len() as u64 == broadcasts).then(|| heard.clone())
    })
    .await;
    assert_eq!(
        heard[0]["messages"][0]["to"].as_array().unwrap().len(),
        CROWD as usize,
        "one payload for all"
    );
    let mut reader = Reader::new(0);
    let messages: Vec<_> = heard.iter().flat_map(|one| reader.read(&one.to_string(), 0).messages).collect();
    assert!(
        messages.iter().all(|one| one.replay && one.src.starts_with("replay-") && one.src.ends_with("pod-1"))
    );
    let of = |session, dir: &str| -> Vec<String> {
        let mine = messages.iter().filter(|one| one.session == session && one.dir == dir);
        mine.map(|one| String::from_utf8(one.data.clone()).unwrap()).collect()
    };
    assert_eq!(of(1, "up"), (1..=40).map(|seq| format!("said {seq}")).collect::<Vec<_>>());
    assert_eq!(of(2, "down"), ["to all", "in two pieces"]);
    assert!((3..=CROWD).all(|session| of(session, "down") == ["to all"]));
}

#[tokio::test]
async fn what_must_not_be_published_is_refused_with_the_reason() {
    let export = File::export("refusals.jsonl", &[line(1, "up", (1, 0), "one")]);
    let emulator = Emulator::start(&[]);
    let own = [("SUPABASE_URL", emulator.url.as_str()), ("SUPABASE_KEY", &emulator.service_key)];
    let elsewhere = [("SUPABASE_URL", "http://192.0.2.1"), own[1]];
    let anonymous = [own[0], ("SUPABASE_KEY", emulator.anon_key.as_str())];
    let to_service = |more: &[&'static str]| [&["--to", "ws://127.0.0.1:9"], more].concat();
    for (args, env, wanted, why) in [
        (vec!["--to-topic", "crossfade:chat:pod-1"], &own[..], 64, "topic of your own"),
        (vec!["--to-topic", TOPIC], &[][..], 64, "needs SUPABASE_URL"),
        (vec!["--to-topic", TOPIC], &elsewhere[..], 64, "--yes-publish-these-messages-again"),
        (vec!["--to-topic", TOPIC], &anonymous[..], 69, "failed"),
        (vec![], &own[..], 64, "--to-topic"),
        (to_service(&["--to-topic", TOPIC]), &own[..], 64, "cannot be used"),
        (to_service(&["--ca", "/nothing"]), &own[..], 64, "--ca is for wss://"),
        (to_service(&["--speed", "0"]), &own[..], 64, "--speed"),
    ] {
        let args = [&["replay", export.name()][..], &args[..]].concat();
        let (code, out, err) = ran(&args, env).await;
        assert!(code == Some(wanted) && (out + &err).contains(why), "{args:?}: {code:?} {err}");
    }
}
