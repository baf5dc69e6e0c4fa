//! Plain HTTP: whatever is no upgrade passes, streamed, over few connections.

use super::world::*;

#[test]
fn requests_share_a_connection_to_the_service() {
    let world = World::start();
    let mut client = world.client_says(GET);
    let mut service = world.service.accept();
    for path in ["/", "/two", "/three"] {
        if path != "/" {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        assert!(service.head().starts_with(&format!("GET {path} HTTP/1.1\r\n")));
        service.send(OK);
        assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(client.exactly(2), b"ok");
    }
    assert!(world.service.is_left_alone(), "three requests, one connection");
    assert_eq!(world.running.counters().plain_requests.value(), 3);
}

#[test]
fn another_client_gets_the_connection_that_is_free() {
    let world = World::start();
    let mut service = {
        let mut first = world.client_says(GET);
        let mut service = world.service.accept();
        service.head();
        service.send(OK);
        first.head();
        first.exactly(2);
        service
    };
    let mut second = world.client_says(GET);
    service.head();
    service.send(OK);
    assert!(second.head().starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn bodies_pass_both_ways_with_a_length() {
    let world = World::start();
    let body = vec![b'x'; 300_000];
    let mut client = world.client();
    client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    let mut service = world.service.accept();
    let head = service.head();
    assert_eq!(field(&head, "content-length"), "300000");
    assert!(fields(&head, "transfer-encoding").is_empty());
    client.send(&body);
    assert_eq!(service.exactly(body.len()), body);
    service.send(format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", body.len()));
    service.send(&body);
    assert!(client.head().starts_with("HTTP/1.1 201 Created\r\n"));
    assert_eq!(client.exactly(body.len()), body);
}

#[test]
fn chunks_pass_as_they_come_and_declared_trailers_behind_them() {
    let world = World::start();
    let mut client = world.client();
    client.send(
        "PUT /up HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
    );
    let mut service = world.service.accept();
    let head = service.head();
    assert_eq!(field(&head, "transfer-encoding"), "chunked");
    assert_eq!(field(&head, "trailer"), "X-Sum");
    assert_eq!(field(&head, "te"), "trailers");
    client.send("3\r\nabc\r\n");
    assert_eq!(service.until(b"abc\r\n"), b"3\r\nabc\r\n", "the first chunk before the second was sent");
    client.send("2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n");
    let rest = String::from_utf8(service.until(b"\r\n\r\n")).unwrap();
    assert!(rest.starts_with("2\r\nde\r\n0\r\n"), "{rest}");
    assert_eq!(field(&rest, "x-sum"), "5");

    service.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n4\r\nback\r\n");
    let head = client.head();
    assert_eq!(field(&head, "transfer-encoding"), "chunked");
    assert_eq!(client.until(b"back\r\n"), b"4\r\nback\r\n");
    service.send("0\r\nX-Back: 4\r\n\r\n");
    let rest = String::from_utf8(client.until(b"\r\n\r\n")).unwrap();
    assert_eq!(field(&rest, "x-back"), "4");
}

#[test]
fn a_get_may_have_a_chunked_body() {
    let world = World::start();
    let mut client = world.client();
    client.send("GET /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let mut service = world.service.accept();
    assert_eq!(field(&service.head(), "transfer-encoding"), "chunked");
    assert_eq!(service.until(b"0\r\n\r\n"), b"3\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn answers_without_a_body_have_none() {
    let world = World::start();
    let mut client = world.client();
    let mut service: Option<Peer> = None;
    let answers = [
        ("HEAD", "200 OK", "Content-Length: 5000\r\n"),
        ("GET", "204 No Content", ""),
        ("GET", "304 Not Modified", "ETag: \"1\"\r\n"),
        ("GET", "200 OK", "Content-Length: 0\r\n"),
    ];
    for (method, status, fields) in answers {
        client.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n"));
        let service = service.get_or_insert_with(|| world.service.accept());
        assert!(service.head().starts_with(&format!("{method} /x ")));
        service.send(format!("HTTP/1.1 {status}\r\n{fields}\r\n"));
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
        assert!(head.contains(fields), "{head}");
    }
    client.finish();
    assert_eq!(client.rest(), (vec![], End::Fin), "nothing but heads was written");
}

#[test]
fn server_sent_events_are_flushed_at_once() {
    let world = World::start();
    let mut client = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    service.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    client.head();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        service.send(event);
        client.until(event.as_bytes());
    }
    drop(service);
    assert_eq!(client.until(b"0\r\n\r\n"), b"\r\n0\r\n\r\n", "the end by close becomes the last chunk");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::start();
    let mut client = world.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut service = world.service.accept();
    for n in ["1", "2"] {
        assert!(service.head().starts_with(&format!("GET /{n} ")));
        service.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}"));
    }
    for n in ["1", "2"] {
        client.head();
        assert_eq!(client.exactly(1), n.as_bytes());
    }
}

#[test]
fn an_old_client_gets_an_old_answer() {
    let world = World::start();
    let mut client = world.client_says("GET /old HTTP/1.0\r\n\r\n");
    let mut service = world.service.accept();
    let head = service.head();
    assert!(head.starts_with("GET /old HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), world.service.address.to_string());
    service.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let (all, end) = client.rest();
    let all = String::from_utf8(all).unwrap();
    assert!(all.starts_with("HTTP/1.0 200 OK\r\n"), "{all}");
    assert!(all.ends_with("\r\n\r\nok"), "no chunks for HTTP/1.0: {all}");
    assert_eq!(end, End::Fin);
}

#[test]
fn an_old_client_may_keep_its_connection() {
    let world = World::start();
    let mut client = world.client();
    let mut service: Option<Peer> = None;
    for _ in 0..2 {
        client.send("GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let service = service.get_or_insert_with(|| world.service.accept());
        service.head();
        service.send(OK);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert_eq!(field(&head, "connection"), "keep-alive");
        assert_eq!(client.exactly(2), b"ok");
    }
}

#[test]
fn the_service_says_whether_a_client_may_continue() {
    let world = World::start();
    let expect = "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut client = world.client_says(expect);
    let mut service = world.service.accept();
    assert_eq!(field(&service.head(), "expect"), "100-continue");
    service.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(service.exactly(3), b"abc");
    service.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));

    let world = World::with(|config| config.deadlines.expect = HANG);
    let mut client = world.client_says(expect);
    let mut service = world.service.accept();
    service.head();
    service.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 417 "), "no 100 came first");
}

#[test]
fn a_silent_service_holds_nobody_who_may_continue() {
    let world = World::with(|config| config.deadlines.expect = std::time::Duration::from_millis(1));
    let mut client = world
        .client_says("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let mut service = world.service.accept();
    service.head();
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(service.exactly(3), b"abc");
}

#[test]
fn every_form_of_the_target_arrives_in_origin_form() {
    let check = |line: &str, expect: &str, host: &str| {
        let world = World::start();
        let _client = world.client_says(format!("{line} HTTP/1.1\r\nHost: outer.example\r\n\r\n"));
        let head = world.service.accept().head();
        assert_eq!(head.lines().next(), Some(expect));
        assert_eq!(field(&head, "host"), host);
    };
    check("GET /a//b/../c?x=%41&y={1}&&", "GET /a//b/../c?x=%41&y={1}&& HTTP/1.1", "outer.example");
    check("GET //x/y?", "GET //x/y? HTTP/1.1", "outer.example");
    check("GET http://inner.example:81/p?q HTTP/1.1\r\nX: y", "GET /p?q HTTP/1.1", "inner.example:81");
    check("OPTIONS *", "OPTIONS * HTTP/1.1", "outer.example");
    check("PROPFIND /dav", "PROPFIND /dav HTTP/1.1", "outer.example");
}
