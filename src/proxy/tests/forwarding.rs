//! What the head of a message keeps and what it loses on the way, on the wire.

use super::super::Trusted;
use super::world::*;

const ODD: &[u8] = b"GET /chat?room=1 HTTP/1.1\r\nHOST: chat.example\r\nConnection: keep-alive, Upgrade, X-Hop\r\n\
    Upgrade: WebSocket\r\nKeep-Alive: timeout=9\r\nX-Hop: 1\r\nsec-websocket-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: https://chat.example\r\nCookie: a=1; b=\"2\"\r\n\
    AUTHORIZATION: Bearer t\r\nX-Many: one\r\nx-many: two\r\nX-MANY: three\r\nX-Latin: caf\xe9\r\n\r\n";

fn has(head: &[u8], line: &[u8]) -> bool {
    head.windows(line.len()).any(|window| window == line)
}

#[test]
fn the_handshake_is_end_to_end() {
    let world = World::start();
    let mut client = world.client_says(ODD);
    let mut service = world.service.accept();
    let head = service.head_bytes();
    assert!(head.starts_with(b"GET /chat?room=1 HTTP/1.1\r\n"));
    for line in [
        &b"\r\nHOST: chat.example\r\n"[..],
        b"\r\nsec-websocket-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        b"\r\nSec-WebSocket-Protocol: chat, superchat\r\n",
        b"\r\nOrigin: https://chat.example\r\n",
        b"\r\nCookie: a=1; b=\"2\"\r\n",
        b"\r\nAUTHORIZATION: Bearer t\r\n",
        b"\r\nX-Many: one\r\nx-many: two\r\nX-MANY: three\r\n",
        b"\r\nX-Latin: caf\xe9\r\n",
        b"\r\nConnection: Upgrade\r\n",
        b"\r\nUpgrade: websocket\r\n",
        b"\r\nx-forwarded-for: 127.0.0.1\r\n",
        b"\r\nx-forwarded-proto: http\r\n",
        b"\r\nx-forwarded-host: chat.example\r\n",
    ] {
        assert!(has(&head, line), "{:?} in\n{}", line.escape_ascii(), head.escape_ascii());
    }
    assert!(!has(&head, b"X-Hop") && !has(&head, b"Keep-Alive"), "{}", head.escape_ascii());
    assert_eq!(head.iter().filter(|byte| **byte == b'\n').count(), 19, "{}", head.escape_ascii());

    service.send(
        b"HTTP/1.1 101 Here We Go\r\nUPGRADE: websocket\r\nconnection: upgrade\r\n\
          Sec-WebSocket-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\
          Set-Cookie: a=1\r\nset-cookie: b=\xff\r\n\r\n",
    );
    let head = client.head_bytes();
    assert!(head.starts_with(b"HTTP/1.1 101 Here We Go\r\n"), "{}", head.escape_ascii());
    for line in [
        &b"\r\nUPGRADE: websocket\r\n"[..],
        b"\r\nSec-WebSocket-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        b"\r\nSec-WebSocket-Protocol: chat\r\n",
        b"\r\nSet-Cookie: a=1\r\nset-cookie: b=\xff\r\n",
    ] {
        assert!(has(&head, line), "{:?} in\n{}", line.escape_ascii(), head.escape_ascii());
    }
    assert_eq!(
        head.iter().filter(|byte| **byte == b'\n').count(),
        8,
        "nothing added: {}",
        head.escape_ascii()
    );
}

#[test]
fn a_plain_request_keeps_case_order_and_odd_bytes_too() {
    let world = World::start();
    let mut client = world.client_says(
        b"GET /r HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-ONE: 2\r\nX-Latin: caf\xe9\r\nConnection: X-Two\r\n\
          X-Two: 2\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n",
    );
    let mut service = world.service.accept();
    let head = service.head_bytes();
    for line in [
        &b"\r\nX-One: 1\r\nx-ONE: 2\r\n"[..],
        b"\r\nX-Latin: caf\xe9\r\n",
        b"\r\nX-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n",
        b"\r\nX-Forwarded-Proto: https\r\n",
    ] {
        assert!(has(&head, line), "{:?} in\n{}", line.escape_ascii(), head.escape_ascii());
    }
    assert!(!has(&head, b"X-Two") && !has(&head, b"onnection"), "{}", head.escape_ascii());
    service.send(
        b"HTTP/1.1 404 Nope Sorry\r\nX-A: 1\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\nx-a: \xfe\r\n\
          Content-Length: 0\r\n\r\n",
    );
    let head = client.head_bytes();
    assert_eq!(
        head.escape_ascii().to_string(),
        b"HTTP/1.1 404 Nope Sorry\r\nX-A: 1\r\nx-a: \xfe\r\nContent-Length: 0\r\n\r\n"
            .escape_ascii()
            .to_string()
    );
}

#[test]
fn nobody_untrusted_speaks_for_the_client() {
    let world = World::with(|config| config.trusted = Trusted::new(vec![]));
    let _client = world.client_says(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\r\n",
    );
    let head = world.service.accept().head();
    assert_eq!(field(&head, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(field(&head, "x-forwarded-proto"), "http");
    assert_eq!(field(&head, "x-forwarded-host"), "a");
}

#[test]
fn fields_of_one_name_stand_together_and_white_space_around_values_goes() {
    let world = World::start();
    let mut client =
        world.client_says("GET / HTTP/1.1\r\nHost: a\r\nX-A:  1\t \r\nX-B: 2  3\r\nx-a:3\r\n\r\n");
    let mut service = world.service.accept();
    let head = service.head();
    assert!(head.contains("\r\nX-A: 1\r\nx-a: 3\r\n"), "{head}");
    assert!(head.contains("\r\nX-B: 2  3\r\n"), "{head}");
    service.send(OK);
    client.head();
}

#[test]
fn an_early_hint_stays_here_and_the_answer_passes() {
    let world = World::start();
    for request in [GET, UPGRADE] {
        let mut client = world.client_says(request);
        let mut service = world.service.accept();
        service.head();
        service.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
        service.send("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        drop(service);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        assert!(fields(&head, "link").is_empty());
    }
}
