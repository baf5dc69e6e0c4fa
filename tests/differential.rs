//! What one side writes is what the other reads, with the tap on. Client and service are raw sockets, and frames
//! are written by hand here, so that a mistake in our own encoder cannot hide one in our own walker.
//! `differential_tls.rs` is this file once more, with TLS around both sides of the proxy; `differential_http2.rs` with
//! clients whose sessions are streams of HTTP/2 (RFC 8441).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its own functions included")]

#[path = "../src/proxy/tls/made.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod made;
#[path = "../src/proxy/tests/shim.rs"]
mod shim;
#[path = "../src/proxy/tests/shim_http2.rs"]
mod shim_http2;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade::budget::Budget;
use crossfade::ledger::{Ledger, Proof};
use crossfade::proxy::tls::Live;
use crossfade::proxy::{Config, Mirroring, Running, Server, Target, Verdict};
use crossfade::session::Direction;
use crossfade::tap::{self, TapReceiver, Tapped};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Whether TLS is put around both sides.
const SECURE: bool = env!("CARGO_CRATE_NAME").len() == "differential_tls".len();
/// Whether clients speak HTTP/2.
const STREAMS: bool = env!("CARGO_CRATE_NAME").len() == "differential_http2".len();
const HANG: Duration = Duration::from_secs(30);
const KEY: [u8; 4] = [0x11, 0xAF, 0x00, 0xFF];
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MIB: usize = 1 << 20;

#[expect(clippy::disallowed_methods, reason = "tests on real sockets are shells")]
fn now() -> Instant {
    Instant::now()
}

/// A frame as RFC 6455 section 5.2 draws it. `first` is its first byte as it is.
fn frame(first: u8, body: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let (short, long): (u8, Vec<u8>) = match body.len() {
        n @ 0..=125 => (n as u8, vec![]),
        n @ 126..=65_535 => (126, (n as u16).to_be_bytes().to_vec()),
        n => (127, (n as u64).to_be_bytes().to_vec()),
    };
    with_length(first, short, &long, body, key)
}

/// A frame whose length field is given, minimal or not.
fn with_length(first: u8, short: u8, long: &[u8], body: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![first, short | if key.is_some() { 0x80 } else { 0 }];
    bytes.extend(long);
    bytes.extend(key.unwrap_or_default().iter().filter(|_| key.is_some()));
    let key = key.unwrap_or_default();
    bytes.extend(body.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn text(body: &str, key: Option<[u8; 4]>) -> Vec<u8> {
    frame(FIN | 1, body.as_bytes(), key)
}

fn close(code: u16, reason: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    frame(FIN | 8, &[&code.to_be_bytes()[..], reason].concat(), key)
}

/// A proxy with its mirror's end of the tap in our hands, and the service's listener.
struct World {
    /// Lives as long as the world.
    _running: Running,
    clients: SocketAddr,
    service: TcpListener,
    receiver: TapReceiver,
}

/// Both ends of a session, and the heads that each of them read.
struct Session {
    client: TcpStream,
    service: TcpStream,
    asked: String,
    answered: String,
}

/// What stands in the two heads, and what is sent along with them.
#[derive(Clone, Copy, Default)]
struct Opening<'a> {
    path: &'a str,
    asks: &'a str,
    answers: &'a str,
    early_up: &'a [u8],
    early_down: &'a [u8],
}

impl World {
    fn start() -> Self {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = made::Authority::new();
        let own = authority.issue(&["localhost", "127.0.0.1"]);
        let mut upstream = service.local_addr().unwrap();
        if SECURE {
            upstream = shim::door(upstream, shim::Beyond::Plain(Arc::new(own.server())));
        }
        let scheme = if SECURE { "wss" } else { "ws" };
        let mut config = Config::new(Target::service(&format!("{scheme}://{upstream}")).unwrap());
        if SECURE {
            config.tls = Some(Live::fixed(own.server()));
            config.upstream_tls = Some(Live::fixed(authority.client()));
        }
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.workers = Some(1);
        let (tap, receiver) = tap::channel(Budget::new(64 << 20), Ledger::new(), now());
        let mirroring = Mirroring { tap: Some(tap), ..Mirroring::off() };
        let verdict = Verdict { mirrored: true, ..Verdict::LEGACY };
        let running = Server::start(config, Arc::new(move |_, _| verdict.clone()), mirroring).unwrap();
        let mut clients = running.local_addr();
        if SECURE {
            clients = shim::door(clients, shim::Beyond::Tls(Arc::new(authority.client())));
        }
        if STREAMS {
            clients = shim_http2::door(clients);
        }
        Self { _running: running, clients, service, receiver }
    }

    fn open(&self, opening: Opening<'_>) -> Session {
        let mut client = TcpStream::connect(self.clients).unwrap();
        let path = if opening.path.is_empty() { "/" } else { opening.path };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            opening.asks
        );
        client.write_all(&[request.as_bytes(), opening.early_up].concat()).unwrap();
        let (mut service, _) = self.service.accept().unwrap();
        for stream in [&client, &service] {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(HANG)).unwrap();
            stream.set_write_timeout(Some(HANG)).unwrap();
        }
        let asked = head(&mut service);
        let key = asked.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| is_key(name)));
        let accept = derive_accept_key(key.unwrap().1.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
            opening.answers
        );
        service.write_all(&[answer.as_bytes(), opening.early_down].concat()).unwrap();
        let answered = head(&mut client);
        assert!(answered.starts_with("HTTP/1.1 101 "), "{answered}");
        Session { client, service, asked, answered }
    }

    /// Waits for the session to be announced as closed and returns its messages, up and down.
    fn messages(&mut self) -> [Vec<Vec<u8>>; 2] {
        let (began, mut seen) = (now(), [vec![], vec![]]);
        loop {
            match self.receiver.poll_next() {
                Some(Tapped::Message(message)) => {
                    let dir = usize::from(message.captured.key.dir == Direction::Down);
                    seen[dir].push(message.captured.body.unwrap().bytes().to_vec());
                    message.entry.confirm(Proof::ReadBack);
                }
                Some(Tapped::Closed(_)) => return seen,
                Some(Tapped::Opened(_)) => {}
                None => {
                    assert!(now() - began < HANG, "the session never ends");
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Plays one session to its end; returns the messages that the tap saw.
    fn compare(&mut self, opening: Opening<'_>, bytes: [&[u8]; 2], chunk: usize) -> [Vec<Vec<u8>>; 2] {
        let session = self.open(opening);
        let (got_up, got_down) = session.exchange(bytes, chunk);
        assert!(got_up == [opening.early_up, bytes[0]].concat(), "up differs, {chunk} at a time");
        assert!(got_down == [opening.early_down, bytes[1]].concat(), "down differs, {chunk} at a time");
        self.messages()
    }
}

impl Session {
    /// Both sides write everything, end their direction, and read to the end.
    fn exchange(self, [up, down]: [&[u8]; 2], chunk: usize) -> (Vec<u8>, Vec<u8>) {
        let write = |mut stream: &TcpStream, bytes: &[u8]| {
            for piece in bytes.chunks(chunk) {
                stream.write_all(piece).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
        };
        let read = |mut stream: &TcpStream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let (client, service) = (&self.client, &self.service);
        std::thread::scope(|scope| {
            scope.spawn(move || write(client, up));
            scope.spawn(move || write(service, down));
            let got_up = scope.spawn(move || read(service));
            let got_down = read(client);
            (got_up.join().unwrap(), got_down)
        })
    }
}

fn is_key(name: &str) -> bool {
    name.eq_ignore_ascii_case("sec-websocket-key")
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The same stream in both directions, masked upwards, whole, in sevens and byte by byte.
fn both_ways(stream: impl Fn(Option<[u8; 4]>) -> Vec<u8>, expected: &[&[u8]]) {
    let (up, down) = (stream(Some(KEY)), stream(None));
    let mut world = World::start();
    for chunk in [usize::MAX, 7, 1] {
        let seen = world.compare(Opening::default(), [&up, &down], chunk);
        assert_eq!(seen, [expected, expected], "{chunk} at a time");
    }
}

#[test]
fn any_mask_passes_and_is_read() {
    let mut world = World::start();
    let keys = [[0; 4], [0xFF; 4], KEY, [0, 0, 0, 1]];
    let up: Vec<u8> = keys.iter().flat_map(|key| text("mäßig", Some(*key))).collect();
    let seen = world.compare(Opening::default(), [&up, &text("down", None)], 3);
    assert_eq!(seen[0], vec!["mäßig".as_bytes(); 4]);
    assert_eq!(seen[1], [b"down"]);
    // The wrong way round: for the two ends to complain about, not for us.
    world.compare(Opening::default(), [&text("unmasked", None), &text("masked", Some(KEY))], 3);
}

#[test]
fn fragments_with_control_frames_between_them() {
    let stream = |key| {
        let parts = [
            frame(1, b"one ", key),
            frame(FIN | 9, b"ping", key),
            frame(0, b"", key),
            frame(FIN | 10, b"", key),
            frame(0, "t\u{fc}".as_bytes().get(..2).unwrap(), key), // cut inside a character
            frame(FIN | 9, &[7; 125], key),
            frame(FIN, "t\u{fc}".as_bytes().get(2..).unwrap(), key),
            frame(2, &[0, 1], key),
            frame(FIN, &[2; 300], key),
            text("", key),
        ];
        parts.concat()
    };
    let binary = [&[0, 1][..], &[2; 300]].concat();
    both_ways(stream, &["one t\u{fc}".as_bytes(), &binary, b""]);
}

#[test]
fn lengths_of_every_width_minimal_or_not() {
    let stream = |key| {
        let parts = [
            with_length(FIN | 2, 126, &5_u16.to_be_bytes(), b"short", key),
            with_length(FIN | 2, 127, &5_u64.to_be_bytes(), b"short", key),
            frame(FIN | 2, &[1; 125], key),
            frame(FIN | 2, &[2; 126], key),
            frame(FIN | 2, &[3; 65_535], key),
            frame(FIN | 2, &[4; 65_536], key),
        ];
        parts.concat()
    };
    let (up, down) = (stream(Some(KEY)), stream(None));
    // A length that no stream can hold: nobody may wait for it, reserve it, or end the session over it.
    let huge = |key| with_length(FIN | 2, 127, &(u64::MAX >> 1).to_be_bytes(), b"never whole", key);
    let impossible = |key| with_length(FIN | 2, 127, &u64::MAX.to_be_bytes(), b"top bit", key);
    let mut world = World::start();
    for tail in [huge, impossible] {
        let bytes = [[&up[..], &tail(Some(KEY))].concat(), [&down[..], &tail(None)].concat()];
        for chunk in [usize::MAX, 1009] {
            world.compare(Opening::default(), [&bytes[0], &bytes[1]], chunk);
        }
    }
}

#[test]
fn reserved_bits_and_opcodes_are_for_the_ends_to_judge() {
    for first in (0_u8..=0xFF).filter(|first| first & 0x70 != 0 || !matches!(first & 0x0F, 0..=2 | 8..=10)) {
        let stream = |key| [text("before", key), frame(first, b"odd", key), text("after", key)].concat();
        let mut world = World::start();
        let seen = world.compare(Opening::default(), [&stream(Some(KEY)), &stream(None)], 5);
        assert_eq!((&seen[0][0][..], &seen[1][0][..]), (&b"before"[..], &b"before"[..]), "{first:#x}");
        assert!(seen[0].iter().all(|body| body != b"odd"), "{first:#x} is no message");
    }
}

#[test]
fn a_message_of_16_mib_passes_each_way() {
    let body: Vec<u8> =
        (0..16 * MIB as u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let mut world = World::start();
    let bytes = [frame(FIN | 2, &body, Some(KEY)), frame(FIN | 2, &body, None)];
    let seen = world.compare(Opening::default(), [&bytes[0], &bytes[1]], usize::MAX);
    assert_eq!(seen, [Vec::<Vec<u8>>::new(), vec![]], "too large for the mirror, and only for it");
}

#[test]
fn close_codes_and_reasons_pass_both_ways() {
    let mut world = World::start();
    for code in [0, 999, 1000, 1001, 1004, 1005, 1006, 1008, 1012, 1015, 2999, 3000, 4999, 65_535] {
        for reason in [&b""[..], "gr\u{fc}\u{df}e".as_bytes(), b"\xFF\xFE", &[b'x'; 123]] {
            let stream = |key| [text("last", key), close(code, reason, key), text("too late", key)].concat();
            let (up, down) = (stream(Some(KEY)), stream(None));
            let seen = world.compare(Opening::default(), [&up, &down], usize::MAX);
            assert_eq!(seen[0][0], b"last", "{code}");
        }
    }
    for body in [&b""[..], b"\x03"] {
        let (up, down) = (frame(FIN | 8, body, Some(KEY)), frame(FIN | 8, body, None));
        world.compare(Opening::default(), [&up, &down], 1);
    }
}

#[test]
fn frames_in_the_segment_of_the_handshake_pass_and_are_read() {
    let mut world = World::start();
    let (up, down) = (text("first", Some(KEY)), text("erster", None));
    // Whole frames with the head, and a frame that is cut by the end of the handshake.
    for cut in 0..=up.len().min(down.len()) {
        let opening = Opening { early_up: &up[..cut], early_down: &down[..cut], ..Opening::default() };
        let seen = world.compare(opening, [&up[cut..], &down[cut..]], usize::MAX);
        assert_eq!(seen, [[b"first".to_vec()], [b"erster".to_vec()]], "cut after {cut}");
    }
}

/// A field as it arrives: names have no case in HTTP/2 (RFC 9113 section 8.2.1).
fn cased(line: &str) -> String {
    match line.split_once(": ") {
        Some((name, value)) if STREAMS => format!("{}: {value}", name.to_lowercase()),
        _ => line.to_owned(),
    }
}

#[test]
fn the_head_of_an_upgrade_arrives_as_it_was_sent() {
    let world = World::start();
    let opening = Opening {
        path: "/a%2Fb/%e4%B8%ad/../c;d=1//e?x=%20y&&z=%00&q='()*!",
        asks: "Sec-WebSocket-Protocol: chat.v2, chat\r\nSec-WebSocket-Extensions: x-unheard; a=\"b,c\", y-of\r\n\
               Cookie: a=1; b=\"2\"\r\nCookie: c=%3D\r\nX-Twice: 2\r\nX-Twice: 1\r\n",
        answers: "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: x-unheard; a=\"b,c\"\r\n\
                  Set-Cookie: s=1; Path=/\r\nSet-Cookie: t=2; HttpOnly\r\n",
        ..Opening::default()
    };
    let session = world.open(opening);
    assert!(session.asked.starts_with(&format!("GET {} HTTP/1.1\r\n", opening.path)), "{}", session.asked);
    for line in opening.asks.lines().filter(|line| !STREAMS || !line.starts_with("Cookie")) {
        let line = cased(line);
        assert!(session.asked.contains(&format!("\r\n{line}\r\n")), "{line} in {}", session.asked);
    }
    // RFC 9113 section 8.2.3.
    assert!(!STREAMS || session.asked.contains("\r\ncookie: a=1; b=\"2\"; c=%3D\r\n"), "{}", session.asked);
    assert!(session.asked.find(&cased("X-Twice: 2")) < session.asked.find(&cased("X-Twice: 1")));
    for line in opening.answers.lines() {
        let line = cased(line);
        assert!(session.answered.contains(&format!("\r\n{line}\r\n")), "{line} in {}", session.answered);
    }
}

#[test]
fn trace_context_passes_untouched() {
    let world = World::start();
    // Valid, invalid, and more than one: it is the service's to judge.
    for asks in [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1,b@c=%2\r\n",
        "Traceparent: 00-XYZ-1-1\r\nTraceState: \r\n",
        "traceparent: ff-1\r\ntraceparent: 00-2\r\ntracestate: x=1\r\ntracestate: y=2\r\n",
    ] {
        let session = world.open(Opening { asks, ..Opening::default() });
        let of_trace = |head: &str| -> Vec<String> {
            head.lines().filter(|line| line.to_lowercase().starts_with("trace")).map(str::to_owned).collect()
        };
        let (mut got, mut sent) = (of_trace(&session.asked), of_trace(asks));
        for lines in [&mut got, &mut sent] {
            lines.iter_mut().for_each(|line| *line = cased(line).trim_end().to_owned());
        }
        assert_eq!(got, sent);
    }
}

#[test]
fn an_extension_nobody_knows_passes_and_is_not_read() {
    let mut world = World::start();
    let stream = |key| [frame(FIN | 0x31, b"coded", key), text("plain?", key)].concat();
    let answers = "Sec-WebSocket-Extensions: x-unheard\r\n";
    let opening = Opening { answers, ..Opening::default() };
    let session = world.open(opening);
    let (up, down) = (stream(Some(KEY)), stream(None));
    let (got_up, got_down) = session.exchange([&up, &down], 2);
    assert!(got_up == up && got_down == down);
    assert_eq!(world.messages(), [Vec::<Vec<u8>>::new(), vec![]], "a guess would publish noise");
}

/// One end's compressor (RFC 7692 section 7.2.1).
struct Deflater(Compress, bool);

impl Deflater {
    fn new(takeover: bool) -> Self {
        Self(Compress::new(Compression::new(6), false), takeover)
    }

    fn message(&mut self, body: &[u8]) -> Vec<u8> {
        if !self.1 {
            self.0.reset();
        }
        let mut out = Vec::with_capacity(body.len() * 2 + 64);
        self.0.compress_vec(body, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
        out.truncate(out.len() - 4);
        out
    }

    /// Compressed in three fragments with a ping inside, then one uncompressed, then one in a single frame.
    fn session(mut self, bodies: &[&str; 3], key: Option<[u8; 4]>) -> Vec<u8> {
        let first = self.message(bodies[0].as_bytes());
        let (a, rest) = first.split_at(first.len() / 3);
        let (b, c) = rest.split_at(1);
        let parts = [
            frame(RSV1 | 1, a, key),
            frame(FIN | 9, b"ping", key),
            frame(0, b, key),
            frame(FIN, c, key),
            text(bodies[1], key),
            frame(FIN | RSV1 | 1, &self.message(bodies[2].as_bytes()), key),
        ];
        parts.concat()
    }
}

#[test]
fn compressed_sessions_pass_untouched_and_are_read_inflated() {
    let long = "the quick brown fox ".repeat(400);
    let bodies = [long.as_str(), "in between", long.as_str()];
    let expected: Vec<Vec<u8>> = bodies.iter().map(|body| body.as_bytes().to_vec()).collect();
    for (answers, up, down) in [
        ("permessage-deflate", true, true),
        ("permessage-deflate; client_no_context_takeover", false, true),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=15", true, false),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", false, false),
    ] {
        let answers = format!("Sec-WebSocket-Extensions: {answers}\r\n");
        let opening = Opening { answers: &answers, ..Opening::default() };
        let bytes =
            [Deflater::new(up).session(&bodies, Some(KEY)), Deflater::new(down).session(&bodies, None)];
        let mut world = World::start();
        for chunk in [usize::MAX, 1] {
            let seen = world.compare(opening, [&bytes[0], &bytes[1]], chunk);
            assert!(seen == [expected.clone(), expected.clone()], "{answers}, {chunk} at a time");
        }
    }
}

#[test]
fn a_compressed_stream_that_is_noise_passes_too() {
    let mut world = World::start();
    let stream = |key| {
        let noise: Vec<u8> = (0_u8..=255).rev().collect();
        [frame(FIN | RSV1 | 1, &noise, key), frame(FIN | RSV1 | 9, b"no", key), text("x", key)].concat()
    };
    let opening =
        Opening { answers: "Sec-WebSocket-Extensions: permessage-deflate\r\n", ..Opening::default() };
    world.compare(opening, [&stream(Some(KEY)), &stream(None)], 3);
}

/// A frame of any kind, or bytes that are none.
fn piece() -> impl Strategy<Value = (u8, Vec<u8>, Option<[u8; 4]>)> {
    (any::<u8>(), prop::collection::vec(any::<u8>(), 0..200), any::<Option<[u8; 4]>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read(
        up in prop::collection::vec(piece(), 0..20),
        down in prop::collection::vec(piece(), 0..20),
        chunk in 1_usize..400,
        deflate in any::<bool>(),
    ) {
        let bytes = [up, down]
            .map(|pieces| pieces.iter().flat_map(|(first, body, key)| frame(*first, body, *key)).collect::<Vec<u8>>());
        let answers = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
        let session = World::start();
        let open = session.open(Opening { answers, ..Opening::default() });
        let (got_up, got_down) = open.exchange([&bytes[0], &bytes[1]], chunk);
        prop_assert!(got_up == bytes[0]);
        prop_assert!(got_down == bytes[1]);
    }
}
