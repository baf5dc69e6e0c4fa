//! Figures by minute: the running minute, the last sixty, the hour, the step and everything since the start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Kind, NotCompared};
use crate::envelope::Class;
use crate::mirror::tally::Histogram;

/// Event types that are told apart; the rest is `other`.
pub const TYPES_MAX: usize = 64;
/// Upper edges of the size classes, in bytes; one more is open above.
pub const SIZE_EDGES: [u32; 3] = [1 << 10, 16 << 10, 256 << 10];
/// The rolling window is so many minutes long.
pub const ROLLING: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Compared, not matching, and not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Messages that were judged.
    pub pairs: u64,
    /// Those of them that speak against Realtime.
    pub bad: u64,
    /// Messages that went by without being judged.
    pub not_compared: u64,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.bad += other.bad;
        self.not_compared += other.not_compared;
    }
}

/// Figures of a span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// By [`Kind::ALL`].
    pub kinds: [u64; Kind::ALL.len()],
    /// By [`NotCompared::ALL`].
    pub not_compared: [u64; NotCompared::ALL.len()],
    /// Matched although the bytes differ, because a noise rule says so.
    pub by_noise: u64,
    /// Came back only after it had been published again.
    pub repeated: u64,
    /// Copies that our own repetitions explain.
    pub echoes: u64,
    /// Read-backs that are no envelope; their messages end as missing or late.
    pub malformed: u64,
    /// By [`Class::ALL`].
    pub classes: [Part; Class::ALL.len()],
    /// By [`SIZE_EDGES`].
    pub sizes: [Part; SIZE_EDGES.len() + 1],
    /// By event type, at most [`TYPES_MAX`] and `other`.
    pub types: BTreeMap<Arc<str>, Part>,
    /// From the tap to the first transmission: our own queue.
    pub queue: Histogram,
    /// From publish to read-back, of what was published once.
    pub realtime: Histogram,
    /// From the tap, where the legacy client has it already, to the read-back.
    pub behind: Histogram,
}

impl Tally {
    /// How many messages ended as this.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.kinds.get(kind as usize).copied().unwrap_or(0)
    }

    /// How many were not compared for this reason.
    #[must_use]
    pub fn left_out(&self, why: NotCompared) -> u64 {
        self.not_compared.get(why as usize).copied().unwrap_or(0)
    }

    /// Everything that was judged.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// What of it speaks against Realtime.
    #[must_use]
    pub fn bad(&self) -> u64 {
        Kind::ALL.into_iter().filter(|kind| kind.is_mismatch()).map(|kind| self.of(kind)).sum()
    }

    /// The matching part; nothing without a pair.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let pairs = self.pairs();
        (pairs > 0).then(|| (pairs - self.bad()) as f64 / pairs as f64)
    }

    /// The part of the published messages that was compared; nothing without one.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        // A stale read-back belongs to a message that is counted already.
        let out: u64 = NotCompared::ALL
            .into_iter()
            .filter(|why| *why != NotCompared::Stale)
            .map(|why| self.left_out(why))
            .sum();
        let paired = self.pairs() - self.of(Kind::Duplicate) - self.of(Kind::Extra);
        (paired + out > 0).then(|| paired as f64 / (paired + out) as f64)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (own, more) in self.kinds.iter_mut().zip(other.kinds) {
            *own += more;
        }
        for (own, more) in self.not_compared.iter_mut().zip(other.not_compared) {
            *own += more;
        }
        self.by_noise += other.by_noise;
        self.repeated += other.repeated;
        self.echoes += other.echoes;
        self.malformed += other.malformed;
        let parts = self.classes.iter_mut().chain(&mut self.sizes);
        for (own, more) in parts.zip(other.classes.iter().chain(&other.sizes)) {
            own.add(*more);
        }
        for (name, part) in &other.types {
            self.kind_part(name).add(*part);
        }
        for (own, more) in [
            (&mut self.queue, &other.queue),
            (&mut self.realtime, &other.realtime),
            (&mut self.behind, &other.behind),
        ] {
            own.merge(more);
        }
    }

    fn kind_part(&mut self, name: &Arc<str>) -> &mut Part {
        let known = self.types.contains_key(name) || self.types.len() < TYPES_MAX;
        let name = if known { Arc::clone(name) } else { Arc::from(OTHER) };
        self.types.entry(name).or_default()
    }

    /// Adds to the parts that a message of this class, size and type belongs to.
    pub(super) fn part(&mut self, class: Class, len: u32, name: &Arc<str>, part: Part) {
        if let Some(own) = self.classes.get_mut(class as usize) {
            own.add(part);
        }
        let size = SIZE_EDGES.iter().position(|edge| len <= *edge).unwrap_or(SIZE_EDGES.len());
        if let Some(own) = self.sizes.get_mut(size) {
            own.add(part);
        }
        self.kind_part(name).add(part);
    }
}

const OTHER: &str = "other";

/// Figures of all spans; see the module.
#[derive(Debug)]
pub struct Book {
    /// What is new since the spans were last told.
    pub(super) minute: Tally,
    minute_began: Instant,
    /// What the spans know of the running minute.
    told: Tally,
    minutes: VecDeque<Tally>,
    hour: Tally,
    step: Tally,
    total: Tally,
}

impl Book {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            minute: Tally::default(),
            minute_began: now,
            told: Tally::default(),
            minutes: VecDeque::new(),
            hour: Tally::default(),
            step: Tally::default(),
            total: Tally::default(),
        }
    }

    /// Closes minutes that are over. At most an hour of silence is walked through.
    pub(super) fn advance(&mut self, now: Instant) {
        let mut over = now.saturating_duration_since(self.minute_began).as_secs() / 60;
        if over > ROLLING as u64 + 1 {
            self.minute_began += MINUTE * u32::try_from(over - ROLLING as u64 - 1).unwrap_or(0);
            over = ROLLING as u64 + 1;
        }
        for _ in 0..over {
            self.fold();
            self.minute_began += MINUTE;
        }
    }

    fn fold(&mut self) {
        self.flush();
        if self.minutes.len() >= ROLLING {
            self.minutes.pop_front();
        }
        self.minutes.push_back(std::mem::take(&mut self.told));
    }

    /// Carries what is new into every span.
    fn flush(&mut self) {
        let new = std::mem::take(&mut self.minute);
        for span in [&mut self.hour, &mut self.step, &mut self.total, &mut self.told] {
            span.merge(&new);
        }
    }

    /// The last hour, the running minute included.
    #[must_use]
    pub fn rolling(&self) -> Tally {
        let mut sum = self.minute.clone();
        sum.merge(&self.told);
        self.minutes
            .iter()
            .skip((self.minutes.len() + 1).saturating_sub(ROLLING))
            .for_each(|one| sum.merge(one));
        sum
    }

    /// Everything since the start.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut sum = self.total.clone();
        sum.merge(&self.minute);
        sum
    }

    /// The hour so far, which begins anew.
    pub fn take_hour(&mut self) -> Tally {
        self.flush();
        std::mem::take(&mut self.hour)
    }

    /// The step so far, which begins anew.
    pub fn take_step(&mut self) -> Tally {
        self.flush();
        std::mem::take(&mut self.step)
    }

    /// The step so far.
    #[must_use]
    pub fn step(&self) -> Tally {
        let mut sum = self.step.clone();
        sum.merge(&self.minute);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn every_message_is_in_one_hour_one_step_and_sixty_minutes() {
        let start = origin();
        let mut book = Book::new(start);
        let (mut hours, mut steps) = (0, 0);
        for second in 0..3 * 3_600_u32 {
            book.advance(start + Duration::from_secs(u64::from(second)));
            book.minute.kinds[Kind::Matched as usize] += 1;
            if second % 3_600 == 3_599 {
                hours += book.take_hour().pairs();
            }
            if second % 777 == 0 {
                steps += book.take_step().pairs();
            }
            if second > 3_600 {
                assert!((3_541..=3_600).contains(&book.rolling().pairs()), "{}", book.rolling().pairs());
            }
        }
        assert_eq!((hours, book.total().pairs()), (3 * 3_600, 3 * 3_600));
        assert_eq!(steps + book.step().pairs(), 3 * 3_600);
        book.advance(start + Duration::from_secs(1_000_000));
        assert_eq!((book.rolling().pairs(), book.total().pairs()), (0, 3 * 3_600));
    }

    #[test]
    fn types_are_bounded_and_nothing_is_lost() {
        let mut tally = Tally::default();
        for n in 0..1_000 {
            let part = Part { pairs: 1, bad: 0, not_compared: 0 };
            tally.part(Class::Low, 10, &Arc::from(format!("t{n}")), part);
        }
        let mut twice = tally.clone();
        twice.merge(&tally);
        assert!(twice.types.len() <= TYPES_MAX + 1);
        assert_eq!(twice.types.values().map(|part| part.pairs).sum::<u64>(), 2_000);
    }
}
