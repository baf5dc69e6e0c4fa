//! A person's word above the machine.

use std::time::Instant;

use super::machine::{Breaker, Inner};
use super::outcome::{Trigger, Trip};
use super::state::{Change, Mode};

impl Breaker {
    pub(super) fn force_open(&mut self, now: Instant) {
        if !matches!(self.inner, Inner::Open { .. }) {
            self.past.paced = true;
            self.evidence.clear();
            self.inner = Inner::Open { since: now, until: now, trip: Trigger::Forced, latched: false };
            self.tell(Change::Opened { trip: Trip::bare(Trigger::Forced), until: now, latched: false });
        }
        self.set_mode(Mode::ForcedOpen);
    }

    pub(super) fn reset(&mut self, now: Instant) {
        self.past.reset();
        if let Inner::Open { since, trip, .. } = self.inner {
            self.inner = Inner::Open { since, until: now, trip, latched: false };
        }
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        if self.mode != mode {
            self.mode = mode;
            self.quiet_until = None;
            self.tell(Change::Mode(mode));
        }
    }
}
