//! Sabotages: with one rule broken, the replay of recordings must fail. Then what recordings cannot show: bounds, and
//! that any sequence of inputs leaves rooms and channels in step.

use super::machine::WAITING_MAX;
use super::{
    ChangeKind, Claims, Clock, Config, ConnId, DatabaseChange, Emulator, Fault, FaultKind, Frame, Limits,
    Out, Sabotage, Secret, Table, UpgradeRequest,
};
use crate::emulator;
use proptest::prelude::*;
use std::time::{Duration, Instant};

#[path = "../../tests/wire/replay/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::panic, reason = "the harness of tests/wire_replay.rs, borrowed")]
mod replay;

fn caught(recording: &str, sabotage: Sabotage) -> String {
    let manifest = replay::manifest::load();
    let entry = manifest.entry(recording);
    let lines = replay::recording::load(&entry.file);
    assert_eq!(
        replay::play(entry, &lines, |_| {}),
        Ok(entry.lines),
        "the recording replays when nothing is broken"
    );
    replay::play(entry, &lines, |emulator| emulator.sabotage = Some(sabotage))
        .expect_err("the sabotage is caught")
}

#[test]
fn an_ack_before_ones_own_broadcast_is_caught() {
    let told = caught("02", Sabotage::AckFirst);
    assert!(told.contains("broadcast") && told.contains("phx_reply"), "{told}");
}

#[test]
fn a_close_before_the_reply_is_caught() {
    assert!(caught("10", Sabotage::CloseBeforeReply).contains("phx_reply"));
}

#[test]
fn a_refused_join_that_does_not_hold_the_socket_is_caught() {
    assert!(caught("06", Sabotage::NoHold).contains("apart from the recorded time"));
}

#[expect(clippy::disallowed_methods, reason = "one origin for the virtual clock")]
fn origin() -> Instant {
    Instant::now()
}

fn server(limits: Limits, now: Instant) -> (Emulator, String) {
    let secret = Secret::new("s");
    let key = secret.mint(&Claims::of("anon", 4_000_000_000));
    let tables = vec![Table::parse("frames(id int primary key)").unwrap()];
    let table_policies = vec![super::Policy::parse("anon:frames:r").unwrap()];
    let config = Config { limits, tables, table_policies, ..Config::new(secret) };
    (Emulator::new(config, 1, Clock { at: now, unix_ms: 1_000_000_000_000 }), key)
}

fn request(key: &str) -> UpgradeRequest {
    let query = format!("vsn=2.0.0&apikey={key}");
    UpgradeRequest { path: "/socket/websocket".to_owned(), query, headers: Vec::new() }
}

fn texts(emulator: &mut Emulator) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((_, out)) = emulator.poll_transmit() {
        texts.push(match out {
            Out::Frame(super::OutFrame::Text(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => format!("{other:?}"),
        });
    }
    texts
}

#[test]
fn a_held_socket_that_is_flooded_is_reset() {
    let now = origin();
    let (mut emulator, key) = server(Limits::default(), now);
    emulator.connect(ConnId(1), &request(&key), now);
    emulator.handle(ConnId(1), Frame::Text(r#"["1","1","realtime:","phx_join",{}]"#.to_owned()), now);
    for _ in 0..=WAITING_MAX {
        emulator.handle(ConnId(1), Frame::Text("[]".to_owned()), now);
    }
    assert_eq!(texts(&mut emulator), ["Reset"]);
    assert_eq!((emulator.stats().sockets, emulator.stats().shed), (0, 1));
}

#[test]
fn a_row_before_the_subscription_works_is_lost() {
    let now = origin();
    let (mut emulator, key) = server(Limits::default(), now);
    emulator.connect(ConnId(1), &request(&key), now);
    let join = r#"["1","1","realtime:r","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"frames"}]}}]"#;
    emulator.handle(ConnId(1), Frame::Text(join.to_owned()), now);
    let change = DatabaseChange {
        kind: ChangeKind::Insert,
        schema: "public".to_owned(),
        table: "frames".to_owned(),
        columns: "[]".to_owned(),
        record: Some("{\"id\":1}".to_owned()),
        old_record: None,
        errors: "null".to_owned(),
        commit_timestamp: String::new(),
    };
    emulator.database_change(&change, now);
    assert_eq!(texts(&mut emulator).len(), 1, "the join's reply alone");
    let later = now + Duration::from_secs(3);
    emulator.database_change(&change, later);
    let told = texts(&mut emulator);
    assert!(
        told[0].contains("Subscribed to PostgreSQL") && told[1].contains("\"record\":{\"id\":1}"),
        "{told:?}"
    );
}

/// The protocol's `select`: those columns and the key; channels and subscriptions that want other columns of the same
/// row get a message of their own.
#[test]
fn a_subscription_gets_the_columns_it_selected_and_the_key() {
    let now = origin();
    let (mut emulator, key) = server(Limits::default(), now);
    emulator.set_tables(vec![Table::parse("frames(id int primary key, stream text, seq int8)").unwrap()]);
    emulator.connect(ConnId(1), &request(&key), now);
    let join = r#"["1","1","realtime:r","phx_join",{"config":{"postgres_changes":[{"event":"INSERT","schema":"public","table":"frames","select":["seq"]},{"event":"*","schema":"public","table":"frames"}]}}]"#;
    emulator.handle(ConnId(1), Frame::Text(join.to_owned()), now);
    let later = now + Duration::from_secs(3);
    emulator.handle_timeout(later);
    let reply = texts(&mut emulator);
    assert!(reply[0].contains(r#""select":["seq"]"#), "{reply:?}");
    let change = DatabaseChange {
        kind: ChangeKind::Insert,
        schema: "public".to_owned(),
        table: "frames".to_owned(),
        columns: r#"[{"name": "id", "type": "int4"}, {"name": "stream", "type": "text"}, {"name": "seq", "type": "int8"}]"#.to_owned(),
        record: Some(r#"{"id": 1, "seq": 12345678901234567890, "stream": "a"}"#.to_owned()),
        old_record: None,
        errors: "null".to_owned(),
        commit_timestamp: String::new(),
    };
    emulator.database_change(&change, later);
    let told = texts(&mut emulator);
    assert_eq!(told.len(), 2, "{told:?}");
    let narrow = r#""record":{"id": 1, "seq": 12345678901234567890},"columns":[{"name": "id", "type": "int4"}, {"name": "seq", "type": "int8"}]"#;
    assert!(told[0].contains(narrow), "{}", told[0]);
    assert!(told[1].contains(&format!(r#""record":{}"#, change.record.unwrap())), "{}", told[1]);
}

#[derive(Debug, Clone)]
enum Step {
    Connect(u64),
    Closed(u64),
    Say(u64, String),
    Wait(u64),
    Fault(usize),
    Restart(bool),
    Suspend(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 1..4_u64;
    let topic = prop_oneof![Just("realtime:a"), Just("realtime:b"), Just("realtime:"), Just("phoenix")];
    let event = prop_oneof![
        Just("phx_join"),
        Just("phx_leave"),
        Just("broadcast"),
        Just("presence"),
        Just("access_token"),
        Just("heartbeat")
    ];
    let payload = prop_oneof![
        Just(r#"{"config":{"broadcast":{"ack":true,"self":true},"presence":{"enabled":true,"key":"k"}}}"#),
        Just(r#"{"event":"track","payload":{"n":1}}"#),
        Just(r#"{"access_token":"nonsense"}"#),
        Just("null")
    ];
    let said = (id.clone(), 0..3_u8, topic, event, payload).prop_map(|(id, r, topic, event, payload)| {
        Step::Say(id, format!(r#"["{r}","{r}","{topic}","{event}",{payload}]"#))
    });
    prop_oneof![
        2 => id.clone().prop_map(Step::Connect),
        1 => id.prop_map(Step::Closed),
        12 => said,
        3 => (0..12_000_u64).prop_map(Step::Wait),
        1 => (0..FAULTS.len()).prop_map(Step::Fault),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => any::<bool>().prop_map(Step::Suspend),
    ]
}

const FAULTS: [&str; 8] = [
    "stall for_ms=500",
    "slow delay_ms=50 for_pushes=3",
    "reorder for_pushes=1",
    "reset of=sender after_pushes=1",
    "cut for_pushes=1",
    "rate_limit for_pushes=2",
    "expire after_pushes=1",
    "duplicate for_ms=1000",
];

proptest! {
    #[test]
    fn any_sequence_leaves_rooms_and_channels_in_step(steps in proptest::collection::vec(step(), 0..80)) {
        let mut now = origin();
        let (mut emulator, key) = server(Limits { channels_per_socket: 2, ..Limits::default() }, now);
        for step in steps {
            match step {
                Step::Connect(id) if !emulator.conns.contains_key(&ConnId(id)) => {
                    emulator.connect(ConnId(id), &request(&key), now);
                }
                Step::Connect(_) => {}
                Step::Closed(id) => emulator.closed(ConnId(id), now),
                Step::Say(id, text) => emulator.handle(ConnId(id), Frame::Text(text), now),
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    emulator.handle_timeout(now);
                    prop_assert!(emulator.poll_timeout().is_none_or(|due| due > now));
                }
                Step::Fault(index) => { emulator.inject(Fault::parse(FAULTS[index]).unwrap(), now); }
                Step::Restart(kill) => emulator.restart(Duration::from_millis(300), kill, now),
                Step::Suspend(suspended) => emulator.suspend(suspended, now),
            }
            texts(&mut emulator);
            let members: usize = emulator.rooms.values().map(std::collections::BTreeMap::len).sum();
            prop_assert_eq!(members, emulator.stats().channels);
            for (room, members) in &emulator.rooms {
                for (channel, id) in members {
                    let found = emulator.conns[id].channels.values().find(|found| found.id == *channel);
                    prop_assert_eq!(found.map(|found| found.room()), Some(room.clone()));
                }
            }
        }
    }
}

#[test]
fn a_kind_of_fault_is_one_word() {
    assert_eq!(Fault::parse("drop"), Ok(Fault::new(FaultKind::Drop)));
}

#[test]
fn debug_shows_no_token() {
    let now = origin();
    let (mut emulator, key) = server(Limits::default(), now);
    emulator.connect(ConnId(1), &request(&key), now);
    emulator.handle(
        ConnId(1),
        Frame::Text(r#"["1","1","realtime:r","phx_join",{"config":{}}]"#.to_owned()),
        now,
    );
    let shown = format!("{emulator:?} {:?}", request(&key));
    assert!(shown.contains("realtime:r") && !shown.contains(&key), "{shown}");
}
