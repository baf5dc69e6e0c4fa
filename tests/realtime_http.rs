//! The `realtime` room alone, from outside: broadcasts over HTTP and a link that reads them back, on a live emulator.
//! A 202 is no proof: what the policies forbid is dropped behind it, and only the read-back shows it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use crossfade::emulator::{Claims, Config as ServerConfig, DatabaseBroadcast, Limits, Policy, Secret, serve};
use crossfade::realtime::client::{self, Handle};
use crossfade::realtime::http::{self, Next, Outgoing, Post, Refused};
use crossfade::realtime::key::ApiKey;
use crossfade::realtime::link::{self, Join, LinkEvent, Replay, TopicNo};
use crossfade::realtime::message::Encoding;
use crossfade::realtime::reason::Reason;
use crossfade::realtime::url::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const HANG: Duration = Duration::from_secs(30);

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANG, work).await {
        Ok(done) => done,
        Err(_) => unreachable!("nothing for {HANG:?}: {what}"),
    }
}

/// Sends a request as it is and gives status and body.
async fn send(post: &Post) -> (u16, String) {
    let rest = post.url.split_once("://").unwrap().1;
    let (host, path) = rest.split_once('/').unwrap();
    let mut head = format!("POST /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in &post.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", post.body.len()));
    let asked = async {
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&post.body).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = in_time("an answer", asked).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn next(handle: &mut Handle) -> LinkEvent {
    in_time("an event", handle.next_event()).await.unwrap()
}

/// The number in the next broadcast that is heard.
async fn heard(handle: &mut Handle) -> Bytes {
    loop {
        if let LinkEvent::Broadcast(broadcast) = next(handle).await {
            return broadcast.payload;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_behind_a_202_is_noticed_by_the_read_back_alone() {
    let secret = Secret::new("only for tests");
    let key = |role: &str| ApiKey::new(&secret.mint(&Claims::of(role, 4_000_000_000)));
    let config = ServerConfig {
        limits: Limits::generous(),
        policies: vec![Policy::parse("authenticated:room:r").unwrap()],
        ..ServerConfig::new(secret.clone())
    };
    let (server, run) = serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), config, 1).unwrap();
    tokio::spawn(run);
    let endpoint = Endpoint::parse(&format!("http://{}", server.addr())).unwrap();
    // It may read the room and not write to it.
    let config = client::Config::new(link::Config::new(endpoint.clone(), key("authenticated")), 7);
    let (mut handle, run) = client::start(config);
    tokio::spawn(run);
    handle.commands().try_join(TopicNo(1), Join::new("room", true)).unwrap();
    while !matches!(next(&mut handle).await, LinkEvent::Joined { .. }) {}

    let message = |n: u32, private: bool| Outgoing {
        topic: "room".to_owned(),
        event: "e".to_owned(),
        payload: Bytes::from(format!("{{\"n\":{n}}}")),
        private,
        id: None,
    };
    let batch = |role: &str, messages: &[Outgoing]| http::batch(&endpoint, &key(role), messages).unwrap();
    let taken = |(status, body): (u16, String)| (status, http::answer(status, &body));
    // Forbidden, and in the wrong room: both are taken with the same 202 as what arrives.
    assert_eq!(taken(send(&batch("authenticated", &[message(1, true)])).await), (202, Ok(())));
    assert_eq!(taken(send(&batch("service_role", &[message(2, false)])).await), (202, Ok(())));
    assert_eq!(
        taken(send(&batch("service_role", &[message(3, true), message(4, true)])).await),
        (202, Ok(()))
    );
    // The order of a room is kept: what has not come by now does not come.
    assert_eq!(heard(&mut handle).await, "{\"n\":3}", "1 and 2 were lost");
    assert_eq!(heard(&mut handle).await, "{\"n\":4}");
    assert_eq!(server.stats().forbidden, 1);
    // Only the single form says so.
    let single = http::single(&endpoint, &key("authenticated"), &message(5, true), Encoding::Json);
    let refused = Refused { reason: Reason::Unauthorized, next: Next::Stop };
    assert_eq!(taken(send(&single).await), (403, Err(refused)));
}

/// What SQL sent is replayed after the join, oldest first and marked so; on a public channel that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_sql_sent_before_the_join_is_replayed() {
    let secret = Secret::new("only for tests");
    let key = ApiKey::new(&secret.mint(&Claims::of("service_role", 4_000_000_000)));
    let config = ServerConfig { limits: Limits::generous(), ..ServerConfig::new(secret) };
    let (server, run) = serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), config, 1).unwrap();
    tokio::spawn(run);
    for n in 1..=3 {
        let sent = DatabaseBroadcast {
            topic: "room".to_owned(),
            event: "e".to_owned(),
            private: true,
            id: None,
            json: true,
            payload: Bytes::from(format!("{{\"n\":{n}}}")),
        };
        server.with(|emulator, now| emulator.database_broadcast(sent, now));
    }
    let endpoint = Endpoint::parse(&format!("http://{}", server.addr())).unwrap();
    let (mut handle, run) = client::start(client::Config::new(link::Config::new(endpoint, key), 7));
    tokio::spawn(run);
    let join = |name: &str, private| Join {
        replay: Some(Replay { since: 0, limit: 2 }),
        ..Join::new(name, private)
    };
    handle.commands().try_join(TopicNo(1), join("room", true)).unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        if let LinkEvent::Broadcast(broadcast) = next(&mut handle).await {
            told.push((broadcast.payload, String::from_utf8(broadcast.meta.to_vec()).unwrap()));
        }
    }
    assert_eq!((&told[0].0[..], &told[1].0[..]), (&b"{\"n\":2}"[..], &b"{\"n\":3}"[..]), "the newest two");
    assert!(told.iter().all(|(_, meta)| meta.contains("\"replayed\":true")), "{told:?}");
    handle.commands().try_join(TopicNo(2), join("lobby", false)).unwrap();
    let refused = LinkEvent::GiveUp { topic: Some(TopicNo(2)), reason: Reason::ReplayRefused };
    while next(&mut handle).await != refused {}
}
