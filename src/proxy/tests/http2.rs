//! HTTP/2 from clients, HTTP/1.1 to the service: what passes, and how streams end.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request};

use super::super::*;
use super::http2_client::*;
use super::world::*;
use crate::proxy::tests::tls as secure;
use crate::proxy::tls::Live;

fn get(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("http://chat.example{path}"))
}

#[test]
fn a_request_becomes_one_of_http1_and_its_answer_comes_back() {
    let world = World::start();
    let client = Client::of(&world);
    let request =
        get("/a%20b?x=%2F").header("cookie", "a=1").header("cookie", "b=2").header("x-odd", "\u{e9}");
    let (answer, _) = client.ask(request.header("te", "trailers").body(()).unwrap(), true);
    let mut service = world.service.accept();
    let head = service.head();
    assert!(head.starts_with("GET /a%20b?x=%2F HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), "chat.example");
    assert_eq!(field(&head, "cookie"), "a=1; b=2");
    assert_eq!(field(&head, "x-odd"), "\u{e9}");
    assert_eq!(field(&head, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(field(&head, "x-forwarded-proto"), "http");
    assert_eq!(fields(&head, "transfer-encoding"), [""; 0]);
    service.send(
        "HTTP/1.1 203 Odd\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Twice: 1\r\nX-Twice: 2\r\nKeep-Alive: 5\r\n\
         Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let answer = client.wait(answer).unwrap();
    assert_eq!(answer.status(), 203);
    let names: Vec<&str> = answer.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-twice", "trailer"]);
    let mut body = answer.into_body();
    assert_eq!(client.wait(body.data()).unwrap().unwrap(), "hi");
    assert_eq!(client.wait(body.trailers()).unwrap().unwrap()["x-sum"], "7");
}

#[test]
fn bodies_pass_with_one_framing_and_trailers() {
    let world = World::start();
    let client = Client::of(&world);
    let (answer, mut send) =
        client.ask(get("/").method("POST").header("trailer", "x-sum").body(()).unwrap(), false);
    send.send_data(Bytes::from_static(b"half "), false).unwrap();
    let mut service = world.service.accept();
    assert_eq!(field(&service.head(), "transfer-encoding"), "chunked");
    assert_eq!(service.exactly(10), b"5\r\nhalf \r\n", "streamed");
    send.send_data(Bytes::from_static(b"more"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "9".parse().unwrap());
    send.send_trailers(trailers).unwrap();
    let rest = String::from_utf8(service.until(b"\r\n\r\n")).unwrap();
    assert_eq!(rest.to_lowercase(), "4\r\nmore\r\n0\r\nx-sum: 9\r\n\r\n");
    service.send(OK);
    assert_eq!(client.body(client.wait(answer).unwrap()).unwrap(), b"ok");
    // With a length, over the same connection to the service.
    let (answer, mut send) =
        client.ask(get("/").method("PUT").header("content-length", "3").body(()).unwrap(), false);
    send.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let head = service.head();
    assert_eq!((field(&head, "content-length"), fields(&head, "transfer-encoding").len()), ("3", 0));
    assert_eq!(service.exactly(3), b"abc");
    service.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.wait(answer).unwrap().status(), 204);
}

#[test]
fn an_event_stream_flows_while_others_are_answered() {
    let world = World::start();
    let client = Client::of(&world);
    let (events, _) = client.ask(get("/events").body(()).unwrap(), true);
    let mut stream = world.service.accept();
    stream.head();
    stream.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    let mut events = client.wait(events).unwrap().into_body();
    assert_eq!(client.wait(events.data()).unwrap().unwrap(), "data: 1\n\n");
    let (answer, _) = client.ask(get("/other").body(()).unwrap(), true);
    let mut other = world.service.accept();
    other.head();
    other.send(OK);
    assert_eq!(client.body(client.wait(answer).unwrap()).unwrap(), b"ok");
    stream.send("data: 2\n\n");
    assert_eq!(client.wait(events.data()).unwrap().unwrap(), "data: 2\n\n");
    drop(stream);
    assert_eq!(client.end(&mut events), None);
}

#[test]
fn an_answer_that_breaks_off_is_not_ended() {
    let world = World::start();
    let client = Client::of(&world);
    let (answer, _) = client.ask(get("/").body(()).unwrap(), true);
    let mut service = world.service.accept();
    service.head();
    service.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    drop(service);
    let answer = client.wait(answer).unwrap();
    assert_eq!(client.body(answer).unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
}

#[test]
fn a_request_that_is_cancelled_is_cancelled_at_the_service() {
    let world = World::start();
    let client = Client::of(&world);
    let (answer, mut send) = client.ask(get("/").method("POST").body(()).unwrap(), false);
    let mut service = world.service.accept();
    service.head();
    send.send_reset(Reason::CANCEL);
    service.rest();
    assert!(client.wait(answer).is_err());
    let (answer, _) = client.ask(get("/").body(()).unwrap(), true);
    let mut service = world.service.accept();
    service.head();
    service.send(OK);
    assert_eq!(client.wait(answer).unwrap().status(), 200, "the connection lives on");
}

#[test]
fn a_websocket_in_a_stream_is_one_of_http1_for_the_service() {
    let world = World::start();
    let client = Client::of(&world);
    let (answer, send) = client.connect(&[
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, other"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "https://chat.example"),
    ]);
    let mut service = world.service.accept();
    let head = service.head();
    assert!(head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "chat.example"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, other"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "https://chat.example"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(field(&head, name), value);
    }
    // Bytes in the segment of the 101 are the first of the stream.
    service.send(
        [switch(&head, "Sec-WebSocket-Protocol: chat\r\nSet-Cookie: s=1\r\n").as_bytes(), b"early"].concat(),
    );
    let answer = client.wait(answer).unwrap();
    assert_eq!(answer.status(), 200);
    let mut names: Vec<&str> = answer.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["sec-websocket-protocol", "set-cookie"], "nothing of the other hop's handshake");
    let mut session = Session { receive: answer.into_body(), send };
    assert_eq!(client.exactly(&mut session, 5), b"early");
    session.send.send_data(Bytes::from_static(b"up"), false).unwrap();
    assert_eq!(service.exactly(2), b"up");
    world.until("a session", |counters| counters.sessions() == 1);
}

#[test]
fn an_end_is_an_end_in_both_directions() {
    let world = World::start();
    let client = Client::of(&world);
    // The client ends first, and the other half lives on.
    let (mut session, mut service, _) = client.session(&world);
    session.send.send_data(Bytes::from_static(b"last"), true).unwrap();
    assert_eq!(service.rest(), (b"last".to_vec(), End::Fin));
    service.send(b"still");
    assert_eq!(client.exactly(&mut session, 5), b"still");
    drop(service);
    assert_eq!(client.end(&mut session.receive), None);
    world.until("no session", |counters| counters.sessions() == 0);
    // The service ends first.
    let (mut session, mut service, _) = client.session(&world);
    service.send(b"last");
    service.finish();
    assert_eq!(client.exactly(&mut session, 4), b"last");
    assert_eq!(client.end(&mut session.receive), None);
    session.send.send_data(Bytes::from_static(b"still"), true).unwrap();
    assert_eq!(service.rest(), (b"still".to_vec(), End::Fin));
}

#[test]
fn a_reset_is_a_reset_in_both_directions() {
    let world = World::start();
    let client = Client::of(&world);
    for code in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        let (mut session, mut service, _) = client.session(&world);
        session.send.send_data(Bytes::from_static(b"x"), false).unwrap();
        assert_eq!(service.exactly(1), b"x");
        session.send.send_reset(code);
        assert_eq!(service.rest().1, End::Reset, "{code:?}");
    }
    let (mut session, mut service, _) = client.session(&world);
    service.send(b"said");
    assert_eq!(client.exactly(&mut session, 4), b"said");
    service.reset();
    assert_eq!(client.end(&mut session.receive), Some(Reason::CANCEL), "RFC 8441 section 5");
    // A connection that is gone takes its sessions with it.
    let (_session, mut service, _) = client.session(&world);
    drop(client);
    assert_eq!(service.rest().1, End::Reset);
}

#[test]
fn a_stream_that_nobody_reads_holds_up_its_service_and_no_neighbour() {
    let world = World::start();
    let client = Client::of(&world);
    let (mut stuck, mut flood, _) = client.session(&world);
    let sent = flood.send_until_it_blocks(64 << 20);
    assert!(sent < 64 << 20, "the sender is held up");
    // And a service that does not read its client.
    let (mut eager, _deaf, _) = client.session(&world);
    eager.send.send_data(Bytes::from(vec![b'x'; 32 << 20]), false).unwrap();
    let (mut session, mut service, _) = client.session(&world);
    for _ in 0..3 {
        service.send(b"down");
        assert_eq!(client.exactly(&mut session, 4), b"down");
        session.send.send_data(Bytes::from_static(b"up"), false).unwrap();
        assert_eq!(service.exactly(2), b"up");
    }
    drop(flood);
    assert_eq!(client.exactly(&mut stuck, sent).len(), sent, "everything comes later");
}

#[test]
fn a_refusal_passes_and_a_lie_opens_nothing() {
    let world = World::start();
    let client = Client::of(&world);
    let (answer, _send) = client.connect(&[("sec-websocket-version", "13")]);
    let mut service = world.service.accept();
    service.head();
    service.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nWWW-Authenticate: x\r\n\r\nwho?");
    let answer = client.wait(answer).unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
        (401, &"x".parse().unwrap())
    );
    assert_eq!(client.body(answer).unwrap(), b"who?");
    let refused = |lines: &[(&str, &str)], says: &str| {
        let (answer, _send) = client.connect(lines);
        let mut service = world.service.accept();
        service.head();
        service.send(says);
        let answer = client.wait(answer).unwrap();
        (answer.status().as_u16(), answer.headers().get("x-crossfade-error").cloned())
    };
    // The accept value belongs to another key.
    assert_eq!(
        refused(&[("sec-websocket-version", "13")], SWITCH),
        (502, Some("switching_invalid".parse().unwrap()))
    );
    assert_eq!(
        refused(&[], "HTTP/1.1 426 Upgrade Required\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n"),
        (426, None)
    );
    assert_eq!(refused(&[], SWITCH), (502, Some("switching_unasked".parse().unwrap())));
    assert_eq!(world.running.counters().sessions(), 0);
}

#[test]
fn the_preface_is_recognised_in_any_pieces_and_holds_nobody_up() {
    let world = World::start();
    let mut client = world.client();
    for byte in [PREFACE, &frame(4, 0, 0, b"")].concat().chunks(1) {
        client.send(byte);
    }
    assert_eq!(client.exactly(4)[3], 4, "SETTINGS");
    // Methods that begin like it, and bytes that stop being it.
    for line in ["P / HTTP/1.1", "PR / HTTP/1.1", "PRI / HTTP/1.1", "POST / HTTP/1.1", "PUT / HTTP/1.1"] {
        let mut client = world.client();
        for byte in format!("{line}\r\nHost: a\r\nContent-Length: 0\r\n\r\n").as_bytes().chunks(1) {
            client.send(byte);
        }
        let mut service = world.service.accept();
        assert!(service.head().starts_with(line), "{line}");
        service.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 200 "));
    }
    let off = World::with(|config| config.http2 = false);
    let mut client = off.client_says(PREFACE);
    client.finish();
    let (answer, _) = client.rest();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", answer.escape_ascii());
}

#[test]
fn over_tls_it_is_agreed_on_by_alpn() {
    for (offered, http2) in [(&[&b"h2"[..], b"http/1.1"][..], true), (&[b"http/1.1"], false), (&[], false)] {
        let world = World::with(|config| {
            let mut own = secure::server();
            own.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            config.tls = Some(Live::fixed(own));
        });
        let mut settings = secure::client();
        settings.alpn_protocols = offered.iter().map(|one| one.to_vec()).collect();
        let stream = world.client().stream;
        stream.set_nonblocking(true).unwrap();
        let connect = async {
            let tcp = tokio::net::TcpStream::from_std(stream).unwrap();
            let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
            tokio_rustls::TlsConnector::from(std::sync::Arc::new(settings)).connect(name, tcp).await.unwrap()
        };
        if http2 {
            let client = Client::over(connect);
            let (answer, _) = client.ask(get("/").body(()).unwrap(), true);
            let mut service = world.service.accept();
            assert_eq!(field(&service.head(), "x-forwarded-proto"), "https");
            service.send(OK);
            assert_eq!(client.wait(answer).unwrap().status(), 200);
            let (mut session, mut service, _) = client.session(&world);
            service.send(b"down");
            assert_eq!(client.exactly(&mut session, 4), b"down");
        } else {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                use tokio::io::AsyncWriteExt as _;
                connect.await.write_all(GET.as_bytes()).await.unwrap();
            });
            assert!(world.service.accept().head().starts_with("GET / HTTP/1.1\r\n"));
        }
    }
}

#[test]
fn a_drain_lets_requests_finish_and_tells_sessions() {
    let world = World::start();
    let client = Client::of(&world);
    let (mut session, mut upstream, _) = client.session(&world);
    let (answer, _) = client.ask(get("/slow").body(()).unwrap(), true);
    let mut service = world.service.accept();
    service.head();
    let plan = DrainPlan { settle: std::time::Duration::ZERO, finish: HANG, grace: HANG };
    let report = std::thread::scope(|scope| {
        let running = &world.running;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let drain = scope.spawn(move || runtime.block_on(running.drain(plan)));
        // Not told while a request of the same connection is under way; once it is answered, without any wait.
        service.send(OK);
        assert_eq!(client.body(client.wait(answer).unwrap()).unwrap(), b"ok");
        let told = crate::ws::close(1012, "", None);
        assert_eq!(client.exactly(&mut session, told.len()), told);
        let words = crate::ws::close(1012, "", Some([5, 6, 7, 8]));
        session.send.send_data(Bytes::from(words), true).unwrap();
        assert_eq!(upstream.exactly(8).len(), 8);
        drop(upstream);
        assert_eq!(client.end(&mut session.receive), None, "END_STREAM and no reset");
        drain.join().unwrap()
    });
    assert_eq!((report.plain_left, report.sessions_left), (0, 0));
}

#[test]
fn a_connection_without_streams_is_closed_where_idleness_has_a_limit() {
    let limit = std::time::Duration::from_millis(200);
    let world = World::with(|config| config.deadlines.idle = Some(limit));
    let client = Client::of(&world);
    let (answer, _) = client.ask(get("/").body(()).unwrap(), true);
    let mut service = world.service.accept();
    service.head();
    service.send(OK);
    client.body(client.wait(answer).unwrap()).unwrap();
    world.until("the idle connection to be closed", |counters| counters.connections_open.value() == 0);
}
