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
