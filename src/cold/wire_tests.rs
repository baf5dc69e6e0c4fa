//! There and back: what one client sends is what another is given.

use super::*;

const SENDER: Sender<'_> = Sender { id: "01J", session: "s1", at_ms: 7 };

fn text(body: &str) -> Frame {
    Frame { text: true, body: body.to_owned().into() }
}

fn said(frame: &Frame) -> (bool, String) {
    (frame.text, String::from_utf8_lossy(&frame.body).into_owned())
}

#[test]
fn a_message_comes_back_as_it_was() {
    for body in [
        "{}",
        "{ }",
        "{\"a\":1 }",
        "{\"enc\":7}",
        "{\"a\":1}",
        "{ \"event\" : \"x\", \"n\":[1, 2]}",
        "{\"data\":1}",
        "{\"data\":{}}",
        "{\"type\":\"x\",\"data\":{}}",
        "{\"data\":\"x\",\"enc\":\"base64\"}",
        "{\"data\":1,\"a\":2,\"b\":3}",
        "[1, 2]",
        "7",
        "\"quoted\"",
        "plain",
        "",
        "{\"_crossfade\":1}",
        "{\"a\":\"\\\"_crossfade\\\":{}}\"}",
        "{\"a\":{\"_crossfade\":{}}}",
        "{broken",
        "null",
    ] {
        let (_, payload) = up(&text(body), SENDER);
        let back = down(&payload, true);
        assert_eq!(
            said(&back.frame),
            (true, body.trim().to_owned()),
            "{}",
            String::from_utf8_lossy(&payload)
        );
        assert_eq!(back.from.as_deref(), Some("s1"));
        assert!(serde_json::from_slice::<serde_json::Value>(&payload).unwrap().is_object());
    }
    let bytes = Frame { text: false, body: vec![0, 255, 7].into() };
    assert_eq!(down(&up(&bytes, SENDER).1, true).frame, bytes);
}

proptest::proptest! {
    #[test]
    fn any_text_comes_back(body in "[ -~äß\\n\"{}\\[\\]:,]{0,40}") {
        let back = down(&up(&text(&body), SENDER).1, true).frame;
        // Blanks around a JSON document are no part of it.
        let is_json = serde_json::from_str::<IgnoredAny>(&body).is_ok();
        let expect = if is_json { body.trim().to_owned() } else { body };
        proptest::prop_assert_eq!(said(&back), (true, expect));
    }
}

#[test]
fn what_others_publish_is_given_as_it_is() {
    let check = |payload: &'static str, expect: &str, from: Option<&str>| {
        let got = down(&Bytes::from_static(payload.as_bytes()), true);
        assert_eq!((said(&got.frame).1.as_str(), got.from.as_deref()), (expect, from), "{payload}");
    };
    check("{\"a\":1}", "{\"a\":1}", None);
    check("{\"data\":1,\"enc\":\"json\"}", "{\"data\":1,\"enc\":\"json\"}", None);
    check("[1]", "[1]", None);
    check("[1,\"text\",{\"src\":\"s\"}]", "[1,\"text\",{\"src\":\"s\"}]", None);
    // The mirror's events.
    check("{\"n\":7,\"_crossfade\":{\"v\":1,\"src\":\"pod\"}}", "{\"n\":7}", Some("pod"));
    check("{\"data\":\"plain\",\"_crossfade\":{\"src\":\"pod\"}}", "plain", Some("pod"));
    check("{\"data\":[1],\"_crossfade\":{\"src\":\"pod\"}}", "[1]", Some("pod"));
    check("{\"data\":{\"a\":1},\"_crossfade\":{\"src\":\"pod\"}}", "{\"data\":{\"a\":1}}", Some("pod"));
    check(
        "{\"type\":\"x\",\"data\":1,\"_crossfade\":{\"src\":\"pod\"}}",
        "{\"type\":\"x\",\"data\":1}",
        Some("pod"),
    );
    // Written anew by somebody between: members in another order.
    check("{\"_crossfade\":{\"src\":\"s\"},\"b\":1.50,\"a\":\"x\"}", "{\"b\":1.50,\"a\":\"x\"}", Some("s"));
    let bytes = down(&Bytes::from_static(&[1, 2]), false);
    assert_eq!((bytes.frame.text, bytes.frame.body.as_ref()), (false, &[1_u8, 2][..]));
}

#[test]
fn the_event_is_the_messages_own_where_it_has_one() {
    let of = |body: &str| up(&text(body), SENDER).0;
    assert_eq!(of("{\"event\":\"alert\",\"type\":\"x\"}"), "alert");
    assert_eq!(of("{\"type\":\"chat\"}"), "chat");
    assert_eq!(of("{\"type\":7}"), "message");
    assert_eq!(of("plain"), "message");
    assert_eq!(of(&format!("{{\"type\":\"{}\"}}", "a".repeat(101))), "message");
}

#[test]
fn rows_become_messages() {
    let change =
        |record: &str| format!("{{\"ids\":[1],\"data\":{{\"type\":\"INSERT\",\"record\":{record}}}}}");
    let check = |record: &str, column: Option<&str>, expect: Option<(bool, &str)>| {
        let got = row(change(record).as_bytes(), column).map(|frame| said(&frame));
        assert_eq!(got, expect.map(|(text, body)| (text, body.to_owned())), "{record}");
    };
    check("{\"id\":1}", None, Some((true, "{\"id\":1}")));
    check("{\"data\":{\"a\": 1}}", Some("data"), Some((true, "{\"a\": 1}")));
    check("{\"data\":\"hi\"}", Some("data"), Some((true, "hi")));
    check("{\"data\":null}", Some("data"), None);
    check("{\"id\":1}", Some("data"), None);
    check("{\"raw\":\"\\\\x6869\",\"op\":\"text\"}", Some("raw"), Some((true, "hi")));
    check("{\"raw\":\"\\\\x6869\",\"op\":\"binary\"}", Some("raw"), Some((false, "hi")));
    check("{\"raw\":\"\\\\xzz\"}", Some("raw"), Some((true, "\\xzz")));
    let deleted = "{\"data\":{\"type\":\"DELETE\",\"record\":{}}}";
    assert_eq!(row(deleted.as_bytes(), None), None);
    assert_eq!(row(b"nonsense", None), None);
}

#[test]
fn presence_is_recognised_and_nothing_else_is() {
    for body in [
        "{\"type\":\"presence\",\"event\":\"x\"}",
        "{\"event\":\"presence_diff\",\"type\":7}",
        "[\"1\",\"2\",\"realtime:room\",\"presence\",{}]",
        "[null,null,\"room\",\"presence_state\",{}]",
    ] {
        assert!(wants_presence(&text(body)), "{body}");
    }
    for body in [
        "{\"event\":\"track\"}",
        "presence",
        "{\"text\":\"presence\"}",
        "[\"presence\"]",
        "{\"event\":\"x\"}",
    ] {
        assert!(!wants_presence(&text(body)), "{body}");
    }
}
