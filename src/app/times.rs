//! How long things take and how large they are, gathered from the threads that count it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use super::Eyes;
use super::status::readings;
use crate::admin::{MirrorTimes, Spread, Times};
use crate::proxy::{SessionCounters, TIMING_EDGES, Timing};
use crate::session::Direction;

/// The figures of several threads as one.
fn spread<'a>(timings: impl Iterator<Item = &'a Timing>) -> Spread {
    let mut counts = [0; TIMING_EDGES.len() + 1];
    let seconds = timings.map(|one| one.add_to(&mut counts)).sum();
    Spread::of(&TIMING_EDGES, &counts, seconds)
}

/// One figure of all workers, by direction.
fn by_direction(
    workers: &[std::sync::Arc<SessionCounters>],
    of: impl Fn(&SessionCounters, usize) -> u64,
) -> [u64; 2] {
    std::array::from_fn(|dir| workers.iter().map(|one| of(one, dir)).sum())
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn level(counter: &AtomicI64) -> u64 {
    u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(0)
}

impl Eyes {
    /// Turns of legacy sessions by how long they took, by [`TIMING_EDGES`], since the start.
    pub(super) fn legacy_turns(&self) -> [u64; TIMING_EDGES.len() + 1] {
        let mut counts = [0; TIMING_EDGES.len() + 1];
        for worker in &self.shared.sessions {
            worker.overhead.add_to(&mut counts);
        }
        counts
    }

    /// See the module.
    pub(super) fn times(&self, now: Instant) -> Times {
        let workers = &self.shared.sessions;
        let directions = || Direction::ALL.map(Direction::as_str).into_iter();
        let waited = by_direction(workers, |one, dir| one.held_us.get(dir).map_or(0, read));
        let held = by_direction(workers, |one, dir| one.held.get(dir).map_or(0, level));
        Times {
            upgrade: spread(std::iter::once(&self.shared.counters.upgrade_times)),
            overhead: spread(workers.iter().map(|one| &one.overhead)),
            backpressure: directions().zip(waited.map(|us| us as f64 / 1e6)).collect(),
            held: directions().zip(held).collect(),
            mirror: self.mirrors.then(|| self.mirror_times(now)),
            returned: Some(read(&self.returned_us)).filter(|us| *us > 0).map(|us| us as f64 / 1e6),
            spool_limit: self.disk.as_ref().map(|(_, limit)| *limit),
        }
    }

    fn mirror_times(&self, now: Instant) -> MirrorTimes {
        let sizes = self.figures.sizes();
        let tap = self.shared.mirroring.tap.as_ref();
        MirrorTimes {
            publish: sizes.answers,
            leg: readings(&self.figures.snapshot().tally.leg).into(),
            batch_messages: sizes.messages,
            batch_bytes: sizes.bytes,
            oldest: self.figures.oldest().as_secs_f64(),
            silence: tap.map_or(0.0, |tap| tap.silence(now).as_secs_f64()),
            buffer_limit: self.budget.limit(),
        }
    }
}
