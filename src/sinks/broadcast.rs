//! The HTTP broadcast sink's machine: broadcasts to topics that nobody joined beforehand, one request at a time.
//! Objects travel in batches, anything else alone. A 202 says that the request was read, not that anybody heard it:
//! what our own subscription reads back is confirmed by that, published again if it does not come, and `unconfirmed`
//! in the end; the rest is `acked_only`.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::Reply;
use super::pace::{Backoff, Pace};
pub use super::parcel::Parcel;
use crate::ledger::{Proof, Shed};
use crate::realtime::http::{self, Next, Outgoing, Post, Refused};
use crate::realtime::key::ApiKey;
use crate::realtime::message::Encoding;
use crate::realtime::url::Endpoint;

/// Messages of one request, at most.
pub const BATCH_MAX: usize = 100;
/// Accepted and not read back for so long: published again. What lives shorter is given a quarter of its life, so that
/// all repetitions fall into it.
pub const READBACK_WITHIN: Duration = Duration::from_secs(10);
/// … and never less than this.
const READBACK_WITHIN_MIN: Duration = Duration::from_secs(1);
/// Transmissions of a message that is read back, at most: the first and three more.
pub const ATTEMPTS_MAX: u8 = 4;
/// Ends that may wait to be polled.
const ENDS_MAX: usize = 1024;
/// The server's rate windows are a second and a minute: coming back sooner only costs.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// What became of messages, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Read back.
    pub confirmed: u64,
    /// Accepted where nobody reads back.
    pub acked_only: u64,
    /// Accepted [`ATTEMPTS_MAX`] times, or until too old, and never read back; or accepted where we may not listen.
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
    readback_within: Duration,
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
    ends: VecDeque<(String, bool)>,
}

/// How much a broadcast sink may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages a second.
    pub rate: u32,
    /// Payload bytes of one request.
    pub bytes: usize,
    /// How long a message may live; `None` lives until it is settled.
    pub life: Option<Duration>,
}

impl BroadcastSink {
    /// A sink for this project. `seed` is for jitter.
    #[must_use]
    pub fn new(endpoint: Endpoint, key: ApiKey, limits: Limits, seed: u64, now: Instant) -> Self {
        let quarter = limits.life.map_or(READBACK_WITHIN, |life| life / u32::from(ATTEMPTS_MAX));
        Self {
            endpoint,
            key,
            limit_bytes: limits.bytes,
            readback_within: quarter.clamp(READBACK_WITHIN_MIN, READBACK_WITHIN),
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
            ends: VecDeque::new(),
        }
    }

    /// What became of a message on its topic, good or bad, oldest first. What says nothing about the topic (too large,
    /// too old, a key, a limit, an outage of the server) is not told. For who polls: the oldest of
    /// `ENDS_MAX` gives way.
    pub fn poll_end(&mut self) -> Option<(String, bool)> {
        self.ends.pop_front()
    }

    fn ended(&mut self, one: &Parcel, good: bool) {
        if self.ends.len() >= ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back((one.message.topic.clone(), good));
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
        if self.queue.iter().any(|one| one.is_stale(now)) {
            let (old, young) = self.queue.drain(..).partition::<Vec<_>, _>(|one| one.is_stale(now));
            stale.extend(old);
            self.queue = young.into();
        }
        for one in stale {
            self.give_up(one);
        }
    }

    /// Too old for another transmission.
    fn give_up(&mut self, one: Parcel) {
        if one.taken {
            // Where we may not listen, that says nothing about the topic.
            if !one.blind {
                self.ended(&one, false);
            }
            self.counts.unconfirmed += 1;
            one.shed(Shed::Unconfirmed);
        } else {
            self.counts.stale += 1;
            one.shed(Shed::Disconnected);
        }
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
        let (mut piece, alone) = self.in_flight.take()?;
        // What was heard is there, whatever the answer says.
        let heard: Vec<Parcel> = piece.extract_if(.., |one| one.heard).collect();
        heard.into_iter().for_each(|one| self.confirm(one));
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
                self.first_again(piece);
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
        for mut one in piece {
            one.taken = true;
            if one.readback {
                self.accepted.push_back((one, now));
            } else if one.blind {
                self.give_up(one);
            } else {
                self.ended(&one, true);
                self.counts.acked_only += 1;
                one.confirm(Proof::AckedOnly);
            }
        }
    }

    fn later(&mut self, piece: Vec<Parcel>, asked: Option<Duration>, now: Instant) {
        self.wait_until = Some(now + self.backoff.wait(asked));
        self.first_again(piece);
    }

    fn first_again(&mut self, piece: Vec<Parcel>) {
        if !piece.is_empty() {
            self.again.push_front(piece);
        }
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
        if why == Shed::Refused {
            piece.iter().for_each(|one| self.ended(one, false));
        }
        piece.drain(..).for_each(|one| one.shed(why));
    }

    /// Our own subscription heard a broadcast with this id on this topic, maybe before the request was answered. The
    /// server writes JSON anew, so contents are compared as values. Whether it was one of ours and unaltered.
    pub fn handle_readback(&mut self, topic: &str, id: &str, payload: &[u8]) -> bool {
        let ours = |one: &Parcel| one.is(topic, id, payload);
        if let Some(place) = self.accepted.iter().position(|(one, _)| ours(one)) {
            let found = self.accepted.remove(place);
            found.into_iter().for_each(|(one, _)| self.confirm(one));
            return true;
        }
        let mut flying = self.in_flight.iter_mut().flat_map(|(piece, _)| piece);
        if let Some(one) = flying.find(|one| ours(one)) {
            one.heard = true;
            return true;
        }
        let again = self.again.iter_mut().find_map(|piece| {
            let place = piece.iter().position(ours)?;
            Some(piece.remove(place))
        });
        self.again.retain(|piece| !piece.is_empty());
        let was_ours = again.is_some();
        again.into_iter().for_each(|one| self.confirm(one));
        was_ours
    }

    fn confirm(&mut self, one: Parcel) {
        self.ended(&one, true);
        self.counts.confirmed += 1;
        one.confirm(Proof::ReadBack);
    }

    /// Our own subscription does not hear this topic any more: what was taken stays taken, and nothing is proved.
    pub fn handle_deaf(&mut self, topic: &str) {
        let flying = self.in_flight.iter_mut().flat_map(|(piece, _)| piece);
        let waiting = self.queue.iter_mut().chain(self.again.iter_mut().flatten()).chain(flying);
        waiting.filter(|one| one.message.topic == topic).for_each(|one| one.readback = false);
        let (gone, rest) =
            self.accepted.drain(..).partition::<Vec<_>, _>(|(one, _)| one.message.topic == topic);
        self.accepted = rest.into();
        self.counts.acked_only += gone.len() as u64;
        gone.into_iter().for_each(|(one, _)| one.confirm(Proof::AckedOnly));
    }

    /// Publishes again what was accepted and did not come back, while it is young enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        let within = self.readback_within;
        while let Some((one, _)) = self.accepted.pop_front_if(|(_, since)| *since + within <= now) {
            if one.attempts < ATTEMPTS_MAX && !one.is_stale(now) {
                self.again.push_back(vec![one]);
            } else {
                self.give_up(one);
            }
        }
    }

    /// When there is something to do that nothing else would wake us for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let back = self.accepted.front().map(|(_, since)| *since + self.readback_within);
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
