//! The window against its model: delivered is always a prefix of captured, and equals it one deadline later.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::window::Sabotage;
use super::*;
use crate::session::Seq;

const DEADLINE: Duration = Duration::from_millis(500);

/// One step of a history. `Oldest` and `Newest` name a published message, so that short histories reach far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Capture,
    CaptureDirect,
    PublishOldest,
    ReturnOldest,
    ReturnNewest,
    ReturnFirstAgain,
    AlterOldest,
    TurnAwayNewest,
    Deadline,
    ToLegacy,
    ToRealtime,
}

const OPS: [Op; 11] = [
    Op::Capture,
    Op::CaptureDirect,
    Op::PublishOldest,
    Op::ReturnOldest,
    Op::ReturnNewest,
    Op::ReturnFirstAgain,
    Op::AlterOldest,
    Op::TurnAwayNewest,
    Op::Deadline,
    Op::ToLegacy,
    Op::ToRealtime,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Queued(Instant),
    Published(Instant),
    Released,
}

/// The naive reference: a list of fates and a count of what was delivered.
#[derive(Clone, Debug)]
struct Model {
    fates: Vec<Fate>,
    delivered: usize,
    legacy: bool,
}

impl Model {
    fn position(&self, newest: bool, wanted: fn(&Fate) -> bool) -> Option<usize> {
        if newest { self.fates.iter().rposition(wanted) } else { self.fates.iter().position(wanted) }
    }

    fn deliverable(&self) -> usize {
        self.fates.iter().take_while(|fate| **fate == Fate::Released).count()
    }
}

fn frames(seq: usize) -> Vec<u8> {
    format!("<frame {seq}>").into_bytes()
}

struct World {
    window: Window,
    model: Model,
    now: Instant,
}

impl World {
    fn new(start: Instant, sabotage: Option<Sabotage>) -> Self {
        let mut window = Window::new(Config { waiting_bytes_max: 60, ..Config::default() }, Seq(1));
        window.sabotage = sabotage;
        Self { window, model: Model { fates: Vec::new(), delivered: 0, legacy: false }, now: start }
    }

    /// Applies one step to both; `false` where it means nothing in this state.
    fn apply(&mut self, op: Op) -> bool {
        let published = |fate: &Fate| matches!(fate, Fate::Published(_));
        let queued = |fate: &Fate| matches!(fate, Fate::Queued(_));
        match op {
            Op::Capture => self.capture(None),
            Op::CaptureDirect => self.capture(Some(Direct::Skipped)),
            Op::PublishOldest => {
                let Some(i) = self.model.position(false, queued) else { return false };
                self.model.fates[i] = Fate::Published(self.now);
                self.window.published(seq(i), self.now);
            }
            Op::ReturnOldest | Op::ReturnNewest | Op::AlterOldest => {
                let Some(i) = self.model.position(op == Op::ReturnNewest, published) else { return false };
                self.model.fates[i] = Fate::Released;
                let proof = if op == Op::AlterOldest { ReadBack::Altered } else { ReadBack::Matched };
                self.window.returned(seq(i), proof);
            }
            Op::ReturnFirstAgain => {
                if self.model.fates.first() != Some(&Fate::Released) {
                    return false;
                }
                self.window.returned(Seq(1), ReadBack::Matched);
            }
            Op::TurnAwayNewest => {
                let Some(i) = self.model.position(true, queued) else { return false };
                self.model.fates[i] = Fate::Released;
                self.window.turned_away(seq(i), Direct::Shed);
            }
            Op::Deadline => self.deadline(),
            Op::ToLegacy => {
                self.model.legacy = true;
                self.model.fates.fill(Fate::Released);
                self.window.set_source(Source::Legacy(Fallback::Breaker));
            }
            Op::ToRealtime => {
                if !self.model.legacy {
                    return false;
                }
                self.model.legacy = false;
                self.window.set_source(Source::Realtime);
            }
        }
        true
    }

    fn capture(&mut self, direct: Option<Direct>) {
        let released = direct.is_some() || self.model.legacy;
        self.model.fates.push(if released { Fate::Released } else { Fate::Queued(self.now) });
        let n = self.model.fates.len();
        self.window.capture(frames(n), direct, self.now);
        let waiting: usize = (self.model.deliverable()..n).map(|i| frames(i + 1).len()).sum();
        if waiting > 60 {
            self.model.fates.fill(Fate::Released);
            self.model.legacy = true;
        }
    }

    fn deadline(&mut self) {
        self.now += DEADLINE;
        self.window.handle_timeout(self.now);
        for fate in &mut self.model.fates {
            match *fate {
                Fate::Queued(at) if self.now >= at + DEADLINE / 2 => *fate = Fate::Released,
                Fate::Published(at) if self.now >= at + DEADLINE => *fate = Fate::Released,
                _ => {}
            }
        }
    }

    /// Takes all that may go and holds it against the model.
    fn check(&mut self) -> Result<(), String> {
        while let Some(deliver) = self.window.poll_deliver() {
            self.model.delivered += 1;
            let expected = self.model.delivered;
            if deliver.seq != Seq(expected as u64) || deliver.frames != frames(expected) {
                return Err(format!("delivered {deliver:?} where {expected} was due"));
            }
        }
        if self.model.delivered != self.model.deliverable() {
            return Err(format!("delivered {} of {}", self.model.delivered, self.model.deliverable()));
        }
        Ok(())
    }

    /// One deadline after the last capture everything is out.
    fn finish(&mut self) -> Result<(), String> {
        self.deadline();
        self.check()?;
        if self.model.delivered != self.model.fates.len() || !self.window.is_empty() {
            return Err(format!("{} of {} at the end", self.model.delivered, self.model.fates.len()));
        }
        Ok(())
    }
}

fn seq(index: usize) -> Seq {
    Seq(index as u64 + 1)
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin for a virtual clock")]
fn origin() -> Instant {
    Instant::now()
}

fn play(ops: &[Op], start: Instant, sabotage: Option<Sabotage>) -> Result<bool, String> {
    let mut world = World::new(start, sabotage);
    for op in ops {
        if !world.apply(*op) {
            return Ok(false);
        }
        world.check()?;
    }
    world.finish()?;
    Ok(true)
}

/// Every history up to `depth` with at most four captures; a step that means nothing prunes what follows it.
fn every_history(depth: usize, sabotage: Option<Sabotage>) -> Result<u64, String> {
    fn descend(ops: &mut Vec<Op>, depth: usize, start: Instant, s: Option<Sabotage>) -> Result<u64, String> {
        if !play(ops, start, s).map_err(|why| format!("{ops:?}: {why}"))? {
            return Ok(0);
        }
        let mut played = 1;
        if ops.len() < depth {
            for op in OPS {
                let captures = ops.iter().filter(|op| matches!(op, Op::Capture | Op::CaptureDirect)).count();
                if captures == 4 && matches!(op, Op::Capture | Op::CaptureDirect) {
                    continue;
                }
                ops.push(op);
                played += descend(ops, depth, start, s)?;
                ops.pop();
            }
        }
        Ok(played)
    }
    descend(&mut Vec::new(), depth, origin(), sabotage)
}

#[test]
fn every_history_to_depth_eight_keeps_the_promise() {
    let played = every_history(8, None).unwrap();
    assert!(played > 500_000, "only {played} histories were played");
}

#[test]
fn each_sabotage_is_caught() {
    for sabotage in [
        Sabotage::SkipOnOverflow,
        Sabotage::DeliverLateTwice,
        Sabotage::ReleaseOutOfOrder,
        Sabotage::FlushInReverse,
        Sabotage::ForgetDeadline,
        Sabotage::TrustAltered,
        Sabotage::DropOnSwitch,
    ] {
        // An overflow needs more captures than the short histories hold.
        let long = [Op::Capture; 12];
        let caught =
            every_history(4, Some(sabotage)).is_err() || play(&long, origin(), Some(sabotage)).is_err();
        assert!(caught, "{sabotage:?} went unnoticed");
    }
}

proptest! {
    #[test]
    fn long_random_histories_keep_the_promise(picks in proptest::collection::vec(0..OPS.len(), 0..200)) {
        let mut world = World::new(origin(), None);
        for pick in picks {
            world.apply(OPS[pick]);
            world.check().map_err(TestCaseError::fail)?;
        }
        world.finish().map_err(TestCaseError::fail)?;
    }
}

#[test]
fn the_deadline_counts_from_the_hand_over_and_the_queue_has_its_own() {
    let start = origin();
    let mut window = Window::new(Config::default(), Seq(1));
    assert_eq!(window.poll_timeout(), None);
    window.capture(frames(1), None, start);
    window.capture(frames(2), None, start);
    window.published(Seq(1), start + Duration::from_millis(100));
    assert_eq!(window.poll_timeout(), Some(start + Duration::from_millis(250)), "2 waits in our queue");
    window.handle_timeout(start + Duration::from_millis(250));
    assert!(window.poll_deliver().is_none(), "2 is released but 1 still waits before it");
    assert_eq!(window.poll_timeout(), Some(start + Duration::from_millis(600)));
    window.handle_timeout(start + Duration::from_millis(600));
    assert_eq!(window.poll_deliver().unwrap().how, Released::Rescued);
    assert_eq!(window.poll_deliver().unwrap().how, Released::Direct(Direct::OwnQueue));
    assert_eq!(window.poll_event(), Some(WindowEvent::Rescued(Seq(1))));
    window.returned(Seq(1), ReadBack::Matched);
    assert_eq!(window.poll_event(), Some(WindowEvent::Late(Seq(1))));
    assert!(window.poll_deliver().is_none(), "late is counted, never delivered again");
}

mod relay {
    use super::*;

    fn drained(relay: &mut Relay, outbox: &mut Outbox) -> Vec<u8> {
        relay.pump(outbox);
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let front = outbox.front().to_vec();
            outbox.advance(front.len());
            bytes.extend(front);
        }
        bytes
    }

    #[test]
    fn a_ping_passes_between_held_messages_and_a_close_after_them() {
        let now = origin();
        let (mut relay, mut outbox) = (Relay::new(Config::default(), Seq(1)), Outbox::default());
        relay.data(b"first", &mut outbox);
        relay.message_end(Route::Publish, now);
        relay.control(b"pi");
        assert!(drained(&mut relay, &mut outbox).is_empty(), "half a control frame must not pass");
        relay.control(b"ng");
        relay.control_end(&mut outbox);
        assert_eq!(drained(&mut relay, &mut outbox), b"ping");
        relay.control(b"close");
        relay.close_end(&mut outbox);
        assert_eq!(drained(&mut relay, &mut outbox), b"firstclose");
        assert!(relay.is_passing());
    }

    #[test]
    fn a_message_too_large_to_hold_streams_after_the_window_is_written() {
        let now = origin();
        let (mut relay, mut outbox) = (Relay::new(Config::default(), Seq(1)), Outbox::default());
        relay.data(b"held", &mut outbox);
        relay.message_end(Route::Publish, now);
        relay.data(b"big-1", &mut outbox);
        relay.expect(HELD_MAX_U64);
        assert!(!relay.wants_bytes(&outbox), "the rest must wait in the service's socket");
        assert!(drained(&mut relay, &mut outbox).is_empty());
        relay.returned(Seq(1), ReadBack::Matched);
        assert_eq!(drained(&mut relay, &mut outbox), b"heldbig-1");
        assert!(relay.wants_bytes(&outbox));
        relay.data(b"big-2", &mut outbox);
        assert_eq!(drained(&mut relay, &mut outbox), b"big-2");
        relay.message_end(Route::Direct(Direct::TooLarge), now);
        relay.data(b"next", &mut outbox);
        relay.message_end(Route::Publish, now);
        assert!(drained(&mut relay, &mut outbox).is_empty());
        relay.returned(Seq(3), ReadBack::Matched);
        assert_eq!(drained(&mut relay, &mut outbox), b"next");
    }

    #[test]
    fn going_back_in_the_middle_of_a_message_loses_no_byte() {
        let now = origin();
        let (mut relay, mut outbox) = (Relay::new(Config::default(), Seq(1)), Outbox::default());
        relay.data(b"one", &mut outbox);
        relay.message_end(Route::Publish, now);
        relay.data(b"two, first half", &mut outbox);
        relay.pass(Fallback::Breaker, &mut outbox);
        relay.data(b", second half", &mut outbox);
        relay.message_end(Route::Publish, now);
        assert_eq!(drained(&mut relay, &mut outbox), b"onetwo, first half, second half");
        assert_eq!(relay.take_stats().switched_back, 1);
        assert!(relay.is_passing());
    }

    const HELD_MAX_U64: u64 = super::relay_held_max();
}

const fn relay_held_max() -> u64 {
    super::relay::HELD_MAX as u64
}
