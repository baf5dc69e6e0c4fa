//! What the publisher does when its channel may not be written: nothing of it is Realtime's failure.

use std::time::Instant;

use super::flight::State;
use super::publish::Publisher;
use super::report::{Cause, Sample};

impl Publisher {
    /// The pushes of this join get no answer although the server answers: what was sent waits for the next join, and
    /// none of it is a bad sample. The link is down until [`handle_link_up`](Self::handle_link_up).
    pub fn handle_silence(&mut self, now: Instant) {
        let sent = self.matching(|flight| flight.state == (State::Sent { written: true }));
        for batch in sent {
            self.sample(batch, Sample::Excluded(Cause::Denied));
            if let Some(flight) = self.flight_mut(batch) {
                flight.enter(State::Queued, now);
            }
        }
        self.handle_link_down(now);
    }
}
