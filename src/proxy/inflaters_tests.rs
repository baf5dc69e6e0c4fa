//! Decompressors that sleep and wake: what is held falls, and what is read afterwards is right.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};

use super::inflaters::Inflaters;
use super::session_counters::SessionCounters;
use super::taps::DirectionTap;
use crate::budget::Budget;
use crate::ledger::{Ledger, Proof};
use crate::session::{Direction, SessionNo};
use crate::tap::{self, TapReceiver, Tapped};
use crate::ws::{DeflateParams, FrameKind, INFLATER_BYTES, Limits, Negotiated, compressed};

const WINDOW: u64 = 32 * 1024;

/// Compressed sessions of one worker, each with its service's compressor.
struct World {
    inflaters: Rc<Inflaters>,
    budget: Arc<Budget>,
    counters: Arc<SessionCounters>,
    receiver: TapReceiver,
    sessions: Vec<(DirectionTap, Compress)>,
    said: Vec<u64>,
    now: Instant,
}

impl World {
    fn new(sessions: u32, limit: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Instant::now();
        let (tap, receiver) = tap::channel(Budget::new(32 << 20), Ledger::new(), now);
        let (budget, counters) = (Budget::new(limit), Arc::<SessionCounters>::default());
        let inflaters = Rc::new(Inflaters::new(Arc::clone(&budget), Arc::clone(&counters)));
        let sessions: Vec<_> = (0..sessions)
            .map(|no| {
                let extensions = Negotiated::Deflate(DeflateParams::default());
                let mut one = DirectionTap::new(SessionNo(no), Direction::Down).negotiated(extensions);
                one.mirror_into(tap.clone(), "/".into(), Limits::default(), extensions);
                one.rest_in(&inflaters);
                one.want(true);
                (one, Compress::new(Compression::new(6), false))
            })
            .collect();
        let said = vec![0; sessions.len()];
        Self { inflaters, budget, counters, receiver, sessions, said, now }
    }

    /// The session's next message, which repeats much of those before; whether it came out right.
    fn talk(&mut self, no: usize) -> bool {
        let body =
            format!("session {no} says something that refers to what it said before: {}", self.said[no]);
        self.said[no] += 1;
        let (tap, compress) = &mut self.sessions[no];
        let mut wire = Vec::with_capacity(1024);
        compress.compress_vec(body.as_bytes(), &mut wire, FlushCompress::Sync).unwrap();
        wire.truncate(wire.len() - 4);
        tap.observe(&compressed(FrameKind::Text, &wire, None), self.now);
        assert!(self.budget.used() <= self.budget.limit());
        let Some(Tapped::Message(message)) = self.receiver.poll_next() else { return false };
        message.entry.confirm(Proof::ReadBack);
        assert_eq!(message.captured.body.unwrap()[..], *body.as_bytes());
        true
    }

    fn hibernated(&self) -> u64 {
        self.counters.hibernated.load(Ordering::Relaxed)
    }
}

#[test]
fn idle_decompressors_give_their_memory_back_and_go_on_where_they_were() {
    const COUNT: u32 = 300;
    let mut world = World::new(COUNT, 64 << 20);
    assert!((0..COUNT as usize).all(|no| world.talk(no)));
    assert_eq!(world.budget.used(), u64::from(COUNT * INFLATER_BYTES));
    world.now += Duration::from_secs(9);
    world.inflaters.sweep(world.now);
    assert_eq!(world.hibernated(), 0, "nobody has been idle for long");
    assert!(world.talk(0));
    world.now += Duration::from_secs(1);
    for _ in 0..2 {
        world.inflaters.sweep(world.now);
    }
    assert_eq!(world.hibernated(), u64::from(COUNT) - 1, "all but the one that spoke");
    let one = u64::from(INFLATER_BYTES) - WINDOW;
    assert_eq!(world.budget.used(), u64::from(COUNT) * WINDOW + one);
    assert_eq!(world.inflaters.listed_for_tests(), 1);
    assert!((0..COUNT as usize).all(|no| world.talk(no)), "they read on with the window of before");
    world.sessions.clear();
    assert_eq!(world.budget.used(), 0);
    world.inflaters.sweep(world.now);
    world.inflaters.sweep(world.now);
    assert_eq!(world.inflaters.listed_for_tests(), 0, "who has ended is forgotten");
}

#[test]
fn beyond_half_of_the_budget_nobody_may_idle() {
    let mut world = World::new(8, u64::from(INFLATER_BYTES) * 12);
    assert!((0..8).all(|no| world.talk(no)));
    world.inflaters.sweep(world.now);
    assert!(world.hibernated() >= 2 && world.budget.used() <= world.budget.limit() / 2, "{:?}", world.budget);
    assert!((0..8).all(|no| world.talk(no)));
}

#[test]
fn who_wakes_takes_the_room_of_who_was_silent_longest() {
    // Eight windows and little more than two decompressors.
    let mut world = World::new(24, 8 * WINDOW * 2);
    for _ in 0..20 {
        assert!((0..8).all(|no| world.talk(no)), "all are read, one after the other");
    }
    assert!(world.hibernated() > 100, "{}", world.hibernated());
    // More windows than there is room for: the latecomers are not read, those that have begun are.
    let read = (8..24).filter(|no| world.talk(*no)).count();
    assert!(read < 8, "{read} more");
    world.now += Duration::from_secs(60);
    world.inflaters.sweep(world.now);
    let windows = world.budget.used();
    assert!(windows <= world.budget.limit() / 4 * 3, "{windows} bytes of windows, which stay");
    assert!((0..8).all(|no| world.talk(no)));
    assert!(!world.talk(23), "a direction that was given up stays so");
}

#[test]
fn a_message_in_progress_keeps_its_decompressor() {
    let mut world = World::new(1, 64 << 20);
    assert!(world.talk(0));
    let (tap, compress) = &mut world.sessions[0];
    let mut wire = Vec::with_capacity(1024);
    compress.compress_vec(b"begun and not ended", &mut wire, FlushCompress::Sync).unwrap();
    wire.truncate(wire.len() - 4);
    let frame = compressed(FrameKind::Text, &wire, None);
    let (begin, end) = frame.split_at(frame.len() - 3);
    tap.observe(begin, world.now);
    world.inflaters.sweep(world.now + Duration::from_secs(60));
    assert_eq!(world.counters.hibernated.load(Ordering::Relaxed), 0);
    tap.observe(end, world.now);
    let Some(Tapped::Message(message)) = world.receiver.poll_next() else { panic!("no message") };
    message.entry.confirm(Proof::ReadBack);
    assert_eq!(message.captured.body.unwrap()[..], *b"begun and not ended");
}
