//! Requests that two parsers might read differently. Whatever happens to them, the service must never see a second
//! request; each test looks at all the bytes it got.

use proptest::prelude::*;

use super::super::*;
use super::world::*;

/// Sends `request`, collects all that the service ever gets for it (each of its connections is answered once a whole
/// message is there, or when the proxy closes), and the client's answer.
fn through(request: &[u8]) -> (Vec<String>, String) {
    let world = World::start();
    let mut client = world.client_says(request);
    client.finish();
    let mut seen = Vec::new();
    let answered = std::thread::spawn(move || String::from_utf8_lossy(&client.rest().0).into_owned());
    while !answered.is_finished() {
        if world.running.counters().faults(Fault::HeadMalformed).value() > 0 {
            break;
        }
        if let Some(mut service) = world.service.try_accept() {
            seen.push(service.one_message());
            service.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            // What follows the message on its connection would be the next request.
            let more = service.rest().0;
            if !more.is_empty() {
                seen.push(String::from_utf8_lossy(&more).into_owned());
            }
        }
        std::thread::yield_now();
    }
    (seen, answered.join().unwrap())
}

#[track_caller]
fn refused(request: &[u8], status: u16) {
    let (seen, answer) = through(request);
    assert_eq!(seen, Vec::<String>::new(), "the service saw something of {}", request.escape_ascii());
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer} to {}", request.escape_ascii());
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer: {answer}");
}

/// The service sees exactly one request, whose body is `body`, and no other framing.
#[track_caller]
fn normalised(request: &[u8], body: &str) {
    let (seen, answer) = through(request);
    assert_eq!(seen.len(), 1, "{seen:?} of {}", request.escape_ascii());
    let (head, content) = seen[0].split_once("\r\n\r\n").unwrap();
    let framings = fields(head, "content-length").len() + fields(head, "transfer-encoding").len();
    assert!(framings <= 1, "{head}");
    assert_eq!(content, body, "{head}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn two_framings_become_one() {
    normalised(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "0\r\n\r\n",
    );
    normalised(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
          3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
    );
    normalised(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "abc",
    );
    normalised(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, Content-Length\r\nContent-Length: 3\r\n\r\nabc",
        "abc",
    );
}

#[test]
fn an_answer_with_two_framings_has_one_for_the_client() {
    for lines in
        ["Content-Length: 2\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 2"]
    {
        let world = World::start();
        let mut client = world.client_says(GET);
        let mut service = world.service.accept();
        service.head();
        service.send(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
        let head = client.head();
        assert!(fields(&head, "content-length").is_empty(), "{head}");
        assert_eq!(field(&head, "transfer-encoding"), "chunked");
        assert_eq!(client.until(b"0\r\n\r\n"), b"3\r\nabc\r\n0\r\n\r\n");
    }
}

#[test]
fn lengths_that_contradict_are_refused() {
    for lengths in [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: -1",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 99999999999999999999999",
    ] {
        refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\nabcd").as_bytes(), 400);
    }
}

#[test]
fn codings_that_parsers_read_differently_are_refused() {
    for (coding, status) in [
        ("Transfer-Encoding: chunked, identity", 400),
        ("Transfer-Encoding: identity", 400),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding: \"chunked\"", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\t: chunked", 400),
        (" Transfer-Encoding: chunked", 400),
        ("X: y\r\n Transfer-Encoding: chunked", 400),
        ("X: y\r\n\tfolded", 400),
        ("Transfer-Encoding: chunked\0", 400),
        ("X\0Y: z", 400),
        ("X: a\rb", 400),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{coding}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        refused(request.as_bytes(), status);
    }
    refused(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn chunks_that_are_malformed_never_end_the_message() {
    for chunks in [
        "3\nabc\r\n0\r\n\r\n",
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3;a=\nb\r\nabc\r\n0\r\n\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let (seen, answer) =
            through(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert!(seen.iter().all(|one| !one.contains("smuggled") && !one.contains("0\r\n\r\n")), "{seen:?}");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{chunks:?}: {answer}");
    }
}

#[test]
fn line_ends_are_written_anew() {
    normalised(b"GET / HTTP/1.1\nHost: a\nConnection: close\n\n", "");
    normalised(b"POST / HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 3\n\nabc", "abc");
}

#[test]
fn there_is_one_host_and_it_is_one() {
    refused(b"GET / HTTP/1.1\r\n\r\n", 400);
    refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    refused(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400);
    refused(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    refused(b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400);
    let (seen, answer) = through(b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    assert!(seen.is_empty() && answer.starts_with("HTTP/1.0 400 "), "{answer}");
}

#[test]
fn lines_that_are_no_request_are_refused() {
    for line in [
        "GET /a b HTTP/1.1",
        "GET  / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET HTTP/1.1",
        "/ HTTP/1.1",
    ] {
        refused(format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), 400);
    }
    refused(b"CONNECT inner:22 HTTP/1.1\r\nHost: inner:22\r\n\r\n", 405);
}

/// Lines that say how long a message is, or seem to.
const FRAMINGS: &[&str] = &[
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: 5",
    "Content-Length: 3, 3",
    "content-length:\t3",
    "Content-Length: 0x3",
    "Transfer-Encoding: chunked",
    "transfer-encoding:Chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer_Encoding: chunked",
    "Connection: close",
    "Connection: Transfer-Encoding",
    "Connection: Content-Length",
    "X: y\rTransfer-Encoding: chunked",
    " Transfer-Encoding: chunked",
    "Expect: 100-continue",
];
const BODIES: &[&str] = &[
    "",
    "abc",
    "0\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "5\r\nabc\r\n0\r\n\r\n",
    "3\nabc\n0\n\n",
    "0003\r\nabc\r\n00\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
];

/// Whether the service would take this for a request that has ended.
fn is_whole(message: &str) -> bool {
    let Some((head, body)) = message.split_once("\r\n\r\n") else { return false };
    fields(head, "transfer-encoding").is_empty() || body.ends_with("0\r\n\r\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Proxy and service agree on how many requests there were: as many as the client got answers from the service.
    #[test]
    fn the_service_sees_no_request_that_the_proxy_did_not(
        method in prop_oneof![Just("POST"), Just("GET"), Just("HEAD_"), Just("OPTIONS")],
        framings in proptest::collection::vec(proptest::sample::select(FRAMINGS), 0..4),
        end in prop_oneof![4 => Just("\r\n"), 1 => Just("\n")],
        body in proptest::sample::select(BODIES),
    ) {
        let lines: String = framings.iter().map(|line| format!("{line}{end}")).collect();
        let request = format!(
            "{method} / HTTP/1.1{end}Host: a{end}{lines}{end}{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let (seen, answer) = through(request.as_bytes());
        // A body that turns out malformed breaks its request off: the service gets no end, and no answer counts.
        let whole = seen.iter().filter(|message| is_whole(message)).count();
        prop_assert_eq!(whole, answer.matches("HTTP/1.1 200 ").count(), "{:?} {}", seen, answer);
        prop_assert!(seen.iter().skip(whole).count() <= 1, "only the last may break off: {:?}", seen);
        for message in seen.iter().filter(|message| is_whole(message)) {
            let head = message.split_once("\r\n\r\n").map_or("", |(head, _)| head);
            let framings = fields(head, "content-length").len() + fields(head, "transfer-encoding").len();
            prop_assert!(framings <= 1 && head.ends_with(|c: char| !c.is_whitespace()), "{}", message);
            prop_assert!(!message.contains("\r\n ") && !message.contains('\0'), "{}", message);
        }
    }
}
