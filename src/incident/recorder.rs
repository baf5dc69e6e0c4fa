//! The rings, and the incident that is made of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, UNIX_EPOCH};

use super::{ENTRIES_MAX, Entry, Event, FORM, Incident, SECONDS_MAX, Second};
use crate::breaker::{Outcome, ProbeEnd};

/// Seconds and decisions that are older than this are forgotten, in milliseconds.
const AGE_MAX_MS: u64 = 10 * 60 * 1_000;
/// An incident is complete after this, whether everybody is back or not, in milliseconds.
const OPEN_MAX_MS: u64 = 60 * 1_000;
/// A return that was over so long before the trip belongs to it: the link went first. In milliseconds.
const RETURN_BEFORE_MS: u64 = 60 * 1_000;
/// The figures of the last healthy moment are at most this old, in milliseconds.
const BASE_EVERY_MS: u64 = 1_000;

/// How the sessions are at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Hot sessions.
    pub hot: u64,
    /// Moves back since the start, by reason.
    pub moved_back: BTreeMap<&'static str, u64>,
}

/// A trip out of closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trip {
    /// What opened the breaker, with its figures.
    pub trip: crate::breaker::Trip,
    /// The cool-down.
    pub open_for: Duration,
    /// Only a person can end it.
    pub latched: bool,
}

/// An incident that is not complete.
#[derive(Debug)]
struct Open {
    at_ms: u64,
    trip: Trip,
    base: Figures,
    returned_ms: Option<f64>,
    /// It was handed out once.
    told: bool,
}

/// See the room.
#[derive(Debug)]
pub struct Recorder {
    names: [String; 3],
    seconds: VecDeque<Second>,
    entries: VecDeque<Entry>,
    /// Sum of the round trips in the newest second, in milliseconds.
    sum_ms: f64,
    /// The last moment in which Realtime might be used, and when that was.
    base: (u64, Figures),
    last_return: Option<(u64, f64)>,
    open: Option<Open>,
}

impl Recorder {
    /// An empty recorder of this service, pod and version.
    #[must_use]
    pub fn new(service: &str, pod: &str, version: &str) -> Self {
        Self {
            names: [service, pod, version].map(str::to_owned),
            seconds: VecDeque::new(),
            entries: VecDeque::new(),
            sum_ms: 0.0,
            base: (0, Figures::default()),
            last_return: None,
            open: None,
        }
    }

    /// A decision. The oldest gives way; one that only repeats the last one is not noted again.
    pub fn note(&mut self, event: Event, hot: u64, at_ms: u64) {
        if let Event::Returned { took_ms } = event {
            self.last_return = Some((at_ms, took_ms));
            if let Some(open) = &mut self.open {
                open.returned_ms = Some(took_ms);
            }
        }
        if self.entries.back().is_some_and(|last| last.event == event) {
            return;
        }
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { at_ms, hot, event });
    }

    /// Whether a second has begun that has no line yet: then its first outcome comes with the number of hot sessions.
    #[must_use]
    pub fn wants_hot(&self, at_ms: u64) -> bool {
        self.seconds.back().is_none_or(|second| second.at_ms / 1_000 != at_ms / 1_000)
    }

    /// An outcome. `hot` counts only where [`wants_hot`](Self::wants_hot) said so.
    pub fn outcome(&mut self, outcome: Outcome, hot: u64, at_ms: u64) {
        if matches!(outcome, Outcome::LegacyLeg { .. } | Outcome::Compared { .. } | Outcome::Connected) {
            return;
        }
        if self.wants_hot(at_ms) {
            if self.seconds.len() >= SECONDS_MAX {
                self.seconds.pop_front();
            }
            self.sum_ms = 0.0;
            let at_ms = at_ms / 1_000 * 1_000;
            self.seconds.push_back(Second { at_ms, hot, ..Second::default() });
        }
        let Some(second) = self.seconds.back_mut() else { return };
        match outcome {
            Outcome::ReadBack { took } => {
                let ms = took.as_secs_f64() * 1e3;
                self.sum_ms += ms;
                second.returned += 1;
                second.mean_ms = Some(self.sum_ms / second.returned as f64);
                second.max_ms = second.max_ms.max(ms);
            }
            Outcome::Failed(_) => second.failed += 1,
            Outcome::ConnectFailed => second.connect_failed += 1,
            Outcome::Waiting { batches, .. } => second.waiting = second.waiting.max(batches),
            Outcome::Probe { end: ProbeEnd::Good, .. } => second.probes_good += 1,
            Outcome::Probe { end: ProbeEnd::Bad(_), .. } => second.probes_bad += 1,
            Outcome::Probe { end: ProbeEnd::Void(_), .. } | Outcome::Own(_) => second.own += 1,
            Outcome::LegacyLeg { .. } | Outcome::Compared { .. } | Outcome::Connected => {}
        }
    }

    /// Whether the figures of a healthy moment are wanted again.
    #[must_use]
    pub const fn wants_base(&self, at_ms: u64) -> bool {
        at_ms.saturating_sub(self.base.0) >= BASE_EVERY_MS
    }

    /// Realtime may be used, and this is how the sessions are.
    pub fn healthy(&mut self, figures: Figures, at_ms: u64) {
        self.base = (at_ms, figures);
    }

    /// The breaker opened out of closed: an incident begins. One that is not complete gives way.
    pub fn tripped(&mut self, trip: Trip, at_ms: u64) {
        let recent =
            |(then, _): &(u64, f64)| *then > self.base.0 && at_ms.saturating_sub(*then) < RETURN_BEFORE_MS;
        let returned_ms = self.last_return.filter(recent).map(|(_, took)| took);
        self.open = Some(Open { at_ms, trip, base: self.base.1.clone(), returned_ms, told: false });
    }

    /// Whether [`take`](Self::take) has something to say.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The incident, once when it begins and once when it is complete. `leaving`: some are still on their way.
    pub fn take(&mut self, leaving: bool, figures: &Figures, at_ms: u64) -> Option<Incident> {
        let open = self.open.as_mut()?;
        let complete = !leaving || at_ms.saturating_sub(open.at_ms) >= OPEN_MAX_MS;
        if !complete && std::mem::replace(&mut open.told, true) {
            return None;
        }
        let open = if complete { self.open.take()? } else { self.open.as_ref()?.again() };
        Some(self.incident(&open, complete, figures))
    }

    fn incident(&self, open: &Open, complete: bool, figures: &Figures) -> Incident {
        let Trip { trip, open_for, latched } = open.trip;
        let [service, pod, version] = self.names.clone();
        let since = open.at_ms.saturating_sub(AGE_MAX_MS);
        let before = |why: &str| open.base.moved_back.get(why).copied().unwrap_or(0);
        let moved =
            figures.moved_back.iter().map(|(why, n)| ((*why).to_owned(), n.saturating_sub(before(why))));
        Incident {
            form: FORM,
            id: id(open.at_ms, trip.trigger.as_str()),
            at_ms: open.at_ms,
            service,
            pod,
            version,
            trigger: trip.trigger.as_str().to_owned(),
            measured: trip.measured,
            limit: trip.limit,
            samples: trip.samples,
            open_for_ms: u64::try_from(open_for.as_millis()).unwrap_or(u64::MAX),
            latched,
            hot_before: open.base.hot,
            hot_left: figures.hot,
            moved_back: moved.filter(|(_, n)| *n > 0).collect(),
            returned_ms: open.returned_ms,
            complete,
            decisions: self.entries.iter().filter(|entry| entry.at_ms >= since).cloned().collect(),
            seconds: self.seconds.iter().filter(|second| second.at_ms >= since).cloned().collect(),
        }
    }
}

impl Open {
    fn again(&self) -> Self {
        Self { base: self.base.clone(), ..*self }
    }
}

/// `20261122T004100Z-stall`: sorts by time and is a file's name anywhere.
fn id(at_ms: u64, trigger: &str) -> String {
    // The last second with a four-digit year bounds what a broken clock can do.
    let at = UNIX_EPOCH + Duration::from_secs((at_ms / 1_000).min(253_402_300_799));
    let time = humantime::format_rfc3339_seconds(at).to_string().replace(['-', ':'], "");
    format!("{time}-{trigger}")
}
