//! What a rate means for the plan: share of the limit, messages in a month, money. Pure functions, for the figures
//! of the present and for the preview of a step.

use super::machine::SERVING_SHARE;
use super::terms::Terms;

/// Days that a forecast reckons a month with.
const MONTH_SECONDS: f64 = 30.0 * 86_400.0;

/// What the present or a supposed rate amounts to, for the whole project.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Messages per second as Realtime counts them, all pods.
    pub per_second: f64,
    /// The plan's limit.
    pub limit: u32,
    /// Part of the limit that is used; 1 is all of it.
    pub used: f64,
    /// Messages in 30 days at this rate.
    pub per_month: f64,
    /// Messages beyond those that the month includes.
    pub beyond: f64,
    /// Price of those beyond, in US dollars; `None` where the plan does not sell any and restricts the project.
    pub cost: Option<f64>,
}

/// What a rate of all pods together amounts to. Nothing is assumed of other users of the organisation.
#[must_use]
pub fn forecast(terms: &Terms, per_second: f64) -> Forecast {
    let plan = terms.plan;
    let per_month = per_second.max(0.0) * MONTH_SECONDS;
    let beyond = (per_month - plan.included_per_month as f64).max(0.0);
    // Each started million counts.
    let priced = |cents: u32| (beyond / 1e6).ceil() * f64::from(cents) / 100.0;
    let cost = match plan.cents_per_million {
        Some(cents) => Some(priced(cents)),
        None => (beyond <= 0.0).then_some(0.0),
    };
    Forecast {
        per_second,
        limit: plan.messages_per_second,
        used: per_second / f64::from(plan.messages_per_second.max(1)),
        per_month,
        beyond,
        cost,
    }
}

/// A step that is being considered, for all pods together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shift {
    /// Downward messages per second of the sessions that would become hot: each may need a publish of its own.
    pub awaited_per_second: f64,
    /// Messages per second that Realtime would deliver to clients itself (native and cold): nobody spaces those.
    pub delivered_per_second: f64,
}

/// What a step would amount to: the present rate, plus one publish with its deliveries for each awaited message as
/// far as the budget of serving goes (beyond it publishes are spaced and batches grow), plus deliveries to clients.
/// An upper bound: messages that arrive together share a publish.
#[must_use]
pub fn preview(terms: &Terms, present_per_second: f64, shift: &Shift) -> Forecast {
    let budget = f64::from(terms.plan.messages_per_second) * SERVING_SHARE;
    let cost = f64::from(terms.cost(true));
    let room = (budget - present_per_second).max(0.0);
    let awaited = (shift.awaited_per_second.max(0.0) * cost).min(room);
    forecast(terms, present_per_second + awaited + shift.delivered_per_second.max(0.0))
}
