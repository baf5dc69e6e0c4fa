//! The rollout: who should be on the Realtime side?
//!
//! # Problem
//!
//! A fader needs more than a random number per connection. A user who reconnects must land on the same side, a user
//! who was moved must stay moved while the fader rises, a fader that is pulled down and up again must find the same
//! users, and five pods must agree without talking. Tools that remember users in cookies or tables drift away from
//! the percentage that the operator sees.
//!
//! # Decision
//!
//! - **A pure function.** [`Bucket::of`] maps `(salt, key)` to one of 100,000 buckets; a user is in the cohort when
//!   the bucket is below the percentage ([`Percent`], in units of 0.001 %). Nothing is remembered, so nothing
//!   drifts. The function is frozen; `tests/vectors/bucket.json` publishes 1,000 results, and a Python and a
//!   JavaScript program beside it compute them again.
//! - **The key** comes from a [`KeyChain`]: the first of header, unverified token claim, cookie, query parameter or
//!   address that the request has. It is a credential: [`UserKey`] has no text form, and outside the decision there
//!   are only the bucket and a keyed hash ([`KeyHash`]), which lists accept in place of the key. No key: legacy.
//! - **Rules** ([`Rule`]) stand before the percentage, first match wins: lists of keys, and segments by path,
//!   header, cookie, claim, subprotocol or network, each with deny, allow or a percentage, and a lane of its own.
//!   An [`Experiment`] deals its users to arms by a salt of its own; whoever is in none falls to the next rule.
//!   The first session of a user in an arm is an [`Exposure`], which the shell writes down.
//! - **Document** ([`Document`]): one JSON form for every store, read whole or refused with the field's name.
//! - **Tiers** ([`Tiers`]) say where the flags come from: emergency off, Redis, Supabase, file, environment. The
//!   highest configured one decides alone; one that has never answered means 0 % (`tier_unknown`), because losing
//!   a store must never move a user to Realtime.
//! - **Explained.** A [`Decision`] carries its [`Reason`], rule, bucket, percentage and tier, and what is needed to
//!   decide again for the open session ([`decide_again`]).
//!
//! # Limits
//!
//! - A claim is read from `Authorization: Bearer` only, and never verified: it chooses a lane, not access.
//! - An open session stays in the segment it had at the upgrade; a new segment concerns new connections.
//! - Two users behind one address share a bucket when the chain names `ip`.
//! - Tiers are data here; fetching, saving and pushing them is the shells' work.
//! - An open session keeps its bucket in an experiment; a new salt concerns new connections.

mod bucket;
mod decide;
mod document;
mod experiment;
mod exposure;
mod keeper;
mod key;
pub mod plan;
pub mod row;
mod rules;
mod tiers;

#[cfg(test)]
mod tests;

pub use bucket::{BUCKETS, Bucket, Percent, PercentError};
pub use decide::{Decision, MIRROR_SALT, Reason, Subject, decide, decide_again};
pub use document::{Document, DocumentError, SCHEMA};
pub use experiment::{Arm, Experiment, ExperimentError, ExperimentText};
pub use exposure::{Exposure, Seen};
pub use keeper::{Heard, Keeper, Order, Refusal};
pub use key::{KeyChain, KeyChainError, KeyHash, KeyHasher, NotAHash, Request, UserKey};
pub use rules::{Cidr, CidrError, Condition, Rule, RuleError, RuleText, Then, When, compile};
pub use tiers::{Flags, Identity, LaneError, RealtimeLane, Settings, Slot, Standing, Tier, Tiers};
