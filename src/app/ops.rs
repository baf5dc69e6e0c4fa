//! The ops thread's heart: owns the breaker, hears outcomes, and tells everybody what may be done with Realtime.
//!
//! One loop: an outcome, a word from a person or a timeout goes into the machine; what comes out is a
//! [`Policy`] for the workers and a [`View`] for everybody else, in watch channels. Nobody is ever waited for, so that opening needs nothing but this loop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::flags::{FlagBook, FlagWord};
use super::memory::Memory;
use crate::breaker::fleet::Fleet;
use crate::breaker::{
    Admission, Breaker, Change, Force, Outcome, OwnFault, Probe, Publish, State, Trigger, Trip,
};
use crate::hot::Fallback;
use crate::lane::Source;
use crate::mirror::governor::Spacing;
use crate::proxy::{Lane, Policy, SessionCounters};
use crate::status::BreakerFigures;

/// What the ops thread hears.
#[derive(Debug)]
pub(crate) enum Word {
    /// Something happened on the way to Realtime and back.
    Outcome(Outcome),
    /// The links have changed.
    Links(Links),
    /// Realtime threw our channel out for too many messages.
    Quota,
    /// How far apart publishes would be, while that is too far for hot sessions.
    Spacing(Option<Spacing>),
    /// So many pods share the plan now.
    Pods(u32),
    /// Enough pods have tripped at once.
    Fleet(Fleet),
    /// A person speaks.
    Force(Force),
    /// The rollout's settings change.
    Flags(FlagWord),
    /// Somebody wants to see the breaker.
    Look(oneshot::Sender<Look>),
    /// A person wants a drill.
    Drill(oneshot::Sender<Result<crate::drill::Half, crate::drill::Refused>>),
}

/// The breaker at one moment, with everything that it looks at.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) at: Instant,
    pub(crate) state: State,
    pub(crate) admission: Admission,
    pub(crate) figures: crate::breaker::Figures,
    pub(crate) config: crate::breaker::Config,
    pub(crate) trip: Option<Trip>,
    pub(crate) trips_24h: u64,
    pub(crate) trips: [u64; Trigger::ALL.len()],
    /// States written to the disk, and writes that failed; `None` where nothing is kept.
    pub(crate) saves: Option<(u64, u64)>,
}

/// Trips that are remembered with their figures; a breaker that trips more often has latched long before.
const TRIPS_KEPT: usize = 256;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Which of our two sockets are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// The one that publishes.
    pub(crate) publish: bool,
    /// The one that reads back.
    pub(crate) readback: bool,
}

impl Links {
    const fn joined(self) -> bool {
        self.publish && self.readback
    }
}

/// What everybody else may read at any time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// For the side thread.
    pub(crate) publish: Publish,
    /// For decisions at the upgrade.
    pub(crate) admission: Admission,
    pub(crate) source: Source,
    /// Why the plan does not allow hot sessions, while it does not.
    pub(crate) spacing: Option<Spacing>,
    /// Pods that share the plan, for the side thread's governor.
    pub(crate) pods: u32,
    /// For pictures.
    pub(crate) state: State,
    pub(crate) trips: u64,
    pub(crate) last_trip: Option<Trigger>,
    /// When this pod's own evidence opened the breaker last, for the fleet.
    pub(crate) own_trip: Option<Instant>,
    pub(crate) trips_by_trigger: [u64; Trigger::ALL.len()],
}

impl View {
    /// The figures that the status shows.
    pub(crate) fn figures(&self, returned: Option<Duration>, now: Instant) -> BreakerFigures {
        let (until, probes_good) = match self.state {
            State::Closed { .. } => (None, 0),
            State::Open { until, latched, .. } => (Some(until).filter(|_| !latched), 0),
            State::HalfOpen { until, probes_good, .. } => (Some(until), probes_good),
        };
        BreakerFigures {
            phase: self.state.phase(),
            left: until.map(|until| until.saturating_duration_since(now)),
            share_permille: self.admission.share_permille,
            probes_good,
            trips: self.trips,
            last_trip: self.last_trip,
            return_to_legacy: returned,
        }
    }
}

/// Words that may wait for the ops thread; more are dropped and counted by the sender.
pub(crate) const WORDS_MAX: usize = 8 * 1024;

/// How long after `Too many messages per second` no session is hot.
const QUOTA_HOLD_OFF: Duration = Duration::from_secs(60);
/// How often the time to the last session's return is looked at after a trip.
const RETURN_POLL: Duration = Duration::from_millis(1);

/// How often the workers' samples of the legacy leg are taken, at most.
const LEGS_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Ops {
    pub(crate) breaker: Breaker,
    /// The rollout's settings.
    pub(crate) flags: FlagBook,
    pub(crate) words: mpsc::Receiver<Word>,
    pub(crate) probes: mpsc::Sender<Probe>,
    pub(crate) view: watch::Sender<View>,
    /// For the workers.
    pub(crate) policy: watch::Sender<Policy>,
    pub(crate) counters: Vec<Arc<SessionCounters>>,
    pub(crate) returned_us: Arc<AtomicU64>,
    pub(crate) links: Links,
    pub(crate) quota_until: Option<Instant>,
    pub(crate) spacing: Option<Spacing>,
    pub(crate) pods: u32,
    pub(crate) left_at: Option<Instant>,
    pub(crate) trips: [u64; Trigger::ALL.len()],
    pub(crate) last_trip: Option<Trigger>,
    /// The latest trips, oldest first.
    pub(crate) tripped: VecDeque<(Instant, Trip)>,
    pub(crate) own_trip: Option<Instant>,
    /// The flight recorder and the drills.
    pub(crate) trips_kept: super::trips::Trips,
    /// Where the breaker's state outlives the process.
    pub(crate) memory: Option<Memory>,
    /// When the legacy leg's samples are taken from the workers next.
    pub(crate) legs_at: Option<Instant>,
}

/// The view before anything is known: nobody is hot, probes only.
pub(crate) fn first_view(breaker: &Breaker, pods: u32, now: Instant) -> View {
    View {
        publish: breaker.admits(now).publish,
        admission: breaker.admits(now),
        source: Source::NotJoined,
        spacing: None,
        pods,
        state: breaker.state(),
        trips: 0,
        last_trip: None,
        own_trip: None,
        trips_by_trigger: [0; Trigger::ALL.len()],
    }
}

impl Ops {
    /// Runs until every sender of words is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let now = clock();
            let due = [self.breaker.poll_timeout(), self.quota_until, self.trips_kept.poll_timeout(now)];
            let mut wake = due.into_iter().flatten().min();
            if self.left_at.is_some() {
                wake = Some(wake.map_or(now + RETURN_POLL, |at| at.min(now + RETURN_POLL)));
            }
            let sleep = tokio::time::sleep_until(wake.unwrap_or(now + Duration::from_secs(60)).into());
            tokio::select! {
                word = self.words.recv() => match word {
                    Some(word) => self.hear(word, clock()),
                    None => return,
                },
                () = sleep => {}
            }
            // What has come in counts before time is let pass: a read-back in our own inbox is no stall.
            while let Ok(word) = self.words.try_recv() {
                self.hear(word, clock());
            }
            self.act(clock());
        }
    }

    pub(crate) fn hear(&mut self, word: Word, now: Instant) {
        self.trips_kept.hear(&word, now);
        match word {
            Word::Outcome(outcome) => self.breaker.record(outcome, now),
            Word::Links(links) => self.links = links,
            Word::Quota => {
                self.breaker.record(Outcome::Own(OwnFault::Quota), now);
                self.quota_until = Some(now + QUOTA_HOLD_OFF);
            }
            Word::Spacing(spacing) => self.space(spacing),
            Word::Pods(pods) => self.pods = pods,
            Word::Fleet(fleet) => self.breaker.fleet_trip((fleet.tripped, fleet.needed, fleet.live), now),
            Word::Force(force) => {
                self.breaker.force(force, now);
                self.memory.iter_mut().for_each(Memory::person_spoke);
            }
            Word::Flags(word) => self.flags.hear(word),
            // Whoever asked may have gone.
            Word::Look(answer) => drop(answer.send(self.look(now))),
            Word::Drill(answer) => drop(answer.send(self.ask_drill(now))),
        }
    }

    fn look(&mut self, now: Instant) -> Look {
        let today = |(at, _): &&(Instant, Trip)| now.saturating_duration_since(*at) < DAY;
        Look {
            at: now,
            state: self.breaker.state(),
            admission: self.breaker.admits(now),
            figures: self.breaker.figures(now),
            config: self.breaker.config().clone(),
            trip: self.tripped.back().map(|(_, trip)| *trip),
            trips_24h: self.tripped.iter().filter(today).count().max(self.breaker.trips_counted(now)) as u64,
            trips: self.trips,
            saves: self.memory.as_ref().map(Memory::writes),
        }
    }

    /// Shows the arithmetic once when the hot lane is refused, and once when it is back.
    fn space(&mut self, spacing: Option<Spacing>) {
        match (self.spacing, spacing) {
            (None, Some(why)) => tracing::warn!(
                spacing = %why,
                max_ms = crate::mirror::governor::machine::HOT_SPACING_MAX.as_secs_f64() * 1e3,
                "the plan allows too few publishes for the hot lane: every session is fed by the legacy service"
            ),
            (Some(_), None) => tracing::info!("the plan allows the hot lane again"),
            _ => {}
        }
        self.spacing = spacing;
    }

    /// Takes what the workers have measured of the legacy leg. Nobody is woken for it: while messages flow, outcomes do.
    fn take_legs(&mut self, now: Instant) {
        if self.legs_at.is_some_and(|at| now < at) {
            return;
        }
        self.legs_at = Some(now + LEGS_EVERY);
        for took in self.counters.iter().flat_map(|counters| counters.legs.take()) {
            self.breaker.record(Outcome::LegacyLeg { took }, now);
        }
    }

    pub(crate) fn act(&mut self, now: Instant) {
        self.take_legs(now);
        self.breaker.handle_timeout(now);
        if self.quota_until.is_some_and(|until| until <= now) {
            self.quota_until = None;
        }
        while let Some(change) = self.breaker.poll_event() {
            self.tell(change, now);
        }
        if self.links.joined()
            && let Some(probe) = self.breaker.take_probe(now)
            && self.probes.try_send(probe).is_err()
        {
            let end = crate::breaker::ProbeEnd::Void(OwnFault::Queue);
            self.breaker.record(Outcome::Probe { probe, end }, now);
        }
        self.rehearse(now);
        if let Some(memory) = &mut self.memory {
            memory.follow(&self.breaker, now);
        }
        self.publish_view(now);
        self.watch_return(now);
        self.keep_incident(now);
    }

    fn tell(&mut self, change: Change, now: Instant) {
        let was = self.view.borrow().admission.phase;
        self.trips_kept.changed(&change, was, now);
        match change {
            Change::Opened { trip, until, latched } => {
                self.trips[trip.trigger as usize] += 1;
                self.last_trip = Some(trip.trigger);
                self.tripped.push_back((now, trip));
                if self.tripped.len() > TRIPS_KEPT {
                    self.tripped.pop_front();
                }
                if trip.trigger.is_evidence() {
                    self.own_trip = Some(now);
                }
                tracing::warn!(
                    trigger = trip.trigger.as_str(),
                    measured = trip.measured,
                    limit = trip.limit,
                    samples = trip.samples,
                    open_for_ms = u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX),
                    latched,
                    "breaker opened: every session is fed by the legacy service"
                );
            }
            Change::HalfOpened => tracing::info!("breaker half-open: probing Realtime"),
            Change::Closed { share_permille } => {
                tracing::info!(share_permille, "breaker closed: Realtime may feed clients");
            }
            Change::Share { share_permille } => tracing::info!(share_permille, "paced return: next step"),
            Change::WouldTrip(trip) => {
                tracing::warn!(trigger = trip.trigger.as_str(), "breaker would have opened (observe_only)");
            }
            Change::Mode(mode) => tracing::warn!(mode = mode.as_str(), "breaker mode changed"),
        }
    }

    /// Measures how long the last session took to be back on legacy, from the moment in which Realtime might no
    /// longer be used: the trip, or the lost read-back that came before it.
    fn watch_return(&mut self, now: Instant) {
        let Some(tripped_at) = self.left_at else { return };
        let hot: i64 = self
            .counters
            .iter()
            .map(|counters| counters.open[Lane::Hot as usize].load(Ordering::Relaxed))
            .sum();
        if hot <= 0 {
            let took = u64::try_from((now - tripped_at).as_micros()).unwrap_or(u64::MAX).max(1);
            self.returned_us.store(took, Ordering::Relaxed);
            self.left_at = None;
            self.trips_kept.returned(Duration::from_micros(took), now);
            tracing::info!(took_us = took, "every session is back on legacy");
        }
    }

    fn publish_view(&mut self, now: Instant) {
        let admission = self.breaker.admits(now);
        let (source, fallback) = if !self.links.joined() {
            (Source::NotJoined, Some(Fallback::ReadBackLost))
        } else if self.quota_until.is_some() {
            (Source::Quota, Some(Fallback::Quota))
        } else if self.spacing.is_some() {
            (Source::Spaced, Some(Fallback::Quota))
        } else {
            (Source::Ready, None)
        };
        let fallback = if admission.serves() { fallback } else { Some(Fallback::Breaker) };
        let hot = fallback.map_or(Ok(()), Err);
        let standing = self.flags.standing();
        let open = matches!(self.breaker.state(), State::Open { .. }) && !admission.serves();
        let policy = Policy {
            hot,
            share_permille: admission.share_permille,
            version: standing.version,
            close_native: open || !standing.hands.is_empty(),
            drill: self.trips_kept.slice(),
        };
        if hot.is_err() && self.policy.borrow().hot.is_ok() {
            self.left_at = Some(now);
        }
        self.policy.send_if_modified(|old| std::mem::replace(old, policy) != policy);
        let view = View {
            publish: admission.publish,
            admission,
            source,
            spacing: self.spacing,
            pods: self.pods,
            state: self.breaker.state(),
            trips: self.trips.iter().sum(),
            last_trip: self.last_trip,
            own_trip: self.own_trip,
            trips_by_trigger: self.trips,
        };
        // Everybody who listens is woken only when something that they act on has changed.
        self.view.send_if_modified(|old| {
            let matters = old.publish != view.publish || old.pods != view.pods;
            *old = view;
            matters
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "the ops thread is a shell: its clock is the real one")]
fn clock() -> Instant {
    Instant::now()
}
