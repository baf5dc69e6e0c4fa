//! The reference: it keeps every sample since the last change of state and recounts all of them at each question.
//! Slow and plain on purpose; it shares no window, sketch ring or counter with the machine.

use std::time::Duration;

use super::super::latency::rounded;
use super::*;

/// Milliseconds of virtual time.
type Ms = u64;

#[derive(Clone, Copy, Debug)]
enum Seen {
    Back(Duration),
    Bad,
    Legacy(Duration),
    Waits(u32, Option<Ms>),
    Pairs(u64, u64),
    ConnectFailed,
    Connected,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stand {
    Closed { since: Ms, paced: bool },
    Open { until: Ms, trip: Trigger, latched: bool },
    HalfOpen { since: Ms, good: u32, last_taken: Option<Ms>, flying: Option<Ms> },
}

pub(super) struct Model {
    config: Config,
    pub(super) stand: Stand,
    pub(super) mode: Mode,
    log: Vec<(Ms, Seen)>,
    trips: Vec<Ms>,
    openings: u32,
    pub(super) openings_before: u32,
    was_open: bool,
    learnt: Option<(Duration, Ms)>,
}

fn ms(span: Duration) -> Ms {
    u64::try_from(span.as_millis()).unwrap()
}

impl Model {
    pub(super) fn new(config: Config) -> Self {
        let stand = Stand::HalfOpen { since: 0, good: 0, last_taken: None, flying: None };
        Self {
            config,
            stand,
            mode: Mode::Auto,
            log: Vec::new(),
            trips: Vec::new(),
            openings: 0,
            openings_before: 0,
            was_open: false,
            learnt: None,
        }
    }

    pub(super) fn record(&mut self, outcome: Outcome, origin: Instant, now: Ms) {
        self.time(now);
        let seen = match outcome {
            Outcome::ReadBack { took } => Some(Seen::Back(took)),
            Outcome::Failed(_) => Some(Seen::Bad),
            Outcome::LegacyLeg { took } => Some(Seen::Legacy(took)),
            Outcome::Waiting { batches, last_readback } => {
                Some(Seen::Waits(batches, last_readback.map(|at| ms(at - origin))))
            }
            Outcome::Compared { matched, mismatched } => Some(Seen::Pairs(matched, mismatched)),
            Outcome::ConnectFailed => Some(Seen::ConnectFailed),
            Outcome::Connected => Some(Seen::Connected),
            Outcome::Own(_) | Outcome::Probe { .. } => None,
        };
        // Half-open cannot probe what our role may not write: it has all its time again.
        if let (Outcome::Own(OwnFault::Authorization), Stand::HalfOpen { since, .. }) =
            (outcome, &mut self.stand)
        {
            *since = now;
        }
        let probing = matches!(self.stand, Stand::HalfOpen { .. });
        let connects = matches!(seen, Some(Seen::ConnectFailed | Seen::Connected));
        if let Some(seen) = seen.filter(|_| self.used() || (probing && connects)) {
            self.log.push((now, seen));
        }
        self.judge(now);
    }

    /// The process is killed at `now`, and the next one begins `away` later with what was saved then: an opening goes
    /// on for what is left of it, a latch and a person's `forced_open` stay, and everything else begins half-open.
    pub(super) fn killed(&mut self, now: Ms, away: Ms) {
        let begins = now + away;
        let window = ms(self.config.latch_window);
        let is_stale = away >= window;
        self.was_open = match self.stand {
            Stand::Closed { paced, .. } => paced,
            _ => self.was_open,
        };
        self.stand = match self.stand {
            Stand::Open { until, trip, latched } if latched || (!is_stale && until > begins) => {
                Stand::Open { until: until.max(begins), trip, latched }
            }
            _ => Stand::HalfOpen { since: begins, good: 0, last_taken: None, flying: None },
        };
        self.trips.retain(|at| *at + window > begins);
        if is_stale {
            (self.openings, self.was_open, self.trips) = (0, false, Vec::new());
        }
        (self.log, self.learnt) = (Vec::new(), None);
        if self.mode == Mode::ForcedOpen {
            self.mode = Mode::Auto;
            self.force(Force::Open, begins);
        } else {
            self.mode = Mode::Auto;
        }
    }

    /// Answers whether a probe should be handed out.
    pub(super) fn take_probe(&mut self, now: Ms) -> bool {
        self.time(now);
        let every = ms(self.config.probe_interval);
        let Stand::HalfOpen { last_taken, flying, .. } = &mut self.stand else { return false };
        let due = last_taken.is_none_or(|last| now >= last + every);
        if self.mode == Mode::ForcedOpen || flying.is_some() || !due {
            return false;
        }
        (*last_taken, *flying) = (Some(now), Some(now));
        true
    }

    pub(super) fn probe_ended(&mut self, end: ProbeEnd, now: Ms) {
        self.time(now);
        if let Stand::HalfOpen { good, flying, .. } = &mut self.stand
            && flying.take().is_some()
        {
            match end {
                ProbeEnd::Good => *good += 1,
                ProbeEnd::Void(_) => {}
                ProbeEnd::Bad(_) => self.open(Trigger::Probe, now),
            }
            if matches!(self.stand, Stand::HalfOpen { good, .. } if good == self.config.probes) {
                self.stand = Stand::Closed { since: now, paced: self.was_open };
                self.log.clear();
            }
        }
        self.judge(now);
    }

    pub(super) fn force(&mut self, force: Force, now: Ms) {
        self.time(now);
        match force {
            Force::Open => {
                if !matches!(self.stand, Stand::Open { .. }) {
                    self.stand = Stand::Open { until: now, trip: Trigger::Forced, latched: false };
                    self.was_open = true;
                    self.log.clear();
                }
                self.mode = Mode::ForcedOpen;
            }
            Force::Closed => self.mode = Mode::ForcedClosed,
            Force::ObserveOnly => self.mode = Mode::ObserveOnly,
            Force::Release => self.mode = Mode::Auto,
            Force::Reset => {
                (self.openings, self.trips) = (0, Vec::new());
                if let Stand::Open { until, latched, .. } = &mut self.stand {
                    (*until, *latched) = (now, false);
                }
            }
        }
        self.pass(now);
    }

    pub(super) fn pass(&mut self, now: Ms) {
        self.time(now);
        self.judge(now);
    }

    /// What the world may do with Realtime.
    pub(super) fn share(&self, now: Ms) -> u16 {
        match self.stand {
            _ if self.mode.overrides_closed() => 1_000,
            Stand::Closed { paced: false, .. } => 1_000,
            Stand::Closed { since, .. } => {
                let mut begins = since;
                for step in &self.config.pace {
                    begins += ms(step.hold);
                    if now < begins {
                        return step.share_permille;
                    }
                }
                1_000
            }
            _ => 0,
        }
    }

    fn used(&self) -> bool {
        self.mode.overrides_closed() || matches!(self.stand, Stand::Closed { .. })
    }

    fn time(&mut self, now: Ms) {
        if self.mode == Mode::ForcedOpen {
            return;
        }
        match self.stand {
            Stand::Open { until, latched: false, .. } if now >= until => {
                self.stand = Stand::HalfOpen { since: now, good: 0, last_taken: None, flying: None };
                self.log.clear();
            }
            Stand::HalfOpen { flying: Some(taken), .. } if now >= taken + ms(self.config.probe_deadline) => {
                self.open(Trigger::Probe, now);
            }
            Stand::HalfOpen { since, .. } if now >= since + ms(self.config.half_open_max) => {
                self.open(Trigger::HalfOpenExpired, now);
            }
            Stand::Closed { since, paced: true } => {
                let whole: Duration = self.config.pace.iter().map(|step| step.hold).sum();
                if now >= since + ms(whole) {
                    self.stand = Stand::Closed { since, paced: false };
                    (self.openings, self.was_open) = (0, false);
                }
            }
            _ => {}
        }
    }

    fn judge(&mut self, now: Ms) {
        if matches!(self.stand, Stand::HalfOpen { .. }) && self.mode == Mode::Auto {
            if self.connect() {
                self.open(Trigger::Connect, now);
            }
        } else if self.used() && self.mode != Mode::ForcedClosed {
            let fired = self.fired(now);
            if let Some(trip) = fired.filter(|_| self.mode == Mode::Auto) {
                self.open(trip, now);
            }
        }
    }

    fn open(&mut self, trip: Trigger, now: Ms) {
        let mut latched = false;
        if matches!(self.stand, Stand::Closed { .. }) {
            self.trips.push(now);
            let young = self.trips.iter().filter(|at| **at + ms(self.config.latch_window) > now).count();
            latched = young >= self.config.latch_trips;
        }
        self.openings_before = self.openings;
        self.openings += 1;
        self.was_open = true;
        self.log.clear();
        // The jitter is the machine's; the comparison checks its bounds and fills this in.
        self.stand = Stand::Open { until: Ms::MAX, trip, latched };
    }

    fn fired(&mut self, now: Ms) -> Option<Trigger> {
        if self.connect() {
            return Some(Trigger::Connect);
        }
        if self.silent_since().is_some_and(|since| now >= since + ms(self.config.stall_after)) {
            return Some(Trigger::Stall);
        }
        let ratio = |window: Duration, least: u64| {
            let (bad, all) = self.samples(window, now);
            if all < least || all == 0 { 0.0 } else { bad as f64 / all as f64 }
        };
        if ratio(self.config.burn_window, self.config.burn_samples_min) > self.config.burn_ratio {
            return Some(Trigger::FastBurn);
        }
        if ratio(self.config.error_window, self.config.error_samples_min) > self.config.error_ratio {
            return Some(Trigger::ErrorRatio);
        }
        let (matched, mismatched) = self.pairs(now);
        let pairs = matched + mismatched;
        if pairs >= self.config.match_samples_min
            && 1.0 - mismatched as f64 / (pairs as f64) < self.config.match_gate
        {
            return Some(Trigger::Match);
        }
        self.latency(now).then_some(Trigger::Latency)
    }

    /// Everything younger than a window, by whole seconds.
    fn young(&self, window: Duration, now: Ms) -> impl Iterator<Item = Seen> + '_ {
        let seconds = window.as_secs();
        self.log.iter().filter(move |(at, _)| at / 1_000 + seconds > now / 1_000).map(|(_, seen)| *seen)
    }

    fn samples(&self, window: Duration, now: Ms) -> (u64, u64) {
        self.young(window, now).fold((0, 0), |(bad, all), seen| match seen {
            Seen::Back(_) => (bad, all + 1),
            Seen::Bad => (bad + 1, all + 1),
            _ => (bad, all),
        })
    }

    fn pairs(&self, now: Ms) -> (u64, u64) {
        self.young(self.config.match_window, now).fold((0, 0), |(good, bad), seen| match seen {
            Seen::Pairs(matched, mismatched) => (good + matched, bad + mismatched),
            _ => (good, bad),
        })
    }

    fn connect(&self) -> bool {
        let fails = self.log.iter().rev().filter(|(_, s)| matches!(s, Seen::ConnectFailed | Seen::Connected));
        let run: Vec<Ms> = fails.take_while(|(_, s)| matches!(s, Seen::ConnectFailed)).map(|l| l.0).collect();
        let (Some(last), Some(first)) = (run.first(), run.last()) else { return false };
        run.len() >= self.config.connect_failures as usize && last - first >= ms(self.config.connect_span)
    }

    fn silent_since(&self) -> Option<Ms> {
        let mut since = None;
        for (at, seen) in &self.log {
            since = match (*seen, since) {
                (Seen::Waits(batches, _), _) if batches < self.config.stall_batches_min => None,
                (Seen::Waits(_, last), old) => Some(old.unwrap_or(*at).max(last.unwrap_or(0).min(*at))),
                (Seen::Back(_), Some(_)) => Some(*at),
                (_, old) => old,
            };
        }
        since
    }

    fn p95(&self, now: Ms, legacy: bool) -> Option<Duration> {
        let took = self.young(self.config.latency_window, now).filter_map(|seen| match seen {
            Seen::Back(took) if !legacy => Some(rounded(took)),
            Seen::Legacy(took) if legacy => Some(rounded(took)),
            _ => None,
        });
        let mut took: Vec<Duration> = took.collect();
        took.sort_unstable();
        let enough = took.len() as u64 >= self.config.latency_samples_min;
        enough.then(|| took[(took.len() * 95).div_ceil(100) - 1])
    }

    fn latency(&mut self, now: Ms) -> bool {
        let Some(p95) = self.p95(now, false) else { return false };
        if let Some((learnt, _)) = self.learnt {
            let baseline = learnt.max(self.p95(now, true).unwrap_or_default());
            let above = p95 > baseline + self.config.latency_excess;
            if above && p95 > baseline.mul_f64(self.config.latency_factor) {
                return true;
            }
        }
        let next = match self.learnt {
            Some((_, at)) if now < at + ms(self.config.latency_window) => return false,
            Some((old, _)) if p95 < old => old - (old - p95) / 8,
            Some((old, _)) => old + (p95 - old) / 8,
            None => p95,
        };
        self.learnt = Some((next.min(self.config.baseline_max), now));
        false
    }
}
