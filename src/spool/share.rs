//! How much of the sending may be backlog: live traffic first, and at most three batches in ten.
//! Whoever knows the plan's budget in batches per second (the governor) sets it; without one, spare slots decide.

use std::time::{Duration, Instant};

/// The backlog's part of all batches, in percent.
pub const SHARE_PERCENT: u32 = 30;
/// Credit that can be saved up, in batches.
const SAVED_MAX: f64 = 3.0;
/// With no live batch for so long, slots are spare.
const QUIET: Duration = Duration::from_millis(250);
/// Pace while nothing limits: no reader is flooded, and 10 minutes of traffic are caught up in about one.
const UNLIMITED_PER_S: f64 = 50.0;

/// The part that backlog has used and may use.
#[derive(Clone, Debug)]
pub struct Share {
    credit: f64,
    /// Batches per second that the plan allows in all.
    budget: Option<f64>,
    at: Instant,
    last_live: Option<Instant>,
}

impl Share {
    /// Nothing was sent yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { credit: 1.0, budget: None, at: now, last_live: None }
    }

    /// The plan's budget, in batches per second; nothing means that it is not known.
    pub const fn set_budget(&mut self, batches_per_s: Option<f64>) {
        self.budget = batches_per_s;
    }

    /// A live batch was sent.
    pub fn live(&mut self, now: Instant) {
        self.refill(now);
        self.last_live = Some(now);
        if self.budget.is_none() {
            let part = f64::from(SHARE_PERCENT) / f64::from(100 - SHARE_PERCENT);
            self.credit = (self.credit + part).min(SAVED_MAX);
        }
    }

    /// Whether a backlog batch may go now. `live_due` = a live batch waits for a slot.
    pub fn may_send(&mut self, live_due: bool, now: Instant) -> bool {
        self.refill(now);
        !live_due && self.credit >= 1.0
    }

    /// A backlog batch was sent.
    pub fn sent(&mut self, now: Instant) {
        self.refill(now);
        self.credit -= 1.0;
    }

    /// When it may be worth asking again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let missing = 1.0 - self.credit;
        if missing <= 0.0 {
            return Some(self.at);
        }
        match self.budget {
            Some(budget) => {
                let rate = (budget * f64::from(SHARE_PERCENT) / 100.0).max(0.001);
                Some(self.at + Duration::from_secs_f64(missing / rate))
            }
            None => {
                let quiet = self.last_live.map_or(self.at, |live| self.at.max(live + QUIET));
                Some(quiet + Duration::from_secs_f64(missing / UNLIMITED_PER_S))
            }
        }
    }

    fn refill(&mut self, now: Instant) {
        let from = match (self.budget, self.last_live) {
            (None, Some(live)) => self.at.max(live + QUIET),
            _ => self.at,
        };
        let passed = now.saturating_duration_since(from).as_secs_f64();
        let rate = self.budget.map_or(UNLIMITED_PER_S, |budget| budget * f64::from(SHARE_PERCENT) / 100.0);
        self.credit = (self.credit + passed * rate).min(SAVED_MAX);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "only offsets to it are used")]
    fn start() -> Instant {
        Instant::now()
    }

    fn sent_in(share: &mut Share, live_every_ms: u64, seconds: u64) -> (u64, u64) {
        let begin = start();
        let (mut live, mut backlog) = (0, 0);
        for ms in 0..seconds * 1_000 {
            let now = begin + Duration::from_millis(ms);
            if live_every_ms > 0 && ms % live_every_ms == 0 {
                share.live(now);
                live += 1;
            } else if share.may_send(false, now) {
                share.sent(now);
                backlog += 1;
            }
        }
        (live, backlog)
    }

    #[test]
    fn beside_live_traffic_backlog_is_at_most_three_in_ten() {
        for every in [2, 10, 100] {
            let (live, backlog) = sent_in(&mut Share::new(start()), every, 20);
            let part = backlog as f64 / (live + backlog) as f64;
            assert!(part > 0.28 && part <= 0.305, "every {every} ms: {live} live, {backlog} backlog");
        }
    }

    #[test]
    fn a_known_budget_is_kept_with_and_without_live_traffic() {
        for every in [0, 10] {
            let mut share = Share::new(start());
            share.set_budget(Some(20.0));
            let (_, backlog) = sent_in(&mut share, every, 20);
            assert!((118..=124).contains(&backlog), "{backlog} in 20 s at 6 per second");
        }
    }

    #[test]
    fn spare_slots_are_used_and_what_is_due_goes_first() {
        let (_, backlog) = sent_in(&mut Share::new(start()), 0, 4);
        assert!((195..=205).contains(&backlog), "{backlog}");
        let begin = start();
        let mut share = Share::new(begin);
        assert!(!share.may_send(true, begin) && share.may_send(false, begin));
    }
}
