//! The `events` format: shared messages as plain broadcasts for supabase-js consumers, beside the envelope.
//!
//! An event is a copy: the ledger's token belongs to the message in its envelope. It is made once, sent while it is
//! young (again, under its id, only where a request got no answer, a refusal that may pass, or where it did not come
//! back), and what became of it is counted. Nobody may mistake the past for the present, so a stale event never goes
//! to a live topic; the envelope and the table still have it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::event_type::EventType;
use super::flight::Epoch;
use super::record::Record;
use crate::envelope::escape;

/// Default of `CROSSFADE_EVENTS_MAX_AGE`.
pub const MAX_AGE: Duration = Duration::from_secs(10);
/// Bytes of events that may wait; beyond it the newcomer is dropped and counted.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Ids that are remembered, so that one broadcast that fell into two batches is one event.
const RECENT_MAX: usize = 4096;
/// Events with equal bytes within one slot are one event; a later slot is a new one.
const SLOT_MS: u64 = 10_000;
/// The key of our own fields in the payload.
const METADATA_KEY: &str = "_crossfade";

/// A broadcast for consumers.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it goes, without `realtime:`.
    pub topic: Arc<str>,
    /// The broadcast's event.
    pub event: EventType,
    /// Its id, also in the payload.
    pub id: String,
    /// The payload: a JSON object.
    pub payload: Bytes,
    /// When the tap saw the message.
    pub at: Instant,
    /// How many messages it stands for.
    pub recipients: usize,
}

impl std::fmt::Debug for Event {
    /// Topic, type and bytes come from users (invariant 7).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event({} bytes to {})", self.payload.len(), self.recipients)
    }
}

/// Figures since the start: each message with a topic is counted in exactly one of them, once its event has left
/// the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Handed to the sink.
    pub sent: u64,
    /// Too old for a live topic.
    pub stale: u64,
    /// Its record went to the disk, because it could not be published.
    pub diverted: u64,
    /// Already known by its id.
    pub repeated: u64,
    /// No room to wait.
    pub queue_full: u64,
    /// Cannot be a JSON object of its own: it has a `_crossfade` key already.
    pub clash: u64,
    /// Payload bytes handed to the sink.
    pub sent_bytes: u64,
    /// Messages of sessions that the sent events stand for.
    pub recipients: u64,
}

/// Makes events of records and keeps them until a sink takes them.
#[derive(Debug)]
pub struct Events {
    src: Box<str>,
    max_age: Duration,
    queue: VecDeque<Event>,
    bytes: usize,
    recent: VecDeque<String>,
    known: BTreeSet<String>,
    counts: EventCounts,
}

impl Events {
    /// Nothing yet. `src` is the pod instance, as in the envelope.
    #[must_use]
    pub fn new(src: &str, max_age: Duration) -> Self {
        Self {
            src: src.into(),
            max_age,
            queue: VecDeque::new(),
            bytes: 0,
            recent: VecDeque::new(),
            known: BTreeSet::new(),
            counts: EventCounts::default(),
        }
    }

    /// Looks at a record that is about to be published. Call it once for each record of a batch, not for repetitions.
    pub fn offer(&mut self, record: &Record, epoch: &Epoch, now: Instant) {
        let Some(topic) = record.facts().marks.topic.clone().filter(|_| record.is_first()) else { return };
        if now.saturating_duration_since(record.facts().at) > self.max_age {
            self.counts.stale += 1;
            return;
        }
        let at_ms = epoch.unix_ms(record.facts().at);
        let id = match &record.facts().marks.event_id {
            Some(own) => own.to_string(),
            None => weak_id(&topic, record, at_ms),
        };
        if !self.learn(format!("{topic} {id}")) {
            self.counts.repeated += 1;
            return;
        }
        let Some(payload) = self.payload(record, &id, at_ms) else {
            self.counts.clash += 1;
            return;
        };
        if self.bytes + payload.len() > QUEUE_BYTES_MAX {
            self.counts.queue_full += 1;
            return;
        }
        self.bytes += payload.len();
        let facts = record.facts();
        let recipients = record.keys().count();
        self.queue.push_back(Event {
            topic,
            event: facts.kind.clone(),
            id,
            payload,
            at: facts.at,
            recipients,
        });
    }

    /// A record goes to the disk: when it comes back, it is the past.
    pub fn divert(&mut self, record: &Record) {
        if record.facts().marks.topic.is_some() && record.is_first() {
            self.counts.diverted += 1;
        }
    }

    /// The next event that is still young enough, in order.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Event> {
        loop {
            let event = self.queue.pop_front()?;
            self.bytes -= event.payload.len();
            if now.saturating_duration_since(event.at) > self.max_age {
                self.counts.stale += 1;
                continue;
            }
            self.counts.sent += 1;
            self.counts.sent_bytes += event.payload.len() as u64;
            self.counts.recipients += event.recipients as u64;
            return Some(event);
        }
    }

    /// Events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Figures since the start.
    #[must_use]
    pub const fn counts(&self) -> EventCounts {
        self.counts
    }

    /// Remembers an id; whether it is new.
    fn learn(&mut self, id: String) -> bool {
        if !self.known.insert(id.clone()) {
            return false;
        }
        self.recent.push_back(id);
        if self.recent.len() > RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// The original object with our fields at its end; anything else under `data`.
    fn payload(&self, record: &Record, id: &str, at_ms: u64) -> Option<Bytes> {
        let body = record.whole();
        let metadata = format!(
            "\"{METADATA_KEY}\":{{\"v\":1,\"id\":{},\"src\":{},\"at\":{at_ms},\"redacted\":{}}}}}",
            escape(id),
            escape(&self.src),
            record.facts().redacted
        );
        let text = std::str::from_utf8(body).ok();
        let document = text.map(str::trim).filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let mut out = match (document, text) {
            (Some(object), _) if object.starts_with('{') => {
                if object.contains(METADATA_KEY) {
                    return None;
                }
                let inside = object.strip_suffix('}')?.trim_end();
                let comma = if inside.len() > 1 { "," } else { "" };
                format!("{inside}{comma}")
            }
            (Some(other), _) => format!("{{\"data\":{other},"),
            (None, Some(text)) => format!("{{\"data\":{},", escape(text)),
            (None, None) => format!("{{\"data\":\"{}\",\"enc\":\"base64\",", STANDARD.encode(body)),
        };
        out.push_str(&metadata);
        Some(out.into())
    }
}

/// Names topic, type, bytes and ten seconds: two pods that see the same broadcast give it the same id, unless it falls
/// on the edge of a slot.
fn weak_id(topic: &str, record: &Record, at_ms: u64) -> String {
    let hash = Sha256::new()
        .chain_update(topic)
        .chain_update([0])
        .chain_update(record.facts().kind.as_bytes())
        .chain_update([0])
        .chain_update((at_ms / SLOT_MS).to_be_bytes())
        .chain_update(record.whole());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
