//! Clients of HTTP/2 that mean harm. Frames are written by hand, because no honest library writes them.

use super::super::*;
use super::http2_client::*;
use super::world::*;

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

type Lines<'a> = &'a [(&'a [u8], &'a [u8])];

const GOOD: Lines<'static> =
    &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"chat.example"), (b":path", b"/")];

fn begin(world: &World) -> Peer {
    world.client_says([PREFACE, &frame(4, 0, 0, b"")].concat())
}

/// The next frame but those that only keep the connection going: kind, flags, stream, payload.
fn next(client: &mut Peer) -> (u8, u8, u32, Vec<u8>) {
    loop {
        let head = client.exactly(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = client.exactly(length);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if ![4, 6, 8].contains(&head[3]) {
            return (head[3], head[4], stream, payload);
        }
    }
}

/// True if the proxy refused what was sent on `stream`: the stream, the connection, or with a 4xx of its own.
fn is_refused(client: &mut Peer, stream: u32) -> bool {
    match next(client) {
        (RST_STREAM, _, which, _) => which == stream,
        (GOAWAY, ..) => true,
        // 400 and 404 have an index of their own (RFC 7541 appendix A), other errors but 500 are literals that begin so.
        (HEADERS, _, _, block) => matches!(block.first(), Some(0x8C | 0x8D | 0x48)),
        _ => false,
    }
}

#[test]
fn heads_that_could_hide_a_second_request_reach_no_service() {
    let world = World::start();
    let with = |name: &'static [u8], value: &'static [u8]| -> Vec<(&[u8], &[u8])> {
        let mut lines: Vec<(&[u8], &[u8])> = GOOD.to_vec();
        match lines.iter_mut().find(|line| line.0 == name) {
            Some(line) if name.starts_with(b":") => line.1 = value,
            _ => lines.push((name, value)),
        }
        lines
    };
    let without = |name: &[u8]| GOOD.iter().copied().filter(|line| line.0 != name).collect::<Vec<_>>();
    let mut twice = GOOD.to_vec();
    twice.insert(0, (b":path", b"/other"));
    let mut late = GOOD.to_vec();
    late.push((b"x", b"y"));
    late.push((b":path", b"/other"));
    let heads: Vec<Vec<(&[u8], &[u8])>> = vec![
        with(b":path", b"/ HTTP/1.1\r\nHost: a\r\n\r\nGET /admin"),
        with(b":path", b"/a b"),
        with(b":path", b"/\0"),
        with(b":path", b""),
        with(b":path", b"http://evil.example/"),
        with(b":method", b"GET /admin HTTP/1.1\r\nX:"),
        with(b":method", b""),
        with(b":authority", b"a\r\nX-Evil: 1"),
        with(b":authority", b"user@chat.example"),
        with(b":authority", b"a b"),
        with(b":scheme", b"http\r\nx"),
        with(b":status", b"200"),
        with(b":evil", b"1"),
        with(b"host", b"other.example"),
        with(b"x-evil", b"1\r\nTransfer-Encoding: chunked"),
        with(b"x-evil", b"1\nx: y"),
        with(b"x-evil", b"1\0"),
        with(b"x-evil: 1\r\nx", b"y"),
        with(b"x evil", b"y"),
        with(b"X-Upper", b"y"),
        with(b"", b"y"),
        with(b"connection", b"x-forwarded-for"),
        with(b"transfer-encoding", b"chunked"),
        with(b"upgrade", b"websocket"),
        with(b"keep-alive", b"5"),
        with(b"proxy-connection", b"close"),
        with(b"te", b"gzip"),
        with(b"content-length", b"+5"),
        with(b"content-length", b"5, 6"),
        without(b":method"),
        without(b":path"),
        twice,
        late,
    ];
    for lines in &heads {
        let mut client = begin(&world);
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields_of(lines)));
        let shown: Vec<_> =
            lines.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect();
        assert!(is_refused(&mut client, 1), "{shown:?}");
        assert!(world.service.is_left_alone(), "{shown:?}");
    }
    world.others_are_served();
}

#[test]
fn a_body_that_is_not_what_was_announced_never_ends_well() {
    let world = World::start();
    let mut lines = GOOD.to_vec();
    lines[0].1 = b"POST";
    lines.push((b"content-length", b"5"));
    for (data, ended) in [(&b"four"[..], true), (b"sixsix", false)] {
        let mut client = begin(&world);
        client.send(frame(HEADERS, END_HEADERS, 1, &fields_of(&lines)));
        client.send(frame(DATA, u8::from(ended), 1, data));
        assert!(is_refused(&mut client, 1));
        if let Some(mut service) = world.service.try_accept() {
            let (read, _) = service.rest();
            let text = String::from_utf8_lossy(&read);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(body.len() < 5, "a whole message: {text}");
        }
    }
    world.others_are_served();
}

#[test]
fn a_flood_of_cancelled_requests_ends_the_connection() {
    let world = World::start();
    let mut client = begin(&world);
    let head = fields_of(GOOD);
    let cancel = 8_u32.to_be_bytes();
    let mut ended = false;
    for number in 0..20_000_u32 {
        let stream = number * 2 + 1;
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        let both = [open, frame(RST_STREAM, 0, stream, &cancel)].concat();
        if std::io::Write::write_all(&mut client.stream, &both).is_err() {
            ended = true;
            break;
        }
        while world.service.try_accept().is_some() {}
    }
    if !ended {
        // Nothing more is sent: what has come must say so.
        while next(&mut client).0 != GOAWAY {}
    }
    world.until("it is counted and closed", |counters| {
        let counted =
            counters.faults(Fault::Http2Resets).value() + counters.faults(Fault::Http2Protocol).value();
        counted >= 1 && counters.connections_open.value() == 0
    });
}

#[test]
fn a_head_that_never_ends_or_is_too_large_is_refused() {
    let world = World::with(|config| config.limits.head_bytes = 9000);
    // HEADERS without END_HEADERS, and CONTINUATION for ever.
    let mut client = begin(&world);
    client.send(frame(HEADERS, 0, 1, &fields_of(GOOD)));
    let more = frame(9, 0, 1, &fields_of(&[(b"x", &[b'y'; 100])]));
    for _ in 0..10_000 {
        if std::io::Write::write_all(&mut client.stream, &more).is_err() {
            break;
        }
    }
    world.until("it is closed", |counters| counters.connections_open.value() == 0);
    assert!(world.service.is_left_alone());
    let mut client = begin(&world);
    let long: Vec<(&[u8], &[u8])> = GOOD.iter().copied().chain([(&b"x"[..], &[b'y'; 110][..]); 90]).collect();
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields_of(&long)));
    assert!(is_refused(&mut client, 1));
    assert!(world.service.is_left_alone());
    world.others_are_served();
}

#[test]
fn a_plain_connect_and_other_protocols_are_refused() {
    let world = World::start();
    for more in [None, Some(&b"connect-udp"[..])] {
        let mut lines: Vec<(&[u8], &[u8])> = vec![(b":method", b"CONNECT"), (b":authority", b"chat.example")];
        if let Some(protocol) = more {
            lines.extend([(&b":scheme"[..], &b"http"[..]), (b":path", b"/"), (b":protocol", protocol)]);
        }
        let mut client = begin(&world);
        client.send(frame(HEADERS, END_HEADERS, 1, &fields_of(&lines)));
        assert_eq!(next(&mut client).0, HEADERS);
        let fault = if more.is_some() { Fault::ConnectProtocol } else { Fault::MethodConnect };
        world.until("it is counted", |counters| counters.faults(fault).value() == 1);
    }
    assert!(world.service.is_left_alone());
}

#[test]
fn lengths_that_contradict_are_refused_and_equal_ones_are_one() {
    let world = World::start();
    for (other, refused) in [(&b"6"[..], true), (b"05", true), (b"+5", true), (b"5", false)] {
        let mut lines = GOOD.to_vec();
        lines[0].1 = b"POST";
        lines.extend([(&b"content-length"[..], &b"5"[..]), (b"content-length", other)]);
        let mut client = begin(&world);
        client.send(frame(HEADERS, END_HEADERS, 1, &fields_of(&lines)));
        client.send(frame(DATA, END_STREAM, 1, b"hello"));
        if refused {
            assert!(is_refused(&mut client, 1), "{}", other.escape_ascii());
            assert!(world.service.is_left_alone(), "{}", other.escape_ascii());
            continue;
        }
        let mut service = world.service.accept();
        assert_eq!(field(&service.head(), "content-length"), "5");
        assert_eq!(service.exactly(5), b"hello");
        service.send(OK);
        assert_eq!(next(&mut client).0, HEADERS);
    }
    world.others_are_served();
}

/// A world in which heads are due soon, for plain clients and for those behind TLS. Soon is long enough for a client
/// that is held up.
fn soon(tls: bool) -> World {
    let mut world = World::with(|config| {
        config.deadlines.head = std::time::Duration::from_secs(3);
        if tls {
            let mut server = super::tls::server();
            server.alpn_protocols = vec![b"h2".to_vec()];
            config.tls = Some(tls::Live::fixed(server));
        }
    });
    if tls {
        let mut client = super::tls::client();
        client.alpn_protocols = vec![b"h2".to_vec()];
        world.clients = super::shim::door(world.clients, super::shim::Beyond::Tls(client.into()));
    }
    world
}

/// Reads to the end and gives back the reason of the GOAWAY, if there was one.
fn reason(client: &mut Peer) -> Option<u32> {
    let (mut bytes, _) = client.rest();
    let mut reason = None;
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        if bytes[3] == GOAWAY {
            reason = Some(u32::from_be_bytes(bytes[13..17].try_into().unwrap()));
        }
        bytes.drain(..9 + length);
    }
    reason
}

fn never_asks_anything(tls: bool) {
    let world = soon(tls);
    // A whole preface; settings; a client that keeps itself busy with PINGs; and half a preface.
    let whole = [PREFACE, &frame(4, 0, 0, b"")].concat();
    let busy = [&whole[..], &frame(6, 0, 0, b"awake...")].concat();
    let mut clients = [PREFACE, &whole[..], &busy[..]].map(|sent| world.client_says(sent));
    let mut half = world.client_says(&PREFACE[..7]);
    for client in &mut clients {
        assert_eq!(reason(client), Some(0));
    }
    half.rest();
    world.until("all are counted and gone", |counters| {
        counters.faults(Fault::HeadTimeout).value() == 4 && counters.connections_open.value() == 0
    });
    assert!(world.service.is_left_alone());
}

#[test]
fn a_connection_that_never_asks_anything_is_closed() {
    never_asks_anything(false);
}

#[test]
fn a_connection_that_never_asks_anything_is_closed_under_tls() {
    never_asks_anything(true);
}

/// A client whose request has a body that takes its time, and the service that has seen the first of it.
fn uploading(world: &World) -> (Peer, Peer) {
    let mut client = begin(world);
    let mut lines = GOOD.to_vec();
    lines[0].1 = b"POST";
    client.send(frame(HEADERS, END_HEADERS, 1, &fields_of(&lines)));
    client.send(frame(DATA, 0, 1, b"some"));
    let mut service = world.service.accept();
    service.head();
    assert_eq!(service.until(b"some\r\n"), b"4\r\nsome\r\n");
    (client, service)
}

fn never_finishes_a_head(tls: bool) {
    let world = soon(tls);
    let head = fields_of(GOOD);
    let never = frame(HEADERS, 0, 3, &head);
    let part = frame(HEADERS, END_HEADERS, 3, &head);
    let slow = [&never[..], &frame(9, 0, 3, &fields_of(&[(b"x", b"y")]))].concat();
    // Not the first head: each connection has been of use.
    let mut heads = [&never[..], &part[..5], &part[..20], &slow[..]].map(|sent| {
        let (mut client, service) = uploading(&world);
        client.send(sent);
        (client, service)
    });
    for (client, service) in &mut heads {
        assert_eq!(reason(client), Some(11), "ENHANCE_YOUR_CALM");
        service.rest();
    }
    world.until("all are counted and gone", |counters| {
        counters.faults(Fault::HeadTimeout).value() == 4 && counters.connections_open.value() == 0
    });
    // A body is not due: it outlives another's first request.
    let (mut client, mut service) = uploading(&world);
    assert_eq!(reason(&mut begin(&world)), Some(0));
    client.send(frame(DATA, END_STREAM, 1, b"me"));
    service.until(b"0\r\n\r\n");
    service.send(OK);
    assert_eq!(next(&mut client).0, HEADERS);
}

#[test]
fn a_head_that_is_never_finished_is_overdue_and_a_body_is_not() {
    never_finishes_a_head(false);
}

#[test]
fn a_head_that_is_never_finished_is_overdue_and_a_body_is_not_under_tls() {
    never_finishes_a_head(true);
}
