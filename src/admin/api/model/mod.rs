//! The shapes of the answers. `openapi.json` is made from examples of these, so that it cannot say anything else.
//! A part whose room does not exist in this process is null: it is never made up.

mod manage;
mod noise;
mod plan;
mod status;
mod types;

pub use manage::{
    Audit, Changed, Decision, Preview, Rollout, Rule, Session, SessionList, SessionMirror, SessionRow, Window,
};
pub use noise::{NoiseList, NoiseRule, Proposed};
pub use plan::{Gate, Plan, Step};
pub use status::{
    Adoption, Breaker, Counts, Flow, History, Latency, Mirror, Parity, Point, Quantiles, Quota, RolloutBrief,
    Sessions, Setting, Spool, Status, Tier, Trigger, Upstream,
};
pub use types::{TypeList, TypeRow};
