//! The envelope against its published vectors, against any bytes, and against every single-byte accident.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ulid::Ulid;

use super::*;

fn vector(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/envelope").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    envelope: String,
    #[serde(default)]
    field: String,
    #[serde(default)]
    fault: String,
    #[serde(default)]
    altered: Vec<usize>,
}

fn cases(file: &str) -> Vec<Case> {
    serde_json::from_str(&vector(file)).unwrap()
}

#[test]
fn published_vectors_are_verified_and_written_back_byte_for_byte() {
    for name in ["empty", "text", "escapes", "json", "binary", "collapsed", "part-and-redacted", "sessions"] {
        let text = vector(&format!("{name}.json"));
        let envelope = decode(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(envelope.messages.iter().all(|m| m.check == Check::Verified), "{name}");
        assert_eq!(String::from_utf8(encode(&envelope)).unwrap(), text.trim_end(), "{name}");
    }
}

#[test]
fn the_vectors_hold_what_their_names_say() {
    let text = vector("binary.json");
    let bodies: Vec<_> = decode(text.as_bytes()).unwrap().messages;
    let bodies: Vec<&[u8]> = bodies.iter().map(|m| &*m.message.body).collect();
    assert_eq!(bodies, [&[0, 255, 254, 128][..], b"\xc3(", b"", b"ok"]);
    let text = vector("escapes.json");
    let all_ascii: Vec<u8> = (0..128).collect();
    assert_eq!(decode(text.as_bytes()).unwrap().messages[0].message.body, all_ascii);
    let text = vector("sessions.json");
    let envelope = decode(text.as_bytes()).unwrap();
    assert_eq!(
        envelope.sessions.iter().map(|note| note.end_ms).collect::<Vec<_>>(),
        [None, Some(1_700_000_000_400)]
    );
    assert!(envelope.header.replay);
}

#[test]
fn refusals_name_the_field_and_the_fault() {
    let cases = cases("refused.json");
    assert!(cases.len() > 40);
    for case in cases {
        let error = decode(case.envelope.as_bytes()).expect_err(&case.name);
        assert_eq!((&*error.field, error.fault.as_str()), (&*case.field, &*case.fault), "{}", case.name);
    }
}

#[test]
fn altered_messages_are_told_apart_from_their_neighbours() {
    for case in cases("altered.json") {
        let envelope = decode(case.envelope.as_bytes()).unwrap();
        let altered: Vec<usize> = (0..envelope.messages.len())
            .filter(|index| envelope.messages[*index].check != Check::Verified)
            .collect();
        assert_eq!(altered, case.altered, "{}", case.name);
    }
}

#[test]
fn errors_never_show_a_payload() {
    for (text, secret) in [
        (r#"{"v":1,"messages":[{"to":"hunter2"}]}"#, "hunter2"),
        (r#"{"v":1,"messages":[{"class":"hunter2"}]}"#, "hunter2"),
        (r#"{"v":1,"hunter2":1}"#, "hunter2"),
    ] {
        let error = decode(text.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn plain_text_is_borrowed() {
    let text = vector("text.json");
    let envelope = decode(text.as_bytes()).unwrap();
    assert!(matches!(envelope.messages[0].message.body, Cow::Borrowed(_)));
    assert!(matches!(envelope.header.src, Cow::Borrowed(_)));
}

#[test]
fn the_bounds_hold_for_the_largest_message_and_note() {
    let header =
        Header { src: "s".repeat(255).into(), batch: Ulid(u128::MAX), at_ms: u64::MAX, replay: false };
    let empty = Writer::new(Vec::new(), &header).finish().len();
    assert!(empty <= ENVELOPE_OVERHEAD, "{empty}");
    let to = [To(SessionNo(u32::MAX), Seq(u64::MAX)), To(SessionNo(0), Seq(10))];
    let message = Message {
        to: Cow::Borrowed(&to),
        dir: Direction::Down,
        op: Opcode::Binary,
        kind: "\u{1}kind".into(),
        class: Class::Critical,
        path: "/\"p\"".into(),
        at_ms: u64::MAX,
        id: "i".repeat(64).into(),
        body: Cow::Borrowed(&[0xff; 1000]),
        crc: u32::MAX,
        part: Some(Part(u16::MAX, u16::MAX)),
        redacted: true,
    };
    let mut writer = Writer::new(Vec::new(), &header);
    writer.message(&message);
    let with_message = writer.finish().len();
    let bound = MESSAGE_OVERHEAD
        + escaped_len(message.kind.as_bytes())
        + escaped_len(message.path.as_bytes())
        + carried_len(message.op, &message.body)
        + to.iter().map(|to| recipient_len(*to)).sum::<usize>();
    assert!(with_message - empty <= bound, "{} > {bound}", with_message - empty);
    let mut writer = Writer::new(Vec::new(), &header);
    let note = SessionNote {
        session: SessionNo(u32::MAX),
        id: "i".repeat(64).into(),
        path: "/".into(),
        at_ms: u64::MAX,
        end_ms: Some(u64::MAX),
    };
    writer.note(&note);
    writer.message(&message);
    let with_note = writer.finish();
    assert!(with_note.len() - empty <= NOTE_OVERHEAD + 1);
    assert!(decode(&with_note).unwrap().messages.is_empty(), "a message after a note is not written");
}

fn any_message() -> impl Strategy<Value = Message<'static>> {
    let body = prop_oneof![vec(any::<u8>(), 0..200), ".{0,60}".prop_map(String::into_bytes)];
    let names = ("\\PC{0,12}", ".{0,12}", "[0-9a-f]{16}");
    let part = option::of((1..=u16::MAX).prop_flat_map(|of| (1..=of).prop_map(move |i| Part(i, of))));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0..Class::ALL.len());
    (vec((any::<u32>(), any::<u64>()), 1..4), body, names, part, flags, any::<u64>()).prop_map(
        |(to, body, (kind, path, id), part, (up, text, redacted, class), at_ms)| Message {
            to: to.into_iter().map(|(n, seq)| To(SessionNo(n), Seq(seq))).collect::<Vec<_>>().into(),
            dir: if up { Direction::Up } else { Direction::Down },
            op: if text { Opcode::Text } else { Opcode::Binary },
            kind: kind.into(),
            class: Class::ALL[class],
            path: path.into(),
            at_ms,
            id: id.into(),
            crc: crc32(&body),
            body: body.into(),
            part,
            redacted,
        },
    )
}

fn any_note() -> impl Strategy<Value = SessionNote<'static>> {
    (any::<u32>(), "[0-9a-f]{32}", ".{0,12}", any::<u64>(), option::of(any::<u64>())).prop_map(
        |(n, id, path, at_ms, end_ms)| SessionNote {
            session: SessionNo(n),
            id: id.into(),
            path: path.into(),
            at_ms,
            end_ms,
        },
    )
}

fn any_envelope() -> impl Strategy<Value = Envelope<'static>> {
    let header = (".{0,20}", any::<u128>(), any::<u64>(), any::<bool>());
    (header, vec(any_message(), 0..5), vec(any_note(), 0..3)).prop_map(
        |((src, batch, at_ms, replay), messages, sessions)| Envelope {
            header: Header { src: src.into(), batch: Ulid(batch), at_ms, replay },
            messages: messages.into_iter().map(Received::sent).collect(),
            sessions,
        },
    )
}

/// What a reader of the altered text may hold: nothing, a message marked altered, or the very same bytes.
fn assert_no_silent_change(sent: &Envelope<'_>, text: &[u8]) -> Result<(), TestCaseError> {
    let Ok(got) = decode(text) else { return Ok(()) };
    for (index, received) in got.messages.iter().enumerate() {
        if received.check == Check::Verified {
            let same = sent.messages.get(index).map(|m| &m.message.body) == Some(&received.message.body);
            prop_assert!(same, "message {index} is verified and different");
        }
    }
    prop_assert_eq!(got.messages.len(), sent.messages.len());
    Ok(())
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same(envelope in any_envelope()) {
        let text = encode(&envelope);
        prop_assert_eq!(decode(&text).unwrap(), envelope);
    }

    #[test]
    fn reordered_keys_change_nothing(envelope in any_envelope()) {
        // serde_json's map sorts keys, as Realtime's own encoder may.
        let text = encode(&envelope);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let again = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(decode(&again).unwrap(), envelope);
    }

    #[test]
    fn any_bytes_are_an_answer_not_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_splice_of_a_real_envelope_is_an_answer_not_a_panic(
        envelope in any_envelope(), at in any::<prop::sample::Index>(), with in ".{0,8}", cut in 0usize..20
    ) {
        let mut text = encode(&envelope);
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, with.bytes());
        drop(decode(&text));
    }

    #[test]
    fn a_cut_envelope_is_refused(envelope in any_envelope(), at in any::<prop::sample::Index>()) {
        let text = encode(&envelope);
        prop_assert!(decode(&text[..at.index(text.len())]).is_err());
    }

    #[test]
    fn one_altered_byte_is_never_silent(
        envelope in any_envelope(), at in any::<prop::sample::Index>(), flip in 1u8..=255
    ) {
        let mut text = encode(&envelope);
        let at = at.index(text.len());
        text[at] ^= flip;
        assert_no_silent_change(&envelope, &text)?;
    }
}
