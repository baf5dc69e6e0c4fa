//! Frames as the protocols' own libraries write them, and anything else.

use proptest::prelude::*;

use super::*;

fn frame<'a>(path: &'a str, subprotocol: Option<&'a str>, payload: &'a [u8]) -> Frame<'a> {
    Frame { path, subprotocol, op: Opcode::Text, payload }
}

#[track_caller]
fn check(payload: &str, expect: &str) {
    assert_eq!(read(&frame("/ws", None, payload.as_bytes())).name, expect, "{payload}");
}

#[track_caller]
fn check_as(frame: &Frame<'_>, format: Format, expect: &str) {
    let reading = read(frame);
    let shown = String::from_utf8_lossy(frame.payload);
    assert_eq!((reading.format, &*reading.name), (format, expect), "{shown}");
}

#[test]
fn the_first_of_the_ordered_keys_names_the_type() {
    check(r#"{"type":"t","event":"e"}"#, "e");
    check(r#" {"action":"a","op":"o"}"#, "o");
    check(r#"{"kind":"k","action":"a"}"#, "k");
    check(r#"{"op":10,"t":null}"#, "10");
    check(r#"{"op":-1}"#, "-1");
    check(r#"{"ev\u0065nt":"caf\u00e9"}"#, "café");
    check(r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{}}"#, "eth_subscription");
}

#[test]
fn values_that_are_no_names_leave_it_to_the_next_key() {
    for value in [r#"{"type":"x"}"#, "[1,[2]]", "null", "true", "1.5", r#""""#, r#""a\nb""#] {
        check(&format!(r#"{{"event":{value},"type":"t"}}"#), "t");
    }
    check(&format!(r#"{{"event":"{}","type":"t"}}"#, "x".repeat(65)), "t");
    check(r#"{"data":{"type":"inner"}}"#, "text");
}

#[test]
fn everything_else_is_named_by_its_opcode() {
    for payload in ["", "hello", "[1]", "\"event\"", "{", "{}", "{]"] {
        check(payload, "text");
    }
    let binary = |payload| Frame { op: Opcode::Binary, ..frame("/ws", None, payload) };
    check_as(&binary(b"\xff\x00"), Format::Opaque, "binary");
    check_as(&binary(br#"{"event":"e"}"#), Format::Json, "e");
}

#[test]
fn only_the_head_is_looked_at() {
    let pad = "x".repeat(INSPECTED_BYTES_MAX);
    check(&format!(r#"{{"type":"seen","pad":"{pad}","event":"late"}}"#), "seen");
    check(&format!(r#"{{"pad":"{pad}","event":"late"}}"#), "text");
    let cut = format!(r#"{{"pad":"{}","op":123456}}"#, "x".repeat(INSPECTED_BYTES_MAX - 19));
    check(&cut, "text");
    check(&format!(r#"42["seen","{pad}"]"#), "seen");
    check(&format!(r#"["1","2","room:1","seen",{{"pad":"{pad}"}}]"#), "seen");
    check(&format!("MESSAGE\ndestination:/topic/a\n\n{pad}\0"), "MESSAGE /topic/a");
}

#[test]
fn socket_io_packets_are_read_down_to_the_event() {
    for (payload, expect) in [
        (r#"42["chat message","hi"]"#, "chat message"),
        (r#"42["bye"]"#, "bye"),
        (r#"4217["order",{"id":1}]"#, "order"),
        (r#"42/admin,["alert",{"level":3}]"#, "/admin:alert"),
        (r#"42/admin?x=1,9["alert",{}]"#, "/admin:alert"),
        (r#"42/,["alert"]"#, "alert"),
        (r#"451-["file",{"_placeholder":true,"num":0}]"#, "file"),
        (r#"452-/admin,3["file",{"_placeholder":true,"num":0}]"#, "/admin:file"),
        (r#"4317["ok"]"#, "ack"),
        (r#"431[]"#, "ack"),
        (r#"461-/admin,12[{"_placeholder":true,"num":0}]"#, "ack"),
        (r#"0{"sid":"lv_VI97HAXpY6yYWAAAB","upgrades":[],"pingInterval":25000}"#, "engine.io:open"),
        (r#"40{"sid":"wZX3oN0bSVIhsaknAAAI"}"#, "socket.io:connect"),
    ] {
        check_as(&frame("/ws", None, payload.as_bytes()), Format::SocketIo, expect);
    }
    for (payload, expect) in [
        ("2", "engine.io:ping"),
        ("2probe", "engine.io:ping"),
        ("3probe", "engine.io:pong"),
        ("5", "engine.io:upgrade"),
        ("40", "socket.io:connect"),
        (r#"40/admin,{"token":"123"}"#, "socket.io:connect"),
        ("41/admin,", "socket.io:disconnect"),
        (r#"44/admin,{"message":"Not authorized"}"#, "socket.io:connect_error"),
    ] {
        check_as(&frame("/socket.io/", None, payload.as_bytes()), Format::SocketIo, expect);
        assert_eq!(read(&frame("/ws", None, payload.as_bytes())).format, Format::Opaque, "{payload}");
    }
    let attachment = Frame { op: Opcode::Binary, ..frame("/socket.io/", None, b"\x01\x02") };
    check_as(&attachment, Format::SocketIo, "socket.io:attachment");
    let document = read(&frame("/ws", None, br#"42/a,7["x",{"y":1}]"#)).document;
    assert_eq!(document, br#"["x",{"y":1}]"#);
}

#[test]
fn what_only_begins_like_socket_io_is_text() {
    for payload in [
        "42",
        "4",
        "42 is the answer",
        "42[1,2]",
        "42[",
        "42[\"open",
        "42{\"event\":\"x\"}",
        "2024-01-01 12:00:00 started",
        "451[\"file\"]",
        "45-[\"file\"]",
        "43[1]",
        "4212345678901[\"x\"]",
        "42/admin[\"alert\"]",
    ] {
        check(payload, "text");
    }
}

#[test]
fn pusher_and_phoenix_name_their_events() {
    let pusher = r#"{"event":"App\\Events\\PriceUpdated","data":"{\"price\":1}","channel":"prices"}"#;
    check_as(&frame("/app/key", None, pusher.as_bytes()), Format::Json, "App\\Events\\PriceUpdated");
    check(r#"{"event":"pusher:ping","data":"{}"}"#, "pusher:ping");
    check(r#"{"event":"client-typing","channel":"private-a","data":{}}"#, "client-typing");
    check(r#"{"topic":"room:1","event":"new_msg","payload":{"type":"x"},"ref":"3"}"#, "new_msg");
    for (payload, expect) in [
        (r#"[null,null,"room:lobby","new_msg",{"body":"hi"}]"#, "new_msg"),
        (r#"["3","5","room:lobby","phx_reply",{"status":"ok","response":{}}]"#, "phx_reply"),
        (r#"[null,"7","phoenix","heartbeat",{}]"#, "heartbeat"),
    ] {
        check_as(&frame("/ws", None, payload.as_bytes()), Format::Phoenix, expect);
    }
    let named = r#"["a","b","room:1","new_msg",{}]"#;
    check(named, "text");
    check_as(&frame("/socket/websocket", None, named.as_bytes()), Format::Phoenix, "new_msg");
    check_as(&frame("/ws", Some("phoenix"), named.as_bytes()), Format::Phoenix, "new_msg");
    for payload in [
        r#"["1","2","3","4","5"]"#,
        r#"["1","2","room","event"]"#,
        r#"["1","2","room","event",{},6]"#,
        r#"[1,2,"room","event",{}]"#,
        r#"["1","2","","event",{}]"#,
        r#"["1","2","room","event",{}"#,
    ] {
        check(payload, "text");
    }
}

#[test]
fn graphql_names_operation_or_field() {
    for (payload, expect) in [
        (r#"{"type":"connection_ack"}"#, "connection_ack"),
        (
            r#"{"id":"1","type":"subscribe","payload":{"operationName":"OnPrice","query":"subscription OnPrice { p }"}}"#,
            "subscribe:OnPrice",
        ),
        (r#"{"id":"1","type":"subscribe","payload":{"operationName":null,"query":"{ p }"}}"#, "subscribe"),
        (r#"{"id":"1","type":"next","payload":{"data":{"priceUpdated":{"v":1}}}}"#, "next:priceUpdated"),
        (r#"{"payload":{"data":{"priceUpdated":1,"b":2}},"type":"data","id":"1"}"#, "data:priceUpdated"),
        (r#"{"id":"1","type":"next","payload":{"data":null,"errors":[{}]}}"#, "next"),
        (r#"{"id":"1","type":"error","payload":[{"message":"no"}]}"#, "error"),
        (r#"{"id":"1","type":"next","payload":{"data":{"not a name":1}}}"#, "next"),
    ] {
        check_as(
            &frame("/graphql", Some("graphql-transport-ws"), payload.as_bytes()),
            Format::GraphqlWs,
            expect,
        );
    }
    check(r#"{"id":"1","type":"next","payload":{"data":{"priceUpdated":1}}}"#, "next");
}

#[test]
fn stomp_names_command_and_destination() {
    let message = "MESSAGE\ndestination:/topic/room.4711\nmessage-id:0-1\n\n{\"type\":\"x\"}\0";
    check_as(&frame("/ws", None, message.as_bytes()), Format::Stomp, "MESSAGE /topic/room.*");
    assert_eq!(read(&frame("/ws", None, message.as_bytes())).document, br#"{"type":"x"}"#);
    check("SEND\r\ndestination:/app/hello\r\ncontent-length:2\r\n\r\nhi\0\n", "SEND /app/hello");
    check("MESSAGE\ndestination:/user/6f1c9d52-8a4e/queue\n\n\0", "MESSAGE /user/*-8a4e/queue");
    check("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0", "CONNECTED");
    let long = format!("SEND\ndestination:/{}\n\n\0", "x".repeat(80));
    check(&long, "SEND");
    for payload in ["MESSAGE", "MESSAGE from me\n\nhello\0", "SEND\n\nno end", "SEND\nno colon\n\n\0", "\n"] {
        check(payload, "text");
    }
    check_as(&frame("/ws", Some("v12.stomp"), b"\n"), Format::Stomp, "heartbeat");
}

#[test]
fn signalr_names_the_target_of_the_first_record() {
    for (payload, expect) in [
        ("{\"type\":1,\"target\":\"PriceChanged\",\"arguments\":[{\"v\":1}]}\x1e", "PriceChanged"),
        ("{\"type\":1,\"target\":\"A\",\"arguments\":[]}\x1e{\"type\":6}\x1e", "A"),
        ("{\"type\":6}\x1e", "signalr:ping"),
        ("{\"type\":3,\"invocationId\":\"1\",\"result\":null}\x1e", "signalr:completion"),
        ("{\"protocol\":\"json\",\"version\":1}\x1e", "signalr:handshake"),
        ("{}\x1e", "signalr:handshake"),
    ] {
        check_as(&frame("/hub", None, payload.as_bytes()), Format::SignalR, expect);
    }
    check("{\"type\":1,\"target\":\"A\"}", "1");
    check("{\"type\":1}\x1e", "1");
}

/// Beginnings that lead into each reader, so that arbitrary bytes get further than the first one.
const STEMS: [&str; 10] = [
    "",
    "{\"event\":",
    "42[\"",
    "45",
    "[null,null,\"",
    "MESSAGE\n",
    "{\"type\":1,\"target\":\"",
    "0{",
    "40/",
    "4",
];
const SUBPROTOCOLS: [Option<&str>; 4] = [None, Some("v12.stomp"), Some("graphql-ws"), Some("phoenix")];

proptest! {
    #[test]
    fn any_bytes_have_a_bounded_type(
        stem in proptest::sample::select(&STEMS[..]),
        tail in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(&b"\"{}[],:\n\0\x1e17"[..])], 0..200),
        subprotocol in proptest::sample::select(&SUBPROTOCOLS[..]),
        path in proptest::sample::select(&["/ws", "/socket.io/", "/socket/websocket"][..]),
        op in proptest::sample::select(&[Opcode::Text, Opcode::Binary][..]),
    ) {
        let payload = [stem.as_bytes(), &tail[..]].concat();
        let reading = read(&Frame { path, subprotocol, op, payload: &payload });
        prop_assert!(!reading.name.is_empty() && reading.name.len() <= NAME_BYTES_MAX);
        prop_assert!(!reading.name.chars().any(char::is_control));
        prop_assert!(reading.document.len() <= payload.len());
    }

    /// A reader that is not sure never takes prose for a frame.
    #[test]
    fn prose_is_text(words in "[A-Z]?[a-z0-9 ,.!?-]{0,80}") {
        let reading = read(&frame("/ws", None, words.as_bytes()));
        prop_assert_eq!((reading.format, &*reading.name), (Format::Opaque, "text"));
    }
}
