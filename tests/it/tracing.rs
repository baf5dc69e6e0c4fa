//! Spans as a process sends them, to a collector that is the test's own: what a traced session says, what it never says,
//! and what a collector that hangs is to everybody else.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process::{HANG, Proxy, until};
use super::raw;

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// Stands wherever a client may put a secret.
pub(crate) const SECRET: &str = "hunter2-the-canary";
const TOKEN: &str = "Bearer only-for-the-collector";

/// What a collector got: heads and bodies as they came.
#[derive(Clone, Default)]
pub(crate) struct Got(Arc<Mutex<Vec<Request>>>, Arc<AtomicUsize>);

/// Head and body.
type Request = (String, Vec<u8>);

impl Got {
    pub(crate) fn text(&self) -> String {
        let got = self.0.lock().unwrap();
        got.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let got = self.0.lock().unwrap();
        let read = |body: &[u8]| serde_json::from_slice::<ExportTraceServiceRequest>(body).unwrap();
        let under = got.iter().flat_map(|(_, body)| read(body).resource_spans);
        under.flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect()
    }

    /// How many requests have been answered, in whatever way.
    pub(crate) fn answered(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    pub(crate) async fn span(&self, name: &str) -> Span {
        until(name, async || self.spans().into_iter().find(|span| span.name == name)).await
    }
}

/// Takes requests and answers each with the next of these heads; then with 200. Behind a `|` stands a body.
pub(crate) async fn collect(listener: TcpListener, answers: &'static [&'static str], got: Got) {
    let mut answers = answers.iter();
    while let Ok((mut socket, _)) = listener.accept().await {
        loop {
            let head = raw::head(&mut socket).await;
            let Some(length) = raw::field(&head, "content-length") else { break };
            let mut body = vec![0; length.parse().unwrap()];
            socket.read_exact(&mut body).await.unwrap();
            let answer = answers.next().map_or("200 OK", |answer| answer);
            if answer.starts_with("200") {
                got.0.lock().unwrap().push((head, body));
            }
            let (answer, body) = answer.split_once('|').unwrap_or((answer, "{}"));
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
            got.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) struct Dir(PathBuf);

impl Dir {
    /// A tuning file that leads to this collector.
    pub(crate) fn new(name: &str, collector: &TcpListener, more: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-tracing-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let address = collector.local_addr().unwrap();
        let fields = path.join("fields");
        std::fs::write(&fields, format!("authorization: {TOKEN}\n")).unwrap();
        let tuning = format!(
            "[otlp]\nendpoint = \"http://{address}\"\nheaders_file = \"{}\"\ndelay_ms = 1\n{more}",
            fields.display()
        );
        std::fs::write(path.join("tuning.toml"), tuning).unwrap();
        Self(path)
    }

    pub(crate) fn tuning(&self) -> String {
        self.0.join("tuning.toml").to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

pub(crate) async fn upgrade(proxy: &Proxy, traceparent: &str) -> TcpStream {
    let mut socket = TcpStream::connect(proxy.clients).await.unwrap();
    let request = format!(
        "GET /feed?token={SECRET} HTTP/1.1\r\nHost: chat.example:8443\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Authorization: Bearer {SECRET}\r\nCookie: session={SECRET}\r\nSec-WebSocket-Protocol: {SECRET}\r\n\
         tracestate: vendor={SECRET}\r\n{traceparent}\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

pub(crate) fn parented(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
pub(crate) fn of(span: &Span, key: &str) -> Option<String> {
    let pair = span.attributes.iter().find(|pair| pair.key == key)?;
    match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(crate) fn check(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(of(span, key).as_deref(), Some(*value), "{key}: {span:?}");
    }
}

/// The client says "secret" and closes with 4001, masked with zeros; the service answers in kind.
async fn talk(client: &mut TcpStream, service: &mut TcpStream) {
    let said = [0x81, 0x80 | SECRET.len() as u8, 0, 0, 0, 0];
    client.write_all(&[&said[..], SECRET.as_bytes()].concat()).await.unwrap();
    let mut heard = vec![0; said.len() + SECRET.len()];
    service.read_exact(&mut heard).await.unwrap();
    assert!(heard.ends_with(SECRET.as_bytes()));
    service.write_all(&[&[0x81, SECRET.len() as u8], SECRET.as_bytes()].concat()).await.unwrap();
    let mut heard = vec![0; 2 + SECRET.len()];
    client.read_exact(&mut heard).await.unwrap();
    assert!(heard.ends_with(SECRET.as_bytes()));
}

/// The session and the service's part of it, as [`a_traced_session_is_told_whole_and_nothing_secret_with_it`] made them.
fn told_whole(session: &Span, asked: &Span, port: u16) {
    assert_eq!((hex(&session.trace_id), hex(&session.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!((hex(&asked.trace_id), &asked.parent_span_id), (TRACE.into(), &session.span_id));
    assert_eq!((session.kind, asked.kind), (2, 3), "server and client");
    assert_eq!((session.flags, asked.flags), (0x301, 0x101));
    assert!(session.start_time_unix_nano <= asked.start_time_unix_nano);
    assert!(asked.end_time_unix_nano <= session.end_time_unix_nano);
    assert!(session.status.is_none() && asked.status.is_none());
    let (up, down) = (14 + SECRET.len(), 6 + SECRET.len());
    check(
        session,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "101"),
            ("url.scheme", "http"),
            ("url.path", "/feed"),
            ("server.address", "chat.example"),
            ("server.port", "8443"),
            ("network.protocol.version", "1.1"),
            ("crossfade.lane", "legacy"),
            ("crossfade.lane.end", "legacy"),
            ("crossfade.bytes.up", &up.to_string()),
            ("crossfade.bytes.down", &down.to_string()),
            ("crossfade.messages.up", "1"),
            ("crossfade.messages.down", "1"),
            ("crossfade.end", "finished"),
            ("crossfade.ended_by", "client"),
            ("crossfade.close_code", "4001"),
        ],
    );
    check(
        asked,
        &[
            ("http.response.status_code", "101"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port.to_string()),
            ("crossfade.lane", "legacy"),
        ],
    );
}

#[tokio::test]
async fn a_traced_session_is_told_whole_and_nothing_secret_with_it() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = service.local_addr().unwrap();
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = Dir::new("whole", &collector, "[otlp.resource]\n\"team\" = \"chat\"\n");
    let got = Got::default();
    // The first attempt fails, and is made again.
    let collecting =
        tokio::spawn(collect(collector, &["503 Service Unavailable\r\nRetry-After: 0"], got.clone()));
    let mut proxy = Proxy::start(upstream, None, &[("CROSSFADE_TUNING", &dir.tuning())]);
    proxy.until_ready(200).await;

    let mut client = upgrade(&proxy, &parented("01")).await;
    let (mut other, head) = raw::upgraded(&service, "").await;
    assert_eq!(raw::field(&head, "traceparent"), Some(format!("00-{TRACE}-{PARENT}-01")), "untouched");
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    // While the session is open, the service's part can be seen.
    let asked = got.span("websocket upgrade").await;
    talk(&mut client, &mut other).await;
    client.write_all(&[0x88, 0x82, 1, 2, 3, 4, 0x0F ^ 1, 0xA1 ^ 2]).await.unwrap();
    let mut close = [0; 8];
    other.read_exact(&mut close).await.unwrap();
    other.write_all(&[0x88, 0x02, 0x0F, 0xA1]).await.unwrap();
    drop(other);
    raw::drained(client).await;
    let session = got.span("websocket session").await;

    told_whole(&session, &asked, upstream.port());
    let log = proxy.process.output();
    let line = log.lines().find(|line| line.contains("session closed")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (line["trace_id"].as_str(), line["span_id"].as_str()),
        (Some(TRACE), Some(hex(&session.span_id).as_str()))
    );
    assert_eq!(line["session"].as_str(), of(&session, "crossfade.session").as_deref());

    proxy.process.signal("TERM");
    assert_eq!(proxy.process.ended().await.code(), Some(0));
    collecting.abort();
    let (text, output) = (got.text(), proxy.process.output());
    assert!(text.contains("\"team\"") && text.contains("\"test-0\""), "{text}");
    assert!(!text.contains(SECRET) && !text.contains(TOKEN), "{text}");
    assert!(!output.contains(SECRET) && !output.contains(TOKEN), "{output}");
    let (head, _) = got.0.lock().unwrap().first().cloned().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert_eq!(raw::field(&head, "authorization").as_deref(), Some(TOKEN));
    assert_eq!(raw::field(&head, "content-type").as_deref(), Some("application/json"));
}

#[tokio::test]
async fn refused_and_failed_upgrades_are_told_and_what_the_parent_does_not_sample_is_not() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = service.local_addr().unwrap();
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = Dir::new("refused", &collector, "sample_ratio = 0\n");
    let got = Got::default();
    let collecting = tokio::spawn(collect(collector, &[], got.clone()));
    let mut proxy = Proxy::start(upstream, None, &[("CROSSFADE_TUNING", &dir.tuning())]);
    proxy.until_ready(200).await;

    // Not to be told of: not sampled by whoever came before, and by nobody.
    for traceparent in [parented("00"), String::new()] {
        let mut client = upgrade(&proxy, &traceparent).await;
        let (other, _) = raw::upgraded(&service, "").await;
        assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
        drop((client, other));
    }
    proxy.until_value("crossfade_sessions{lane=\"legacy\"}", 0.0).await;
    let mut client = upgrade(&proxy, &parented("01")).await;
    let refuse = async {
        loop {
            let (mut other, _) = service.accept().await.unwrap();
            if !raw::head(&mut other).await.is_empty() {
                other.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                return;
            }
        }
    };
    tokio::time::timeout(HANG, refuse).await.unwrap();
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 403 "));
    let (refused, asked) = (got.span("websocket session").await, got.span("websocket upgrade").await);
    check(&refused, &[("http.response.status_code", "403"), ("crossfade.lane", "legacy")]);
    check(&asked, &[("http.response.status_code", "403"), ("error.type", "403")]);
    assert_eq!((refused.status.is_none(), asked.status.map(|status| status.code)), (true, Some(2)));
    got.0.lock().unwrap().clear();

    // Nobody listens there any more: the answer is ours.
    drop(service);
    let mut client = upgrade(&proxy, &parented("01")).await;
    let head = raw::head(&mut client).await;
    let fault = raw::field(&head, "x-crossfade-error").unwrap();
    let failed = got.span("websocket session").await;
    check(&failed, &[("http.response.status_code", "502"), ("error.type", &fault)]);
    assert_eq!(failed.status.as_ref().map(|status| status.code), Some(2));

    proxy.process.signal("TERM");
    assert_eq!(proxy.process.ended().await.code(), Some(0));
    collecting.abort();
    assert!(got.spans().iter().all(|span| of(span, "http.response.status_code").as_deref() != Some("101")));
}

#[tokio::test]
async fn a_collector_that_hangs_is_felt_by_nobody() {
    const SESSIONS: usize = 20;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = service.local_addr().unwrap();
    // Connections are taken by the kernel; nobody ever reads or answers.
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = Dir::new("hangs", &collector, "sample_ratio = 1\nqueue = 4\nbatch = 2\ntimeout_seconds = 60\n");
    let env = [("CROSSFADE_TUNING", dir.tuning()), ("CROSSFADE_DRAIN_GRACE", "10s".to_owned())];
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut proxy = Proxy::start(upstream, None, &env);
    proxy.until_ready(200).await;
    for _ in 0..SESSIONS {
        let mut client = upgrade(&proxy, "").await;
        let (mut other, head) = raw::upgraded(&service, "").await;
        assert_eq!(raw::field(&head, "traceparent"), None, "nothing is put into the request");
        assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
        talk(&mut client, &mut other).await;
        drop(other);
        raw::drained(client).await;
    }
    // Two spans a session: four in the queue and two on their way, at most; the others are lost and counted.
    let least = (2 * SESSIONS - 6) as f64;
    let lost = "crossfade_otlp_spans_total{outcome=\"dropped\"}";
    until("spans are dropped", async || (proxy.value(lost).await >= least).then_some(())).await;
    assert_eq!(proxy.value("crossfade_otlp_spans_total{outcome=\"exported\"}").await, 0.0);

    let began = super::process::now();
    proxy.process.signal("TERM");
    assert_eq!(proxy.process.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "longer than the grace");
    let output = proxy.process.output();
    assert!(output.contains("spans could not be exported before the end"), "{output}");
    assert!(!output.contains("is left behind"), "{output}");
}
