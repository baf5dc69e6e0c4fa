//! The table sink against a model of PostgREST on a virtual clock. The model alone says what is in the table.

#![expect(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::Reply;
use super::answer::Verdict;
use super::row::Row;
use super::table::{BATCH_ROWS_MAX, Item, TableSink};
use crate::budget::Budget;
use crate::envelope::Class;
use crate::ledger::{Ledger, Shed};
use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

/// What the model does with a request besides storing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fine,
    /// Nothing stored, no answer.
    Lost,
    /// Stored, but the answer is lost.
    AnswerLost,
    Unavailable,
    Setup,
    /// More than this many rows are too slow.
    Slow(usize),
}

/// A table with a primary key, a check, and a `jsonb` that some values do not fit into.
#[derive(Default)]
struct Model {
    rows: BTreeMap<String, Value>,
    inserted: u64,
    duplicates: u64,
}

impl Model {
    fn post(&mut self, body: &[u8], weather: Weather) -> Reply {
        let rows: Vec<Value> = serde_json::from_slice(body).expect("an array of rows");
        assert!(!rows.is_empty() && rows.len() <= BATCH_ROWS_MAX);
        let refuse = |status, code: &str| Reply::Answer {
            status,
            retry_after: None,
            body: format!("{{\"code\":\"{code}\"}}"),
        };
        match weather {
            Weather::Lost => return Reply::Unknown,
            Weather::Unavailable => return refuse(503, "PGRST001"),
            Weather::Setup => return refuse(404, "PGRST205"),
            Weather::Slow(most) if rows.len() > most => return refuse(500, "57014"),
            Weather::Slow(_) | Weather::Fine | Weather::AnswerLost => {}
        }
        // One statement: all or nothing.
        if rows.iter().any(|row| row["event_type"] == "poison") {
            return refuse(400, "23514");
        }
        if rows.iter().any(|row| row["data"]["deep"] == true) {
            return refuse(400, "22P05");
        }
        for row in rows {
            let id = row["id"].as_str().expect("an id").to_owned();
            self.inserted += 1;
            if self.rows.insert(id, row).is_some() {
                self.duplicates += 1;
            }
        }
        if weather == Weather::AnswerLost { Reply::Unknown } else { refuse(201, "") }
    }
}

struct World {
    sink: TableSink,
    model: Model,
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    now: Instant,
    quarantined: BTreeSet<u64>,
    heard: Vec<Verdict>,
}

impl World {
    fn new(rate: u32) -> Self {
        let now = Instant::now();
        Self {
            sink: TableSink::new(rate, 7, now),
            model: Model::default(),
            ledger: Ledger::new(),
            budget: Budget::new(64 << 20),
            now,
            quarantined: BTreeSet::new(),
            heard: Vec::new(),
        }
    }

    /// A message whose Realtime way has failed already, so that the table alone decides.
    fn push(&mut self, seq: u64, kind: &str, body: &'static [u8]) {
        let key = Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) };
        let row = Row {
            key,
            session_id: None,
            source: "shop".into(),
            instance: "pod".into(),
            at_ms: 1_700_000_000_000 + seq,
            kind: kind.to_owned(),
            class: Class::Critical,
            op: Opcode::Text,
            path: "/".into(),
            body: Bytes::from_static(body),
            redacted: false,
            replay: false,
        };
        let mut entry = self.ledger.open(key);
        let second = entry.second();
        entry.shed(Shed::BreakerOpen);
        let lease = self.budget.try_take(600).expect("room");
        self.sink.push(Item::new(row, lease, Some(second)));
    }

    /// One request and its answer, or a step of time. `false` when nothing is left.
    fn step(&mut self, weather: Weather) -> bool {
        if let Some(body) = self.sink.poll_transmit(self.now) {
            let reply = self.model.post(&body, weather);
            self.heard.extend(self.sink.handle_reply(&reply, self.now));
            while let Some(bad) = self.sink.poll_quarantined() {
                assert!(self.quarantined.insert(bad.row.key.seq.0), "quarantined twice");
            }
            return true;
        }
        let Some(at) = self.sink.poll_timeout() else { return false };
        assert!(at > self.now, "it asked for time that has passed, and sent nothing");
        self.now = at;
        true
    }

    fn run(&mut self) {
        for _ in 0..200_000 {
            if !self.step(Weather::Fine) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn stored(&self) -> BTreeSet<u64> {
        self.model.rows.values().map(|row| row["seq"].as_u64().expect("a seq")).collect()
    }

    fn assert_settled(&self, confirmed: u64, shed: u64) {
        let account = self.ledger.account();
        assert_eq!((account.confirmed, account.by_table), (confirmed, confirmed));
        assert_eq!((account.shed(Shed::BreakerOpen), account.in_flight), (shed, 0));
        assert_eq!((account.internal(), account.imbalance()), (0, 0));
        assert_eq!(self.budget.used(), 0, "every row has given its bytes back");
    }
}

#[test]
fn a_poisoned_row_is_quarantined_and_the_others_arrive() {
    let mut world = World::new(10_000);
    for seq in 1..=1_000 {
        world.push(seq, if seq == 321 || seq == 322 || seq == 1_000 { "poison" } else { "x" }, b"{}");
    }
    world.run();
    assert_eq!(world.quarantined, BTreeSet::from([321, 322, 1_000]));
    assert_eq!(world.stored(), (1..1_000).filter(|seq| ![321, 322].contains(seq)).collect());
    world.assert_settled(997, 3);
    // Two batches, and for each bad row at most 2 · log2(500) halves and one more try.
    assert!(world.sink.counts().requests <= 2 + 3 * 19, "{:?}", world.sink.counts());
}

#[test]
fn a_value_that_jsonb_refuses_keeps_its_bytes() {
    let mut world = World::new(100);
    for seq in 1..=20 {
        world.push(seq, "x", if seq == 13 { br#"{"deep":true}"# } else { b"{}" });
    }
    world.run();
    assert_eq!(world.stored().len(), 20);
    let row = world.model.rows.values().find(|row| row["seq"] == 13).expect("stored");
    assert_eq!((&row["data"], &row["raw"]), (&Value::Null, &"\\x7b2264656570223a747275657d".into()));
    assert_eq!((world.sink.counts().plain, world.sink.counts().quarantined), (1, 0));
}

#[test]
fn ten_thousand_rows_keep_to_the_rate() {
    let rate = 250;
    let mut world = World::new(rate);
    for seq in 1..=10_000 {
        world.push(seq, "x", b"{}");
    }
    let start = world.now;
    let mut by_time = Vec::new();
    while world.step(Weather::Fine) {
        by_time.push(((world.now - start).as_millis() as u64, world.model.inserted));
    }
    for (millis, rows) in &by_time {
        assert!(rows * 1000 <= u64::from(rate) * (millis + 1000), "{rows} rows after {millis} ms");
    }
    assert_eq!(world.stored().len(), 10_000);
    let (millis, _) = by_time.last().expect("steps");
    assert!((38_990..=39_100).contains(millis), "10,000 - 250 at 250 a second took {millis} ms");
    world.assert_settled(10_000, 0);
}

#[test]
fn a_person_hears_once_of_what_lasts() {
    let mut world = World::new(10);
    world.push(1, "x", b"{}");
    for weather in
        [Weather::Setup, Weather::Setup, Weather::Unavailable, Weather::Unavailable, Weather::Setup]
    {
        // A request, and the wait after it.
        assert!(world.step(weather) && world.step(weather));
    }
    assert_eq!(world.heard, [Verdict::Setup, Verdict::Later, Verdict::Setup]);
    assert_eq!(world.sink.counts().stored, 0);
    world.run();
    world.assert_settled(1, 0);
}

#[test]
fn the_server_may_ask_for_time() {
    let mut world = World::new(10);
    world.push(1, "x", b"{}");
    assert!(world.sink.poll_transmit(world.now).is_some());
    let retry_after = Some(Duration::from_secs(120));
    let reply = Reply::Answer { status: 429, retry_after, body: String::new() };
    world.sink.handle_reply(&reply, world.now);
    assert!(world.sink.poll_transmit(world.now + Duration::from_secs(119)).is_none());
    assert_eq!(world.sink.poll_timeout(), Some(world.now + Duration::from_secs(120)));
    world.run();
    world.assert_settled(1, 0);
}

#[test]
fn what_is_left_at_the_end_is_given_up_and_said_so() {
    let mut world = World::new(600);
    for seq in 1..=900 {
        world.push(seq, "x", b"{}");
    }
    let body = world.sink.poll_transmit(world.now).expect("a request");
    let reply = world.model.post(&body, Weather::Fine);
    world.sink.handle_reply(&reply, world.now);
    assert!(world.sink.poll_transmit(world.now).is_some(), "the second half is on its way");
    world.sink.abandon();
    assert!(world.sink.is_empty());
    assert_eq!((world.sink.counts().stored, world.sink.counts().abandoned), (500, 400));
    world.assert_settled(500, 400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens on the way, every good row is in the table once, every bad one in the quarantine once.
    #[test]
    fn every_row_ends_in_one_place(
        kinds in prop::collection::vec(0_u8..20, 1..400),
        weather in prop::collection::vec(0_u8..6, 0..40),
        rate in 1_u32..2_000,
    ) {
        let mut world = World::new(rate);
        let (mut good, mut bad) = (BTreeSet::new(), BTreeSet::new());
        for (kind, seq) in kinds.iter().zip(1..) {
            match kind {
                0 => { world.push(seq, "poison", b"1"); bad.insert(seq); }
                1 => { world.push(seq, "x", br#"{"deep":true}"#); good.insert(seq); }
                _ => { world.push(seq, "x", b"{}"); good.insert(seq); }
            }
        }
        for one in weather {
            world.step(match one {
                0 => Weather::Fine,
                1 => Weather::Lost,
                2 => Weather::AnswerLost,
                3 => Weather::Unavailable,
                4 => Weather::Setup,
                _ => Weather::Slow(3),
            });
        }
        world.run();
        prop_assert_eq!(world.stored(), good.clone());
        prop_assert_eq!(&world.quarantined, &bad);
        world.assert_settled(good.len() as u64, bad.len() as u64);
        let counts = world.sink.counts();
        prop_assert_eq!((counts.stored, counts.quarantined), (good.len() as u64, bad.len() as u64));
    }
}
