//! How often each event type comes, in a table of bounded size, and the class that follows from it.
//! Rates decay exponentially, so a table entry is three numbers and no timer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::classify::Fate;
use super::event_type::EventType;
use crate::envelope::Class;

/// How many event types are measured. When the table is full, types unseen for [`FORGET`] make room; if there
/// are none the newcomer is not measured and stays `medium`.
pub const TYPES_MAX: usize = 512;
/// Time constant of the decay: about the span that a rate looks back on.
pub const MEMORY: Duration = Duration::from_secs(10);
/// A type unseen for this long may be forgotten.
pub const FORGET: Duration = Duration::from_secs(60);
/// From this rate on a type is `high`: 100 ms then collect ten messages, which is where batching starts to pay.
pub const HIGH_PER_S: f64 = 100.0;
/// Below this rate a type is `low`: even 2 s collect hardly two.
pub const LOW_PER_S: f64 = 1.0;
/// A type keeps its class until its rate has left the range by this factor, so that it does not flap.
pub const HYSTERESIS: f64 = 2.0;
/// A type is `medium` until it has been watched this long.
pub const PROBATION: Duration = Duration::from_secs(1);
/// A type is never `low` before it has been watched this long.
pub const LOW_PROBATION: Duration = Duration::from_secs(30);
/// How often a full table is searched for types to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Rates and classes of event types.
#[derive(Debug, Default)]
pub struct Frequencies {
    types: HashMap<EventType, Rate>,
    swept_at: Option<Instant>,
    untracked: u64,
}

#[derive(Debug)]
struct Rate {
    weight: f64,
    first: Instant,
    last: Instant,
    class: Class,
    count: u64,
    bytes: u64,
    last_fate: Option<Decided>,
}

/// What became of a message, and who decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    /// The rule that matches, from 1.
    pub(super) rule: Option<usize>,
    /// Whether it names the class, or leaves the message out.
    pub(super) by_rule: bool,
    pub(super) fate: Fate,
}

/// What is known of an event type, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The type as its protocol names it.
    pub kind: EventType,
    /// Messages since it was first seen, or seen again after it had been forgotten.
    pub count: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
    /// Messages in a second, lately.
    pub per_s: f64,
    /// The class by frequency.
    pub measured: Class,
    /// What became of the newest message.
    pub fate: Fate,
    /// The rule that matched it, from 1.
    pub rule: Option<usize>,
    /// Whether that rule names the class, or leaves it out; else the class is by frequency.
    pub by_rule: bool,
    /// For how long nothing of this type came.
    pub quiet: Duration,
}

impl Frequencies {
    /// Counts one message of this type; answers the shared name and the class by frequency.
    pub fn count(&mut self, name: &str, bytes: usize, now: Instant) -> (EventType, Class) {
        // Not `entry`: that would need an owned name for every message.
        if !self.types.contains_key(name) {
            return self.admit(name, bytes, now);
        }
        let known = self.types.get_key_value(name).map(|(kind, _)| kind.clone());
        let class = self.types.get_mut(name).map(|rate| rate.count(bytes, now));
        known.zip(class).unwrap_or_else(|| (EventType::new(name), Class::Medium))
    }

    /// Notes what became of the newest message of a type, for the list of types.
    pub(super) fn decided(&mut self, name: &str, decided: Decided) {
        if let Some(rate) = self.types.get_mut(name) {
            rate.last_fate = Some(decided);
        }
    }

    /// The event types seen lately, the most frequent first.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Vec<Seen> {
        let mut seen: Vec<Seen> = self.types.iter().map(|(kind, rate)| rate.seen(kind, now)).collect();
        seen.sort_by(|a, b| b.per_s.total_cmp(&a.per_s).then_with(|| a.kind.cmp(&b.kind)));
        seen
    }

    /// Event types in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether nothing was counted yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Messages whose type found no room in the table.
    #[must_use]
    pub const fn untracked(&self) -> u64 {
        self.untracked
    }

    fn admit(&mut self, name: &str, bytes: usize, now: Instant) -> (EventType, Class) {
        let kind = EventType::new(name);
        if self.types.len() >= TYPES_MAX {
            self.sweep(now);
        }
        if self.types.len() < TYPES_MAX {
            let (weight, class) = (1.0, Class::Medium);
            let bytes = bytes as u64;
            let rate = Rate { weight, first: now, last: now, class, count: 1, bytes, last_fate: None };
            self.types.insert(kind.clone(), rate);
        } else {
            self.untracked += 1;
        }
        (kind, Class::Medium)
    }

    fn sweep(&mut self, now: Instant) {
        let due = self.swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY);
        if due {
            self.swept_at = Some(now);
            self.types.retain(|_, rate| now.saturating_duration_since(rate.last) < FORGET);
        }
    }
}

impl Rate {
    fn count(&mut self, bytes: usize, now: Instant) -> Class {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let memory = MEMORY.as_secs_f64();
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.weight = self.weight.mul_add((-passed / memory).exp(), 1.0);
        self.last = self.last.max(now);
        let watched = now.saturating_duration_since(self.first);
        if watched >= PROBATION {
            // A young sum has not yet filled up; dividing by what it could have reached makes it fair.
            let filled = 1.0 - (-watched.as_secs_f64() / memory).exp();
            self.class = self.judge(self.weight / (memory * filled), watched);
        }
        self.class
    }

    fn seen(&self, kind: &EventType, now: Instant) -> Seen {
        let memory = MEMORY.as_secs_f64();
        let quiet = now.saturating_duration_since(self.last);
        let watched = now.saturating_duration_since(self.first).max(PROBATION).as_secs_f64();
        let per_s = self.weight * (-quiet.as_secs_f64() / memory).exp()
            / (memory * (1.0 - (-watched / memory).exp()));
        let fate = Fate::Mirror { class: self.class, shared: false };
        let Decided { rule, by_rule, fate } =
            self.last_fate.unwrap_or(Decided { rule: None, by_rule: false, fate });
        Seen {
            kind: kind.clone(),
            count: self.count,
            bytes: self.bytes,
            per_s,
            measured: self.class,
            fate,
            rule,
            by_rule,
            quiet,
        }
    }

    fn judge(&self, per_s: f64, watched: Duration) -> Class {
        let (high, low) = match self.class {
            Class::High => (HIGH_PER_S / HYSTERESIS, LOW_PER_S),
            Class::Low => (HIGH_PER_S, LOW_PER_S * HYSTERESIS),
            _ => (HIGH_PER_S, LOW_PER_S),
        };
        if per_s >= high {
            Class::High
        } else if per_s < low && watched >= LOW_PROBATION {
            Class::Low
        } else {
            Class::Medium
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::tests::start;

    /// Counts `per_s` messages a second for `seconds`; the class at the end.
    fn run(table: &mut Frequencies, name: &str, from: Instant, per_s: u32, seconds: u32) -> Class {
        let mut class = Class::Medium;
        for i in 0..per_s * seconds {
            class = table.count(name, 1, from + Duration::from_secs(1) / per_s * i).1;
        }
        class
    }

    #[test]
    fn the_class_follows_the_rate_and_does_not_flap() {
        let mut table = Frequencies::default();
        let mut at = start();
        let mut step = |per_s, seconds| {
            let class = run(&mut table, "price", at, per_s, seconds);
            at += Duration::from_secs(u64::from(seconds));
            class
        };
        assert_eq!(step(200, 1), Class::Medium, "on probation");
        assert_eq!(step(200, 5), Class::High);
        assert_eq!(step(70, 60), Class::High, "above half the threshold");
        assert_eq!(step(30, 60), Class::Medium);
        assert_eq!(step(70, 60), Class::Medium, "below the threshold");
    }

    #[test]
    fn rare_types_become_low_only_after_a_while() {
        let mut table = Frequencies::default();
        let classes: Vec<Class> =
            (0..8u32).map(|i| table.count("ping", 1, start() + Duration::from_secs(10) * i).1).collect();
        assert_eq!(classes[..3], [Class::Medium; 3]);
        assert_eq!(classes[4..], [Class::Low; 4]);
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut table = Frequencies::default();
        for i in 0..TYPES_MAX + 5 {
            assert_eq!(table.count(&format!("t{i}"), 1, start()).1, Class::Medium);
        }
        assert_eq!((table.len(), table.untracked()), (TYPES_MAX, 5));
        table.count("new", 1, start() + FORGET);
        assert_eq!((table.len(), table.untracked()), (1, 5));
    }
}
