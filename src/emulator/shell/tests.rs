use super::super::{Claims, Config, Fault, FaultKind, Limits, Secret, Who};
use super::*;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{Error, Message};

type Client = tokio_tungstenite::WebSocketStream<TcpStream>;

/// Nothing here may take longer.
const HANG: Duration = Duration::from_secs(30);
const FAR: i64 = 4_000_000_000;

struct Server {
    handle: Handle,
    key: String,
}

impl Server {
    async fn start(limits: Limits) -> Server {
        let secret = Secret::new("only for tests");
        let key = secret.mint(&Claims::of("service_role", FAR));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (handle, run) = serve(listener, Config { limits, ..Config::new(secret) }, 1).unwrap();
        tokio::spawn(run);
        Server { handle, key }
    }

    async fn connect(&self, path: &str, vsn: &str) -> Result<Client, Error> {
        let stream = TcpStream::connect(self.handle.addr()).await.unwrap();
        let url = format!("ws://{}{path}?apikey={}&vsn={vsn}", self.handle.addr(), self.key);
        let connecting = tokio_tungstenite::client_async(url, stream);
        tokio::time::timeout(HANG, connecting).await.unwrap().map(|(client, _)| client)
    }

    async fn joined(&self, topic: &str, vsn: &str) -> Client {
        let mut client = self.connect("/socket/websocket", vsn).await.unwrap();
        let config = r#"{"config":{"broadcast":{"ack":true}}}"#;
        let join = match vsn {
            "1.0.0" => format!(
                r#"{{"topic":"{topic}","event":"phx_join","payload":{config},"ref":"1","join_ref":"1"}}"#
            ),
            _ => format!(r#"["1","1","{topic}","phx_join",{config}]"#),
        };
        client.send(Message::text(join)).await.unwrap();
        assert!(text(&mut client).await.contains(r#""status":"ok""#));
        client
    }

    async fn request(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.handle.addr()).await.unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: localhost\r\napikey: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}",
            self.key
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(HANG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

async fn next(client: &mut Client) -> Option<Result<Message, Error>> {
    tokio::time::timeout(HANG, client.next()).await.unwrap()
}

async fn text(client: &mut Client) -> String {
    next(client).await.unwrap().unwrap().into_text().unwrap().as_str().to_owned()
}

async fn push(client: &mut Client, topic: &str, payload: &str) {
    client.send(Message::text(format!(r#"["1","9","{topic}","broadcast",{payload}]"#))).await.unwrap();
}

#[tokio::test]
async fn a_broadcast_reaches_both_protocols_and_is_acked() {
    let server = Server::start(Limits::generous()).await;
    let mut sender = server.joined("realtime:t", "2.0.0").await;
    let mut listener = server.joined("realtime:t", "1.0.0").await;
    push(&mut sender, "realtime:t", r#"{"event":"e","payload":{"n":1}}"#).await;
    assert_eq!(
        text(&mut sender).await,
        r#"["1","9","realtime:t","phx_reply",{"status":"ok","response":{}}]"#
    );
    assert_eq!(
        text(&mut listener).await,
        r#"{"ref":null,"event":"broadcast","topic":"realtime:t","payload":{"event":"e","payload":{"n":1}}}"#
    );
    let stats = server.handle.stats();
    assert_eq!((stats.sockets, stats.channels, stats.pushes, stats.deliveries, stats.acks), (2, 2, 1, 1, 1));
}

#[tokio::test]
async fn a_refused_upgrade_is_an_http_answer_two_seconds_later() {
    let server = Server::start(Limits::default()).await;
    let bad = Server { key: "nonsense".to_owned(), handle: server.handle.clone() };
    let Err(Error::Http(answer)) = bad.connect("/socket/websocket", "1.0.0").await else {
        panic!("refused with HTTP")
    };
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.body().as_deref(),
        Some(br#"{"error":"The token provided is not a valid JWT"}"#.as_slice())
    );
    let Err(Error::Http(answer)) = server.connect("/socket/websocket", "9.9.9").await else {
        panic!("refused with HTTP")
    };
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-length"].as_bytes()),
        (403, b"0".as_slice())
    );
}

#[tokio::test]
async fn the_hosted_paths_work_too() {
    let server = Server::start(Limits::generous()).await;
    assert!(server.connect("/realtime/v1/websocket", "2.0.0").await.is_ok());
    let mut listener = server.joined("realtime:t", "2.0.0").await;
    let body = r#"{"messages":[{"topic":"t","event":"e","payload":{"n":1}}]}"#;
    let answer = server.request("POST /realtime/v1/api/broadcast", body).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(text(&mut listener).await.contains(r#""payload":{"n":1}"#));
    assert!(server.request("POST /api/broadcast/t/events/e", "[1]").await.starts_with("HTTP/1.1 202"));
    assert!(next(&mut listener).await.unwrap().unwrap().is_binary());
    assert!(server.request("GET /healthcheck", "").await.ends_with("ok"));
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_with_1009() {
    let server = Server::start(Limits { frame_bytes: 1_000, ..Limits::generous() }).await;
    let mut client = server.joined("realtime:t", "2.0.0").await;
    client.send(Message::text("x".repeat(1_001))).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = next(&mut client).await else { panic!("a close frame") };
    assert_eq!(u16::from(frame.code), 1009);
}

#[tokio::test]
async fn a_restart_closes_with_1012_and_comes_back() {
    let server = Server::start(Limits::generous()).await;
    let mut client = server.joined("realtime:t", "2.0.0").await;
    server.handle.restart(Duration::from_millis(200), false);
    let Some(Ok(Message::Close(Some(frame)))) = next(&mut client).await else { panic!("a close frame") };
    assert_eq!(u16::from(frame.code), 1012);
    let again = async {
        while server.connect("/socket/websocket", "2.0.0").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, again).await.unwrap();
}

#[tokio::test]
async fn a_kill_ends_without_a_close_frame() {
    let server = Server::start(Limits::generous()).await;
    let mut client = server.joined("realtime:t", "2.0.0").await;
    server.handle.restart(HANG, true);
    assert!(matches!(next(&mut client).await, Some(Err(_))));
    assert!(server.connect("/socket/websocket", "2.0.0").await.is_err());
}

#[tokio::test]
async fn a_cut_leaves_half_a_frame() {
    let server = Server::start(Limits::generous()).await;
    let mut sender = server.joined("realtime:t", "2.0.0").await;
    let listener = server.joined("realtime:t", "2.0.0").await;
    server.handle.inject(Fault::new(FaultKind::Cut { of: Who::Listeners }));
    push(&mut sender, "realtime:t", r#"{"event":"e","payload":{"n":1}}"#).await;
    assert!(text(&mut sender).await.contains("ok"));
    let mut raw = listener.into_inner();
    let mut seen = Vec::new();
    tokio::time::timeout(HANG, raw.read_to_end(&mut seen)).await.unwrap().unwrap();
    assert_eq!(seen.first(), Some(&0x81));
    assert!(seen.len() > 2 && seen.len() < usize::from(seen[1]), "{} of {} bytes", seen.len(), seen[1]);
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_reset_and_the_sender_is_not_held_up() {
    let server = Server::start(Limits::generous()).await;
    let mut sender = server.joined("realtime:t", "2.0.0").await;
    let mut deaf = server.joined("realtime:t", "2.0.0").await;
    let payload = format!(r#"{{"event":"e","payload":{{"x":"{}"}}}}"#, "y".repeat(1_000_000));
    let mut pushed = 0;
    while server.handle.stats().sockets == 2 {
        push(&mut sender, "realtime:t", &payload).await;
        assert!(text(&mut sender).await.contains("ok"));
        pushed += 1;
        assert!(pushed < 500, "500 MB are queued for a socket that does not read");
    }
    while let Some(Ok(_)) = next(&mut deaf).await {}
    push(&mut sender, "realtime:t", "{}").await;
    assert!(text(&mut sender).await.contains("ok"));
}

#[tokio::test]
async fn stopping_ends_every_socket() {
    let server = Server::start(Limits::generous()).await;
    let mut client = server.joined("realtime:t", "2.0.0").await;
    server.handle.stop();
    while let Some(Ok(_)) = next(&mut client).await {}
}

#[tokio::test]
async fn a_client_close_is_answered() {
    let server = Server::start(Limits::generous()).await;
    let mut client = server.joined("realtime:t", "2.0.0").await;
    client.close(None).await.unwrap();
    while let Some(Ok(_)) = next(&mut client).await {}
    let gone = async {
        while server.handle.stats().sockets > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, gone).await.unwrap();
}

#[tokio::test]
async fn requests_for_rows_are_refused_cut_slow_or_lose_their_answer_after_the_write() {
    let secret = Secret::new("only for tests");
    let key = secret.mint(&Claims::of("service_role", FAR));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tables = vec![super::super::Table::parse("t(id int primary key)").unwrap()];
    let (handle, run) = serve(listener, Config { tables, ..Config::new(secret) }, 1).unwrap();
    tokio::spawn(run);
    let server = Server { handle, key };
    let rows = || server.request("GET /rest/v1/t", "");
    let put = async |fault: &str, id: u32| {
        let number = server.handle.inject(Fault::parse(fault).unwrap());
        let answer = server.request("POST /rest/v1/t", &format!("{{\"id\":{id}}}")).await;
        server.handle.clear_faults(Some(number));
        answer
    };
    let refused = put("refuse_requests status=429 retry_after=3 path=/rest/v1/t", 1).await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 3\r\n"), "{refused}");
    assert_eq!(put("cut_requests", 2).await, "");
    assert!(rows().await.ends_with("[]"), "neither was carried out");
    assert_eq!(put("lose_answers", 3).await, "");
    assert!(rows().await.ends_with("[{\"id\":3}]"), "the write happened");
    let began = now();
    assert!(put("slow_requests delay_ms=150", 4).await.starts_with("HTTP/1.1 201"));
    assert!(now() - began >= Duration::from_millis(150));
    assert_eq!(server.handle.stats().faulted, 4);
}
