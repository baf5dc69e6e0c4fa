//! The side thread: everything behind the tap, in one loop on a runtime of its own.
//!
//! The machines decide (classifier, batcher, publisher, both links); this loop carries bytes and time between them:
//! tap → records → batches → governor → publish link, and read-back link → publisher → windows, ledger, breaker. It drains the
//! tap on a short tick and is woken only by messages that a hot session awaits. It beats on every turn; if it
//! dies or hangs, the data threads notice the missing beat and pass their sessions on without it.

mod denial;
mod disk;
mod events;
mod intake;
mod links;
mod outcome;
mod proof;
mod shards;
mod spool;
mod wholes;

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
use crate::mirror::governor::{Governor, Spacing};
use crate::mirror::publish::Publisher;
use crate::mirror::shard::Shard;
use crate::proxy::{News, Notice, Sessions, WorkerHandle, WorkerMessage};
use crate::realtime::client::Handle;
use crate::realtime::link::PushRef;
use crate::session::Key;
use crate::tap::TapReceiver;

use super::figures::SideFigures;
use super::ops::{Links, View, Word};
use denial::Denial;
pub(crate) use disk::Spool;
pub(crate) use events::Publisher as EventPublisher;
pub(crate) use intake::Intake;
use outcome::Samples;
pub(crate) use proof::{Scene as WatchScene, Watch};
use shards::Queues;
pub(crate) use shards::{ACKED_TOPIC, Acked, TOPIC};

/// The event of every broadcast that carries an envelope.
pub(crate) const EVENT: &str = "messages";

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
    /// The shard that is not read back, where not everything is.
    pub(crate) acked: Option<Acked>,
    pub(crate) governor: Governor,
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
    /// Where there is one: what cannot be published goes to the disk.
    pub(crate) spool: Option<Spool>,
    /// Where shared messages also become events.
    pub(crate) events: Option<EventPublisher>,
    /// Holds what comes back against what went in.
    pub(crate) watch: Watch,
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
    pushes: HashMap<PushRef, (Shard, Ulid, Instant)>,
    next_push: u64,
    probes: HashMap<Ulid, Probe>,
    samples: Samples,
    last_sample: Option<Instant>,
    /// What the ops thread knows of the spacing.
    spacing_told: Option<Option<Spacing>>,
    denial: Denial,
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
            let idle = self.is_at_rest() && self.tap.is_drained();
            if deadline.is_some() {
                self.stop_backlog();
            }
            if deadline.is_some_and(|at| (idle && self.is_spooled()) || at <= now) {
                self.settle_rest(Shed::Shutdown, now);
                self.close_spool().await;
                self.settle_rest(Shed::Shutdown, clock());
                self.watch.close(clock());
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
        self.acked.iter_mut().for_each(|acked| acked.batcher.expect_limit(self.limit_bytes));
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
        self.repeat_notes(now);
        if self.state.mode == Some(Publish::Nothing) && !self.spools() {
            self.shed_waiting(Shed::BreakerOpen);
        }
        self.shed_denied();
        self.sentinel(now);
        self.publisher.handle_timeout(now);
        self.acked.iter_mut().for_each(|acked| acked.publisher.handle_timeout(now));
        self.governor.handle_timeout(now);
        self.publish_due(now);
        if let Some(events) = &mut self.events {
            events.drain(&mut self.governor, now);
        }
        self.spool_turn(now);
        self.transmit(now);
        self.report(now);
        self.watch_turn(now);
        self.intake.parity_turn(now);
        self.post_notices();
        self.tell_spacing();
        self.note(now);
        drained > 0
    }

    fn next_wake(&self, now: Instant, busy: bool) -> Instant {
        let tick = now + if busy { TICK_BUSY } else { TICK_IDLE };
        // A deadline that has passed and waits for somebody else must not make the loop spin.
        self.deadline().map_or(tick, |at| at.min(tick)).max(now + Duration::from_micros(200))
    }

    /// When one of the machines has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let acked = self.acked.as_ref().and_then(|acked| acked.publisher.poll_timeout());
        let (publisher, samples) = (self.publisher.poll_timeout(), self.state.samples.poll_timeout());
        let all =
            [self.publish_at(), publisher, acked, samples, self.governor.poll_timeout(), self.backlog_at()];
        all.into_iter().flatten().min()
    }

    /// What the breaker says about publishing; an opening settles everything that waits.
    fn follow_view(&mut self, now: Instant) {
        let View { publish: mode, pods, .. } = *self.view.borrow_and_update();
        self.governor.set_pods(pods, now);
        if self.state.mode == Some(mode) {
            return;
        }
        self.state.mode = Some(mode);
        self.watch.begin_evidence(now);
        self.tap.set_open(mode != Publish::Nothing || self.intake.has_table() || self.spools());
        if mode == Publish::Nothing {
            self.settle_rest(Shed::BreakerOpen, now);
        }
    }

    /// Settles everything that is on the way: nothing may be left unaccounted for.
    fn settle_rest(&mut self, why: Shed, now: Instant) {
        self.drain_tap(now);
        if self.spools() {
            self.unawait(); // what waits goes to the disk
        } else {
            self.shed_waiting(why);
        }
        self.publisher.abandon(why);
        if let Some(acked) = &mut self.acked {
            acked.publisher.abandon(why);
        }
        self.report(now);
        self.state.probes.clear();
        self.state.samples.clear();
        self.post_notices();
        self.note(now);
    }

    /// Settles what waits for a batch. Where the table has it, or will have it, that decides.
    fn shed_waiting(&mut self, why: Shed) {
        for key in self.batcher.shed_all(why) {
            self.tell(key, News::TurnedAway(Direct::Shed));
        }
        if let Some(acked) = &mut self.acked {
            acked.batcher.shed_all(why);
        }
    }

    fn drain_tap(&mut self, now: Instant) -> usize {
        for drained in 0..DRAIN_MAX {
            let Some(item) = self.tap.poll_next() else { return drained };
            let mut queues = Queues {
                read_back: &mut self.batcher,
                acked: self.acked.as_mut().map(|acked| &mut acked.batcher),
                governor: &mut self.governor,
            };
            if let Some((key, why)) = self.intake.take(item, &mut queues, now) {
                self.tell(key, News::TurnedAway(why));
            }
        }
        DRAIN_MAX
    }

    fn repeat_notes(&mut self, now: Instant) {
        let (governor, acked) = (&mut self.governor, self.acked.as_mut().map(|acked| &mut acked.batcher));
        let mut queues = Queues { read_back: &mut self.batcher, acked, governor };
        self.intake.repeat_notes(&mut queues, now);
    }

    fn may_fill(&self) -> bool {
        self.state.mode == Some(Publish::All) && self.publisher.slots_free() > 0
    }

    pub(crate) fn send_probe(&mut self, probe: Probe, now: Instant) {
        if !(self.links.publish && self.links.readback) || self.state.mode != Some(Publish::ProbesOnly) {
            let denied = self.state.denial.read_back();
            let end = ProbeEnd::Void(if denied { OwnFault::Authorization } else { OwnFault::Queue });
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

    fn note(&mut self, now: Instant) {
        let (links, quota) = ((self.links, self.state.denial.is_denied()), self.governor.figures(now));
        self.figures.note(&self.publisher, links, quota);
        let acked = self.acked.iter().flat_map(|one| [one.batcher.oldest(), one.publisher.oldest()]);
        let oldest = acked.chain([self.batcher.oldest(), self.publisher.oldest()]).flatten().min();
        self.figures.note_oldest(oldest.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)));
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
