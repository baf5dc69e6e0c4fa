//! Publishes batches and believes only what comes back: a machine that owns neither socket nor clock.
//!
//! After any call, poll [`poll_transmit`](Publisher::poll_transmit) and [`poll_event`](Publisher::poll_event)
//! until they give nothing, and [`poll_timeout`](Publisher::poll_timeout) once. Spurious calls are harmless.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ulid::Ulid;

use super::batch::Batch;
use super::batch_id::BatchIds;
pub use super::flight::Epoch;
use super::flight::{Compared, Content, Flight, State};
use super::report::{Ack, Cause, PubEvent, Push, Refusal, Returned, Sample, StoredEnd, Waiting};
use super::settings::Settings;
use super::tally::Tally;
use crate::envelope::Envelope;
use crate::ledger::{Proof, Shed};

/// Pushes that may be unacknowledged at once; while they are, the next batch grows.
pub const IN_FLIGHT_MAX: usize = 4;
/// Batches that may be unsettled at once. At the limit there is no free slot, so the batcher fills and refuses.
pub const FLIGHTS_MAX: usize = 256;
/// How often a batch is published again before its messages are `unconfirmed`.
pub const REPUBLISH_MAX: u8 = 3;
/// Settled batches that are remembered, to tell a duplicate read-back from an unknown one.
const RECENT_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    Down { since: Instant },
}

/// The machine. Starts without a link. Drop it only empty: see [`abandon`](Self::abandon).
#[derive(Debug)]
pub struct Publisher {
    pub(super) settings: Settings,
    pub(super) epoch: Epoch,
    pub(super) ids: BatchIds,
    link: Link,
    /// In the order of submission.
    pub(super) flights: VecDeque<Flight>,
    /// Given up, and why; the spool's if it fetches them.
    pub(super) given: VecDeque<(Flight, Shed)>,
    recent: VecDeque<Ulid>,
    pub(super) events: VecDeque<PubEvent>,
    last_readback: Option<Instant>,
    pub(super) tally: Tally,
    #[cfg(test)]
    pub(crate) sabotage: Option<super::Sabotage>,
}

impl Publisher {
    /// A publisher without a link; `epoch` is the wall-clock time of the start.
    #[must_use]
    pub fn new(settings: Settings, epoch: Epoch) -> Self {
        Self {
            ids: BatchIds::new(settings.seed),
            settings,
            epoch,
            link: Link::Down { since: epoch.at },
            flights: VecDeque::new(),
            given: VecDeque::new(),
            recent: VecDeque::new(),
            events: VecDeque::new(),
            last_readback: None,
            tally: Tally::default(),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// Sets the wall clock anew, for clocks drift apart over weeks.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// How many batches may be submitted now. Submitting more is safe but lets them wait here.
    #[must_use]
    pub fn slots_free(&self) -> usize {
        if self.link != Link::Up {
            return 0;
        }
        let unsent = self.flights.iter().filter(|flight| flight.state != State::Accepted).count();
        IN_FLIGHT_MAX.saturating_sub(unsent).min(FLIGHTS_MAX.saturating_sub(self.flights.len()))
    }

    /// Takes a batch on; its name.
    pub fn submit(&mut self, batch: Batch, now: Instant) -> Ulid {
        let at_ms = self.epoch.unix_ms(now);
        let id = self.ids.next(at_ms);
        self.flights.push_back(Flight::new(id, Content::Live(batch), at_ms, now));
        id
    }

    /// The next broadcast to send, in order of submission, at most [`IN_FLIGHT_MAX`] unacknowledged.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Push> {
        let unacked = self.flights.iter().filter(|flight| matches!(flight.state, State::Sent { .. })).count();
        if self.link != Link::Up || unacked >= IN_FLIGHT_MAX {
            return None;
        }
        let flight = self.flights.iter_mut().find(|flight| flight.state == State::Queued)?;
        flight.enter(State::Sent { written: false }, now);
        flight.attempt += 1;
        flight.first_sent.get_or_insert(now);
        self.tally.republished += u64::from(flight.attempt > 1);
        let body = flight.encode(&self.settings.src, &self.epoch);
        #[cfg(test)]
        let body = super::Sabotage::maim(self.sabotage, body);
        Some(Push { batch: flight.id, attempt: flight.attempt, body })
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to give.
    #[must_use]
    pub fn wants_to_transmit(&self) -> bool {
        let unacked = self.flights.iter().filter(|flight| matches!(flight.state, State::Sent { .. })).count();
        let queued = self.flights.iter().any(|flight| flight.state == State::Queued);
        self.link == Link::Up && unacked < IN_FLIGHT_MAX && queued
    }

    /// The link's socket took the push: from now on losing the link may have lost it.
    pub fn handle_sent(&mut self, batch: Ulid) {
        if let Some(flight) = self.flight_mut(batch)
            && let State::Sent { written } = &mut flight.state
        {
            *written = true;
        }
    }

    /// Realtime's answer to a push.
    pub fn handle_ack(&mut self, batch: Ulid, ack: Ack, now: Instant) {
        let Some(flight) = self.flight_mut(batch).filter(|flight| matches!(flight.state, State::Sent { .. }))
        else {
            return;
        };
        match ack {
            Ack::Ok => {
                flight.enter(State::Accepted, now);
                #[cfg(test)]
                if self.sabotage == Some(super::Sabotage::SettleOnAck) {
                    self.settle_acked(batch, Proof::ReadBack, now);
                }
                if !self.settings.readback {
                    self.settle_acked(batch, Proof::AckedOnly, now);
                }
            }
            Ack::Timeout => {
                self.sample(batch, Sample::Bad(Cause::Timeout));
                self.retry(batch, now);
            }
            Ack::Refused(Refusal::NotJoined) => self.handle_link_down(now),
            Ack::Refused(Refusal::TooLarge) => {
                self.sample(batch, Sample::Excluded(Cause::TooLarge));
                self.give_up(batch, Shed::TooLarge);
            }
            Ack::Refused(Refusal::Other) => {
                self.sample(batch, Sample::Bad(Cause::Refused));
                self.give_up(batch, Shed::Refused);
            }
        }
    }

    /// A broadcast of event `messages` on our own topic, decoded.
    pub fn handle_envelope(&mut self, envelope: Envelope<'_>, now: Instant) {
        let batch = envelope.header.batch;
        let ours = *envelope.header.src == *self.settings.src;
        #[cfg(test)]
        let envelope = super::Sabotage::trust(self.sabotage, envelope);
        let flight = self.flights.iter_mut().find(|flight| flight.id == batch && flight.attempt > 0);
        // What an earlier process of this pod has stored carries the name of that process.
        let Some(flight) = flight.filter(|flight| ours || flight.is_stored()) else {
            let known = (ours || envelope.header.replay) && self.recent.contains(&batch);
            *(if known { &mut self.tally.duplicate } else { &mut self.tally.unknown }) += 1;
            return;
        };
        self.last_readback = Some(now);
        let compared = flight.compare(&envelope);
        if !flight.is_settled() && flight.state != State::Queued {
            // Delivered, if not as sent: that is an answer too, and a repetition may still bring the right bytes.
            flight.enter(State::Accepted, now);
        }
        self.returned(batch, &compared, now);
    }

    /// Both sockets are joined: publishing and reading back.
    pub fn handle_link_up(&mut self, _now: Instant) {
        self.link = Link::Up;
    }

    /// Publishing or reading back is interrupted: whatever was sent and is not settled may be lost, so it is
    /// published again once the link is back.
    pub fn handle_link_down(&mut self, now: Instant) {
        if self.link != Link::Up {
            return;
        }
        self.link = Link::Down { since: now };
        for flight in &mut self.flights {
            if flight.state == (State::Sent { written: false }) {
                flight.enter(State::Queued, now);
                flight.attempt -= 1;
                flight.first_sent = flight.first_sent.filter(|_| flight.attempt > 0);
            }
        }
        for batch in self.matching(|flight| flight.state != State::Queued) {
            self.sample(batch, Sample::Bad(Cause::LinkLost));
            self.retry(batch, now);
        }
    }

    /// Whether what cannot be published is given away instead of shed.
    pub const fn set_spools(&mut self, spools: bool) {
        self.settings.spools = spools;
    }

    /// Settles everything as lost: the breaker has opened or the process ends. Late read-backs are duplicates.
    pub fn abandon(&mut self, why: Shed) {
        for batch in self.matching(|_| true) {
            self.give_up(batch, why);
        }
    }

    /// What happened since it was last asked. At most two events per message and three per batch can wait, for
    /// batches that [`slots_free`](Self::slots_free) has bounded.
    pub fn poll_event(&mut self) -> Option<PubEvent> {
        self.events.pop_front()
    }

    /// Deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.disconnected_at().is_some_and(|at| at <= now) {
            for batch in self.matching(|flight| flight.state == State::Queued) {
                self.give_up(batch, Shed::Disconnected);
            }
        }
        let deadline = self.settings.deadline;
        for batch in self.matching(|flight| sample_at(flight, deadline).is_some_and(|at| at <= now)) {
            self.sample(batch, Sample::Bad(Cause::Timeout));
        }
        let within = self.settings.confirm_within;
        for batch in self.matching(|flight| confirm_at(flight, within).is_some_and(|at| at <= now)) {
            self.retry(batch, now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let flights = self.flights.iter();
        let (deadline, within) = (self.settings.deadline, self.settings.confirm_within);
        let due =
            flights.filter_map(|f| sample_at(f, deadline).into_iter().chain(confirm_at(f, within)).min());
        due.chain(self.disconnected_at()).min()
    }

    /// What waits for its read-back.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let sent = || self.flights.iter().filter(|flight| flight.state != State::Queued);
        let oldest = sent().map(|flight| flight.since).min();
        let quiet_since = oldest.map(|oldest| self.last_readback.map_or(oldest, |last| last.max(oldest)));
        Waiting { batches: sent().count(), quiet_since }
    }

    /// Batches that are not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether every batch is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// What came back against what was sent.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// What follows from what was handled.
impl Publisher {
    fn returned(&mut self, batch: Ulid, compared: &Compared, now: Instant) {
        self.tally.matched += compared.matched;
        self.tally.altered += compared.altered;
        for (key, matched) in &compared.returned {
            let proof = if *matched { Returned::Matched } else { Returned::Altered };
            self.events.push_back(PubEvent::Returned { key: *key, proof });
        }
        if compared.altered > 0 {
            self.sample(batch, Sample::Bad(Cause::Altered));
            return;
        }
        let Some(flight) = self.remove(batch) else { return };
        if flight.is_stored() {
            self.events.push_back(PubEvent::Stored { batch, end: StoredEnd::Arrived });
        } else if flight.copied {
            self.events.push_back(PubEvent::Settled { batch });
        }
        let rtt = flight.first_sent.map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent));
        self.tally.latency.record(rtt);
        flight.passed().for_each(|at| self.tally.leg.record(now.saturating_duration_since(at)));
        let late = rtt > self.settings.deadline;
        if flight.sampled || late || flight.attempt > 1 {
            self.tally.late += 1;
            self.events.push_back(PubEvent::Late { batch, rtt });
        }
        if !flight.sampled {
            let sample = if late { Sample::Bad(Cause::Timeout) } else { Sample::Good { rtt } };
            self.events.push_back(PubEvent::Outcome { batch, sample });
        }
    }

    fn settle_acked(&mut self, batch: Ulid, how: Proof, now: Instant) {
        if let Some(compared) = self.flight_mut(batch).map(|flight| flight.settle_acked(how)) {
            self.returned(batch, &compared, now);
        }
    }

    pub(super) fn sample(&mut self, batch: Ulid, sample: Sample) {
        if let Some(flight) = self.flight_mut(batch)
            && !std::mem::replace(&mut flight.sampled, true)
        {
            self.events.push_back(PubEvent::Outcome { batch, sample });
        }
    }

    fn retry(&mut self, batch: Ulid, now: Instant) {
        #[cfg(test)]
        let other_id = self.ids.next(self.epoch.unix_ms(now));
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == batch) else { return };
        if flight.attempt <= REPUBLISH_MAX {
            flight.enter(State::Queued, now);
            #[cfg(test)]
            if self.sabotage == Some(super::Sabotage::RepublishUnderNewId) {
                flight.id = other_id;
            }
            return;
        }
        let lost = self.give_up(batch, Shed::Unconfirmed);
        self.tally.missing += lost;
        self.events.push_back(PubEvent::Unconfirmed { batch, messages: lost });
    }

    fn give_up(&mut self, batch: Ulid, why: Shed) -> u64 {
        self.remove(batch).map_or(0, |flight| self.let_go(flight, why))
    }

    fn remove(&mut self, batch: Ulid) -> Option<Flight> {
        let index = self.flights.iter().position(|flight| flight.id == batch)?;
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(batch);
        self.flights.remove(index)
    }

    pub(super) fn flight_mut(&mut self, batch: Ulid) -> Option<&mut Flight> {
        self.flights.iter_mut().find(|flight| flight.id == batch)
    }

    pub(super) fn matching(&self, which: impl Fn(&Flight) -> bool) -> Vec<Ulid> {
        self.flights.iter().filter(|flight| which(flight)).map(|flight| flight.id).collect()
    }

    fn disconnected_at(&self) -> Option<Instant> {
        match self.link {
            Link::Down { since } if !self.flights.is_empty() => {
                // What was submitted without a link gets the whole span too.
                let oldest = self.flights.iter().map(|flight| flight.since).min()?;
                Some(since.max(oldest) + self.settings.disconnected_max)
            }
            _ => None,
        }
    }
}

/// When the batch's sample turns bad, while it has none.
fn sample_at(flight: &Flight, deadline: Duration) -> Option<Instant> {
    flight.first_sent.filter(|_| !flight.sampled).map(|sent| sent + deadline)
}

/// When a batch that was sent is published again.
fn confirm_at(flight: &Flight, within: Duration) -> Option<Instant> {
    (flight.state != State::Queued).then(|| flight.since + within)
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
