//! The HTTP broadcast sink's machine: broadcasts to topics that nobody joined beforehand, one request at a time.
//! Objects travel in batches, anything else alone. A 202 says that the request was read, not that anybody heard it:
//! what our own subscription reads back is confirmed by that, published again if it does not come, and `unconfirmed`
//! in the end; the rest is `acked_only`.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::Reply;
use super::pace::{Backoff, Pace};
use crate::budget::Lease;
use crate::ledger::{Entry, Proof, Shed};
use crate::realtime::http::{self, Next, Outgoing, Post, Refused};
use crate::realtime::key::ApiKey;
use crate::realtime::message::Encoding;
use crate::realtime::url::Endpoint;

/// Messages of one request, at most.
pub const BATCH_MAX: usize = 100;
/// Accepted and not read back for so long: published again.
pub const READBACK_WITHIN: Duration = Duration::from_secs(10);
/// Transmissions of a message that is read back, at most: the first and three more.
pub const ATTEMPTS_MAX: u8 = 4;
/// The server's rate windows are a second and a minute: coming back sooner only costs.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// A broadcast on its way.
pub struct Parcel {
    /// What to publish. Its `id` names it in read-backs.
    pub message: Outgoing,
    /// The ledger's token, where this is the message's way into Realtime.
    pub entry: Option<Entry>,
    /// Whether our own subscription hears this topic.
    pub readback: bool,
    /// Pays for its bytes.
    pub lease: Lease,
    /// Not sent any more after this; `None` waits as long as it takes.
    until: Option<Instant>,
    attempts: u8,
}

impl Parcel {
    /// A broadcast that has not been tried. Without an id it cannot be told from others, so it is not read back.
    #[must_use]
    pub fn new(message: Outgoing, entry: Option<Entry>, readback: bool, lease: Lease) -> Self {
        let readback = readback && message.id.is_some();
        Self { message, entry, readback, lease, until: None, attempts: 0 }
    }

    /// Says when it is too old for a live topic.
    #[must_use]
    pub const fn until(mut self, at: Instant) -> Self {
        self.until = Some(at);
        self
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.until.is_some_and(|at| at < now)
    }

    /// In a batch only objects are taken.
    fn is_object(&self) -> bool {
        self.message.payload.trim_ascii_start().starts_with(b"{") && self.is_json()
    }

    fn is_json(&self) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(&self.message.payload).is_ok()
    }

    fn shed(self, why: Shed) {
        if let Some(entry) = self.entry {
            entry.shed(why);
        }
    }

    fn confirm(self, how: Proof) {
        if let Some(entry) = self.entry {
            entry.confirm(how);
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parcel({} bytes, attempt {})", self.message.payload.len(), self.attempts)
    }
}

/// What became of messages, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Read back.
    pub confirmed: u64,
    /// Accepted where nobody reads back.
    pub acked_only: u64,
    /// Accepted [`ATTEMPTS_MAX`] times and never read back.
    pub unconfirmed: u64,
    /// Refused for good, or too large.
    pub refused: u64,
    /// Too old before it could be sent.
    pub stale: u64,
    /// Given up at the end of the process.
    pub abandoned: u64,
    /// Requests.
    pub requests: u64,
}

/// See the module.
pub struct BroadcastSink {
    endpoint: Endpoint,
    key: ApiKey,
    limit_bytes: usize,
    queue: VecDeque<Parcel>,
    again: VecDeque<Vec<Parcel>>,
    in_flight: Option<(Vec<Parcel>, bool)>,
    accepted: VecDeque<(Parcel, Instant)>,
    /// The server knows the single form (2.97 and later).
    single: bool,
    pace: Pace,
    backoff: Backoff,
    wait_until: Option<Instant>,
    state: Option<Refused>,
    counts: Counts,
}

/// How much a broadcast sink may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages a second.
    pub rate: u32,
    /// Payload bytes of one request.
    pub bytes: usize,
}

impl BroadcastSink {
    /// A sink for this project. `seed` is for jitter.
    #[must_use]
    pub fn new(endpoint: Endpoint, key: ApiKey, limits: Limits, seed: u64, now: Instant) -> Self {
        Self {
            endpoint,
            key,
            limit_bytes: limits.bytes,
            queue: VecDeque::new(),
            again: VecDeque::new(),
            in_flight: None,
            accepted: VecDeque::new(),
            single: true,
            pace: Pace::new(limits.rate, now),
            backoff: Backoff::new(seed),
            wait_until: None,
            state: None,
            counts: Counts::default(),
        }
    }

    /// Takes a message. It is bounded by the budget that pays for it.
    pub fn push(&mut self, parcel: Parcel) {
        self.queue.push_back(parcel);
    }

    /// A new key, after the old one was refused.
    pub fn renew_key(&mut self, key: ApiKey) {
        self.key = key;
        self.wait_until = None;
    }

    /// The next request. The answer goes to [`handle_reply`](Self::handle_reply).
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Post> {
        self.drop_stale(now);
        if self.in_flight.is_some() || self.wait_until.is_some_and(|at| now < at) {
            return None;
        }
        self.wait_until = None;
        loop {
            let mut piece = match self.again.pop_front() {
                Some(piece) => piece,
                None => self.next_piece(now)?,
            };
            let alone = match piece.as_slice() {
                [one] => !one.is_object() || (self.single && one.message.private && !one.readback),
                _ => false,
            };
            let post = match piece.first() {
                Some(one) if alone => {
                    let encoding = if one.is_json() { Encoding::Json } else { Encoding::Bytes };
                    self.single.then(|| http::single(&self.endpoint, &self.key, &one.message, encoding))
                }
                _ => {
                    let messages: Vec<Outgoing> = piece.iter().map(|one| one.message.clone()).collect();
                    http::batch(&self.endpoint, &self.key, &messages).ok()
                }
            };
            let Some(post) = post else {
                // Not an object, and the server knows no other form.
                self.counts.refused += piece.len() as u64;
                piece.drain(..).for_each(|one| one.shed(Shed::Refused));
                continue;
            };
            piece.iter_mut().for_each(|one| one.attempts = one.attempts.saturating_add(1));
            self.counts.requests += 1;
            self.in_flight = Some((piece, alone));
            return Some(post);
        }
    }

    /// Nobody may mistake the past for the present, however long the server was away.
    fn drop_stale(&mut self, now: Instant) {
        let mut stale = Vec::new();
        for piece in &mut self.again {
            stale.extend(piece.extract_if(.., |one| one.is_stale(now)));
        }
        self.again.retain(|piece| !piece.is_empty());
        // They came in order, and live equally long.
        while let Some(one) = self.queue.pop_front_if(|one| one.is_stale(now)) {
            stale.push(one);
        }
        self.counts.stale += stale.len() as u64;
        stale.into_iter().for_each(|one| one.shed(Shed::Disconnected));
    }

    fn next_piece(&mut self, now: Instant) -> Option<Vec<Parcel>> {
        let free = self.pace.free(now).min(BATCH_MAX);
        if free == 0 || self.queue.is_empty() {
            return None;
        }
        let mut bytes = 0_usize;
        let limit = self.limit_bytes;
        let fits = |one: &&Parcel| {
            bytes = bytes.saturating_add(one.message.payload.len());
            bytes <= limit && one.is_object()
        };
        // Something that does not fit into a batch goes alone.
        let fit = self.queue.iter().take(free).take_while(fits).count().max(1);
        self.pace.take(fit);
        Some(self.queue.drain(..fit).collect())
    }

    /// Takes the answer to the request in flight. Returns what a person should hear of: the first refusal of its kind
    /// since the last success.
    pub fn handle_reply(&mut self, reply: &Reply, now: Instant) -> Option<Refused> {
        let (piece, alone) = self.in_flight.take()?;
        let (refused, asked) = match reply {
            Reply::Unknown => (None, None),
            Reply::Answer { status, retry_after, body } => match http::answer(*status, body) {
                Ok(()) => {
                    self.backoff.reset();
                    self.state = None;
                    self.accept(piece, now);
                    return None;
                }
                Err(refused) => (Some(refused), *retry_after),
            },
        };
        match refused.map_or(Next::Retry, |refused| refused.next) {
            Next::UseBatch if alone => {
                self.single = false;
                self.again.push_front(piece);
            }
            Next::Split => self.divide(piece, Shed::TooLarge),
            Next::Drop => self.divide(piece, Shed::Refused),
            Next::SlowDown => self.later(piece, Some(asked.unwrap_or(SLOW_DOWN)), now),
            Next::Refresh | Next::Stop | Next::UseBatch | Next::Retry => self.later(piece, asked, now),
        }
        let news =
            refused.filter(|refused| matches!(refused.next, Next::Refresh | Next::Stop | Next::SlowDown));
        let fresh = news.filter(|refused| self.state != Some(*refused));
        self.state = refused.or(self.state);
        fresh
    }

    fn accept(&mut self, piece: Vec<Parcel>, now: Instant) {
        for one in piece {
            if one.readback {
                self.accepted.push_back((one, now));
            } else {
                self.counts.acked_only += 1;
                one.confirm(Proof::AckedOnly);
            }
        }
    }

    fn later(&mut self, piece: Vec<Parcel>, asked: Option<Duration>, now: Instant) {
        self.wait_until = Some(now + self.backoff.wait(asked));
        self.again.push_front(piece);
    }

    /// Halves what was refused; what is refused alone is given up.
    fn divide(&mut self, mut piece: Vec<Parcel>, why: Shed) {
        if piece.len() > 1 {
            let rest = piece.split_off(piece.len() / 2);
            self.again.push_front(rest);
            self.again.push_front(piece);
            return;
        }
        self.counts.refused += piece.len() as u64;
        piece.drain(..).for_each(|one| one.shed(why));
    }

    /// Our own subscription heard a broadcast with this `meta.id` on this topic. The server writes JSON anew, so
    /// contents are compared as values. Whether it was one of ours and unaltered.
    pub fn handle_readback(&mut self, topic: &str, id: &str, payload: &[u8]) -> bool {
        let named = |one: &Parcel| one.message.topic == topic && one.message.id.as_deref() == Some(id);
        let Some(place) = self.accepted.iter().position(|(one, _)| named(one)) else { return false };
        let Some((one, _)) = self.accepted.get(place) else { return false };
        let same = serde_json::from_slice::<serde_json::Value>(payload).is_ok_and(|got| {
            serde_json::from_slice(&one.message.payload).is_ok_and(|sent: serde_json::Value| sent == got)
        });
        if same && let Some((one, _)) = self.accepted.remove(place) {
            self.counts.confirmed += 1;
            one.confirm(Proof::ReadBack);
        }
        same
    }

    /// Publishes again what was accepted and did not come back.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((one, _)) = self.accepted.pop_front_if(|(_, since)| *since + READBACK_WITHIN <= now) {
            if one.attempts < ATTEMPTS_MAX {
                self.again.push_back(vec![one]);
            } else {
                self.counts.unconfirmed += 1;
                one.shed(Shed::Unconfirmed);
            }
        }
    }

    /// When there is something to do that nothing else would wake us for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let back = self.accepted.front().map(|(_, since)| *since + READBACK_WITHIN);
        let idle = self.in_flight.is_some() || (self.queue.is_empty() && self.again.is_empty());
        let pace = if self.again.is_empty() { Some(self.pace.next_at()) } else { None };
        let send = if idle { None } else { self.wait_until.into_iter().chain(pace).max() };
        back.into_iter().chain(send).min()
    }

    /// Whether every message has been settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.again.is_empty() && self.in_flight.is_none() && self.accepted.is_empty()
    }

    /// Gives up what is left.
    pub fn abandon(&mut self) {
        let flying = self.in_flight.take().map(|(piece, _)| piece).unwrap_or_default();
        let again = self.again.drain(..).flatten();
        let accepted = self.accepted.drain(..).map(|(one, _)| one);
        for one in self.queue.drain(..).chain(again).chain(flying).chain(accepted) {
            self.counts.abandoned += 1;
            one.shed(Shed::Shutdown);
        }
    }

    /// The figures.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

impl fmt::Debug for BroadcastSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BroadcastSink({} waiting, {} accepted)", self.queue.len(), self.accepted.len())
    }
}
