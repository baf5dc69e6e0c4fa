//! One event for a thousand sessions, nothing stale, nothing twice, and payloads that a consumer can read.

use super::*;
use crate::budget::{Budget, Payload};
use crate::envelope::Class;
use crate::ledger::{Ledger, Shed};
use crate::mirror::batch::{Batcher, Limits};
use crate::mirror::classify::Marks;
use crate::mirror::record::Facts;
use crate::mirror::tests::start;
use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

struct Desk {
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    epoch: Epoch,
    events: Events,
}

impl Desk {
    fn new() -> Self {
        let epoch = Epoch { at: start(), unix_ms: 1_700_000_000_000 };
        let events = Events::new("pod-1", MAX_AGE);
        Self { ledger: Ledger::new(), budget: Budget::new(1 << 30), epoch, events }
    }

    fn record(&self, session: u32, body: &[u8], name: (Option<&str>, Option<&str>), at: Instant) -> Record {
        let (topic, id) = name;
        let op = if std::str::from_utf8(body).is_ok() { Opcode::Text } else { Opcode::Binary };
        let marks = Marks { topic: topic.map(Arc::from), event_id: id.map(Arc::from), table: None };
        let (kind, path) = (EventType::new("price"), Arc::from("/ws"));
        let facts = Facts { op, kind, class: Class::High, path, at, shared: true, marks, redacted: false };
        let key = Key { session: SessionNo(session), dir: Direction::Down, seq: Seq(1) };
        Record::new(Payload::copy_from(body, &self.budget).unwrap(), facts, self.ledger.open(key), false)
    }

    fn offer(&mut self, body: &[u8], id: Option<&str>, at: Instant, now: Instant) {
        let record = self.record(1, body, (Some("prices"), id), at);
        self.events.offer(&record, &self.epoch, now);
        drop(record.shed(Shed::Shutdown));
    }

    fn payload(&mut self, body: &[u8]) -> serde_json::Value {
        self.offer(body, Some("a1"), start(), start());
        let event = self.events.poll_transmit(start()).unwrap();
        assert_eq!((&*event.topic, &*event.event, &*event.id), ("prices", "price", "a1"));
        serde_json::from_slice(&event.payload).unwrap()
    }
}

#[test]
fn a_thousand_sessions_on_one_broadcast_cost_one_payload() {
    let mut desk = Desk::new();
    let mut batcher = Batcher::new(Limits { bytes: 32 << 20 });
    let body = format!(r#"{{"type":"price","v":"{}"}}"#, "x".repeat(10_000));
    for session in 0..1000 {
        let record = desk.record(session, body.as_bytes(), (Some("prices"), None), start());
        batcher.push(record, start()).unwrap();
    }
    assert!(desk.budget.used() < 11_000, "a collapsed message frees its bytes at once");
    let later = start() + Duration::from_millis(100);
    let batch = batcher.take(1, 1 << 20, later).unwrap();
    assert_eq!((batch.records().len(), batch.records()[0].keys().count()), (1, 1000));
    assert!(batch.encoded_len() < 10_000 + 1000 * 12 + 2000, "{}", batch.encoded_len());
    for record in batch.records() {
        desk.events.offer(record, &desk.epoch, later);
    }
    let event = desk.events.poll_transmit(later).unwrap();
    assert_eq!((desk.events.poll_transmit(later), event.recipients), (None, 1000));
    let counts = desk.events.counts();
    assert_eq!((counts.sent, counts.recipients), (1, 1000));
    assert!(counts.sent_bytes / counts.recipients < 11, "bytes per recipient");
    batch.records.into_iter().for_each(|record| drop(record.shed(Shed::Shutdown)));
}

#[test]
fn the_payload_is_the_original_and_our_fields() {
    let desk = Desk::new;
    let object = desk().payload(br#" {"a":1,"b":[{}]} "#);
    assert_eq!((&object["a"], &object["_crossfade"]["id"]), (&1.into(), &"a1".into()));
    assert_eq!(object["_crossfade"]["at"], 1_700_000_000_000u64);
    assert_eq!(desk().payload(b"{ }")["_crossfade"]["src"], "pod-1");
    assert_eq!(desk().payload(br#"["x",{"y":1}]"#)["data"][1]["y"], 1);
    assert_eq!(desk().payload(b"plain \"text\"\x01")["data"], "plain \"text\"\u{1}");
    assert_eq!(desk().payload(b"{broken")["data"], "{broken");
    let binary = desk().payload(b"\xff\x00");
    assert_eq!((&binary["data"], &binary["enc"]), (&"/wA=".into(), &"base64".into()));
    let mut clash = desk();
    clash.offer(br#"{"_crossfade":1}"#, None, start(), start());
    assert_eq!((clash.events.len(), clash.events.counts().clash), (0, 1));
}

#[test]
fn stale_events_never_reach_a_live_topic() {
    let mut desk = Desk::new();
    let late = start() + MAX_AGE + Duration::from_millis(1);
    desk.offer(b"{}", Some("old when it came"), start(), late);
    desk.offer(b"{}", Some("old while it waited"), start(), start());
    desk.offer(b"{}", Some("young"), start() + Duration::from_secs(5), start() + Duration::from_secs(5));
    assert_eq!(desk.events.poll_transmit(late).map(|event| event.id).as_deref(), Some("young"));
    assert_eq!((desk.events.counts().stale, desk.events.counts().sent), (2, 1));
}

#[test]
fn equal_ids_are_one_event_and_another_slot_is_another() {
    let mut desk = Desk::new();
    let second = |s| start() + Duration::from_secs(s);
    desk.offer(b"{}", None, start(), start());
    desk.offer(b"{}", None, second(1), second(1));
    desk.offer(b"{ }", None, second(1), second(1));
    desk.offer(b"{}", None, second(12), second(12));
    desk.offer(b"[1]", Some("same"), second(12), second(12));
    desk.offer(b"[2]", Some("same"), second(12), second(12));
    let ids: Vec<String> =
        std::iter::from_fn(|| desk.events.poll_transmit(second(9)).map(|e| e.id)).collect();
    assert_eq!((ids.len(), desk.events.counts().repeated), (4, 2), "{ids:?}");
    let other = desk.record(1, b"{}", (None, None), start());
    desk.events.offer(&other, &desk.epoch, start());
    assert!(desk.events.is_empty(), "without a topic it is no event");
    drop(other.shed(Shed::Shutdown));
}

#[test]
fn what_waits_is_bounded() {
    let mut desk = Desk::new();
    let large = format!("\"{}\"", "x".repeat(QUEUE_BYTES_MAX / 2));
    for id in ["1", "2", "3"] {
        desk.offer(large.as_bytes(), Some(id), start(), start());
    }
    assert_eq!((desk.events.len(), desk.events.counts().queue_full), (1, 2));
}
