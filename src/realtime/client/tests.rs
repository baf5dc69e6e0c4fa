//! The shell against a server on loopback that speaks just enough of the protocol.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message as WsMessage, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::{Config, Handle, Queues, Tls, Transport, start};
use crate::realtime::codec;
use crate::realtime::key::{ApiKey, unsigned};
use crate::realtime::link::{self, Join, LinkEvent, Outcome, Push, PushRef, TopicNo};
use crate::realtime::message::{Encoding, Frame, Head, Message, Origin, UserBroadcast, Vsn};
use crate::realtime::reason::Reason;
use crate::realtime::url::Endpoint;

const ROOM: TopicNo = TopicNo(1);
const OK: &[u8] = b"{\"status\":\"ok\",\"response\":{}}";

/// Fails a test that hangs.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.unwrap_or_else(|_| panic!("{what}: hangs"))
}

fn client_config(port: u16) -> Config {
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}/socket")).expect("a good URL");
    Config::new(link::Config::new(endpoint, unsigned("service_role", 4_000_000_000)), 7)
}

fn run(config: Config) -> (Handle, JoinHandle<()>) {
    let (handle, client) = start(config);
    handle.commands().try_join(ROOM, Join::new("room", true)).expect("room for a command");
    (handle, tokio::spawn(client))
}

fn push(id: u64, body: Bytes) -> Push {
    Push { id: PushRef(id), topic: ROOM, event: "frames".into(), body, encoding: Encoding::Json }
}

async fn wait_for(handle: &mut Handle, what: &str, wanted: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
    in_time(what, async {
        loop {
            let event = handle.next_event().await.expect("the client lives");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

/// A server's socket that was upgraded.
struct Peer {
    socket: WebSocketStream<Box<dyn Transport>>,
    uri: String,
    api_key: String,
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

async fn accept(listener: &TcpListener) -> Peer {
    let (tcp, _) = in_time("accept", listener.accept()).await.expect("a connection");
    upgrade(Box::new(tcp)).await
}

async fn upgrade(transport: Box<dyn Transport>) -> Peer {
    let (mut uri, mut api_key) = (String::new(), String::new());
    #[expect(clippy::result_large_err, reason = "the signature of tungstenite's callback")]
    let look = |request: &Request, response: Response| {
        uri = request.uri().to_string();
        api_key = request.headers().get("x-api-key").map_or("", |key| key.to_str().unwrap_or("")).to_owned();
        Ok(response)
    };
    let socket = in_time("upgrade", accept_hdr_async(transport, look)).await.expect("a good upgrade");
    Peer { socket, uri, api_key }
}

impl Peer {
    async fn hear(&mut self) -> Option<Message> {
        loop {
            let frame = match in_time("hear", self.socket.next()).await?.ok()? {
                WsMessage::Text(text) => Frame::Text(Bytes::from(text)),
                WsMessage::Binary(bytes) => Frame::Binary(bytes),
                WsMessage::Close(_) => return None,
                _ => continue,
            };
            return Some(codec::decode(Vsn::V2, Origin::Client, &frame).expect("a good frame"));
        }
    }

    async fn say(&mut self, message: &Message) {
        let message = match codec::encode(Vsn::V2, message).expect("fits") {
            Frame::Text(bytes) => WsMessage::Text(Utf8Bytes::try_from(bytes).expect("UTF-8")),
            Frame::Binary(bytes) => WsMessage::Binary(bytes),
        };
        self.socket.send(message).await.expect("the client reads");
    }

    async fn reply(&mut self, head: &Head) {
        let head = Head { event: "phx_reply".into(), ..head.clone() };
        self.say(&Message::Text(head, Bytes::from_static(OK))).await;
    }

    /// Answers the join of the room.
    async fn admit(&mut self) -> Head {
        let join = self.hear().await.expect("a join");
        assert_eq!(join.head().event, "phx_join");
        self.reply(join.head()).await;
        join.head().clone()
    }

    async fn broadcast(&mut self, body: &'static [u8]) {
        let head = Head { topic: "realtime:room".into(), event: "frames".into(), ..Head::default() };
        let (origin, encoding, metadata) = (Origin::Server, Encoding::Json, Bytes::new());
        let payload = Bytes::from_static(body);
        self.say(&Message::User(UserBroadcast { origin, head, metadata, encoding, payload })).await;
    }

    async fn close(mut self, code: u16) {
        let close = CloseFrame { code: code.into(), reason: Utf8Bytes::default() };
        in_time("close", self.socket.close(Some(close))).await.expect("the client is there");
    }
}

#[tokio::test]
async fn it_joins_pushes_and_hears() {
    let (listener, port) = listen().await;
    let (mut handle, client) = run(client_config(port));
    let mut peer = accept(&listener).await;
    assert_eq!(peer.uri, "/socket/websocket?vsn=2.0.0");
    assert_eq!(peer.api_key, unsigned("service_role", 4_000_000_000).reveal());
    peer.admit().await;
    wait_for(&mut handle, "joined", |event| matches!(event, LinkEvent::Joined { topic: ROOM })).await;
    handle.try_push(push(5, Bytes::from_static(b"{\"n\":1}"))).expect("room");
    let Some(Message::User(heard)) = peer.hear().await else { panic!("a kind-3 push") };
    assert_eq!((&heard.payload[..], heard.head.event.as_str()), (&b"{\"n\":1}"[..], "frames"));
    peer.broadcast(b"{\"n\":2}").await;
    peer.reply(&heard.head).await;
    let event = wait_for(&mut handle, "broadcast", |event| matches!(event, LinkEvent::Broadcast(_))).await;
    let LinkEvent::Broadcast(broadcast) = event else { panic!("just matched") };
    assert_eq!((broadcast.topic, &broadcast.payload[..]), (ROOM, &b"{\"n\":2}"[..]));
    let ack = LinkEvent::Ack { topic: ROOM, push: PushRef(5), outcome: Outcome::Accepted };
    wait_for(&mut handle, "ack", |event| *event == ack).await;
    let stats = handle.commands().stats();
    assert_eq!((stats.connects, stats.joins, stats.pushes, stats.shed), (1, 1, 1, 0));
    drop(handle);
    assert!(peer.hear().await.is_none(), "a goodbye");
    in_time("end", client).await.expect("no panic");
}

#[tokio::test]
async fn it_comes_back_after_a_close_even_if_nobody_takes_events() {
    let (listener, port) = listen().await;
    let queues = Queues { commands: 1, events: 1 };
    let (mut handle, client) = run(Config { queues, ..client_config(port) });
    let mut peer = accept(&listener).await;
    let first = peer.admit().await;
    peer.close(1000).await;
    let mut peer = accept(&listener).await;
    let second = peer.admit().await;
    assert_ne!(first.join_ref, second.join_ref);
    let gone = LinkEvent::Down { reason: Reason::IdleClose, retry_in: None };
    let same = |event: &LinkEvent| matches!((event, &gone), (LinkEvent::Down { reason: a, .. }, LinkEvent::Down { reason: b, .. }) if a == b);
    wait_for(&mut handle, "down", same).await;
    wait_for(&mut handle, "joined again", |event| matches!(event, LinkEvent::Joined { .. })).await;
    client.abort();
}

#[tokio::test]
async fn a_server_that_does_not_read_is_still_heard_and_its_backlog_is_bounded() {
    let (listener, port) = listen().await;
    let (mut handle, client) = run(client_config(port));
    let mut peer = accept(&listener).await;
    peer.admit().await;
    wait_for(&mut handle, "joined", |event| matches!(event, LinkEvent::Joined { .. })).await;
    let body = Bytes::from(format!("\"{}\"", "x".repeat(2_000_000)));
    // Far more than socket buffers and outbox hold together.
    for id in 0..40 {
        handle.try_push(push(id, body.clone())).expect("room for a command");
    }
    let not_sent = |event: &LinkEvent| matches!(event, LinkEvent::Ack { outcome: Outcome::NotSent(_), .. });
    wait_for(&mut handle, "a refused push", not_sent).await;
    peer.broadcast(b"1").await;
    wait_for(&mut handle, "broadcast", |event| matches!(event, LinkEvent::Broadcast(_))).await;
    client.abort();
}

#[tokio::test]
async fn a_refused_upgrade_is_told_in_the_servers_words() {
    let (listener, port) = listen().await;
    let (mut handle, client) = run(client_config(port));
    let (mut tcp, _) = in_time("accept", listener.accept()).await.expect("a connection");
    let mut request = vec![0; 4_096];
    let read = in_time("read", tcp.read(&mut request)).await.expect("a request");
    assert!(read > 0);
    let body = "{\"error\":\"Failed to validate JWT signature\"}";
    let answer = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    tcp.write_all(answer.as_bytes()).await.expect("written");
    let reason = Reason::TokenSignature;
    let given_up = LinkEvent::GiveUp { topic: None, reason };
    wait_for(&mut handle, "give up", |event| *event == given_up).await;
    client.abort();
}

#[tokio::test]
async fn keys_that_fit_no_header_and_ports_that_refuse_are_told() {
    let (listener, port) = listen().await;
    let mut config = client_config(port);
    config.link.key = ApiKey::new("a\nb");
    let (mut handle, client) = run(config);
    let down = |wanted: Reason| move |event: &LinkEvent| matches!(event, LinkEvent::Down { reason, .. } if *reason == wanted);
    wait_for(&mut handle, "a bad key", down(Reason::TokenMalformed)).await;
    client.abort();
    drop(listener);
    let (mut handle, client) = run(client_config(port));
    wait_for(&mut handle, "a closed port", down(Reason::ConnectFailed)).await;
    client.abort();
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let (listener, port) = listen().await;
    let config = Config { connect_timeout: Duration::from_millis(50), ..client_config(port) };
    let (mut handle, client) = run(config);
    let silent: (TcpStream, _) = in_time("accept", listener.accept()).await.expect("a connection");
    let timed_out =
        |event: &LinkEvent| matches!(event, LinkEvent::Down { reason: Reason::ConnectTimeout, .. });
    wait_for(&mut handle, "timeout", timed_out).await;
    drop(silent);
    client.abort();
}

/// With a self-signed certificate for `localhost` that was made for this test and is trusted nowhere else.
fn tls_server() -> (TlsAcceptor, RootCertStore) {
    let certificate = CertificateDer::from(include_bytes!("fixture/test-only-certificate.der").to_vec());
    let key =
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(include_bytes!("fixture/test-only-key.der").to_vec()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a good certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a good key");
    (TlsAcceptor::from(Arc::new(config)), roots)
}

#[tokio::test]
async fn tls_is_spoken_with_trusted_servers_only() {
    let (listener, port) = listen().await;
    let (acceptor, roots) = tls_server();
    let endpoint = Endpoint::parse(&format!("https://localhost:{port}/socket")).expect("a good URL");
    let mut config = client_config(port);
    config.link.endpoint = endpoint;
    config.tls = Tls::Roots(Arc::new(RootCertStore::empty()));
    let (mut handle, client) = run(config.clone());
    let (tcp, _) = in_time("accept", listener.accept()).await.expect("a connection");
    assert!(in_time("handshake", acceptor.accept(tcp)).await.is_err());
    let untrusted = LinkEvent::GiveUp { topic: None, reason: Reason::Certificate };
    wait_for(&mut handle, "untrusted", |event| *event == untrusted).await;
    client.abort();
    config.tls = Tls::Roots(Arc::new(roots));
    let (mut handle, client) = run(config);
    let (tcp, _) = in_time("accept", listener.accept()).await.expect("a connection");
    let tls = in_time("handshake", acceptor.accept(tcp)).await.expect("trusted");
    let mut peer = upgrade(Box::new(tls)).await;
    peer.admit().await;
    wait_for(&mut handle, "joined", |event| matches!(event, LinkEvent::Joined { .. })).await;
    client.abort();
}
