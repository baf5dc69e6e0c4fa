//! What is asked, said and tried, in no way's own words.

/// A field's name and value.
pub(crate) type Field = (&'static str, &'static [u8]);

/// An honest request and its answer.
pub(crate) struct Ask {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) target: &'static str,
    pub(crate) fields: &'static [Field],
    /// The body in the pieces it is sent in; its length is announced in `fields` or not at all.
    pub(crate) body: Vec<Vec<u8>>,
    pub(crate) status: &'static str,
    pub(crate) answer_fields: &'static [Field],
    pub(crate) answer: Vec<u8>,
    /// The answer's length is not announced.
    pub(crate) answer_in_chunks: bool,
}

/// An honest session. Both sides write what they have to say in pieces, and end as they do.
pub(crate) struct Talk {
    pub(crate) name: &'static str,
    pub(crate) early_up: Vec<u8>,
    pub(crate) up: Vec<u8>,
    pub(crate) early_down: Vec<u8>,
    pub(crate) down: Vec<u8>,
    pub(crate) piece: usize,
    /// Who resets the connection, after everything was read.
    pub(crate) reset: Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    Nobody,
    Client,
    Service,
}

/// What must not get through: in HTTP/1.1, and the same in HTTP/2.
pub(crate) struct Crime {
    pub(crate) name: &'static str,
    pub(crate) text: Vec<u8>,
    pub(crate) frames: Vec<u8>,
    /// The service may see its beginning, but never a whole request.
    pub(crate) begins_well: bool,
}

fn noise(length: usize) -> Vec<u8> {
    (0..u32::try_from(length).unwrap()).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn ask(name: &'static str, method: &'static str, target: &'static str) -> Ask {
    Ask {
        name,
        method,
        target,
        fields: &[],
        body: Vec::new(),
        status: "200 OK",
        answer_fields: &[("Content-Length", b"2")],
        answer: b"ok".to_vec(),
        answer_in_chunks: false,
    }
}

/// Every request. The first is the plainest.
pub(crate) fn asks() -> Vec<Ask> {
    let mut asks = heads();
    asks.extend(bodies());
    asks
}

fn heads() -> Vec<Ask> {
    vec![
        ask("a request", "GET", "/"),
        Ask {
            fields: &[
                ("X-Odd", b"caf\xe9"),
                ("X-Twice", b"one"),
                ("X-Twice", b"two, three"),
                ("X-Empty", b""),
                ("Cookie", b"a=1; b=\"2\""),
                ("Authorization", b"Bearer a.b.c"),
                ("Origin", b"https://chat.example"),
                ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ],
            answer_fields: &[
                ("Content-Length", b"2"),
                ("Set-Cookie", b"a=1"),
                ("Set-Cookie", b"b=2; Path=/"),
                ("X-Odd", b"\xff\xfe"),
            ],
            ..ask("fields of every kind", "GET", "/fields")
        },
        ask("an odd target", "GET", "/a//b/../%2e%2F;x=1,2?q=%20+&&=?/:@!$'()*"),
        ask("another method", "PROPFIND", "/method"),
        Ask { answer: Vec::new(), ..ask("an answer without its body", "HEAD", "/head") },
    ]
}

fn bodies() -> Vec<Ask> {
    vec![
        Ask {
            fields: &[("Content-Length", b"11")],
            body: vec![b"hello ".to_vec(), b"world".to_vec()],
            ..ask("a body with a length", "POST", "/length")
        },
        Ask {
            body: vec![noise(100_000), b"x".to_vec(), noise(30_000)],
            ..ask("a body without a length", "PUT", "/chunks")
        },
        Ask {
            answer_fields: &[("X-Kind", b"stream")],
            answer: noise(700_000),
            answer_in_chunks: true,
            ..ask("an answer without a length", "GET", "/stream")
        },
        Ask {
            status: "404 Not Found",
            answer_fields: &[("Content-Length", b"7")],
            answer: b"nothing".to_vec(),
            ..ask("a refusal", "GET", "/nothing")
        },
        Ask {
            status: "503 Service Unavailable",
            answer_fields: &[("Content-Length", b"2"), ("Retry-After", b"7")],
            ..ask("a failure", "DELETE", "/failure")
        },
        Ask {
            status: "204 No Content",
            answer_fields: &[],
            answer: Vec::new(),
            ..ask("no content", "OPTIONS", "/none")
        },
        Ask {
            status: "304 Not Modified",
            answer_fields: &[("ETag", b"\"1\"")],
            answer: Vec::new(),
            ..ask("not modified", "GET", "/same")
        },
    ]
}

fn talk(name: &'static str, up: Vec<u8>, down: Vec<u8>) -> Talk {
    let (early_up, early_down) = (Vec::new(), Vec::new());
    Talk { name, early_up, up, early_down, down, piece: usize::MAX, reset: Reset::Nobody }
}

/// A frame of at most 125 bytes (RFC 6455 section 5.2), masked or not.
fn frame(first: u8, body: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(body.len()).unwrap() | if key.is_some() { 0x80 } else { 0 }];
    bytes.extend(key.iter().flatten());
    let key = key.unwrap_or_default();
    bytes.extend(body.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Every session.
pub(crate) fn talks() -> Vec<Talk> {
    let conversation = |key| {
        [
            frame(0x81, b"text", key),
            frame(0x01, b"in ", key),
            frame(0x89, b"ping", key),
            frame(0x80, b"parts", key),
            frame(0xF3, b"of no known kind", key),
            frame(0x88, &[0x03, 0xE8, b'b', b'y', b'e'], key),
            frame(0x82, b"and after the close", key),
        ]
        .concat()
    };
    let frames = || (conversation(Some([1, 0, 0xFF, 7])), conversation(None));
    let (up, down) = frames();
    vec![
        talk("frames", up.clone(), down.clone()),
        Talk { piece: 1, ..talk("frames, byte by byte", up.clone(), down.clone()) },
        talk("masks the wrong way round", down, up),
        talk("bytes that are no frames", noise(300_000), noise(400_000)),
        talk("silence upwards", Vec::new(), noise(10)),
        talk("silence downwards", noise(10), Vec::new()),
        talk("nothing at all", Vec::new(), Vec::new()),
        Talk {
            early_up: noise(7),
            early_down: noise(3000),
            ..talk("bytes with both heads", noise(5), noise(5))
        },
        Talk { reset: Reset::Client, ..talk("a client that resets", noise(1000), noise(2000)) },
        Talk { reset: Reset::Service, ..talk("a service that resets", noise(1000), noise(2000)) },
    ]
}

const GOOD: [(&[u8], &[u8]); 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/crime")];
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn http2_frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream: u32 = if kind == 4 { 0 } else { 1 };
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head whose fields are literals without an index (RFC 7541 section 6.2.2), whatever is in them.
fn block(lines: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0);
        for part in [name, value] {
            assert!(part.len() < 127);
            block.push(u8::try_from(part.len()).unwrap());
            block.extend_from_slice(part);
        }
    }
    block
}

/// A connection that begins well and goes on so.
fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &http2_frame(4, 0, b""), &frames.concat()].concat()
}

/// A request with these fields, and a body of five bytes.
fn with(name: &'static str, text: &str, more: &[(&[u8], &[u8])]) -> Crime {
    let text = format!("POST /crime HTTP/1.1\r\nHost: a\r\n{text}\r\n\r\nhello").into_bytes();
    let head = block(&[&GOOD[..], more].concat());
    let frames =
        connection(&[http2_frame(HEADERS, END_HEADERS, &head), http2_frame(DATA, END_STREAM, b"hello")]);
    Crime { name, text, frames, begins_well: false }
}

/// Everything that is tried.
pub(crate) fn crimes() -> Vec<Crime> {
    let mut crimes = fields();
    crimes.extend(shapes());
    crimes.extend(broken_bodies());
    crimes
}

fn fields() -> Vec<Crime> {
    let five: (&[u8], &[u8]) = (b"content-length", b"5");
    let six: (&[u8], &[u8]) = (b"content-length", b"6");
    vec![
        with("two lengths that differ", "Content-Length: 5\r\nContent-Length: 6", &[five, six]),
        with("the same, the other way round", "Content-Length: 6\r\nContent-Length: 5", &[six, five]),
        with("a length with a sign", "Content-Length: +5", &[(b"content-length", b"+5")]),
        with("a list of lengths", "Content-Length: 5, 6", &[(b"content-length", b"5, 6")]),
        with("another coding", "Transfer-Encoding: gzip, chunked", &[(b"transfer-encoding", b"chunked")]),
        with("two hosts", "Host: b", &[(b"host", b"b")]),
        with("a line end in a value", "X: a\rY: b\r\nContent-Length: 5", &[(b"x", b"a\r\ny: b"), five]),
        with("no text in a value", "X: a\0b\r\nContent-Length: 5", &[(b"x", b"a\0b"), five]),
        with("a space in a name", "X Y: z\r\nContent-Length: 5", &[(b"x y", b"z"), five]),
        with("a space behind a name", "X : z\r\nContent-Length: 5", &[(b"x ", b"z"), five]),
        with("no name at all", ": z\r\nContent-Length: 5", &[(b"", b"z"), five]),
    ]
}

fn crime(name: &'static str, text: &[u8], frames: &[Vec<u8>]) -> Crime {
    Crime { name, text: text.to_vec(), frames: connection(frames), begins_well: false }
}

fn shapes() -> Vec<Crime> {
    let long = format!("GET /crime HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(300_000));
    let many: Vec<(&[u8], &[u8])> = vec![(&b"x"[..], &[b'y'; 100][..]); 1400];
    let begins = http2_frame(HEADERS, 0, &block(&GOOD));
    let mut pieces = vec![begins.clone()];
    pieces.extend(block(&many).chunks(16_000).map(|part| http2_frame(9, 0, part)));
    pieces.push(http2_frame(9, END_HEADERS, b""));
    let connect: [(&[u8], &[u8]); 2] = [(b":method", b"CONNECT"), (b":authority", b"inner:22")];
    let connect = http2_frame(HEADERS, END_HEADERS, &block(&connect));
    let garbled = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &noise(600), b"\r\n\r\n"].concat();
    vec![
        crime("a tunnel elsewhere", b"CONNECT inner:22 HTTP/1.1\r\nHost: inner:22\r\n\r\n", &[connect]),
        crime("a head without end", long.as_bytes(), &pieces),
        crime("a head that is never finished", b"GET /crime HTTP/1.1\r\nHost: a\r\nX: y\r\n", &[begins]),
        crime("no HTTP", &garbled, &[vec![0xFF; 600]]),
    ]
}

/// The service may see how they begin.
fn broken_bodies() -> Vec<Crime> {
    let chunks =
        |text: &str| format!("POST /crime HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{text}");
    let announced: (&[u8], &[u8]) = (b"content-length", b"5");
    let head = http2_frame(HEADERS, END_HEADERS, &block(&[&GOOD[..], &[announced]].concat()));
    let short = [head.clone(), http2_frame(DATA, END_STREAM, b"hell")];
    let long = [head, http2_frame(DATA, 0, b"hello hello")];
    let crimes = [
        crime("a body that is too short", chunks("5\r\nhell\r\n0\r\n\r\n").as_bytes(), &short),
        crime("a body that is too long", chunks("fffffffffffffffff\r\n").as_bytes(), &long),
    ];
    crimes.map(|crime| Crime { begins_well: true, ..crime }).into()
}
