//! The native lane: clients that offer `realtime` talk to Supabase itself, all others never notice.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::process::{Emulator, HANG, Proxy, until};
use super::raw;

const OFFER: &str = "Sec-WebSocket-Protocol: realtime, legacy.v1\r\nX-User-Id: somebody\r\n";
const LEGACY_ONLY: &str = "Sec-WebSocket-Protocol: legacy.v1\r\n";

async fn start(percent: &str) -> (Proxy, TcpListener, Emulator) {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let emulator = Emulator::start(&[]);
    let env = [
        ("CROSSFADE_ROLLOUT_LANE", "native"),
        ("CROSSFADE_ROLLOUT_PERCENT", percent),
        ("CROSSFADE_BREAKER", "forced_closed"),
        ("SUPABASE_ANON_KEY", emulator.anon_key.as_str()),
    ];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    (proxy, service, emulator)
}

/// Asks until Realtime answers: that the link is joined is known to the metrics a moment before the decision.
async fn join_realtime(proxy: &Proxy) -> WebSocketStream<TcpStream> {
    until("the native lane", async || {
        let mut request = format!("ws://{}/feed?vsn=1.0.0", proxy.clients).into_client_request().unwrap();
        request.headers_mut().insert("x-user-id", "somebody".parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "realtime, legacy.v1".parse().unwrap());
        let socket = TcpStream::connect(proxy.clients).await.unwrap();
        let (socket, answer) = tokio_tungstenite::client_async(request, socket).await.ok()?;
        (answer.headers().get("sec-websocket-protocol")? == "realtime").then_some(socket)
    })
    .await
}

async fn read_until(socket: &mut WebSocketStream<TcpStream>, wanted: impl Fn(&Value) -> bool) -> Value {
    let reading = async {
        loop {
            let message = socket.next().await.unwrap().unwrap();
            if let Message::Text(text) = message {
                let value: Value = serde_json::from_str(&text).unwrap();
                if wanted(&value) {
                    return value;
                }
            }
        }
    };
    tokio::time::timeout(HANG, reading).await.unwrap()
}

#[tokio::test]
async fn a_client_that_offers_realtime_gets_its_own_broadcast_back() {
    let (proxy, service, _emulator) = start("100").await;
    // Upgrades that come before the link is known to be joined are the service's; it refuses them.
    let refusing = tokio::spawn(async move { while service.accept().await.is_ok() {} });
    let mut socket = join_realtime(&proxy).await;
    let config =
        json!({"broadcast": {"self": true, "ack": false}, "presence": {"key": ""}, "private": false});
    let join = json!({"topic": "realtime:room", "event": "phx_join", "ref": "1", "join_ref": "1",
        "payload": {"config": config}});
    socket.send(Message::text(join.to_string())).await.unwrap();
    let reply = read_until(&mut socket, |value| value["event"] == "phx_reply" && value["ref"] == "1").await;
    assert_eq!(reply["payload"]["status"], "ok", "{reply}");
    let push = json!({"topic": "realtime:room", "event": "broadcast", "ref": "2", "join_ref": "1",
        "payload": {"type": "broadcast", "event": "hi", "payload": {"n": 7}}});
    socket.send(Message::text(push.to_string())).await.unwrap();
    let back = read_until(&mut socket, |value| value["event"] == "broadcast").await;
    assert_eq!(back["payload"]["payload"]["n"], 7, "{back}");
    proxy.until_value("crossfade_sessions{lane=\"native\"}", 1.0).await;
    refusing.abort();
}

/// Everybody means everybody: whoever talks to Supabase itself is told to connect again, and gets the service.
#[tokio::test]
async fn the_emergency_switch_sends_native_sessions_back_to_the_service() {
    let (proxy, service, _emulator) = start("100").await;
    let service = std::sync::Arc::new(service);
    let early = std::sync::Arc::clone(&service);
    let refusing = tokio::spawn(async move { while early.accept().await.is_ok() {} });
    let mut socket = join_realtime(&proxy).await;
    refusing.abort();
    proxy.process.signal("USR1");
    let closing = async {
        loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                return frame.unwrap();
            }
        }
    };
    let frame = tokio::time::timeout(HANG, closing).await.expect("nobody is sent away");
    assert_eq!(u16::from(frame.code), 1012);
    drop(socket);
    let mut client = raw::ask(proxy.clients, OFFER).await;
    let (_socket, head) = raw::upgraded(&service, LEGACY_ONLY).await;
    assert_eq!(raw::field(&head, "sec-websocket-protocol").as_deref(), Some("legacy.v1"));
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    proxy.until_value("crossfade_sessions{lane=\"native\"}", 0.0).await;
}

#[tokio::test]
async fn outside_the_cohort_the_service_never_sees_the_offer() {
    let (proxy, service, _emulator) = start("0").await;
    let mut client = raw::ask(proxy.clients, OFFER).await;
    let (_socket, head) = raw::upgraded(&service, LEGACY_ONLY).await;
    assert_eq!(raw::field(&head, "sec-websocket-protocol").as_deref(), Some("legacy.v1"));
    let answer = raw::head(&mut client).await;
    assert_eq!(raw::field(&answer, "sec-websocket-protocol").as_deref(), Some("legacy.v1"));
}

#[tokio::test]
async fn a_client_that_never_offered_realtime_stays_with_the_service() {
    let (proxy, service, _emulator) = start("100").await;
    let mut client = raw::ask(proxy.clients, &format!("{LEGACY_ONLY}X-User-Id: somebody\r\n")).await;
    let (_socket, head) = raw::upgraded(&service, LEGACY_ONLY).await;
    assert_eq!(raw::field(&head, "sec-websocket-protocol").as_deref(), Some("legacy.v1"));
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    proxy.until_value("crossfade_sessions{lane=\"legacy\"}", 1.0).await;
}
