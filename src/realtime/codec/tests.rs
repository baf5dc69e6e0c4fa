//! Properties of the codec: reading undoes writing, and no bytes whatever make it panic or copy a payload.

use bytes::Bytes;
use proptest::prelude::*;

use super::{TextBroadcast, decode, encode, open_broadcast};
use crate::realtime::message::{
    DecodeError, EncodeError, Encoding, Field, Frame, Head, Message, Origin, UserBroadcast, Vsn,
};

fn text(text: &str) -> Frame {
    Frame::Text(Bytes::copy_from_slice(text.as_bytes()))
}

fn head_with(join_ref: Option<&str>, reference: Option<&str>, topic: &str, event: &str) -> Head {
    Head {
        join_ref: join_ref.map(Into::into),
        reference: reference.map(Into::into),
        topic: topic.into(),
        event: event.into(),
    }
}

#[test]
fn errors_name_what_is_wrong() {
    for (vsn, frame, error) in [
        (Vsn::V2, text(""), DecodeError::Empty),
        (
            Vsn::V2,
            text("[\"1\",\"1\",\"realtime:q\",\"phx_join\"]"),
            DecodeError::WrongShape("array of five"),
        ),
        (Vsn::V2, text("{}"), DecodeError::WrongShape("array of five")),
        (Vsn::V1, text("[null,null,\"t\",\"e\",{}]"), DecodeError::WrongShape("object")),
        (Vsn::V1, text("\"hi\""), DecodeError::WrongShape("object")),
        (Vsn::V1, text("{\"event\":\"e\",\"payload\":{}}"), DecodeError::Missing(Field::Topic)),
        (Vsn::V1, text("{\"topic\":\"t\",\"payload\":{}}"), DecodeError::Missing(Field::Event)),
        (Vsn::V1, text("{\"topic\":[],\"event\":\"e\"}"), DecodeError::WrongType(Field::Topic)),
        (Vsn::V1, text("{\"topic\":\"t\","), DecodeError::NotJson { at: 13 }),
        (Vsn::V2, Frame::Binary(Bytes::new()), DecodeError::Empty),
        (Vsn::V2, Frame::Binary(Bytes::from_static(&[9, 1, 2, 3])), DecodeError::UnknownKind(9)),
        (Vsn::V2, Frame::Binary(Bytes::from_static(&[3, 0])), DecodeError::UnknownKind(3)),
        (
            Vsn::V2,
            Frame::Binary(Bytes::from_static(&[4, 200, 1, 0, 1, b'a'])),
            DecodeError::Truncated { kind: 4, need: 206, have: 6 },
        ),
        (
            Vsn::V2,
            Frame::Binary(Bytes::from_static(&[4, 1, 0, 0, 1, 0xff])),
            DecodeError::NotUtf8(Field::Topic),
        ),
    ] {
        assert_eq!(decode(vsn, Origin::Server, &frame), Err(error));
    }
}

#[test]
fn one_byte_lengths_and_versions_are_respected() {
    let long = Message::User(UserBroadcast {
        origin: Origin::Client,
        head: head_with(Some("1"), Some("2"), "realtime:x", &"é".repeat(128)),
        metadata: Bytes::new(),
        encoding: Encoding::Json,
        payload: Bytes::from_static(b"{}"),
    });
    assert_eq!(encode(Vsn::V2, &long), Err(EncodeError::TooLong { field: Field::Event, bytes: 256 }));
    assert_eq!(encode(Vsn::V1, &long), Err(EncodeError::BinaryNeedsV2));
    let broken = Message::Text(head_with(None, None, "t", "e"), Bytes::from_static(b"{} x"));
    assert_eq!(encode(Vsn::V1, &broken), Err(EncodeError::PayloadNotJson));
}

#[test]
fn numbers_as_refs_and_topics_are_read() {
    let frame = text("{\"ref\":73,\"event\":\"phx_reply\",\"topic\":5,\"payload\":null,\"extra\":[1]}");
    let message = decode(Vsn::V1, Origin::Server, &frame).expect("lenient");
    assert_eq!(
        message,
        Message::Text(head_with(None, Some("73"), "5", "phx_reply"), Bytes::from_static(b"null"))
    );
}

#[test]
fn payloads_are_slices_of_the_frame() {
    let frame = Bytes::from_static(b"\x04\x01\x01\x00\x01te{\"n\":1}");
    let Ok(Message::User(user)) = decode(Vsn::V2, Origin::Server, &Frame::Binary(frame.clone())) else {
        panic!("kind 4");
    };
    assert!(frame.as_ptr_range().contains(&user.payload.as_ptr()));
    let json = Bytes::from_static(b"[null,null,\"t\",\"broadcast\", {\"payload\": {\"n\":1} } ]");
    let Ok(Message::Text(_, payload)) = decode(Vsn::V2, Origin::Server, &Frame::Text(json.clone())) else {
        panic!("text");
    };
    assert!(json.as_ptr_range().contains(&open_broadcast(&payload).payload.as_ptr()));
}

#[test]
fn broadcasts_of_odd_shape_are_handed_on_whole() {
    for odd in ["[1,2]", "null", "\"x\"", "{}", "{\"n\":1}"] {
        let payload = Bytes::copy_from_slice(odd.as_bytes());
        let whole = TextBroadcast { event: String::new(), payload: payload.clone(), meta: Bytes::new() };
        assert_eq!(open_broadcast(&payload), whole, "{odd}");
    }
    let full = Bytes::from_static(
        b"{\"event\":\"e\",\"payload\":[1],\"meta\":{\"id\":\"x\"},\"type\":\"broadcast\"}",
    );
    let inside = open_broadcast(&full);
    assert_eq!(
        (inside.event.as_str(), &inside.payload[..], &inside.meta[..]),
        ("e", &b"[1]"[..], &b"{\"id\":\"x\"}"[..])
    );
}

#[test]
fn debug_shows_no_payload() {
    let frame = text("[null,null,\"t\",\"e\",{\"access_token\":\"hush\"}]");
    let message = decode(Vsn::V2, Origin::Server, &frame).expect("good");
    assert!(!format!("{frame:?} {message:?}").contains("hush"));
}

fn heads() -> impl Strategy<Value = Head> {
    let reference = || proptest::option::of("[0-9a-zé\"]{1,12}");
    (reference(), reference(), "realtime:\\PC{0,40}", "\\PC{0,40}")
        .prop_map(|(join_ref, reference, topic, event)| Head { join_ref, reference, topic, event })
}

fn bodies() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn json() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        Just("null".to_owned()),
        Just("{\"a\":[1, 2.50,12345678901234567890]}".to_owned()),
        "\\PC{0,30}".prop_map(|text| serde_json::to_string(&text).expect("a string")),
    ]
    .prop_map(Bytes::from)
}

/// A message as its origin would write it: fields that a form does not carry are absent.
fn messages() -> impl Strategy<Value = (Origin, Message)> {
    let bare = |head: Head| Head { join_ref: None, reference: None, ..head };
    prop_oneof![
        (heads(), json()).prop_map(|(head, body)| (Origin::Server, Message::Text(head, body))),
        (heads(), bodies()).prop_map(|(head, body)| (Origin::Client, Message::Push(head, body))),
        (heads(), bodies()).prop_map(|(head, body)| (Origin::Server, Message::Reply(head, body))),
        (heads(), bodies())
            .prop_map(move |(head, body)| (Origin::Server, Message::Broadcast(bare(head), body))),
        (heads(), bodies(), bodies(), any::<bool>(), any::<bool>()).prop_map(
            move |(head, metadata, payload, json, client)| {
                let origin = if client { Origin::Client } else { Origin::Server };
                let head = if client { head } else { bare(head) };
                let encoding = if json { Encoding::Json } else { Encoding::Bytes };
                (origin, Message::User(UserBroadcast { origin, head, metadata, encoding, payload }))
            }
        ),
    ]
}

proptest! {
    #[test]
    fn reading_undoes_writing((origin, message) in messages()) {
        let frame = encode(Vsn::V2, &message);
        prop_assert!(frame.is_ok(), "{:?}", frame);
        prop_assert_eq!(decode(Vsn::V2, origin, &frame.expect("checked")), Ok(message));
    }

    #[test]
    fn reading_undoes_writing_in_version_1(head in heads(), body in json()) {
        let message = Message::Text(head, body);
        let frame = encode(Vsn::V1, &message).expect("text fits");
        prop_assert_eq!(decode(Vsn::V1, Origin::Client, &frame), Ok(message));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..6) {
        let mut kinded = bytes.clone();
        kinded.insert(0, kind);
        for bytes in [Bytes::from(bytes), Bytes::from(kinded)] {
            for vsn in [Vsn::V1, Vsn::V2] {
                for origin in [Origin::Client, Origin::Server] {
                    for frame in [Frame::Text(bytes.clone()), Frame::Binary(bytes.clone())] {
                        if let Ok(message) = decode(vsn, origin, &frame) {
                            prop_assert!(message.head().topic.len() <= bytes.len());
                        }
                    }
                }
            }
            prop_assert!(open_broadcast(&bytes).payload.len() <= bytes.len());
        }
    }

    #[test]
    fn no_json_like_text_panics(text in "[\\[\\]{}\",:a-z0-9 \\\\u.-]{0,80}") {
        for vsn in [Vsn::V1, Vsn::V2] {
            if let Ok(message) = decode(vsn, Origin::Server, &Frame::Text(Bytes::from(text.clone()))) {
                prop_assert!(!message.head().topic.is_empty() || text.contains("\"\""));
            }
        }
    }
}
