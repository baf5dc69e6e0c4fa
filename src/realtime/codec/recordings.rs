//! The codec against what a real server and the official clients wrote.

use bytes::Bytes;

use super::{decode, encode, open_broadcast};
use crate::realtime::message::{DecodeError, Encoding, Frame, Head, Message, Origin, UserBroadcast, Vsn};
use crate::realtime::recording::{self, Said};

/// The frames in the recordings that no reader can take: JSON broken by a sender's unchecked kind-3 or kind-0
/// payload (recording 03), spliced by the server into the text of 1.0.0 listeners.
const BROKEN_BY_THE_SERVER: usize = 3;

#[test]
fn every_server_frame_in_the_recordings_decodes() {
    let (mut read, mut broken) = (0, Vec::new());
    for path in recording::files() {
        for line in recording::read(&path) {
            let (true, Said::Frame(frame)) = (line.from_server, &line.said) else { continue };
            match decode(line.vsn, Origin::Server, frame) {
                Ok(message) => {
                    assert!(!message.head().topic.is_empty(), "{path:?}: {message:?}");
                    read += 1;
                }
                Err(error) => broken.push((path.clone(), error)),
            }
        }
    }
    assert!(read > 800, "only {read} server frames were found");
    assert_eq!(broken.len(), BROKEN_BY_THE_SERVER, "{broken:?}");
    assert!(broken.iter().all(|(_, error)| matches!(error, DecodeError::NotJson { .. })), "{broken:?}");
}

#[test]
fn every_official_client_frame_decodes_and_is_written_again_byte_for_byte() {
    let mut compared = 0;
    for line in recording::lines("12-") {
        let (false, Said::Frame(frame)) = (line.from_server, &line.said) else { continue };
        let message =
            decode(line.vsn, Origin::Client, frame).expect("the official client writes good frames");
        if message.head().event.contains('\u{fffd}') {
            continue; // its own non-ASCII event, which it garbles
        }
        assert_eq!(encode(line.vsn, &message).as_ref(), Ok(frame), "{message:?}");
        compared += 1;
    }
    assert!(compared >= 20, "only {compared} frames of the official client were found");
}

#[test]
fn our_kind_3_is_the_official_clients_for_the_same_input() {
    let official: Vec<Frame> = recording::lines("12-")
        .into_iter()
        .filter_map(|line| match line.said {
            Said::Frame(Frame::Binary(bytes)) if !line.from_server => Some(Frame::Binary(bytes)),
            _ => None,
        })
        .collect();
    for (join_ref, reference, topic, encoding, payload) in [
        ("8", "9", "realtime:js-1", Encoding::Json, "{\"n\":1,\"text\":\"héllo\"}".as_bytes()),
        ("8", "10", "realtime:js-1", Encoding::Bytes, &[0x00, 0x01, 0xff]),
        ("8", "11", "realtime:js-1", Encoding::Json, b"{}"),
        ("15", "16", "realtime:js-2", Encoding::Json, b"{\"n\":2}"),
        ("33", "34", "realtime:room:js", Encoding::Json, b"{\"n\":5}"),
    ] {
        let ours = Message::User(UserBroadcast {
            origin: Origin::Client,
            head: Head {
                join_ref: Some(join_ref.into()),
                reference: Some(reference.into()),
                topic: topic.into(),
                event: "reading".into(),
            },
            metadata: Bytes::new(),
            encoding,
            payload: Bytes::copy_from_slice(payload),
        });
        let frame = encode(Vsn::V2, &ours).expect("fits");
        assert!(official.contains(&frame), "ref {reference} differs from the official client's bytes");
    }
}

#[test]
fn a_broadcast_is_read_as_text_and_as_kind_4() {
    let mut forms = (0, 0);
    for line in recording::lines("03-") {
        let (true, Vsn::V2, Said::Frame(frame)) = (line.from_server, line.vsn, &line.said) else { continue };
        match decode(line.vsn, Origin::Server, frame) {
            Ok(Message::Text(head, payload)) if head.event == "broadcast" => {
                let inside = open_broadcast(&payload);
                assert!(!inside.event.is_empty());
                assert!(inside.payload.len() < payload.len(), "the inner payload only");
                forms.0 += 1;
            }
            Ok(Message::User(user)) => {
                assert!(user.head.topic.starts_with("realtime:"));
                assert_eq!(user.origin, Origin::Server);
                forms.1 += 1;
            }
            _ => {}
        }
    }
    assert!(forms.0 >= 1 && forms.1 >= 10, "{forms:?}");
}
