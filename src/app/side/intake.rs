//! From the tap to the batcher: classify, redact, make a record of it. The announcements of sessions ride along.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shards::Queues;
use crate::app::figures::Kinds;
use crate::app::parity::Watcher;
use crate::app::table::TableOffer;
use crate::budget::{Budget, Payload};
use crate::envelope::Class;
use crate::envelope::SessionNote;
use crate::hot::Direct;
use crate::ledger::Shed;
use crate::mirror::classify::{Classifier, Fate, Sample};
use crate::mirror::flight::Epoch;
use crate::mirror::governor::Relief;
use crate::mirror::record::{Facts, Record};
use crate::mirror::redact::Redactor;
use crate::mirror::shard::Sampling;
use crate::session::{Direction, Key, SessionNo};
use crate::tap::{Message, Opened, Tapped};
use crate::validator::natural::{Heard, Natural, Naturals};
use crate::validator::parity::Summary;

/// Every open session is announced again within this time, a sixtieth of them each second.
const REPEAT: u32 = 60;

/// Sessions that are remembered for repetition; beyond it, new ones are announced once.
const SESSIONS_MAX: usize = 100_000;

/// See the module.
pub(crate) struct Intake {
    classifier: Classifier,
    redactor: Redactor,
    budget: Arc<Budget>,
    epoch: Epoch,
    sampling: Sampling,
    sessions: HashMap<SessionNo, SessionNote<'static>>,
    /// Only of sessions that have negotiated one; an announcement that was shed leaves it to the content.
    subprotocols: HashMap<SessionNo, Arc<str>>,
    repeated: (u32, Instant),
    /// The shares of the classes, in 0.001 %, where a class has one …
    shares: Option<[u32; Class::ALL.len()]>,
    /// … and the buckets of those sessions that are outside one of them. A session that is not remembered is mirrored.
    buckets: HashMap<SessionNo, u32>,
    table: Option<TableOffer>,
    /// Where authorization is compared.
    parity: Option<Watcher>,
    /// Legacy sessions against each other.
    naturals: Naturals,
    /// Whether what finds no room is kept for the disk …
    spools: bool,
    /// … here, until the end of the turn.
    overflow: Vec<Record>,
}

impl Intake {
    pub(crate) fn new(
        (classifier, redactor): (Classifier, Redactor),
        budget: Arc<Budget>,
        epoch: Epoch,
        sampling: Sampling,
    ) -> Self {
        let repeated = (0, epoch.at);
        Self {
            classifier,
            redactor,
            budget,
            epoch,
            sampling,
            sessions: HashMap::new(),
            subprotocols: HashMap::new(),
            repeated,
            shares: None,
            buckets: HashMap::new(),
            table: None,
            parity: None,
            naturals: Naturals::default(),
            spools: false,
            overflow: Vec::new(),
        }
    }

    /// What differs between legacy sessions.
    pub(crate) fn learnt(&self) -> Vec<Natural> {
        self.naturals.learnt()
    }

    /// The event types seen lately.
    pub(crate) fn kinds(&self, now: Instant) -> Kinds {
        let frequencies = self.classifier.frequencies();
        Kinds { seen: frequencies.snapshot(now).into(), untracked: frequencies.untracked() }
    }

    /// Sessions that are open, as far as they are remembered.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// Also offers what it takes in to the table.
    pub(crate) fn with_table(mut self, table: Option<TableOffer>) -> Self {
        self.table = table;
        self
    }

    /// Mirrors only these shares of the classes.
    pub(crate) const fn with_shares(mut self, shares: Option<[u32; Class::ALL.len()]>) -> Self {
        self.shares = shares;
        self
    }

    /// Why a message of this class that nobody awaits is left out, if it is.
    fn left_out(&self, session: SessionNo, class: Class, queues: &mut Queues<'_>) -> Option<Shed> {
        if let Some(share) = self.shares.and_then(|shares| shares.get(class as usize).copied())
            && self.buckets.get(&session).is_some_and(|bucket| *bucket >= share)
        {
            return Some(Shed::Unsampled);
        }
        let shard = self.sampling.shard(session, false);
        (class == Class::Low && queues.relief(shard) == Relief::ShedLow).then_some(Shed::Quota)
    }

    /// Whether messages are wanted although Realtime may not be used.
    pub(crate) const fn has_table(&self) -> bool {
        self.table.is_some()
    }

    pub(crate) fn set_parity(&mut self, parity: Option<Watcher>) {
        self.parity = parity;
    }

    /// Lets the comparison of authorization have its turn.
    pub(crate) fn parity_turn(&mut self, now: Instant) {
        if let Some(parity) = &mut self.parity {
            parity.turn(now);
        }
    }

    /// What is known of authorization, where it is compared.
    pub(crate) fn parity(&self) -> Option<Summary> {
        self.parity.as_ref().map(Watcher::summary)
    }

    pub(crate) const fn set_spools(&mut self, spools: bool) {
        self.spools = spools;
    }

    /// What found no room in the batcher.
    pub(crate) fn take_overflow(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.overflow)
    }

    /// Takes one item in. Returns an awaited message that will not travel, and why.
    pub(crate) fn take(
        &mut self,
        item: Tapped,
        queues: &mut Queues<'_>,
        now: Instant,
    ) -> Option<(Key, Direct)> {
        match item {
            Tapped::Message(message) => {
                if let Some(parity) = &mut self.parity {
                    parity.passed(message.entry.key(), message.captured.at);
                }
                self.message(message, queues, now)
            }
            Tapped::Opened(opened) => {
                self.opened(&opened, queues, now);
                None
            }
            Tapped::Closed(no) => {
                self.subprotocols.remove(&no);
                if let Some(parity) = &mut self.parity {
                    parity.closed(no);
                }
                self.buckets.remove(&no);
                if let Some(mut note) = self.sessions.remove(&no) {
                    note.end_ms = Some(self.epoch.unix_ms(now));
                    queues.notes().announce(note, now);
                }
                None
            }
        }
    }

    fn opened(&mut self, opened: &Opened, queues: &mut Queues<'_>, now: Instant) {
        let note = SessionNote {
            session: opened.no,
            id: Cow::Owned(opened.id.to_string()),
            path: Cow::Owned(opened.path.to_string()),
            at_ms: self.epoch.unix_ms(now),
            end_ms: None,
        };
        if let Some(subprotocol) = &opened.subprotocol
            && self.subprotocols.len() < SESSIONS_MAX
        {
            self.subprotocols.insert(opened.no, Arc::clone(subprotocol));
        }
        let bucket = opened.mirror_bucket;
        if self.shares.is_some_and(|shares| shares.iter().any(|share| bucket >= *share))
            && self.buckets.len() < SESSIONS_MAX
        {
            self.buckets.insert(opened.no, bucket);
        }
        if self.sessions.len() < SESSIONS_MAX {
            self.sessions.insert(opened.no, note.clone());
        }
        if let Some(parity) = &mut self.parity {
            parity.opened(opened, now);
        }
        queues.notes().announce(note, now);
    }

    /// Announces a sixtieth of the open sessions again, once a second.
    pub(crate) fn repeat_notes(&mut self, queues: &mut Queues<'_>, now: Instant) {
        let (turn, at) = self.repeated;
        if now.saturating_duration_since(at) < Duration::from_secs(1) {
            return;
        }
        self.repeated = ((turn + 1) % REPEAT, now);
        for note in self.sessions.values().filter(|note| note.session.0 % REPEAT == turn) {
            queues.notes().announce(note.clone(), now);
        }
    }

    fn message(&mut self, message: Message, queues: &mut Queues<'_>, now: Instant) -> Option<(Key, Direct)> {
        let Message { captured, mut entry, path, hot } = message;
        let key = entry.key();
        let away = |why| hot.then_some((key, why));
        let payload = match captured.body {
            Ok(payload) => payload,
            Err(why) => {
                entry.shed(why);
                return away(Direct::Shed);
            }
        };
        let subprotocol = self.subprotocols.get(&key.session).map(|name| &**name);
        let sample = Sample { path: &path, subprotocol, dir: key.dir, op: captured.op, payload: &payload };
        let classified = self.classifier.classify(&sample, now);
        let Fate::Mirror { class, shared } = classified.fate else {
            entry.shed(Shed::Skipped);
            return away(Direct::Skipped);
        };
        if !hot && let Some(why) = self.left_out(key.session, class, queues) {
            entry.shed(why);
            return None;
        }
        let reading = sample.read();
        let redacted = match self.redactor.redact_message(&sample.subject(&reading), &payload) {
            Cow::Borrowed(_) => None,
            Cow::Owned(bytes) => Some(bytes),
        };
        let carried = Sample { payload: redacted.as_deref().unwrap_or(&payload), ..sample };
        let marks = self.classifier.marks(&classified, &carried);
        if let Some(parity) = &mut self.parity {
            parity.delivered(key, marks.topic.as_ref(), captured.at);
        }
        let was_redacted = redacted.is_some();
        let payload = match redacted {
            None => payload,
            Some(bytes) => match Payload::copy_from(&bytes, &self.budget) {
                Some(payload) => payload,
                None => {
                    entry.shed(Shed::Budget);
                    return away(Direct::Shed);
                }
            },
        };
        if key.dir == Direction::Down && self.naturals.wants(now) {
            let (event, body) = (&*classified.kind, &*payload);
            self.naturals.hear(&Heard { session: key.session, path: &path, event, body }, now);
        }
        let facts = Facts {
            op: captured.op,
            kind: classified.kind,
            class,
            path,
            at: captured.at,
            shared,
            marks,
            redacted: was_redacted,
        };
        if let Some(table) = &self.table {
            let id = self.sessions.get(&key.session).map(|note| &*note.id);
            table.offer(&payload, &facts, &mut entry, id);
        }
        let awaited = hot && !was_redacted;
        let record = Record::new(payload, facts, entry, awaited);
        match self.queue(record, (key.session, awaited), queues, now) {
            Err(why) => away(why),
            Ok(()) if was_redacted => away(Direct::Redacted),
            Ok(()) => None,
        }
    }

    /// Queues a record where its session belongs; why it does not travel, if it does not.
    fn queue(
        &mut self,
        record: Record,
        (session, awaited): (SessionNo, bool),
        queues: &mut Queues<'_>,
        now: Instant,
    ) -> Result<(), Direct> {
        if awaited {
            queues.governor.handle_awaited(now);
        }
        let shard = self.sampling.shard(session, awaited);
        if let Err(mut refused) = queues.of(shard).push(record, now) {
            // A queue that is full because publishes are spaced is the plan's doing.
            if refused.why == Shed::QueueFull && queues.relief(shard) != Relief::None {
                refused.why = Shed::Quota;
            }
            let why = if refused.why == Shed::TooLarge { Direct::TooLarge } else { Direct::Shed };
            if matches!(refused.why, Shed::QueueFull | Shed::Quota) && self.spools {
                self.overflow.push(refused.record);
            } else {
                refused.shed();
            }
            return Err(why);
        }
        Ok(())
    }
}
