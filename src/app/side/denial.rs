//! A topic that this role may not write. The link tells it from an outage; here it is kept away from the breaker,
//! named once, and what waits for the topic is settled as `denied` until a join is granted that may write.

use std::time::Instant;

use super::{ACKED_TOPIC, Side};
use crate::app::ops::Word;
use crate::breaker::{Outcome, OwnFault};
use crate::hot::Direct;
use crate::ledger::Shed;
use crate::mirror::shard::Shard;
use crate::proxy::News;
use crate::realtime::link::TopicNo;
use crate::realtime::reason::Reason;

/// What is known of the right to write, by shard.
#[derive(Debug, Default)]
pub(super) struct Denial {
    denied: [bool; 2],
    /// The link was told that broadcasts on the present join arrive.
    vouched: bool,
}

impl Denial {
    const fn slot(&mut self, shard: Shard) -> &mut bool {
        match shard {
            Shard::ReadBack => &mut self.denied[0],
            Shard::Acked => &mut self.denied[1],
        }
    }

    /// One of the topics may not be written.
    pub(super) const fn is_denied(&self) -> bool {
        self.denied[0] || self.denied[1]
    }

    /// The topic that is read back may not be written.
    pub(super) const fn read_back(&self) -> bool {
        self.denied[0]
    }
}

/// Whether a channel ended because its broadcasts get no answer.
pub(super) const fn is_silence(reason: Reason) -> bool {
    matches!(reason, Reason::WriteSilent | Reason::WriteDenied)
}

pub(super) const fn shard_of(topic: TopicNo) -> Shard {
    if topic.0 == ACKED_TOPIC.0 { Shard::Acked } else { Shard::ReadBack }
}

impl Side {
    /// The publishing link's channel fell silent, or is denied.
    pub(super) fn silenced(&mut self, shard: Shard, reason: Reason, now: Instant) {
        if shard == Shard::ReadBack {
            self.state.denial.vouched = false;
            if std::mem::take(&mut self.links.publish) {
                // Before anything else, as with a lost link: hot sessions must not wait.
                self.say(Word::Links(self.links));
                self.watch.interrupted();
            }
            // Samples that wait for a late read-back are of this join, too.
            self.state.samples.clear();
        }
        self.parts(shard).1.handle_silence(now);
        if reason == Reason::WriteDenied {
            self.parts(shard).1.abandon(Shed::Denied);
            self.say(Word::Outcome(Outcome::Own(OwnFault::Authorization)));
            if !std::mem::replace(self.state.denial.slot(shard), true) {
                let (reason, advice) = (reason.as_str(), reason.advice());
                tracing::error!(reason, advice, "Realtime lets us read our topic and not write it");
            }
        } else if !*self.state.denial.slot(shard) {
            tracing::warn!(reason = reason.as_str(), advice = reason.advice(), "no answer to our broadcasts");
        }
        self.report(now);
    }

    /// A join was granted that may write, as far as that shows.
    pub(super) fn may_write(&mut self, shard: Shard) {
        if shard == Shard::ReadBack {
            self.state.denial.vouched = false;
        }
        if std::mem::take(self.state.denial.slot(shard)) {
            tracing::info!("Realtime lets us write our topic again");
        }
    }

    /// A broadcast of our own came back: the publishing link need not doubt the silence around it.
    pub(super) fn vouch(&mut self) {
        if !self.state.denial.vouched && self.publish.commands().try_vouch(super::TOPIC).is_ok() {
            self.state.denial.vouched = true;
        }
    }

    /// Settles what waits for a topic that may not be written. With a spool it goes to the disk instead.
    pub(super) fn shed_denied(&mut self) {
        if self.spools() || !self.state.denial.is_denied() {
            return;
        }
        for shard in [Shard::ReadBack, Shard::Acked] {
            if !*self.state.denial.slot(shard) {
                continue;
            }
            for key in self.parts(shard).0.shed_all(Shed::Denied) {
                self.tell(key, News::TurnedAway(Direct::Shed));
            }
        }
    }
}
