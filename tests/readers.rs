//! The Rust reader of `examples/readers`, and the vectors that all three readers are held against. The envelopes in
//! them are what our encoder writes; what is expected is said by each scene, never by a reader.
//! `BLESS=1` writes the vectors again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/readers/rust/reader.rs"]
#[expect(clippy::too_many_arguments, unreachable_pub, reason = "a file to be copied, not our library")]
mod reader;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossfade::envelope::{Class, Header, Message, Part, To, Writer, crc32};
use crossfade::session::{Direction, Opcode, Seq, SessionNo};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Scene {
    name: String,
    hold_ms: u64,
    steps: Vec<Step>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Step {
    now: u64,
    envelope: String,
    refused: Option<String>,
    altered: u64,
    repeated: u64,
    messages: Vec<Value>,
}

/// A message to be carried: recipients, bytes, which piece.
#[derive(Clone)]
struct Told {
    to: Vec<(u32, u64)>,
    body: Vec<u8>,
    part: Option<(u16, u16)>,
    redacted: bool,
}

fn told(to: &[(u32, u64)], body: &[u8]) -> Told {
    Told { to: to.to_vec(), body: body.to_vec(), part: None, redacted: false }
}

fn piece(to: &[(u32, u64)], body: &[u8], part: (u16, u16)) -> Told {
    Told { part: Some(part), ..told(to, body) }
}

fn envelope(src: &str, replay: bool, messages: &[Told]) -> String {
    let header = Header { src: src.into(), batch: ulid::Ulid(7), at_ms: 1_700_000_000_456, replay };
    let mut writer = Writer::new(Vec::new(), &header);
    for told in messages {
        let to: Vec<To> = told.to.iter().map(|(session, seq)| To(SessionNo(*session), Seq(*seq))).collect();
        writer.message(&Message {
            to: to.into(),
            dir: Direction::Down,
            op: if std::str::from_utf8(&told.body).is_ok() { Opcode::Text } else { Opcode::Binary },
            kind: "price".into(),
            class: Class::High,
            path: "/ws".into(),
            at_ms: 1_700_000_000_123,
            id: "00112233aabbccdd".into(),
            body: (&told.body[..]).into(),
            crc: crc32(&told.body),
            part: told.part.map(|(number, of)| Part(number, of)),
            redacted: told.redacted,
        });
    }
    String::from_utf8(writer.finish()).unwrap()
}

/// What a reader should hand out.
fn out(src: &str, to: (u32, u64), body: &[u8], marks: &[&str]) -> Value {
    let is = |mark: &str| marks.contains(&mark);
    let op = if std::str::from_utf8(body).is_ok() { "text" } else { "binary" };
    json!({
        "src": src, "session": to.0, "seq": to.1, "dir": "down", "op": op, "type": "price", "class": "high",
        "path": "/ws", "at": 1_700_000_000_123u64, "id": "00112233aabbccdd", "replay": is("replay"),
        "redacted": is("redacted"), "late": is("late"), "data": STANDARD.encode(body),
    })
}

fn step(now: u64, envelope: String, repeated: u64, messages: Vec<Value>) -> Step {
    Step { now, envelope, refused: None, altered: 0, repeated, messages }
}

#[expect(clippy::too_many_lines, reason = "a table of scenes")]
fn scenes() -> Vec<Scene> {
    let one = |to, body: &[u8]| out("a", to, body, &[]);
    let scene = |name: &str, hold_ms, steps| Scene { name: name.to_owned(), hold_ms, steps };
    let many = envelope(
        "a",
        false,
        &[told(&[(1, 1), (2, 1)], b"x"), told(&[(3, 1)], b"x"), told(&[(1, 2)], b"\xff\0")],
    );
    let fresh = vec![one((1, 1), b"x"), one((1, 2), b"\xff\0"), one((2, 1), b"x"), one((3, 1), b"x")];
    let text = "{\"a\":\"\u{e4}\u{1}\"}".as_bytes();
    let whole = "one \u{1f600} two".as_bytes();
    let (first, second) = whole.split_at(8);
    let parts = |number| {
        envelope(
            "a",
            false,
            &[piece(&[(1, 1), (2, 5)], if number == 1 { first } else { second }, (number, 2))],
        )
    };
    let altered = envelope("a", false, &[told(&[(1, 1)], b"hello"), told(&[(1, 2)], b"world")])
        .replace("hello", "hellp");
    let redacted = Told { redacted: true, ..told(&[(1, 1)], text) };
    let seq = |seq: u64| envelope("a", false, &[told(&[(1, seq)], seq.to_string().as_bytes())]);
    let at = |seq: u64, marks: &[&str]| out("a", (1, seq), seq.to_string().as_bytes(), marks);
    vec![
        scene(
            "collapsed, continued and repeated",
            0,
            vec![
                step(0, many.clone(), 0, fresh),
                step(1, many.clone(), 4, vec![]),
                step(
                    2,
                    many.replace("\"a\"", "\"b\""),
                    0,
                    vec![
                        out("b", (1, 1), b"x", &[]),
                        out("b", (1, 2), b"\xff\0", &[]),
                        out("b", (2, 1), b"x", &[]),
                        out("b", (3, 1), b"x", &[]),
                    ],
                ),
            ],
        ),
        scene(
            "replay and redacted are told",
            0,
            vec![step(
                0,
                envelope("a", true, &[redacted]),
                0,
                vec![out("a", (1, 1), text, &["replay", "redacted"])],
            )],
        ),
        scene(
            "pieces in any order, repeated, to several",
            0,
            vec![
                step(0, parts(2), 0, vec![]),
                step(1, parts(2), 0, vec![]),
                step(2, parts(1), 0, vec![one((1, 1), whole), one((2, 5), whole)]),
                step(3, parts(1), 2, vec![]),
            ],
        ),
        scene(
            "altered is not handed out, its neighbour is, its repetition too",
            0,
            vec![
                Step { altered: 1, ..step(0, altered, 0, vec![one((1, 2), b"world")]) },
                step(
                    1,
                    envelope("a", false, &[told(&[(1, 1)], b"hello")]),
                    0,
                    vec![out("a", (1, 1), b"hello", &["late"])],
                ),
            ],
        ),
        scene(
            "another version is refused",
            0,
            vec![Step {
                refused: Some("v".to_owned()),
                ..step(0, seq(1).replace("\"v\":1", "\"v\":2"), 0, vec![])
            }],
        ),
        scene(
            "held for the ones before, but not for ever",
            100,
            vec![
                step(0, seq(1), 0, vec![at(1, &[])]),
                step(10, seq(3), 0, vec![]),
                step(20, seq(2), 0, vec![at(2, &[]), at(3, &[])]),
                step(30, seq(6), 0, vec![]),
                step(130, seq(7), 0, vec![at(6, &[]), at(7, &[])]),
                step(140, seq(5), 0, vec![at(5, &["late"])]),
            ],
        ),
    ]
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/envelope/reader.json")
}

#[test]
fn the_vectors_are_what_our_encoder_writes() {
    let text = serde_json::to_string_pretty(&scenes()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file(), &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file()).unwrap(), text, "BLESS=1 writes them again");
    for step in scenes().iter().flat_map(|scene| &scene.steps).filter(|step| step.refused.is_none()) {
        crossfade::envelope::decode(step.envelope.as_bytes()).unwrap();
    }
}

#[test]
fn the_rust_reader_reads_them_as_meant() {
    for scene in scenes() {
        let mut reader = reader::Reader::new(scene.hold_ms);
        for (index, step) in scene.steps.iter().enumerate() {
            let got = reader.read(&step.envelope, step.now);
            let place = format!("{}, step {index}", scene.name);
            assert_eq!(got.refused.is_some(), step.refused.is_some(), "{place}");
            assert_eq!((got.altered, got.repeated), (step.altered, step.repeated), "{place}");
            let messages: Vec<Value> = got.messages.iter().map(shown).collect();
            assert_eq!(messages, step.messages, "{place}");
        }
    }
}

fn shown(message: &reader::Message) -> Value {
    json!({
        "src": message.src, "session": message.session, "seq": message.seq, "dir": message.dir, "op": message.op,
        "type": message.kind, "class": message.class, "path": message.path, "at": message.at, "id": message.id,
        "replay": message.replay, "redacted": message.redacted, "late": message.late,
        "data": STANDARD.encode(&message.data),
    })
}
