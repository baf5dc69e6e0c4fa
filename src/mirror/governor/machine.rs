//! The governor's machine: a leaky bucket in messages, its rate from plan, pods, serving and the last refusal.

use std::time::{Duration, Instant};

use super::forecast::forecast;
use super::meter::Meter;
use super::terms::{Figures, Relief, Spacing, Terms, Verdict};

/// Part of the plan's limit that the mirror alone may use.
pub const MIRROR_SHARE: f64 = 0.5;
/// Part of the plan's limit that may be used while hot sessions are served.
pub const SERVING_SHARE: f64 = 0.8;
/// Part of the budget that a backlog may use.
pub const BACKLOG_SHARE: f64 = 0.3;
/// The hot lane is refused while publishes are further apart …
pub const HOT_SPACING_MAX: Duration = Duration::from_millis(150);
/// … until they are at most so far apart again.
pub const HOT_SPACING_BACK: Duration = Duration::from_millis(120);
/// Seconds over which Realtime averages.
const WINDOW_S: f64 = 60.0;
/// How long after the last awaited message the budget is that of serving.
const SERVING_FOR: Duration = Duration::from_secs(10);
/// How long after a refusal by Realtime the rate stays halved: its average looks back a minute.
const QUOTA_HOLD: Duration = Duration::from_secs(60);
/// One refusal is told by several events; within this time they are one.
const QUOTA_AGAIN: Duration = Duration::from_secs(10);
/// Recovery after a refusal: so much of the full budget …
const GROW_BY: f64 = 0.05;
/// … in each of these.
const GROW_EVERY: Duration = Duration::from_secs(15);
/// The lowest part of the budget that repeated refusals lead to.
const FACTOR_MIN: f64 = 1.0 / 16.0;

/// The machine.
#[derive(Debug)]
pub struct Governor {
    terms: Terms,
    /// Messages spent that have not drained, as of `at`.
    debt: f64,
    backlog_debt: f64,
    at: Instant,
    factor: f64,
    grow_at: Option<Instant>,
    refused_at: Option<Instant>,
    served_at: Option<Instant>,
    hot_refused: bool,
    /// Whether the last verdict was `Defer`: one withholding is counted once.
    is_short: bool,
    meter: Meter,
    refusals: u64,
    deferred: u64,
    #[cfg(test)]
    pub(crate) sabotage: Option<super::Sabotage>,
}

impl Governor {
    /// A governor that has spent nothing.
    #[must_use]
    pub fn new(terms: Terms, now: Instant) -> Self {
        let terms = Terms { pods: terms.pods.max(1), ..terms };
        let mut governor = Self {
            terms,
            debt: 0.0,
            backlog_debt: 0.0,
            at: now,
            factor: 1.0,
            grow_at: None,
            refused_at: None,
            served_at: None,
            hot_refused: false,
            is_short: false,
            meter: Meter::new(now),
            refusals: 0,
            deferred: 0,
            #[cfg(test)]
            sabotage: None,
        };
        governor.judge_hot();
        governor
    }

    /// What the budget follows from.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// So many pods share the plan now.
    pub fn set_pods(&mut self, pods: u32, now: Instant) {
        if self.terms.pods != pods.max(1) {
            self.handle_timeout(now);
            self.terms.pods = pods.max(1);
            self.judge_hot();
        }
    }

    /// A hot session awaits a message: the budget is that of serving for a while.
    pub fn handle_awaited(&mut self, now: Instant) {
        if !self.serves() {
            self.handle_timeout(now);
        }
        self.served_at = Some(now);
    }

    /// Realtime said `Too many messages per second`: half of the rate, and slowly back.
    pub fn handle_quota(&mut self, now: Instant) {
        self.handle_timeout(now);
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::IgnoreQuota) {
            return;
        }
        if self.refused_at.is_some_and(|at| now.saturating_duration_since(at) < QUOTA_AGAIN) {
            return;
        }
        self.refused_at = Some(now);
        self.refusals += 1;
        self.factor = (self.factor / 2.0).max(FACTOR_MIN);
        self.grow_at = Some(now + QUOTA_HOLD);
        self.judge_hot();
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(at) = self.grow_at.filter(|at| *at <= now) {
            self.drain(at);
            self.factor = (self.factor + GROW_BY).min(1.0);
            self.grow_at = (self.factor < 1.0).then_some(at + GROW_EVERY);
            self.judge_hot();
        }
        if let Some(end) = self.served_at.map(|at| at + SERVING_FOR).filter(|end| *end <= now) {
            self.drain(end);
            self.served_at = None;
        }
        self.drain(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) changes something that others look at.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.grow_at
    }

    /// Whether one more broadcast may go. The dearest kind is assumed, so that the order of kinds does not matter.
    pub fn verdict(&mut self, now: Instant) -> Verdict {
        self.handle_timeout(now);
        let until = self.free_at();
        let is_short = until > now;
        self.deferred += u64::from(is_short && !self.is_short);
        self.is_short = is_short;
        if is_short { Verdict::Defer { until } } else { Verdict::Publish }
    }

    /// A broadcast goes out, repetitions and our own samples included.
    pub fn spend(&mut self, read_back: bool, now: Instant) {
        self.handle_timeout(now);
        let deliveries = self.terms.deliveries(read_back);
        #[cfg(test)]
        let deliveries =
            if self.sabotage == Some(super::Sabotage::ForgetDeliveries) { 0 } else { deliveries };
        self.meter.count(deliveries, now);
        self.debt += f64::from(deliveries) + 1.0;
    }

    /// The same for a broadcast from the backlog.
    pub fn spend_backlog(&mut self, read_back: bool, now: Instant) {
        self.spend(read_back, now);
        self.backlog_debt += f64::from(self.terms.cost(read_back));
    }

    /// How many broadcasts of a backlog may go now: none while live traffic waits, at most 30 % of the budget.
    pub fn backlog_slots(&mut self, live_waits: bool, now: Instant) -> u32 {
        self.handle_timeout(now);
        if live_waits {
            return 0;
        }
        let cost = self.dearest();
        let share = BACKLOG_SHARE;
        #[cfg(test)]
        let share = if self.sabotage == Some(super::Sabotage::BacklogUnbounded) { 1.0 } else { share };
        let own = ((self.burst() * share).max(cost) - self.backlog_debt) / cost;
        let all = (self.burst() - self.debt) / cost;
        whole(own.min(all))
    }

    /// What to do about a queue that holds `waiting` of `capacity` bytes.
    #[must_use]
    pub fn relief(&self, waiting: u64, capacity: u64) -> Relief {
        if !self.is_short || waiting < capacity / 4 {
            Relief::None
        } else if waiting < capacity / 2 {
            Relief::Spool
        } else {
            Relief::ShedLow
        }
    }

    /// Whether hot sessions may be served.
    ///
    /// # Errors
    /// The spacing that serving would need, while it is too long.
    pub fn hot(&self) -> Result<(), Spacing> {
        if self.hot_refused { Err(self.spacing(SERVING_SHARE)) } else { Ok(()) }
    }

    /// How far apart publishes are at full use of the present budget.
    #[must_use]
    pub fn spacing_now(&self) -> Spacing {
        self.spacing(self.share())
    }

    /// The figures of this moment.
    pub fn figures(&mut self, now: Instant) -> Figures {
        self.handle_timeout(now);
        let per_second = self.meter.per_second(now);
        let (sends, deliveries) = self.meter.totals();
        let forecast = forecast(&self.terms, per_second * f64::from(self.terms.pods));
        Figures {
            budget: self.budget(self.share()),
            per_second,
            used: forecast.used,
            spacing: self.spacing_now().every,
            sends,
            deliveries,
            refusals: self.refusals,
            deferred: self.deferred,
            hot_refused: self.hot_refused,
            forecast,
        }
    }
}

/// The arithmetic.
impl Governor {
    const fn serves(&self) -> bool {
        self.served_at.is_some()
    }

    const fn share(&self) -> f64 {
        if self.serves() { SERVING_SHARE } else { MIRROR_SHARE }
    }

    /// Messages per second that this pod may use.
    fn budget(&self, share: f64) -> f64 {
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::ForgetPods) {
            return f64::from(self.terms.plan.messages_per_second) * share * self.factor;
        }
        let limit = f64::from(self.terms.plan.messages_per_second.max(1));
        limit * share * self.factor / f64::from(self.terms.pods)
    }

    fn spacing(&self, share: f64) -> Spacing {
        let cost = self.terms.cost(true);
        let Terms { plan, pods, .. } = self.terms;
        let limit = plan.messages_per_second;
        let every = Duration::from_secs_f64(f64::from(cost) / self.budget(share));
        Spacing { every, cost, limit, share, pods, factor: self.factor }
    }

    /// Messages that may be spent at once: a second's budget, or one broadcast if that is more.
    fn burst(&self) -> f64 {
        self.budget(self.share()).max(self.dearest())
    }

    /// Messages that drain per second: with the burst no minute exceeds the budget.
    fn rate(&self) -> f64 {
        let budget = self.budget(self.share());
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::ForgetTheBurst) {
            return budget;
        }
        (budget - self.burst() / WINDOW_S).max(budget / 2.0)
    }

    fn dearest(&self) -> f64 {
        f64::from(self.terms.cost(true))
    }

    fn drain(&mut self, now: Instant) {
        let spent = now.saturating_duration_since(self.at).as_secs_f64() * self.rate();
        self.debt = (self.debt - spent).max(0.0);
        self.backlog_debt = (self.backlog_debt - spent * BACKLOG_SHARE).max(0.0);
        self.at = self.at.max(now);
    }

    /// When the bucket has room for one more of the dearest kind, rounded up to a whole microsecond.
    #[must_use]
    pub fn free_at(&self) -> Instant {
        #[cfg(test)]
        match self.sabotage {
            Some(super::Sabotage::NeverDefer) => return self.at,
            Some(super::Sabotage::NeverRelent) if self.is_short => return self.at + Duration::from_secs(1),
            _ => {}
        }
        let lacking = self.debt + self.dearest() - self.burst();
        if lacking <= 1e-9 {
            return self.at;
        }
        let micros = (lacking / self.rate() * 1e6).ceil().clamp(1.0, 1e15);
        self.at + Duration::from_secs_f64(micros / 1e6)
    }

    fn judge_hot(&mut self) {
        let every = self.spacing(SERVING_SHARE).every;
        let bound = if self.hot_refused { HOT_SPACING_BACK } else { HOT_SPACING_MAX };
        #[cfg(test)]
        let bound =
            if self.sabotage == Some(super::Sabotage::NoHysteresis) { HOT_SPACING_MAX } else { bound };
        self.hot_refused = every > bound;
    }
}

/// The whole part of what is not negative.
fn whole(count: f64) -> u32 {
    // Bounded below and above, so that the cast neither wraps nor loses a sign.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let whole = (count + 1e-9).floor().clamp(0.0, 1e6) as u32;
    whole
}
