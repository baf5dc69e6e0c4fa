//! From the publisher's events to the breaker's outcomes: one word for each batch, and late is not lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ulid::Ulid;

use crate::breaker::{Fault, Outcome, OwnFault, ProbeEnd};
use crate::hot::{Direct, ReadBack};
use crate::ledger::Shed;
use crate::mirror::report::{Cause, PubEvent, Returned, Sample, Waiting};
use crate::proxy::News;

use super::Side;
use crate::app::ops::Word;

/// A batch that missed its deadline may still come back within this time and count as slow instead of lost.
const LATE_GRACE: Duration = Duration::from_secs(2);
/// Batches that may be in that limbo; more are lost for sure.
const LIMBO_MAX: usize = 1024;

/// Batches whose verdict waits for a late read-back.
#[derive(Default)]
pub(super) struct Samples {
    limbo: VecDeque<(Instant, Ulid)>,
    told: Option<Waiting>,
}

impl Samples {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.limbo.front().map(|(at, _)| *at)
    }

    pub(super) fn clear(&mut self) {
        self.limbo.clear();
    }

    fn late(&mut self, batch: Ulid) -> bool {
        let place = self.limbo.iter().position(|(_, id)| *id == batch);
        place.and_then(|place| self.limbo.remove(place)).is_some()
    }
}

impl Side {
    /// Hears what the publisher has to say, and passes it on to windows and breaker.
    pub(super) fn report(&mut self, now: Instant) {
        while let Some(event) = self.publisher.poll_event() {
            match event {
                PubEvent::Returned { key, proof } => {
                    let proof = match proof {
                        Returned::Matched => ReadBack::Matched,
                        Returned::Altered => ReadBack::Altered,
                    };
                    self.tell(key, News::Returned(proof));
                }
                PubEvent::Shed { key, why } => {
                    let why = if why == Shed::Quota { Direct::Quota } else { Direct::Shed };
                    self.tell(key, News::TurnedAway(why));
                }
                PubEvent::Outcome { batch, sample } => self.sampled(batch, sample, now),
                PubEvent::Late { batch, rtt } => {
                    if self.state.samples.late(batch) {
                        self.say(Word::Outcome(Outcome::ReadBack { took: rtt }));
                    }
                }
                PubEvent::Settled { batch } => self.copy_settled(batch),
                PubEvent::Stored { batch, end } => {
                    if let Some(spool) = &mut self.spool {
                        spool.ended(batch, end);
                    }
                }
                PubEvent::Unconfirmed { messages, .. } => {
                    tracing::error!(messages, "published four times and never read back: unconfirmed");
                }
            }
        }
        while let Some((at, _)) = self.state.samples.limbo.front()
            && *at <= now
        {
            self.state.samples.limbo.pop_front();
            self.say(Word::Outcome(Outcome::Failed(Fault::NotReadBack)));
        }
        self.report_acked();
        self.tell_waiting();
    }

    fn sampled(&mut self, batch: Ulid, sample: Sample, now: Instant) {
        self.state.last_sample = Some(now);
        if let Some(probe) = self.state.probes.remove(&batch) {
            let end = match sample {
                Sample::Good { .. } => ProbeEnd::Good,
                Sample::Bad(cause) => ProbeEnd::Bad(fault(cause)),
                Sample::Excluded(cause) => ProbeEnd::Void(own_fault(cause)),
            };
            return self.say(Word::Outcome(Outcome::Probe { probe, end }));
        }
        match sample {
            Sample::Good { rtt } => self.say(Word::Outcome(Outcome::ReadBack { took: rtt })),
            Sample::Bad(Cause::Timeout) if self.state.samples.limbo.len() < LIMBO_MAX => {
                self.state.samples.limbo.push_back((now + LATE_GRACE, batch));
            }
            Sample::Bad(cause) => self.say(Word::Outcome(Outcome::Failed(fault(cause)))),
            // The denial itself is told once, by the link's verdict.
            Sample::Excluded(Cause::Denied) => {}
            Sample::Excluded(cause) => self.say(Word::Outcome(Outcome::Own(own_fault(cause)))),
        }
    }

    /// Tells the breaker what waits, when that has changed.
    fn tell_waiting(&mut self) {
        let waiting = self.publisher.waiting();
        if self.state.samples.told != Some(waiting) {
            self.state.samples.told = Some(waiting);
            let batches = u32::try_from(waiting.batches).unwrap_or(u32::MAX);
            self.say(Word::Outcome(Outcome::Waiting { batches, last_readback: waiting.quiet_since }));
        }
    }
}

const fn fault(cause: Cause) -> Fault {
    match cause {
        Cause::Timeout => Fault::NotReadBack,
        Cause::Refused | Cause::TooLarge | Cause::Denied => Fault::Refused,
        Cause::Altered => Fault::Altered,
        Cause::LinkLost => Fault::Disconnected,
    }
}

const fn own_fault(cause: Cause) -> OwnFault {
    match cause {
        Cause::Denied => OwnFault::Authorization,
        _ => OwnFault::Configuration,
    }
}
