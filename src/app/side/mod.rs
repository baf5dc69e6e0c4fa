//! The side thread: everything behind the tap, in one loop on a runtime of its own.
//!
//! The machines decide (classifier, batcher, publisher, both links); this loop carries bytes and time between them:
//! tap → records → batches → publish link, and read-back link → publisher → windows, ledger, breaker. It drains the
//! tap on a short tick and is woken only by messages that a hot session awaits. It beats on every turn; if it
//! dies or hangs, the data threads notice the missing beat and pass their sessions on without it.

mod intake;
mod links;
mod outcome;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use ulid::Ulid;

use crate::breaker::{OwnFault, Probe, ProbeEnd, Publish};
use crate::hot::Direct;
use crate::ledger::Shed;
use crate::mirror::batch::{Batch, Batcher};
use crate::mirror::publish::Publisher;
use crate::proxy::{News, Notice, Sessions, WorkerHandle, WorkerMessage};
use crate::realtime::client::Handle;
use crate::realtime::link::{Push, PushRef, TopicNo};
use crate::realtime::message::Encoding;
use crate::session::Key;
use crate::tap::TapReceiver;

use super::figures::SideFigures;
use super::ops::{Links, View, Word};
pub(crate) use intake::Intake;
use outcome::Samples;

/// The event of every broadcast that carries an envelope.
pub(crate) const EVENT: &str = "messages";
/// The one channel of each link.
pub(crate) const TOPIC: TopicNo = TopicNo(0);

/// How often the tap is looked at while messages flow …
const TICK_BUSY: Duration = Duration::from_millis(2);
/// … and while none do.
const TICK_IDLE: Duration = Duration::from_millis(20);
/// Messages taken from the tap in one turn, so that read-backs get theirs.
const DRAIN_MAX: usize = 4096;
/// Without any round trip for so long, an empty batch supplies a sample.
const SENTINEL_EVERY: Duration = Duration::from_secs(5);

/// Everything the loop works with.
pub(crate) struct Side {
    pub(crate) tap: TapReceiver,
    pub(crate) intake: Intake,
    pub(crate) batcher: Batcher,
    pub(crate) publisher: Publisher,
    pub(crate) publish: Handle,
    pub(crate) readback: Handle,
    pub(crate) links: Links,
    pub(crate) limit_bytes: u32,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) probes: mpsc::Receiver<Probe>,
    pub(crate) ops: mpsc::Sender<Word>,
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) figures: Arc<SideFigures>,
    pub(crate) stop: Arc<Notify>,
    /// Where the key was read from, to read it again when it expires.
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) state: Book,
}

/// What the loop remembers between two turns.
#[derive(Default)]
pub(crate) struct Book {
    /// What may be published, as of the last turn.
    mode: Option<Publish>,
    notices: Vec<Vec<Notice>>,
    /// Messages in batches that were not acknowledged yet.
    unacked: HashMap<Ulid, u64>,
    pushes: HashMap<PushRef, Ulid>,
    next_push: u64,
    probes: HashMap<Ulid, Probe>,
    samples: Samples,
    last_sample: Option<Instant>,
    /// A socket of the publish or read-back link has been open since its last attempt.
    was_up: [bool; 2],
}

/// Which of the two links an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Publish,
    ReadBack,
}

impl Side {
    /// Runs until the stop is given and everything is settled, or the flush has had its time.
    pub(crate) async fn run(mut self, flush: Duration) {
        self.begin();
        let stop = Arc::clone(&self.stop);
        let mut stopped = std::pin::pin!(stop.notified());
        let mut deadline = None;
        loop {
            let now = clock();
            self.tap.beat(now);
            let busy = self.turn(now);
            let idle = self.batcher.is_empty() && self.publisher.is_empty() && self.tap.is_drained();
            if deadline.is_some_and(|at| idle || at <= now) {
                self.settle_rest(Shed::Shutdown, now);
                return;
            }
            let wake = self.next_wake(now, busy);
            tokio::select! {
                biased;
                () = &mut stopped, if deadline.is_none() => deadline = Some(clock() + flush),
                event = self.readback.next_event() => self.heard(From::ReadBack, event, clock()),
                event = self.publish.next_event() => self.heard(From::Publish, event, clock()),
                Some(probe) = self.probes.recv() => self.send_probe(probe, clock()),
                changed = self.view.changed(), if deadline.is_none() => if changed.is_err() { deadline = Some(clock() + flush); },
                () = self.tap.awaited() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// To be called once, before the first turn.
    pub(crate) fn begin(&mut self) {
        self.batcher.expect_limit(self.limit_bytes);
        self.state.notices = vec![Vec::new(); self.workers.len()];
    }

    /// One turn of everything that does not wait. Returns whether there was anything to do.
    pub(crate) fn turn(&mut self, now: Instant) -> bool {
        self.follow_view(now);
        while let Some(event) = self.readback.try_event() {
            self.heard(From::ReadBack, Some(event), now);
        }
        while let Some(event) = self.publish.try_event() {
            self.heard(From::Publish, Some(event), now);
        }
        let drained = self.drain_tap(now);
        self.sentinel(now);
        self.publisher.handle_timeout(now);
        self.fill(now);
        self.transmit(now);
        self.report(now);
        self.post_notices();
        self.figures.note(&self.publisher, self.links);
        drained > 0
    }

    fn next_wake(&self, now: Instant, busy: bool) -> Instant {
        let tick = now + if busy { TICK_BUSY } else { TICK_IDLE };
        // A deadline that has passed and waits for somebody else must not make the loop spin.
        self.deadline().map_or(tick, |at| at.min(tick)).max(now + Duration::from_micros(200))
    }

    /// When one of the machines has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let batch = self.batcher.poll_timeout().filter(|_| self.may_fill());
        [batch, self.publisher.poll_timeout(), self.state.samples.poll_timeout()].into_iter().flatten().min()
    }

    /// What the breaker says about publishing; an opening settles everything that waits.
    fn follow_view(&mut self, now: Instant) {
        let mode = self.view.borrow_and_update().publish;
        if self.state.mode == Some(mode) {
            return;
        }
        self.state.mode = Some(mode);
        self.tap.set_open(mode != Publish::Nothing);
        if mode == Publish::Nothing {
            self.settle_rest(Shed::BreakerOpen, now);
        }
    }

    /// Settles everything that is on the way: nothing may be left unaccounted for.
    fn settle_rest(&mut self, why: Shed, now: Instant) {
        self.drain_tap(now);
        for key in self.batcher.shed_all(why) {
            self.tell(key, News::TurnedAway(Direct::Shed));
        }
        self.publisher.abandon(why);
        self.report(now);
        self.state.probes.clear();
        self.state.samples.clear();
        self.post_notices();
        self.figures.note(&self.publisher, self.links);
    }

    fn drain_tap(&mut self, now: Instant) -> usize {
        for drained in 0..DRAIN_MAX {
            let Some(item) = self.tap.poll_next() else { return drained };
            if let Some((key, why)) = self.intake.take(item, &mut self.batcher, now) {
                self.tell(key, News::TurnedAway(why));
            }
        }
        DRAIN_MAX
    }

    fn may_fill(&self) -> bool {
        self.state.mode == Some(Publish::All) && self.publisher.slots_free() > 0
    }

    /// Closes batches while the publisher has room for them.
    fn fill(&mut self, now: Instant) {
        self.intake.repeat_notes(&mut self.batcher, now);
        while self.may_fill() {
            let slots = self.publisher.slots_free();
            let Some(batch) = self.batcher.take(slots, self.limit_bytes, now) else { break };
            let mut messages = 0;
            let awaited: Vec<Key> = batch
                .records()
                .iter()
                .filter(|r| r.is_awaited() && r.is_first())
                .flat_map(|r| r.keys())
                .collect();
            for record in batch.records().iter().filter(|record| record.is_first()) {
                messages += record.keys().count() as u64;
            }
            for key in awaited {
                self.tell(key, News::Published);
            }
            self.figures.closed(messages, self.batcher.counts());
            let id = self.publisher.submit(batch, now);
            self.state.unacked.insert(id, messages);
        }
        while let Some(refused) = self.batcher.poll_refused() {
            for key in refused.shed() {
                self.tell(key, News::TurnedAway(Direct::TooLarge));
            }
        }
    }

    fn transmit(&mut self, now: Instant) {
        while let Some(push) = self.publisher.poll_transmit(now) {
            let reference = PushRef(self.state.next_push);
            self.state.next_push += 1;
            let batch = push.batch;
            self.figures.batch(push.body.len());
            let push = Push {
                id: reference,
                topic: TOPIC,
                event: EVENT.to_owned(),
                body: push.body,
                encoding: Encoding::Json,
            };
            match self.publish.try_push(push) {
                Ok(()) => {
                    self.state.pushes.insert(reference, batch);
                    self.publisher.handle_sent(batch);
                }
                // The link's queue is full or its task gone: as if the link were down until it says otherwise.
                Err(_) => return self.publisher.handle_link_down(now),
            }
        }
    }

    pub(crate) fn send_probe(&mut self, probe: Probe, now: Instant) {
        if !(self.links.publish && self.links.readback) || self.state.mode != Some(Publish::ProbesOnly) {
            let end = ProbeEnd::Void(OwnFault::Queue);
            return self.say(Word::Outcome(crate::breaker::Outcome::Probe { probe, end }));
        }
        let id = self.publisher.submit(Batch::sentinel(), now);
        self.state.probes.insert(id, probe);
    }

    /// Supplies a sample when traffic is thin.
    fn sentinel(&mut self, now: Instant) {
        let quiet =
            self.state.last_sample.is_none_or(|at| now.saturating_duration_since(at) >= SENTINEL_EVERY);
        if quiet && self.may_fill() {
            self.state.last_sample = Some(now);
            self.publisher.submit(Batch::sentinel(), now);
        }
    }

    /// Leaves news for the worker that owns the session.
    fn tell(&mut self, key: Key, what: News) {
        let workers = u32::try_from(self.workers.len()).unwrap_or(1);
        let place = Sessions::owner(key.session, workers) as usize;
        if let Some(notices) = self.state.notices.get_mut(place) {
            notices.push(Notice { no: key.session, seq: key.seq, what });
        }
    }

    fn post_notices(&mut self) {
        for (notices, worker) in self.state.notices.iter_mut().zip(&self.workers) {
            if !notices.is_empty() && worker.post(WorkerMessage::Notices(std::mem::take(notices))).is_err() {
                // The windows' own clocks release what these notices were about.
                self.figures.notices_lost();
            }
        }
    }

    fn say(&self, word: Word) {
        if self.ops.try_send(word).is_err() {
            self.figures.words_lost();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the side thread is a shell: its clock is the real one")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}
