use super::*;
use proptest::prelude::*;

#[test]
fn versions_are_phoenix_requirements() {
    for (vsn, version) in [
        (None, Some(Version::V1)),
        (Some("1.0.0"), Some(Version::V1)),
        (Some("2.0.0"), Some(Version::V2)),
        (Some("2.0.1"), Some(Version::V2)),
        (Some("3.0.0"), None),
        (Some("1.1.0"), None),
        (Some("abc"), None),
    ] {
        assert_eq!(Version::of(vsn), version, "{vsn:?}");
    }
}

#[test]
fn kind_3_becomes_kind_4_as_documented() {
    let push = b"\x03\x01\x01\x0a\x01\x00\x0117realtime:mf{\"n\":1}";
    let message = decode(Version::V2, &Frame::Binary(Bytes::from_static(push))).unwrap();
    assert_eq!(message.join_ref, Json::text("1"));
    assert_eq!(message.reference, Json::text("7"));
    let Body::User(user) = message.body else { panic!("kind 3 carries a user broadcast") };
    let seen = Broadcast::User(user).frame("realtime:m", Version::V2).unwrap();
    assert_eq!(seen, OutFrame::Binary(Bytes::from_static(b"\x04\x0a\x01\x00\x01realtime:mf{\"n\":1}")));
}

#[test]
fn a_field_too_long_for_its_length_byte_is_not_sent() {
    let user = UserBroadcast {
        event: Bytes::from(vec![b'e'; 256]),
        meta: String::new(),
        json: true,
        payload: Bytes::new(),
    };
    assert!(Broadcast::User(user).frame("realtime:m", Version::V2).is_none());
}

#[test]
fn malformed_frames_are_nothing() {
    for text in [
        "",
        "5",
        "\"hi\"",
        "{}",
        r#"{"topic":"t","event":"e","payload":{}}"#,
        r#"{"topic":"t","event":5,"payload":{},"ref":1}"#,
    ] {
        assert!(decode(Version::V1, &Frame::Text(text.into())).is_none(), "{text}");
    }
    for text in ["[]", r#"["1","1","t","e"]"#, "{}"] {
        assert!(decode(Version::V2, &Frame::Text(text.into())).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let frame = Frame::Binary(Bytes::from(bytes));
        prop_assert!(decode(Version::V1, &frame).is_none());
        if let Some(message) = decode(Version::V2, &frame) {
            prop_assert!(message.topic.as_text().is_some());
        }
    }
}
