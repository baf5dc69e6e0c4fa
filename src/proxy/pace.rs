//! Who is to change lanes inside an open socket because the rollout says so, and how fast. Pure: time comes in as an
//! argument.
//!
//! Every session that becomes hot puts a window of its own in front of Realtime. A share that is raised from 1 % to
//! 100 % must not do that to ten thousand of them in one instant: the way to Realtime has a rate ([`MovePace`]). The
//! way back has a queue of its own and is slowed down by nothing but [`BACK_A_TICK`], whatever rate is configured. What
//! the breaker takes back is in no queue at all.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::sessions::TICK;
use crate::session::SessionNo;

/// Sessions that the rollout takes back to legacy in one tick of one worker: 3,200 a second.
const BACK_A_TICK: usize = 64;

/// Sessions that one worker moves in a second where nothing else was said.
const MOVES_PER_SECOND: u32 = 3_200;

/// Sessions that are to be moved. The book of sessions is the truth: a number whose session has gone, or no longer
/// wants to move, is passed over by whoever takes it.
#[derive(Debug)]
pub(super) struct Moves {
    to_hot: VecDeque<SessionNo>,
    back: VecDeque<SessionNo>,
    pace: MovePace,
}

impl Moves {
    pub(super) const fn new(pace: MovePace) -> Self {
        Self { to_hot: VecDeque::new(), back: VecDeque::new(), pace }
    }

    /// Forgets who waits: the rollout has spoken anew. What the pace has let through already counts on.
    pub(super) fn clear(&mut self) {
        self.to_hot.clear();
        self.back.clear();
    }

    pub(super) fn push_hot(&mut self, no: SessionNo) {
        self.to_hot.push_back(no);
    }

    pub(super) fn push_back(&mut self, no: SessionNo) {
        self.back.push_back(no);
    }

    /// Sessions that wait: to become hot, and to go back.
    pub(super) fn waiting(&self) -> [usize; 2] {
        [self.to_hot.len(), self.back.len()]
    }

    /// Whose turn it is in this tick.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = SessionNo> {
        let back = self.back.len().min(BACK_A_TICK);
        let hot = self.pace.take(self.to_hot.len(), now);
        self.back.drain(..back).chain(self.to_hot.drain(..hot))
    }
}

/// Lets moves through at an even rate. What was not used is not saved up beyond one tick and a move, so that no burst follows a
/// quiet hour; a tick that comes late is lost and never made up for.
#[derive(Clone, Copy, Debug)]
pub(super) struct MovePace {
    /// From one move to the next.
    every: Duration,
    /// What may be used now: a move costs `every`.
    credit: Duration,
    looked: Option<Instant>,
}

impl MovePace {
    /// The part of one of `workers` in the pod's rate; without a rate, [`MOVES_PER_SECOND`] for each of them.
    pub(super) fn new(pod: Option<NonZeroU32>, workers: u32) -> Self {
        let every = match pod {
            None => Duration::from_secs(1) / MOVES_PER_SECOND,
            Some(rate) => Duration::from_secs(u64::from(workers.max(1))) / rate.get(),
        };
        Self { every: every.max(Duration::from_nanos(1)), credit: Duration::ZERO, looked: None }
    }

    /// How many of `wanted` may move now.
    pub(super) fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let first = TICK.max(self.every);
        let passed = self.looked.map_or(first, |then| now.saturating_duration_since(then));
        self.looked = Some(now);
        // A move beyond the tick, so that what a tick has left over is not lost to the next.
        self.credit = self.credit.saturating_add(passed).min(TICK.saturating_add(self.every));
        let room = self.credit.as_nanos() / self.every.as_nanos().max(1);
        let moves = usize::try_from(room).unwrap_or(usize::MAX).min(wanted);
        self.credit -= self.every.saturating_mul(u32::try_from(moves).unwrap_or(u32::MAX)).min(self.credit);
        moves
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
mod tests {
    use super::*;

    /// Moves in `seconds`, looked for every `tick`, while more wait than may move.
    fn moved(pace: &mut MovePace, from: Instant, seconds: u64, tick: Duration) -> usize {
        let ticks = Duration::from_secs(seconds).as_nanos() / tick.as_nanos();
        (0..ticks).map(|at| pace.take(usize::MAX, from + tick * u32::try_from(at).unwrap())).sum()
    }

    #[test]
    fn a_stated_rate_is_kept_by_all_workers_together_and_never_exceeded() {
        let now = Instant::now();
        for (pod, workers) in [(1, 1), (1, 8), (7, 2), (50, 3), (1_000, 4), (3_200, 1), (1_000_000, 2)] {
            let rate = NonZeroU32::new(pod).unwrap();
            let all: usize =
                (0..workers).map(|_| moved(&mut MovePace::new(Some(rate), workers), now, 40, TICK)).sum();
            let fair = pod as usize * 40;
            // Each worker may begin with one tick's worth, or one move.
            let begun = (pod as usize / 50).max(workers as usize) + workers as usize;
            assert!((fair - begun..=fair + begun).contains(&all), "{pod}/s by {workers}: {all} in 40 s");
        }
    }

    #[test]
    fn by_default_a_worker_moves_sixty_four_in_a_tick() {
        let mut pace = MovePace::new(None, 8);
        let now = Instant::now();
        assert_eq!(pace.take(1_000, now), 64);
        assert_eq!(pace.take(1_000, now), 0, "no time has passed");
        assert_eq!(pace.take(1_000, now + TICK), 64);
        assert_eq!(pace.take(3, now + TICK * 2), 3);
    }

    #[test]
    fn neither_a_quiet_hour_nor_a_late_tick_is_made_up_for() {
        let mut pace = MovePace::new(NonZeroU32::new(100), 1);
        let now = Instant::now();
        assert_eq!(pace.take(1_000, now), 2);
        assert_eq!(pace.take(1_000, now + Duration::from_secs(3_600)), 3);
        let late = moved(&mut pace, now + Duration::from_secs(4_000), 10, Duration::from_millis(500));
        assert!(late <= 60, "{late}: three for each of twenty late ticks");
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_moves_nobody() {
        let mut pace = MovePace::new(NonZeroU32::new(100), 1);
        let now = Instant::now() + Duration::from_secs(10);
        assert_eq!(pace.take(1_000, now), 2);
        assert_eq!(pace.take(1_000, now - Duration::from_secs(5)), 0);
        assert_eq!(pace.take(1_000, now - Duration::from_secs(5)), 0);
    }

    #[test]
    fn the_way_back_does_not_wait_for_the_way_to_realtime() {
        let mut moves = Moves::new(MovePace::new(NonZeroU32::new(1), 1));
        let now = Instant::now();
        (0..100).for_each(|no| moves.push_hot(SessionNo(no)));
        (100..200).for_each(|no| moves.push_back(SessionNo(no)));
        let first: Vec<_> = moves.take(now).map(|no| no.0).collect();
        assert_eq!(first, (100..164).chain([0]).collect::<Vec<_>>());
        let second: Vec<_> = moves.take(now + TICK).map(|no| no.0).collect();
        assert_eq!(second, (164..200).collect::<Vec<_>>(), "one a second has had its turn");
        assert_eq!(moves.waiting(), [99, 0]);
        moves.clear();
        assert_eq!((moves.waiting(), moves.take(now + TICK * 2).count()), ([0, 0], 0));
    }
}
