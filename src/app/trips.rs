//! What the ops thread does about trips besides tripping: it keeps the flight recorder, and rehearses.
//!
//! Both run inside the ops loop and wait for nothing: files are somebody else's ([`records`](super::records)).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::ops::{Links, Ops, Word};
use super::records::Records;
use super::{SettingError, tuning};
use crate::breaker::{Change, Force, Phase, Trigger};
use crate::config::Config;
use crate::drill::{Cause, Drills, Half, Refused, Rules, Scene, Seen};
use crate::hot::Fallback;
use crate::incident::{Event, Figures, Recorder, Trip};
use crate::mirror::flight::Epoch;
use crate::proxy::{Drain, Lane, SessionCounters, Slice};

/// See the module.
pub(crate) struct Trips {
    recorder: Recorder,
    drills: Drills,
    records: Arc<Records>,
    counters: Vec<Arc<SessionCounters>>,
    epoch: Epoch,
    /// Where there is a proxy: drills end with it.
    drain: Option<Drain>,
    links: Links,
    spaced: bool,
}

/// When and on how many drills are held.
pub(super) fn rules(config: &Config) -> Result<Rules, SettingError> {
    let fine = tuning::fine(config.ops.tuning.as_deref());
    fine.map(|fine| fine.drill).map_err(|problem| SettingError { variable: "CROSSFADE_TUNING", problem })
}

impl Trips {
    /// Nothing has happened yet.
    pub(super) fn new(
        config: &Config,
        counters: &[Arc<SessionCounters>],
        epoch: Epoch,
        (drain, records): (Drain, Arc<Records>),
    ) -> Result<Self, SettingError> {
        let names = (config.service.name.as_str(), config.service.pod.as_str());
        Ok(Self { drain: Some(drain), records, ..Self::of(names, rules(config)?, counters, epoch) })
    }

    /// Without a proxy and a disk.
    pub(crate) fn of(
        names: (&str, &str),
        rules: Rules,
        counters: &[Arc<SessionCounters>],
        epoch: Epoch,
    ) -> Self {
        Self {
            recorder: Recorder::new(names.0, names.1, env!("CARGO_PKG_VERSION")),
            drills: Drills::new(rules, epoch.at),
            records: Arc::default(),
            counters: counters.to_vec(),
            epoch,
            drain: None,
            links: Links::default(),
            spaced: false,
        }
    }

    fn hot(&self) -> u64 {
        let open = |one: &Arc<SessionCounters>| one.open[Lane::Hot as usize].load(Ordering::Relaxed);
        u64::try_from(self.counters.iter().map(open).sum::<i64>()).unwrap_or(0)
    }

    fn moved_back(&self, why: Fallback) -> u64 {
        self.counters.iter().map(|one| one.moved_back[why as usize].load(Ordering::Relaxed)).sum()
    }

    fn figures(&self) -> Figures {
        let moved_back = Fallback::ALL.into_iter().map(|why| (why.as_str(), self.moved_back(why))).collect();
        Figures { hot: self.hot(), moved_back }
    }

    fn note(&mut self, event: Event, now: Instant) {
        let (hot, at_ms) = (self.hot(), self.epoch.unix_ms(now));
        self.recorder.note(event, hot, at_ms);
    }

    /// Whatever the ops thread hears.
    pub(super) fn hear(&mut self, word: &Word, now: Instant) {
        let event = match word {
            Word::Outcome(outcome) => {
                let at_ms = self.epoch.unix_ms(now);
                let hot = if self.recorder.wants_hot(at_ms) { self.hot() } else { 0 };
                return self.recorder.outcome(*outcome, hot, at_ms);
            }
            Word::Links(links) if *links == self.links => return,
            Word::Links(links) => {
                self.links = *links;
                Event::Links { publish: links.publish, readback: links.readback }
            }
            Word::Quota => Event::Quota,
            Word::Spacing(spacing) => {
                let refused = spacing.is_some();
                if std::mem::replace(&mut self.spaced, refused) == refused {
                    return;
                }
                Event::Spacing { refused }
            }
            Word::Fleet(fleet) => Event::Fleet { tripped: fleet.tripped.into(), live: fleet.live.into() },
            Word::Force(force) => Event::Person { word: asked(*force).to_owned() },
            Word::Flags(_) => Event::Settings,
            Word::Pods(_) | Word::Look(_) | Word::Drill(_) => return,
        };
        self.note(event, now);
    }

    /// The breaker has moved. `was`: what it was as far as everybody else knows.
    pub(super) fn changed(&mut self, change: &Change, was: Phase, now: Instant) {
        let event = match *change {
            Change::Opened { trip, until, latched } => {
                if was == Phase::Closed && !matches!(trip.trigger, Trigger::Probe | Trigger::HalfOpenExpired)
                {
                    let open_for = until.saturating_duration_since(now);
                    self.recorder.tripped(Trip { trip, open_for, latched }, self.epoch.unix_ms(now));
                }
                let trigger = trip.trigger.as_str().to_owned();
                Event::Opened { trigger, measured: trip.measured, limit: trip.limit, latched }
            }
            Change::HalfOpened => Event::HalfOpened,
            Change::Closed { share_permille } => Event::Closed { share_permille },
            Change::Share { share_permille } => Event::Share { share_permille },
            Change::WouldTrip(trip) => Event::WouldTrip { trigger: trip.trigger.as_str().to_owned() },
            Change::Mode(mode) => Event::Mode { mode: mode.as_str().to_owned() },
        };
        self.note(event, now);
    }

    /// The last session is back on legacy.
    pub(super) fn returned(&mut self, took: Duration, now: Instant) {
        self.note(Event::Returned { took_ms: took.as_secs_f64() * 1e3 }, now);
    }

    /// When the ops loop should turn again for this.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        // An incident that waits for nobody any more is complete within a second.
        let open = self.recorder.is_open().then(|| now + Duration::from_secs(1));
        [self.drills.poll_timeout(now), open].into_iter().flatten().min()
    }

    /// What the workers are told.
    pub(super) fn slice(&self) -> Option<Slice> {
        self.drills.half().map(|Half { number, permille, away }| Slice { number, permille, away })
    }

    /// What all workers say about the half that is under way.
    fn seen(&self) -> Option<Seen> {
        let turn = self.slice()?.turn();
        let mut seen = Seen { hot: 0, waiting: 0 };
        for one in self.counters.iter().map(|one| &one.drill) {
            if one.turn.load(Ordering::Acquire) != turn {
                return None;
            }
            seen.hot += one.hot.load(Ordering::Relaxed);
            seen.waiting += one.waiting.load(Ordering::Relaxed);
        }
        Some(seen)
    }
}

impl Ops {
    fn scene(&self, now: Instant) -> Scene {
        let policy = *self.policy.borrow();
        let draining = self.trips_kept.drain.as_ref().is_some_and(|drain| !drain.is_ready());
        Scene {
            closed: self.breaker.admits(now).is_closed(),
            share_permille: policy.share_permille,
            ready: policy.hot.is_ok(),
            hot: self.trips_kept.hot(),
            moved: self.trips_kept.moved_back(Fallback::Drill),
            draining,
        }
    }

    /// A person wants a drill.
    pub(super) fn ask_drill(&mut self, now: Instant) -> Result<Half, Refused> {
        let (scene, at_ms) = (self.scene(now), self.trips_kept.epoch.unix_ms(now));
        let begun = self.trips_kept.drills.ask(Cause::Person, scene, at_ms, now);
        if let Ok(half) = begun {
            tracing::info!(
                number = half.number,
                permille = half.permille,
                "a drill begins: a person asked for it"
            );
        }
        begun
    }

    /// Moves a drill on. Before the policy is published, which carries its half.
    pub(super) fn rehearse(&mut self, now: Instant) {
        let (scene, trips) = (self.scene(now), &mut self.trips_kept);
        let (seen, at_ms) = (trips.seen(), trips.epoch.unix_ms(now));
        trips.drills.handle(seen, scene, at_ms, now);
        let Some(record) = trips.drills.poll_record() else { return };
        let outcome = record.outcome.as_str();
        if record.outcome.is_failure() {
            tracing::error!(
                outcome,
                left = record.left,
                "a drill has failed: the way back is not as fast as promised"
            );
        } else {
            let (moved, to_legacy_ms, to_hot_ms) = (record.moved, record.to_legacy_ms, record.to_hot_ms);
            tracing::info!(outcome, moved, to_legacy_ms, to_hot_ms, "a drill has ended");
        }
        trips.note(Event::Drill { outcome: outcome.to_owned(), moved: record.moved }, now);
        trips.records.drill(record);
    }

    /// Hands an incident over where there is one. After the return was looked at.
    pub(super) fn keep_incident(&mut self, now: Instant) {
        let (healthy, leaving) = (self.policy.borrow().hot.is_ok(), self.left_at.is_some());
        let trips = &mut self.trips_kept;
        let at_ms = trips.epoch.unix_ms(now);
        if trips.recorder.is_open() {
            let figures = trips.figures();
            if let Some(incident) = trips.recorder.take(leaving, &figures, at_ms) {
                trips.records.incident(incident);
            }
        } else if healthy && trips.recorder.wants_base(at_ms) {
            let figures = trips.figures();
            trips.recorder.healthy(figures, at_ms);
        }
    }
}

const fn asked(force: Force) -> &'static str {
    match force {
        Force::Open => "forced_open",
        Force::Closed => "forced_closed",
        Force::ObserveOnly => "observe_only",
        Force::Release => "auto",
        Force::Reset => "reset",
    }
}
