//! One message that came back, or did not, and what it is called. The books that this reads are [`pairing`](super::pairing)'s.

use std::time::Instant;

use ulid::Ulid;

use super::noise::Judged;
use super::order::Place;
use super::pairing::{Batch, GONE_MAX, LATENESS, Sent, TRY_EVERY, Validator, mark};
use super::samples::Finding;
use super::tally::Part;
use super::{Kind, NotCompared};
use crate::envelope::{Check, Envelope, Message, Received, To, crc32};
use crate::session::Key;

/// What follows from one partner found, or none.
impl Validator {
    pub(super) fn judge(
        &mut self,
        sent: &Sent,
        got: &Received<'_>,
        (batch, place, body): (&Batch, usize, Option<&[u8]>),
        now: Instant,
    ) {
        self.waiting = self.waiting.saturating_sub(sent.keys.len());
        if self.records.is_multiple_of(TRY_EVERY) && !self.noise.is_empty() {
            self.noise.try_on(&sent.event, &got.message.body);
        }
        let took = now.saturating_duration_since(batch.since);
        let (same, differs) = self.is_same(sent, got, body);
        let once = batch.transmissions == 1;
        if same && once {
            self.book.minute.realtime.record(took);
            self.book.minute.behind.record(now.saturating_duration_since(sent.at));
        }
        let spot: Place = (batch.no, u32::try_from(place).unwrap_or(u32::MAX));
        let late = took > LATENESS;
        for key in &sent.keys {
            let overtaken = self.order.overtaken(*key, spot, now) && once && self.looks_at_order();
            let kind = match () {
                () if !same => Kind::Altered,
                () if late && self.looks_at_clock() => Kind::Late,
                () if overtaken => Kind::Reordered,
                () => Kind::Matched,
            };
            self.count(kind, 1);
            self.part(sent, kind, 1);
            if kind == Kind::Reordered {
                self.sample(sent, (kind, *key, 1), (body, Some(&got.message.body)), (Vec::new(), now));
            }
        }
        if !once && same {
            self.book.minute.repeated += sent.keys.len() as u64;
        }
        if let Some(key) = sent.keys.first().filter(|_| !same) {
            let all = sent.keys.len() as u64;
            self.sample(sent, (Kind::Altered, *key, all), (body, Some(&got.message.body)), (differs, now));
        }
    }

    /// Whether what came is what was sent, by its bytes or by the noise rules, and where it differs.
    fn is_same(&mut self, sent: &Sent, got: &Received<'_>, body: Option<&[u8]>) -> (bool, Vec<String>) {
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::TrustBytes) {
            return (true, Vec::new());
        }
        let message = &got.message;
        let around = same_list(sent, message)
            && (message.op, message.class, message.redacted) == (sent.op, sent.class, sent.redacted)
            && message.part == sent.part
            && mark(&message.kind, &message.path) == sent.mark;
        let bytes = got.check == Check::Verified
            && message.crc == sent.crc
            && message.body.len() as u64 == u64::from(sent.len);
        if bytes || !around {
            return (bytes && around, Vec::new());
        }
        match body.map(|body| self.noise.judge(&sent.event, body, &message.body)) {
            Some(Judged::Same) if crc32(&message.body) != sent.crc => {
                self.book.minute.by_noise += sent.keys.len() as u64;
                (true, Vec::new())
            }
            Some(Judged::Differs(places)) => (false, places),
            _ => (false, Vec::new()),
        }
    }

    /// One more copy than was published.
    pub(super) fn judge_copy(&mut self, envelope: &Envelope<'_>, now: Instant) {
        for got in &envelope.messages {
            self.alone(Kind::Duplicate, got, now);
        }
    }

    pub(super) fn judge_extra(&mut self, got: &Received<'_>, now: Instant) {
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::PassStrangers) {
            return;
        }
        self.alone(Kind::Extra, got, now);
    }

    /// What has no partner.
    fn alone(&mut self, kind: Kind, got: &Received<'_>, now: Instant) {
        let message = &got.message;
        let messages = message.to.len() as u64;
        self.count(kind, messages);
        let Some(To(session, seq)) = message.to.first().copied() else { return };
        let finding = Finding {
            kind,
            key: Key { session, dir: message.dir, seq },
            event: &message.kind,
            class: message.class,
            op: message.op,
            messages,
            sent: (None, None),
            got: Some(&message.body),
        };
        self.samples.add(&finding, Vec::new(), self.unix_ms(now));
    }

    /// A broadcast under a name that is not ours, or not any more.
    pub(super) fn stranger(&mut self, envelope: &Envelope<'_>, now: Instant) {
        let messages: u64 = envelope.messages.iter().map(|got| got.message.to.len() as u64).sum();
        self.fresh = true;
        let ours = *envelope.header.src == *self.src;
        if ours && self.rename(envelope, now) {
            return;
        }
        let forgetful = if ours {
            self.forgetful_until.is_some_and(|until| now < until)
        } else {
            now < self.young_until && pod(&envelope.header.src) == pod(&self.src)
        };
        let why = if envelope.header.replay {
            Some(NotCompared::Replay)
        } else if self.gone.contains(&envelope.header.batch) || forgetful {
            Some(NotCompared::Stale)
        } else {
            None
        };
        match why {
            Some(why) => self.book.minute.not_compared[why as usize] += messages,
            None => envelope.messages.iter().for_each(|got| self.judge_extra(got, now)),
        }
    }

    /// A batch that waits, whole, under another name: its name was altered on the way.
    fn rename(&mut self, envelope: &Envelope<'_>, now: Instant) -> bool {
        let lists: Vec<&[To]> = envelope.messages.iter().map(|got| &*got.message.to).collect();
        let fits = |batch: &Batch| {
            batch.waiting.len() == lists.len()
                && batch
                    .waiting
                    .iter()
                    .zip(&lists)
                    .all(|(sent, list)| sent.as_ref().is_some_and(|sent| same_keys(&sent.keys, list)))
        };
        let found =
            self.batches.iter().find(|(_, batch)| !lists.is_empty() && fits(batch)).map(|(id, _)| *id);
        let Some(mut batch) = found.and_then(|id| self.batches.remove(&id)) else { return false };
        batch.arrivals += 1;
        self.look_at(&batch);
        for (sent, got) in std::mem::take(&mut batch.waiting).into_iter().flatten().zip(&envelope.messages) {
            self.waiting = self.waiting.saturating_sub(sent.keys.len());
            let all = sent.keys.len() as u64;
            self.count(Kind::Altered, all);
            self.part(&sent, Kind::Altered, all);
            if let Some(key) = sent.keys.first() {
                let what = (Kind::Altered, *key, all);
                self.sample(&sent, what, (None, Some(&got.message.body)), (Vec::new(), now));
            }
        }
        if let Some(id) = found {
            self.batches.insert(id, batch);
        }
        true
    }

    /// A minute is over.
    pub(super) fn expire(&mut self, id: Ulid, batch: Batch, now: Instant) {
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(id);
        self.look_at(&batch);
        for sent in batch.waiting.into_iter().flatten() {
            let all = sent.keys.len() as u64;
            self.waiting = self.waiting.saturating_sub(sent.keys.len());
            if batch.gap {
                self.leave_out(&sent, NotCompared::Gap);
                continue;
            }
            #[cfg(test)]
            if self.sabotage == Some(super::Sabotage::ForgetMissing) {
                continue;
            }
            self.count(Kind::Missing, all);
            self.part(&sent, Kind::Missing, all);
            if let Some(key) = sent.keys.first() {
                self.sample(&sent, (Kind::Missing, *key, all), (None, None), (Vec::new(), now));
            }
        }
    }

    fn part(&mut self, sent: &Sent, kind: Kind, messages: u64) {
        let bad = if kind.is_mismatch() { messages } else { 0 };
        let part = Part { pairs: messages, bad, not_compared: 0 };
        self.book.minute.part(sent.class, sent.len, &sent.event, part);
    }

    fn sample(
        &mut self,
        sent: &Sent,
        (kind, key, messages): (Kind, Key, u64),
        (body, got): (Option<&[u8]>, Option<&[u8]>),
        (differs, now): (Vec<String>, Instant),
    ) {
        let finding = Finding {
            kind,
            key,
            event: &sent.event,
            class: sent.class,
            op: sent.op,
            messages,
            sent: (Some(u64::from(sent.len)), body),
            got,
        };
        self.samples.add(&finding, differs, self.unix_ms(now));
    }

    #[cfg(not(test))]
    pub(super) const fn forgives(&self) -> bool {
        false
    }

    #[cfg(not(test))]
    const fn looks_at_order(&self) -> bool {
        true
    }

    #[cfg(not(test))]
    const fn looks_at_clock(&self) -> bool {
        true
    }

    #[cfg(test)]
    pub(super) fn forgives(&self) -> bool {
        self.sabotage == Some(super::Sabotage::ForgiveCopies)
    }

    #[cfg(test)]
    fn looks_at_order(&self) -> bool {
        self.sabotage != Some(super::Sabotage::ForgetOrder)
    }

    #[cfg(test)]
    fn looks_at_clock(&self) -> bool {
        self.sabotage != Some(super::Sabotage::ForgetClock)
    }
}

/// The pod in a process's name: all but the random part at the end.
fn pod(src: &str) -> &str {
    src.rsplit_once('-').map_or(src, |(pod, _)| pod)
}

/// The record that a message that came back stands for: the one with its list, else the one at its place.
pub(super) fn partner(
    waiting: &[Option<Sent>],
    place: usize,
    got: &Message<'_>,
    same_count: bool,
) -> Option<usize> {
    let fits = |sent: &Option<Sent>| sent.as_ref().is_some_and(|sent| same_list(sent, got));
    if waiting.get(place).is_some_and(fits) {
        return Some(place);
    }
    waiting.iter().position(fits).or_else(|| {
        // Something that was judged already has its place taken by nobody.
        (same_count && waiting.get(place).is_some()).then_some(place)
    })
}

fn same_list(sent: &Sent, got: &Message<'_>) -> bool {
    sent.keys.first().is_some_and(|key| key.dir == got.dir) && same_keys(&sent.keys, &got.to)
}

fn same_keys(keys: &[Key], list: &[To]) -> bool {
    keys.len() == list.len() && keys.iter().zip(list).all(|(key, to)| (key.session, key.seq) == (to.0, to.1))
}
