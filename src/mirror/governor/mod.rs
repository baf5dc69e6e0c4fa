//! Keeps what the mirror publishes below the plan's message limit, and says what the present traffic will cost.
//!
//! **Problem.** Realtime counts each accepted broadcast and each of its deliveries, as the average of up to twelve
//! buckets of 5 s, per project. Over the limit the sender notices nothing: it is the *listening* channels that are
//! thrown out, our read-back first of all, and other services of the project with it. A limit that is only noticed
//! when it is broken costs every hot session its lane for a minute.
//!
//! **Decision.** A pure machine between batcher and publisher that gives or withholds each publish:
//! * the [`plan`] is data; the budget of a pod is limit × 0.5 / pods, × 0.8 / pods while hot sessions are served;
//! * a leaky bucket ([`machine`]) spaces publishes. It holds at most one second of budget and drains at 59/60 of it,
//!   so that no window of 60 s can exceed the budget, and no single 5 s bucket the plan's limit: Realtime's counter
//!   starts anew after a silent minute, and then one bucket alone decides. Awaited messages are not exempt;
//! * whoever is withheld waits in the batcher, whose batches grow (group commit). The ladder of [`Relief`] says when
//!   that is not enough: spool, then shed `low`;
//! * after `Too many messages per second` the budget is halved and grows back by a twentieth every 15 s, from a
//!   minute later on;
//! * the hot lane is refused while the spacing that serving would need is above 150 ms, with the arithmetic
//!   ([`Spacing`]), and admitted again below 120 ms;
//! * a backlog gets 30 % of the budget at most ([`Governor::backlog_slots`]);
//! * a [`meter`] counts as Realtime does, and [`forecast()`] turns a rate into a month and a price.
//!
//! ```text
//! batcher ─▶ verdict(now) ── Publish ─▶ publisher ─▶ spend(cost)
//!              └── Defer { until } ─▶ the batch waits and grows ─▶ relief(): spool, shed low
//! ```
//!
//! **Limits.** Only our own use is known: other users of the project have the reserve of 20 % (50 %). Subscribers of
//! our topics besides the read-back must be told ([`Terms::readers`]). A budget too small for one broadcast a minute
//! still gets one every `cost / budget` seconds: it is slow, never stuck. Joins are the links' own affair.

pub mod forecast;
pub mod machine;
pub mod meter;
pub mod plan;
mod terms;

#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod tests;

pub use forecast::{Forecast, Shift, forecast, preview};
pub use machine::Governor;
pub use plan::Plan;
#[cfg(test)]
pub(crate) use sabotage::Sabotage;
pub use terms::{Figures, Relief, Spacing, Terms, Verdict};
