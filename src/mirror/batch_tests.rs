//! Ages, order of service, collapse and bounds of the batcher, one rule at a time.

use std::sync::Arc;

use super::*;
use crate::budget::{Budget, Payload};
use crate::ledger::Ledger;
use crate::mirror::divert::Divert;
use crate::mirror::event_type::EventType;
use crate::mirror::record::Facts;
use crate::mirror::tests::start;
use crate::session::{Direction, Opcode, Seq, SessionNo};

const MIB: u32 = 1 << 20;

/// A record as (body, (session, seq) pairs).
type Line = (String, Vec<(u32, u64)>);

struct Desk {
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    batcher: Batcher,
}

fn key(session: u32, seq: u64) -> Key {
    Key { session: SessionNo(session), dir: Direction::Down, seq: Seq(seq) }
}

fn at(ms: u64) -> Instant {
    start() + Duration::from_millis(ms)
}

impl Desk {
    fn new(bytes: u64) -> Self {
        Self { ledger: Ledger::new(), budget: Budget::new(1 << 30), batcher: Batcher::new(Limits { bytes }) }
    }

    fn record(&self, class: Class, key: Key, body: &str, awaited: bool) -> Record {
        let facts = Facts {
            op: Opcode::Text,
            kind: EventType::new("t"),
            class,
            path: Arc::from("/"),
            at: start(),
            shared: false,
            marks: crate::mirror::classify::Marks::default(),
            redacted: false,
        };
        let payload = Payload::copy_from(body.as_bytes(), &self.budget).unwrap();
        Record::new(payload, facts, self.ledger.open(key), awaited)
    }

    fn push(&mut self, class: Class, key: Key, body: &str, now: Instant) {
        let record = self.record(class, key, body, false);
        self.batcher.push(record, now).unwrap();
    }

    fn hot(&mut self, class: Class, key: Key, body: &str, now: Instant) {
        let record = self.record(class, key, body, true);
        self.batcher.push(record, now).unwrap();
    }

    /// (body, keys) of the next batch.
    fn take(&mut self, limit: u32, now: Instant) -> Option<Vec<Line>> {
        let batch = self.batcher.take(1, limit, now)?;
        assert!(batch.encoded_len() <= limit as usize);
        let lines = batch.records.into_iter().map(|record| {
            let body = String::from_utf8(record.payload().to_vec()).unwrap();
            let keys = record.keys().map(|key| (key.session.0, key.seq.0)).collect();
            drop(record.shed(Shed::Shutdown));
            (body, keys)
        });
        Some(lines.collect())
    }

    fn bodies(&mut self, limit: u32, now: Instant) -> Option<Vec<String>> {
        Some(self.take(limit, now)?.into_iter().map(|(body, _)| body).collect())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.batcher.shed_all(Shed::Shutdown));
        if !std::thread::panicking() {
            let account = self.ledger.account();
            assert_eq!((account.in_flight, account.internal()), (0, 0));
            assert_eq!((self.batcher.waiting_bytes(), self.budget.used()), (0, 0));
        }
    }
}

#[test]
fn each_class_waits_for_its_age_or_its_count() {
    for class in Class::ALL {
        let (count, age) = pace(class);
        let mut desk = Desk::new(1 << 20);
        desk.push(class, key(1, 1), "first", start());
        assert_eq!(desk.batcher.poll_timeout(), Some(start() + age));
        if !age.is_zero() {
            assert_eq!(desk.bodies(MIB, start() + age - Duration::from_millis(1)), None);
        }
        assert_eq!(desk.bodies(MIB, start() + age).map(|bodies| bodies.len()), Some(1));
        for i in 0..count {
            assert!(i == 0 || desk.batcher.poll_timeout().is_some_and(|due| due > start() || age.is_zero()));
            desk.push(class, key(1, 2 + i as u64), &format!("{i}"), start());
        }
        assert_eq!(desk.bodies(MIB, start()).map(|bodies| bodies.len()), Some(count), "{class:?}");
        assert_eq!(desk.batcher.poll_timeout(), None);
    }
}

#[test]
fn what_is_awaited_goes_at_once_and_first_and_the_rest_only_when_due() {
    let mut desk = Desk::new(1 << 20);
    desk.push(Class::High, key(1, 1), "high", at(0));
    desk.push(Class::Low, key(1, 2), "low", at(0));
    desk.hot(Class::Low, key(2, 1), "hot 1", at(1));
    desk.hot(Class::Critical, key(2, 2), "hot 2", at(1));
    assert_eq!(desk.bodies(MIB, at(1)).unwrap(), ["hot 1", "hot 2"]);
    desk.hot(Class::Low, key(2, 3), "hot 3", at(100));
    assert_eq!(desk.bodies(MIB, at(100)).unwrap(), ["hot 3", "high"]);
    assert_eq!(desk.bodies(MIB, at(1999)), None);
    assert_eq!(desk.bodies(MIB, at(2000)).unwrap(), ["low"]);
}

#[test]
fn without_a_slot_the_next_batch_grows() {
    let mut desk = Desk::new(1 << 20);
    for seq in 1..=10 {
        desk.push(Class::Critical, key(1, seq), &seq.to_string(), at(seq));
        assert!(desk.batcher.take(0, MIB, at(seq)).is_none());
    }
    assert_eq!(desk.bodies(MIB, at(10)).unwrap().len(), 10);
}

#[test]
fn identical_messages_travel_once_unless_that_would_overtake() {
    let mut desk = Desk::new(1 << 20);
    for session in [1, 2, 3] {
        desk.push(Class::High, key(session, 1), "x", at(0));
    }
    desk.push(Class::High, key(1, 2), "x", at(0));
    desk.push(Class::High, key(1, 3), "y", at(0));
    desk.push(Class::High, key(2, 2), "y", at(0));
    // Session 1 has y in between, so its next x must not join the first one; session 4 has nothing.
    desk.push(Class::High, key(1, 4), "x", at(0));
    desk.push(Class::High, key(4, 1), "x", at(0));
    desk.push(Class::Medium, key(5, 1), "x", at(0));
    let lines = desk.take(MIB, at(500)).unwrap();
    let expect = [
        ("x", vec![(1, 1), (2, 1), (3, 1), (1, 2)]),
        ("y", vec![(1, 3), (2, 2)]),
        ("x", vec![(1, 4), (4, 1)]),
        ("x", vec![(5, 1)]),
    ];
    assert_eq!(lines, expect.map(|(body, keys)| (body.to_owned(), keys)));
    assert_eq!(desk.batcher.counts().collapsed, 5);
    desk.push(Class::High, key(1, 5), "x", at(600));
    assert_eq!(desk.take(MIB, at(700)).unwrap().len(), 1, "a taken record is not joined");
}

#[test]
fn what_differs_in_anything_is_not_collapsed() {
    let mut desk = Desk::new(1 << 20);
    let mut variants = Vec::new();
    for (op, kind, path, redacted, shared) in [
        (Opcode::Text, "t", "/", false, false),
        (Opcode::Binary, "t", "/", false, false),
        (Opcode::Text, "u", "/", false, false),
        (Opcode::Text, "t", "/p", false, false),
        (Opcode::Text, "t", "/", true, false),
        (Opcode::Text, "t", "/", false, true),
    ] {
        let facts = Facts {
            op,
            kind: EventType::new(kind),
            class: Class::High,
            path: Arc::from(path),
            at: start(),
            shared,
            marks: crate::mirror::classify::Marks::default(),
            redacted,
        };
        let payload = Payload::copy_from(b"same", &desk.budget).unwrap();
        let session = variants.len() as u32;
        variants.push(session);
        let record = Record::new(payload, facts, desk.ledger.open(key(session, 1)), false);
        desk.batcher.push(record, at(0)).unwrap();
    }
    assert_eq!(desk.bodies(MIB, at(100)).unwrap().len(), variants.len());
}

#[test]
fn long_lists_continue_under_the_same_id() {
    let mut desk = Desk::new(1 << 20);
    for session in 0..100 {
        desk.push(Class::Critical, key(session, 1), "to all", at(0));
    }
    let mut ids = Vec::new();
    let mut sessions = Vec::new();
    while let Some(batch) = desk.batcher.take(1, 1200, at(0)) {
        assert!(batch.encoded_len() <= 1200);
        for record in batch.records {
            ids.push(record.id());
            sessions.extend(record.keys().map(|key| key.session.0));
            drop(record.shed(Shed::Shutdown));
        }
    }
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(sessions, (0..100).collect::<Vec<_>>());
    assert_eq!(desk.batcher.counts().continued, ids.len() as u64 - 1);
}

#[test]
fn what_a_batch_cannot_hold_travels_in_pieces_and_collapses_like_the_rest() {
    let mut desk = Desk::new(8 << 20);
    desk.batcher.expect_limit(4096);
    let large: String = (0..10_000u32).filter_map(|i| char::from_u32(0x61 + i % 26)).collect();
    for session in 1..=3 {
        desk.hot(Class::Critical, key(session, 1), &large, at(0));
    }
    desk.hot(Class::Critical, key(1, 2), "small", at(0));
    assert_eq!((desk.batcher.len(), desk.batcher.counts().split), (2, 0), "whole until its turn");
    let (mut whole, mut parts, mut ids) = (String::new(), Vec::new(), std::collections::BTreeSet::new());
    let mut taken = Vec::new();
    while let Some(batch) = desk.batcher.take(1, 4096, at(0)) {
        assert!(batch.encoded_len() <= 4096);
        for record in batch.records {
            if let Some(part) = record.part() {
                assert_eq!(record.keys().count(), 3, "pieces collapse");
                whole.push_str(std::str::from_utf8(record.payload()).unwrap());
                parts.push((part.0, part.1));
                ids.insert(record.id());
            }
            taken.push(record);
        }
    }
    assert_eq!((desk.batcher.counts().split, desk.batcher.waiting_bytes()), (1, 0));
    let told: Vec<Key> = taken.into_iter().flat_map(|record| record.shed(Shed::Shutdown)).collect();
    assert_eq!((whole == large, parts, ids.len()), (true, (1..=5).map(|i| (i, 5)).collect(), 1));
    assert_eq!(told, [key(1, 1), key(2, 1), key(3, 1), key(1, 2)], "a window is told once");
}

#[test]
fn what_waited_while_the_limit_shrank_is_cut_and_too_large_is_what_cannot_be() {
    let mut desk = Desk::new(8 << 20);
    desk.hot(Class::Critical, key(1, 2), &"x".repeat(5000), at(0));
    let mut taken = Vec::new();
    while let Some(batch) = desk.batcher.take(1, 4096, at(0)) {
        taken.extend(batch.records);
    }
    assert_eq!(taken.iter().map(|record| record.payload().len()).sum::<usize>(), 5000);
    assert!(taken.len() > 1 && desk.batcher.poll_refused().is_none());
    taken.into_iter().for_each(|record| drop(record.shed(Shed::Shutdown)));
    desk.batcher.expect_limit(MIB);
    desk.hot(Class::Critical, key(1, 2), &"x".repeat(MIB as usize - 2_000), at(0));
    desk.hot(Class::Critical, key(1, 3), "small", at(0));
    assert_eq!(desk.bodies(1024, at(0)).unwrap(), ["small"]);
    let refused = desk.batcher.poll_refused().unwrap();
    assert_eq!((refused.why, refused.shed()), (Shed::TooLarge, vec![key(1, 2)]));
    desk.batcher.expect_limit(1024);
    let record = desk.record(Class::Critical, key(1, 4), &"x".repeat(MIB as usize), false);
    let refused = desk.batcher.push(record, at(0)).unwrap_err();
    assert_eq!((refused.why, refused.shed()), (Shed::TooLarge, vec![]), "nobody awaits");
}

#[test]
fn the_dull_is_refused_first() {
    let mut desk = Desk::new(100_000);
    let mut held = Vec::new();
    for class in [Class::Low, Class::Medium, Class::High, Class::Critical] {
        for seq in 0.. {
            let record = desk.record(class, key(class as u32, seq), &format!("{seq:01000}"), false);
            if let Err(refused) = desk.batcher.push(record, at(0)) {
                assert_eq!(refused.why, Shed::QueueFull);
                assert_eq!(refused.shed(), []);
                break;
            }
        }
        held.push(desk.batcher.waiting_bytes() / 1000);
    }
    assert!(held[0] <= 50 && held[1] <= 75 && held[2] <= 90 && held[3] <= 100, "{held:?}");
    assert!(held[0] >= 48 && held[1] >= 73 && held[2] >= 88 && held[3] >= 98, "{held:?}");
}

#[test]
fn size_does_not_starve_a_lane() {
    let mut desk = Desk::new(1 << 20);
    desk.push(Class::Low, key(9, 1), &"l".repeat(2900), at(0));
    for round in 0..20u64 {
        let now = at(2000 + round);
        desk.hot(Class::High, key(1, round + 1), &"h".repeat(600), now);
        if desk.bodies(4096, now).unwrap().iter().any(|body| body.starts_with('l')) {
            assert!(round >= u64::from(PASSED_OVER_MAX));
            return;
        }
    }
    panic!("the large message never went");
}

#[test]
fn notes_ride_along_or_go_alone_and_are_bounded() {
    let mut desk = Desk::new(1 << 20);
    let note = |n: u32| SessionNote {
        session: SessionNo(n),
        id: "0".repeat(32).into(),
        path: "/".into(),
        at_ms: 0,
        end_ms: None,
    };
    desk.batcher.announce(note(1), at(0));
    assert!(desk.batcher.take(1, MIB, at(499)).is_none());
    assert_eq!(desk.batcher.take(1, MIB, at(500)).map(|batch| batch.notes.len()), Some(1));
    desk.batcher.announce(note(2), at(600));
    desk.hot(Class::Low, key(1, 1), "hot", at(600));
    let batch = desk.batcher.take(1, MIB, at(600)).unwrap();
    assert_eq!((batch.notes.len(), batch.records.len()), (1, 1));
    for record in batch.records {
        drop(record.shed(Shed::Shutdown));
    }
    for n in 0..NOTES_MAX as u32 + 3 {
        desk.batcher.announce(note(n), at(700));
    }
    assert_eq!(desk.batcher.counts().notes_dropped, 3);
    let first = desk.batcher.take(1, MIB, at(1200)).unwrap();
    assert_eq!(first.notes[0].session, SessionNo(3));
    assert!(first.encoded_len() < MIB as usize / 4);
}

#[test]
fn what_is_larger_than_a_batch_goes_to_the_disk_as_a_whole() {
    let mut desk = Desk::new(8 << 20);
    desk.batcher.expect_limit(4096);
    let large = "y".repeat(10_000);
    for (seq, body) in [(1, "before"), (2, &large), (3, "after")] {
        desk.push(Class::High, key(1, seq), body, at(0));
    }
    let mut went = Vec::new();
    while let Some(batch) = desk.batcher.divert(4096, Divert::All, at(0)) {
        let records = batch.records.into_iter();
        went.extend(records.map(|record| {
            let line = (record.payload().len(), record.part(), record.keys().next().unwrap().seq.0);
            drop(record.shed(Shed::Shutdown));
            line
        }));
    }
    assert_eq!(went, [(6, None, 1), (10_000, None, 2), (5, None, 3)]);
    assert_eq!(desk.batcher.waiting_bytes(), 0);
    // Once it is cut, the rest of it is: its pieces are under way.
    desk.push(Class::High, key(1, 4), &large, at(0));
    let first = desk.batcher.take(1, 4096, at(200)).unwrap();
    let rest = desk.batcher.divert(4096, Divert::All, at(200)).unwrap();
    let parts: Vec<_> = first.records.iter().chain(&rest.records).filter_map(Record::part).collect();
    assert!(parts.len() > 1 && parts[0].0 == 1 && !rest.records.is_empty(), "{parts:?}");
    for record in first.records.into_iter().chain(rest.records) {
        drop(record.shed(Shed::Shutdown));
    }
    drop(desk.batcher.shed_all(Shed::Shutdown));
}

#[test]
fn one_session_that_gets_the_same_large_message_twice_gets_one_after_the_other() {
    let mut desk = Desk::new(8 << 20);
    desk.batcher.expect_limit(4096);
    let large = "z".repeat(6_000);
    for (session, seq) in [(1, 1), (2, 1), (1, 2)] {
        desk.push(Class::High, key(session, seq), &large, at(0));
    }
    assert_eq!((desk.batcher.len(), desk.batcher.counts().collapsed), (1, 2));
    let mut taken = Vec::new();
    while let Some(batch) = desk.batcher.take(1, 4096, at(200)) {
        taken.extend(batch.records);
    }
    let seqs: Vec<u64> = taken.iter().flat_map(Record::keys).map(|key| key.seq.0).collect();
    assert!(seqs.is_sorted() && seqs.len() == taken.len() * 3 / 2, "{seqs:?}");
    taken.into_iter().for_each(|record| drop(record.shed(Shed::Shutdown)));
}

#[test]
fn the_oldest_is_the_one_that_came_first_in_any_lane() {
    let mut desk = Desk::new(1 << 20);
    assert_eq!(desk.batcher.oldest(), None);
    let (low, critical) = (
        desk.record(Class::Low, key(1, 1), "one", false),
        desk.record(Class::Critical, key(2, 1), "two", false),
    );
    desk.batcher.push(low, at(10)).unwrap();
    desk.batcher.push(critical, at(20)).unwrap();
    assert_eq!(desk.batcher.oldest(), Some(at(10)));
    desk.batcher.shed_all(Shed::Shutdown);
    assert_eq!(desk.batcher.oldest(), None);
}
