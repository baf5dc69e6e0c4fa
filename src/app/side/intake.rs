//! From the tap to the batcher: classify, redact, make a record of it. The announcements of sessions ride along.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::budget::{Budget, Payload};
use crate::envelope::SessionNote;
use crate::hot::Direct;
use crate::ledger::Shed;
use crate::mirror::batch::Batcher;
use crate::mirror::classify::{Classifier, Fate, Sample};
use crate::mirror::flight::Epoch;
use crate::mirror::record::{Facts, Record};
use crate::mirror::redact::Redactor;
use crate::session::{Key, SessionNo};
use crate::tap::{Message, Opened, Tapped};

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
    sessions: HashMap<SessionNo, SessionNote<'static>>,
    /// Only of sessions that have negotiated one; an announcement that was shed leaves it to the content.
    subprotocols: HashMap<SessionNo, Arc<str>>,
    repeated: (u32, Instant),
}

impl Intake {
    pub(crate) fn new(classifier: Classifier, redactor: Redactor, budget: Arc<Budget>, epoch: Epoch) -> Self {
        let repeated = (0, epoch.at);
        Self {
            classifier,
            redactor,
            budget,
            epoch,
            sessions: HashMap::new(),
            subprotocols: HashMap::new(),
            repeated,
        }
    }

    /// Takes one item in. Returns an awaited message that will not travel, and why.
    pub(crate) fn take(
        &mut self,
        item: Tapped,
        batcher: &mut Batcher,
        now: Instant,
    ) -> Option<(Key, Direct)> {
        match item {
            Tapped::Message(message) => self.message(message, batcher, now),
            Tapped::Opened(opened) => {
                self.opened(&opened, batcher, now);
                None
            }
            Tapped::Closed(no) => {
                self.subprotocols.remove(&no);
                if let Some(mut note) = self.sessions.remove(&no) {
                    note.end_ms = Some(self.epoch.unix_ms(now));
                    batcher.announce(note, now);
                }
                None
            }
        }
    }

    fn opened(&mut self, opened: &Opened, batcher: &mut Batcher, now: Instant) {
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
        if self.sessions.len() < SESSIONS_MAX {
            self.sessions.insert(opened.no, note.clone());
        }
        batcher.announce(note, now);
    }

    /// Announces a sixtieth of the open sessions again, once a second.
    pub(crate) fn repeat_notes(&mut self, batcher: &mut Batcher, now: Instant) {
        let (turn, at) = self.repeated;
        if now.saturating_duration_since(at) < Duration::from_secs(1) {
            return;
        }
        self.repeated = ((turn + 1) % REPEAT, now);
        for note in self.sessions.values().filter(|note| note.session.0 % REPEAT == turn) {
            batcher.announce(note.clone(), now);
        }
    }

    fn message(&mut self, message: Message, batcher: &mut Batcher, now: Instant) -> Option<(Key, Direct)> {
        let Message { captured, entry, path, hot } = message;
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
        let reading = sample.read();
        let redacted = match self.redactor.redact_message(&sample.subject(&reading), &payload) {
            Cow::Borrowed(_) => None,
            Cow::Owned(bytes) => Some(bytes),
        };
        let carried = Sample { payload: redacted.as_deref().unwrap_or(&payload), ..sample };
        let marks = self.classifier.marks(&classified, &carried);
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
        let awaited = hot && !was_redacted;
        if let Err(refused) = batcher.push(Record::new(payload, facts, entry, awaited), now) {
            let why = if refused.why == Shed::TooLarge { Direct::TooLarge } else { Direct::Shed };
            refused.shed();
            return away(why);
        }
        if was_redacted { away(Direct::Redacted) } else { None }
    }
}
