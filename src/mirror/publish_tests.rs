//! The publisher's promises one at a time: what settles, what is repeated, what the breaker hears.

use std::sync::Arc;

use super::*;
use crate::budget::{Budget, Payload};
use crate::envelope::Class;
use crate::ledger::Ledger;
use crate::mirror::batch::{Batcher, Limits};
use crate::mirror::event_type::EventType;
use crate::mirror::record::{Facts, Record};
use crate::mirror::tests::start;
use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

struct Desk {
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    publisher: Publisher,
    seq: u64,
}

fn at(ms: u64) -> Instant {
    start() + Duration::from_millis(ms)
}

fn key(seq: u64) -> Key {
    Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) }
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("pod", 1);
        change(&mut settings);
        let mut publisher = Publisher::new(settings, Epoch { at: start(), unix_ms: 1_700_000_000_000 });
        publisher.handle_link_up(start());
        Self { ledger: Ledger::new(), budget: Budget::new(1 << 20), publisher, seq: 0 }
    }

    /// Submits one awaited message.
    fn submit(&mut self, now: Instant) -> Ulid {
        self.seq += 1;
        let facts = Facts {
            op: Opcode::Text,
            kind: EventType::new("t"),
            class: Class::High,
            path: Arc::from("/"),
            at: now,
            shared: false,
            marks: crate::mirror::classify::Marks::default(),
            redacted: false,
        };
        let payload = Payload::copy_from(format!("message {}", self.seq).as_bytes(), &self.budget).unwrap();
        let mut batcher = Batcher::new(Limits::default());
        batcher.push(Record::new(payload, facts, self.ledger.open(key(self.seq)), true), now).unwrap();
        self.publisher.submit(batcher.take(1, 1 << 20, now).unwrap(), now)
    }

    fn push(&mut self, now: Instant) -> Push {
        let push = self.publisher.poll_transmit(now).expect("a push");
        self.publisher.handle_sent(push.batch);
        push
    }

    fn events(&mut self) -> Vec<PubEvent> {
        std::iter::from_fn(|| self.publisher.poll_event()).collect()
    }

    fn confirmed(&self) -> u64 {
        self.ledger.account().confirmed
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.publisher.abandon(Shed::Shutdown);
        if !std::thread::panicking() {
            assert_eq!((self.ledger.account().in_flight, self.ledger.account().internal()), (0, 0));
        }
    }
}

fn matched(seq: u64) -> PubEvent {
    PubEvent::Returned { key: key(seq), proof: Returned::Matched }
}

#[test]
fn only_the_read_back_settles() {
    let mut desk = Desk::new();
    let batch = desk.submit(at(0));
    let push = desk.push(at(1));
    assert_eq!((push.batch, push.attempt), (batch, 1));
    desk.publisher.handle_ack(batch, Ack::Ok, at(2));
    assert_eq!((desk.events(), desk.confirmed()), (vec![], 0));
    assert_eq!(desk.publisher.waiting(), Waiting { batches: 1, quiet_since: Some(at(2)) });
    desk.publisher.handle_readback(&push.body, at(4));
    let rtt = Duration::from_millis(3);
    assert_eq!(desk.events(), [matched(1), PubEvent::Outcome { batch, sample: Sample::Good { rtt } }]);
    assert_eq!(desk.confirmed(), 1);
    assert_eq!(desk.publisher.waiting(), Waiting { batches: 0, quiet_since: None });
    desk.publisher.handle_readback(&push.body, at(5));
    desk.publisher.handle_ack(batch, Ack::Ok, at(6));
    assert_eq!((desk.events(), desk.publisher.tally().duplicate), (vec![], 1));
}

#[test]
fn a_read_back_may_come_before_its_ack() {
    let mut desk = Desk::new();
    let batch = desk.submit(at(0));
    let push = desk.push(at(0));
    desk.publisher.handle_readback(&push.body, at(1));
    desk.publisher.handle_ack(batch, Ack::Ok, at(2));
    assert_eq!((desk.confirmed(), desk.publisher.slots_free()), (1, IN_FLIGHT_MAX));
}

#[test]
fn four_pushes_are_unacknowledged_at_most() {
    let mut desk = Desk::new();
    let batches: Vec<Ulid> = (0..6).map(|_| desk.submit(at(0))).collect();
    let sent: Vec<Ulid> =
        std::iter::from_fn(|| desk.publisher.poll_transmit(at(0))).map(|p| p.batch).collect();
    assert_eq!(sent, batches[..4]);
    assert_eq!(desk.publisher.slots_free(), 0);
    desk.publisher.handle_ack(batches[1], Ack::Ok, at(1));
    assert_eq!(desk.publisher.poll_transmit(at(1)).map(|p| p.batch), Some(batches[4]));
    assert!(desk.publisher.poll_transmit(at(1)).is_none());
}

#[test]
fn late_is_a_bad_sample_and_still_a_confirmation() {
    let mut desk = Desk::new();
    let batch = desk.submit(at(0));
    let push = desk.push(at(0));
    assert_eq!(desk.publisher.poll_timeout(), Some(at(500)));
    desk.publisher.handle_timeout(at(499));
    assert_eq!(desk.events(), []);
    desk.publisher.handle_timeout(at(500));
    desk.publisher.handle_timeout(at(501));
    assert_eq!(desk.events(), [PubEvent::Outcome { batch, sample: Sample::Bad(Cause::Timeout) }]);
    desk.publisher.handle_readback(&push.body, at(900));
    assert_eq!(desk.events(), [matched(1), PubEvent::Late { batch, rtt: Duration::from_millis(900) }]);
    assert_eq!((desk.confirmed(), desk.publisher.tally().late), (1, 1));
}

#[test]
fn acked_into_the_void_is_repeated_three_times_and_then_unconfirmed() {
    let mut desk = Desk::new();
    let batch = desk.submit(at(0));
    let mut bodies = Vec::new();
    for attempt in 1..=REPUBLISH_MAX + 1 {
        let now = at(u64::from(attempt) * 10_000);
        desk.publisher.handle_timeout(now);
        let push = desk.push(now);
        assert_eq!((push.batch, push.attempt), (batch, attempt));
        bodies.push(push.body);
        desk.publisher.handle_ack(batch, Ack::Ok, now);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the same bytes each time");
    assert!(desk.events().iter().all(|event| matches!(event, PubEvent::Outcome { .. })));
    desk.publisher.handle_timeout(at(60_000));
    let lost = [
        PubEvent::Shed { key: key(1), why: Shed::Unconfirmed },
        PubEvent::Unconfirmed { batch, messages: 1 },
    ];
    assert_eq!(desk.events(), lost);
    let tally = desk.publisher.tally();
    assert_eq!((tally.missing, tally.republished), (1, 3));
    assert!(desk.publisher.is_empty());
    desk.publisher.handle_readback(&bodies[0], at(61_000));
    assert_eq!((desk.confirmed(), desk.publisher.tally().duplicate), (0, 1));
}

#[test]
fn a_lost_link_repeats_what_was_written_and_resends_what_was_not() {
    let mut desk = Desk::new();
    let (first, second) = (desk.submit(at(0)), desk.submit(at(0)));
    desk.push(at(0));
    assert!(desk.publisher.poll_transmit(at(0)).is_some(), "the second, not written");
    desk.publisher.handle_link_down(at(10));
    desk.publisher.handle_link_down(at(11));
    assert_eq!(desk.events(), [PubEvent::Outcome { batch: first, sample: Sample::Bad(Cause::LinkLost) }]);
    assert_eq!((desk.publisher.slots_free(), desk.publisher.waiting().batches), (0, 0));
    assert!(desk.publisher.poll_transmit(at(12)).is_none());
    desk.publisher.handle_link_up(at(20));
    let (a, b) = (desk.push(at(20)), desk.push(at(20)));
    assert_eq!([(a.batch, a.attempt), (b.batch, b.attempt)], [(first, 2), (second, 1)]);
    desk.publisher.handle_readback(&a.body, at(21));
    desk.publisher.handle_readback(&b.body, at(21));
    assert_eq!(desk.confirmed(), 2);
}

#[test]
fn a_link_that_stays_away_sheds_what_waits() {
    let mut desk = Desk::new();
    desk.publisher.handle_link_down(at(0));
    desk.submit(at(1000));
    assert_eq!(desk.publisher.poll_timeout(), Some(at(31_000)));
    desk.publisher.handle_timeout(at(31_000));
    assert_eq!(desk.events(), [PubEvent::Shed { key: key(1), why: Shed::Disconnected }]);
    assert_eq!(desk.publisher.poll_timeout(), None);
}

#[test]
fn refusals_settle_and_only_foreign_ones_are_samples() {
    for (refusal, why, sample) in [
        (Refusal::Other, Shed::Refused, Sample::Bad(Cause::Refused)),
        (Refusal::TooLarge, Shed::TooLarge, Sample::Excluded(Cause::TooLarge)),
    ] {
        let mut desk = Desk::new();
        let batch = desk.submit(at(0));
        desk.push(at(0));
        desk.publisher.handle_ack(batch, Ack::Refused(refusal), at(1));
        assert_eq!(desk.events(), [PubEvent::Outcome { batch, sample }, PubEvent::Shed { key: key(1), why }]);
        assert_eq!(desk.ledger.account().shed(why), 1);
    }
    let mut desk = Desk::new();
    let batch = desk.submit(at(0));
    desk.push(at(0));
    desk.publisher.handle_ack(batch, Ack::Refused(Refusal::NotJoined), at(1));
    assert!(desk.publisher.poll_transmit(at(2)).is_none(), "not before it is joined again");
    desk.publisher.handle_link_up(at(3));
    assert_eq!(desk.push(at(3)).attempt, 2);
}

#[test]
fn what_comes_back_altered_is_told_and_repeated() {
    let mut desk = Desk::new();
    let batch = desk.submit(at(0));
    let push = desk.push(at(0));
    desk.publisher.handle_ack(batch, Ack::Ok, at(1));
    let text = std::str::from_utf8(&push.body).unwrap();
    for (from, to) in
        [("message 1", "massage 1"), ("[1,1]", "[1,2]"), ("\"down\"", "\"up\""), ("\"t\"", "\"u\"")]
    {
        assert!(text.contains(from));
        desk.publisher.handle_readback(text.replace(from, to).as_bytes(), at(2));
    }
    let told = [
        PubEvent::Returned { key: key(1), proof: Returned::Altered },
        PubEvent::Outcome { batch, sample: Sample::Bad(Cause::Altered) },
    ];
    assert_eq!(desk.events(), told, "once");
    assert_eq!((desk.publisher.tally().altered, desk.confirmed()), (4, 0));
    desk.publisher.handle_timeout(at(10_002));
    assert_eq!(desk.push(at(10_002)).attempt, 2);
    desk.publisher.handle_readback(&push.body, at(10_003));
    assert_eq!(desk.confirmed(), 1);
}

#[test]
fn strangers_are_counted_and_change_nothing() {
    let mut desk = Desk::new();
    desk.submit(at(0));
    let push = desk.push(at(0));
    let text = std::str::from_utf8(&push.body).unwrap();
    desk.publisher.handle_readback(text.replace("\"pod\"", "\"dop\"").as_bytes(), at(1));
    desk.publisher
        .handle_readback(text.replace(&push.batch.to_string(), &Ulid(5).to_string()).as_bytes(), at(1));
    desk.publisher.handle_readback(b"{}", at(1));
    let tally = desk.publisher.tally();
    assert_eq!((tally.unknown, tally.malformed, desk.confirmed()), (2, 1, 0));
    assert_eq!(desk.events(), []);
}

#[test]
fn an_open_breaker_settles_everything() {
    let mut desk = Desk::new();
    desk.submit(at(0));
    desk.submit(at(0));
    let push = desk.push(at(0));
    desk.publisher.abandon(Shed::BreakerOpen);
    let told = [1, 2].map(|seq| PubEvent::Shed { key: key(seq), why: Shed::BreakerOpen });
    assert_eq!(desk.events(), told);
    desk.publisher.handle_readback(&push.body, at(1));
    assert_eq!((desk.ledger.account().shed(Shed::BreakerOpen), desk.publisher.tally().duplicate), (2, 1));
}

#[test]
fn a_sentinel_is_a_sample_without_messages() {
    let mut desk = Desk::new();
    let batch = desk.publisher.submit(Batch::sentinel(), at(0));
    let push = desk.push(at(0));
    desk.publisher.handle_readback(&push.body, at(2));
    let sample = Sample::Good { rtt: Duration::from_millis(2) };
    assert_eq!(desk.events(), [PubEvent::Outcome { batch, sample }]);
}

#[test]
fn without_read_back_an_ok_settles_and_is_shown_apart() {
    let mut desk = Desk::with(|settings| settings.readback = false);
    let batch = desk.submit(at(0));
    desk.push(at(0));
    desk.publisher.handle_ack(batch, Ack::Ok, at(1));
    let account = desk.ledger.account();
    assert_eq!((account.confirmed, account.acked_only), (0, 1));
    assert!(desk.publisher.is_empty());
}

#[test]
fn spurious_calls_are_harmless() {
    let mut desk = Desk::new();
    desk.publisher.handle_ack(Ulid(1), Ack::Ok, at(0));
    desk.publisher.handle_sent(Ulid(1));
    desk.publisher.handle_timeout(at(100_000));
    desk.publisher.handle_link_up(at(0));
    desk.publisher.abandon(Shed::Shutdown);
    assert!(desk.publisher.poll_transmit(at(0)).is_none() && desk.events().is_empty());
}

#[test]
fn the_leg_counts_from_the_tap_and_the_oldest_is_what_waits_longest() {
    let mut desk = Desk::new();
    assert_eq!(desk.publisher.oldest(), None);
    desk.submit(at(0));
    desk.submit(at(100));
    assert_eq!(desk.publisher.oldest(), Some(at(0)));
    let first = desk.push(at(150));
    let second = desk.push(at(150));
    desk.publisher.handle_readback(&second.body, at(160));
    assert_eq!(desk.publisher.oldest(), Some(at(0)), "the first is still on its way");
    desk.publisher.handle_readback(&first.body, at(230));
    assert_eq!(desk.publisher.oldest(), None);
    let tally = *desk.publisher.tally();
    assert_eq!((tally.leg.count(), tally.leg.sum()), (2, Duration::from_millis(60 + 230)), "from the tap on");
    assert_eq!(tally.latency.sum(), Duration::from_millis(10 + 80), "from the publish on");
    // A sentinel carries nothing that could wait.
    desk.publisher.submit(Batch::sentinel(), at(300));
    assert_eq!(desk.publisher.oldest(), None);
}
