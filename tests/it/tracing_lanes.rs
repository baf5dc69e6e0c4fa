//! Spans of sessions that change lanes, of every lane and of HTTP/2, of clients that leave early; and what a collector's
//! answers do.

use futures_util::StreamExt;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::admin::OPERATE;
use super::cold;
use super::open_sessions::{say, share};
use super::process::{Emulator, HANG, Proxy, until};
use super::raw;
use super::stage::{ALL_HOT, HOT, LEGACY};
use super::tracing::{Dir, Got, SECRET, TRACE, check, collect, hex, of, parented, upgrade};

/// Crossfade, the service behind it, and a collector that answers with these heads.
struct Traced {
    proxy: Proxy,
    service: TcpListener,
    got: Got,
    _dir: Dir,
}

impl Traced {
    async fn start(
        name: &str,
        answers: &'static [&'static str],
        emulator: Option<&Emulator>,
        env: &[(&str, &str)],
    ) -> Self {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (got, dir) = collector(name, answers).await;
        let tuning = dir.tuning();
        let env = [&[("CROSSFADE_TUNING", tuning.as_str())], env].concat();
        let proxy = Proxy::start(service.local_addr().unwrap(), emulator, &env);
        proxy.until_ready(200).await;
        if emulator.is_some() {
            proxy.until_value("crossfade_realtime_connected", 1.0).await;
        }
        Self { proxy, service, got, _dir: dir }
    }

    /// A traced session of a user with a key; both ends.
    async fn session(&self) -> (TcpStream, TcpStream) {
        let mut client = upgrade(&self.proxy, &known()).await;
        let (upstream, _) = raw::upgraded(&self.service, "").await;
        assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
        (client, upstream)
    }

    /// The span of the only session, and nothing secret in anything that was sent or logged.
    async fn told(&self) -> Span {
        let span = self.got.span("websocket session").await;
        assert_eq!(hex(&span.trace_id), TRACE);
        let (text, output) = (self.got.text(), self.proxy.process.output());
        assert!(!text.contains(SECRET), "{text}");
        assert!(!output.contains(SECRET), "{output}");
        span
    }
}

async fn collector(name: &str, answers: &'static [&'static str]) -> (Got, Dir) {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (got, dir) = (Got::default(), Dir::new(name, &collector, ""));
    tokio::spawn(collect(collector, answers, got.clone()));
    (got, dir)
}

/// Fields of a traced client with a key.
fn known() -> String {
    format!("{}X-User-Id: ann\r\n", parented("01"))
}

/// Where to, and why, of each move in a span.
fn moves(span: &Span) -> Vec<(String, String)> {
    let text = |event: &opentelemetry_proto::tonic::trace::v1::span::Event, key: &str| {
        let pair = event.attributes.iter().find(|pair| pair.key == key);
        match pair.and_then(|pair| pair.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            other => {
                assert_eq!(other, None);
                String::new()
            }
        }
    };
    assert!(span.events.iter().all(|event| event.name == "crossfade.move"), "{span:?}");
    span.events.iter().map(|event| (text(event, "crossfade.lane"), text(event, "crossfade.cause"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(to, why)| ((*to).to_owned(), (*why).to_owned())).collect()
}

/// A close frame of the client's, masked with zeros.
fn masked(code: u16) -> [u8; 8] {
    let [high, low] = code.to_be_bytes();
    [0x88, 0x82, 0, 0, 0, 0, high, low]
}

/// The client closes with 4001, and the service answers in kind.
async fn client_closes(mut client: TcpStream, mut upstream: TcpStream) {
    client.write_all(&masked(4001)).await.unwrap();
    let mut close = [0; 8];
    tokio::time::timeout(HANG, upstream.read_exact(&mut close)).await.unwrap().unwrap();
    upstream.write_all(&[0x88, 0x02, 0x0F, 0xA1]).await.unwrap();
    drop(upstream);
    raw::drained(client).await;
}

async fn force(proxy: &Proxy, mode: &str) {
    let (status, done) = proxy.change(("POST", "/api/v1/breaker"), &[], json!({"mode": mode})).await;
    assert_eq!(status, 200, "{done}");
}

#[tokio::test]
async fn each_change_of_lane_is_an_event_with_its_cause() {
    let emulator = Emulator::start(&[]);
    let env = [("CROSSFADE_BREAKER", "forced_closed"), OPERATE];
    let all = Traced::start("moves", &[], Some(&emulator), &env).await;
    let (client, upstream) = all.session().await;
    all.proxy.until_value(LEGACY, 1.0).await;
    // The fader, a trip, and an outage.
    share(&all.proxy, "100").await;
    all.proxy.until_value(HOT, 1.0).await;
    share(&all.proxy, "0").await;
    all.proxy.until_value(LEGACY, 1.0).await;
    share(&all.proxy, "100").await;
    all.proxy.until_value(HOT, 1.0).await;
    force(&all.proxy, "forced_open").await;
    all.proxy.until_value(LEGACY, 1.0).await;
    force(&all.proxy, "forced_closed").await;
    all.proxy.until_value(HOT, 1.0).await;
    emulator.process.signal("KILL");
    all.proxy.until_value(LEGACY, 1.0).await;
    client_closes(client, upstream).await;
    let span = all.told().await;
    let expected = [
        ("hot", ""),
        ("legacy", "rollout"),
        ("hot", ""),
        ("legacy", "breaker"),
        ("hot", ""),
        ("legacy", "read_back_lost"),
    ];
    assert_eq!(moves(&span), pairs(&expected));
    let times: Vec<_> = span.events.iter().map(|event| event.time_unix_nano).collect();
    assert!(times.is_sorted() && span.start_time_unix_nano <= times[0], "{times:?}");
    assert!(times.last() <= Some(&span.end_time_unix_nano), "{times:?}");
    let ends =
        [("crossfade.lane", "legacy"), ("crossfade.lane.end", "legacy"), ("crossfade.end", "finished")];
    check(&span, &ends);
    check(&span, &[("crossfade.ended_by", "client"), ("crossfade.close_code", "4001")]);
}

/// A session that Realtime feeds, and its first message.
async fn hot(all: &Traced) -> (TcpStream, TcpStream) {
    let (mut client, mut upstream) = all.session().await;
    all.proxy.until_value(HOT, 1.0).await;
    say(&mut upstream, &mut client, "tick").await;
    (client, upstream)
}

/// The service closes a hot session with this frame, and the client answers with 4001; the span.
async fn service_closes(name: &str, close: &[u8]) -> Span {
    let emulator = Emulator::start(&[]);
    let all = Traced::start(name, &[], Some(&emulator), &ALL_HOT).await;
    let (mut client, mut upstream) = hot(&all).await;
    upstream.write_all(close).await.unwrap();
    let mut came = vec![0; close.len()];
    tokio::time::timeout(HANG, client.read_exact(&mut came)).await.unwrap().unwrap();
    assert_eq!(came, close);
    client_closes(client, upstream).await;
    let span = all.told().await;
    let moved = moves(&span);
    assert_eq!(moved.first(), pairs(&[("hot", "")]).first(), "{moved:?}");
    span
}

#[tokio::test]
async fn a_hot_session_says_by_which_code_it_was_closed_and_by_whom() {
    let span = service_closes("hot-service", &[0x88, 0x02, 0x0F, 0xA2]).await;
    check(&span, &[("crossfade.ended_by", "service"), ("crossfade.close_code", "4002")]);
    assert_eq!(moves(&span).get(1..), Some(pairs(&[("legacy", "closing")]).as_slice()));

    // Without a code, too, it was the service, whatever the client answers.
    let span = service_closes("hot-empty", &[0x88, 0x00]).await;
    check(&span, &[("crossfade.ended_by", "service"), ("crossfade.close_code", "1005")]);

    let emulator = Emulator::start(&[]);
    let all = Traced::start("hot-client", &[], Some(&emulator), &ALL_HOT).await;
    let (client, upstream) = hot(&all).await;
    client_closes(client, upstream).await;
    check(&all.told().await, &[("crossfade.ended_by", "client"), ("crossfade.close_code", "4001")]);
}

#[tokio::test]
async fn an_upgrade_over_http2_is_told_like_any_other() {
    let all = Traced::start("http2", &[], None, &[("OVER_HTTP2", "1")]).await;
    let (client, upstream) = all.session().await;
    let asked = all.got.span("websocket upgrade").await;
    client_closes(client, upstream).await;
    let session = all.told().await;
    assert_eq!(asked.parent_span_id, session.span_id);
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "101"),
        ("url.path", "/feed"),
        ("url.scheme", "http"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "2"),
        ("server.address", "chat.example"),
        ("server.port", "8443"),
        ("crossfade.lane", "legacy"),
        ("crossfade.close_code", "4001"),
    ];
    check(&session, &expected);
    check(&asked, &[("http.request.method", "GET"), ("http.response.status_code", "101")]);
}

#[tokio::test]
async fn a_native_session_is_told_and_the_key_that_it_was_given_is_not() {
    let emulator = Emulator::start(&[]);
    let env = [
        ("CROSSFADE_ROLLOUT_LANE", "native"),
        ("CROSSFADE_ROLLOUT_PERCENT", "100"),
        ("CROSSFADE_BREAKER", "forced_closed"),
        ("SUPABASE_ANON_KEY", emulator.anon_key.as_str()),
    ];
    let Traced { proxy, service, got, _dir } = Traced::start("native", &[], Some(&emulator), &env).await;
    // Upgrades that come before the link is known to be joined are the service's; it refuses them.
    let refusing = tokio::spawn(async move { while service.accept().await.is_ok() {} });
    let fields = format!("{}Sec-WebSocket-Protocol: realtime, legacy.v1\r\n", known());
    let mut client = until("the native lane", async || {
        let mut client = upgrade(&proxy, &fields).await;
        raw::head(&mut client).await.starts_with("HTTP/1.1 101 ").then_some(client)
    })
    .await;
    client.write_all(&masked(4001)).await.unwrap();
    raw::drained(client).await;
    let native = |span: &Span| of(span, "crossfade.lane").as_deref() == Some("native");
    let one = async |name: &str| {
        let named = |span: &Span| span.name == name && native(span);
        until(name, async || got.spans().into_iter().find(named)).await
    };
    let (session, asked) = (one("websocket session").await, one("websocket upgrade").await);
    refusing.abort();
    let realtime = emulator.url.rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    check(&session, &[("url.path", "/feed"), ("crossfade.lane.end", "native")]);
    check(&session, &[("crossfade.ended_by", "client"), ("crossfade.close_code", "4001")]);
    check(&asked, &[("http.response.status_code", "101"), ("server.port", &realtime)]);
    assert_eq!(asked.parent_span_id, session.span_id);
    let text = got.text();
    assert!(!text.contains(&emulator.anon_key) && !text.contains(&emulator.service_key), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

/// The cold lane as these settings make it, with a collector.
async fn start_cold(name: &str, env: &[(&str, &str)]) -> (cold::Service, Emulator, Proxy, Got, Dir) {
    let (service, emulator) = (cold::Service::start().await, cold::emulator());
    let (got, dir) = collector(name, &[]).await;
    let tuning = dir.tuning();
    let env = [&[("CROSSFADE_TUNING", tuning.as_str())], env].concat();
    let proxy = cold::start(&service, &emulator, &env);
    (service, emulator, proxy, got, dir)
}

/// Spans of the cold lane with this name.
async fn of_cold(got: &Got, name: &str) -> Span {
    let named = |span: &Span| span.name == name && of(span, "crossfade.lane").as_deref() == Some("cold");
    until(name, async || got.spans().into_iter().find(named)).await
}

#[tokio::test]
async fn a_cold_session_is_told_without_a_service_and_with_the_one_that_was_asked() {
    let parent = parented("01");
    let parent = parent.trim_end().split_once(": ").unwrap().1.to_owned();
    let fields = [cold::KEY, ("traceparent", parent.as_str())];
    let [path, refused] = ["a", "refused"].map(|path| format!("/{path}?token={SECRET}"));
    for (auth, asks) in [("public", false), ("upstream", true)] {
        let (_service, _emulator, proxy, got, _dir) =
            start_cold(&format!("cold-{auth}"), &[("CROSSFADE_COLD_AUTH", auth)]).await;
        proxy.until_value("crossfade_realtime_connected", 1.0).await;
        let session = if asks {
            until("the service is asked for the lane", async || {
                drop(cold::refused(proxy.clients, &refused, &fields).await);
                got.spans()
                    .iter()
                    .any(|span| of(span, "crossfade.lane").as_deref() == Some("cold"))
                    .then_some(())
            })
            .await;
            let asked = of_cold(&got, "websocket upgrade").await;
            check(&asked, &[("http.response.status_code", "402"), ("error.type", "402")]);
            of_cold(&got, "websocket session").await
        } else {
            let (mut client, _) = cold::cold(proxy.clients, &path, &fields).await;
            client.close(None).await.unwrap();
            while let Some(Ok(_)) = client.next().await {}
            drop(client);
            let session = of_cold(&got, "websocket session").await;
            check(&session, &[("crossfade.lane.end", "cold"), ("crossfade.ended_by", "client")]);
            check(&session, &[("http.response.status_code", "101"), ("url.path", "/a")]);
            let child = |span: &Span| span.parent_span_id == session.span_id;
            assert!(!got.spans().iter().any(child), "nobody was asked");
            session
        };
        assert_eq!(hex(&session.trace_id), TRACE);
        let text = got.text();
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// Over HTTP/1.1 nobody hears of it before the answer; a stream of HTTP/2 is reset.
#[tokio::test]
async fn a_client_that_resets_its_stream_before_the_answer_is_told() {
    let all = Traced::start("left", &[], None, &[("OVER_HTTP2", "1")]).await;
    let client = upgrade(&all.proxy, &parented("01")).await;
    let _other = until("the upgrade arrives", async || {
        let (mut other, _) = all.service.accept().await.unwrap();
        (!raw::head(&mut other).await.is_empty()).then_some(other)
    })
    .await;
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    let span = all.told().await;
    check(&span, &[("error.type", "client_left"), ("url.path", "/feed"), ("crossfade.lane", "legacy")]);
    assert_eq!(of(&span, "http.response.status_code"), None);
    assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
}

const LATER: &str = "503 Service Unavailable\r\nRetry-After: 0";
const LOST: &str = "crossfade_otlp_spans_total{outcome=\"dropped\"}";

#[tokio::test]
async fn five_tries_are_all_and_what_a_collector_takes_in_part_is_counted_so() {
    // Whoever tried a sixth time would get the span through.
    let answers =
        &[LATER, LATER, LATER, LATER, LATER, "200 OK|{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}"];
    let all = Traced::start("tries", answers, None, &[]).await;
    let (client, upstream) = all.session().await;
    all.proxy.until_value(LOST, 1.0).await;
    assert_eq!((all.got.answered(), all.got.spans().len()), (5, 0));
    client_closes(client, upstream).await;
    all.proxy.until_value("crossfade_otlp_spans_total{outcome=\"rejected\"}", 1.0).await;
    assert_eq!(all.proxy.value("crossfade_otlp_spans_total{outcome=\"exported\"}").await, 0.0);
    let (client, upstream) = all.session().await;
    client_closes(client, upstream).await;
    all.proxy.until_value("crossfade_otlp_spans_total{outcome=\"exported\"}", 2.0).await;
    assert_eq!(all.proxy.value(LOST).await, 1.0);
}

/// What a collector asks for is longer than the last flush; without it the second try would come in time.
#[tokio::test]
async fn a_collector_that_asks_for_time_is_not_asked_again_before() {
    let answers = &["503 Service Unavailable\r\nRetry-After: 30"];
    let mut all = Traced::start("asks", answers, None, &[("CROSSFADE_DRAIN_SETTLE", "0s")]).await;
    let (client, upstream) = all.session().await;
    until("the collector answers", async || (all.got.answered() == 1).then_some(())).await;
    client_closes(client, upstream).await;
    all.proxy.process.signal("TERM");
    assert_eq!(all.proxy.process.ended().await.code(), Some(0));
    assert_eq!((all.got.answered(), all.got.spans().len()), (1, 0));
    all.proxy.process.line(|line| line.contains("spans could not be exported before the end").then_some(()));
}
