//! The counter between the listener and the process: what can be asked, and the function that answers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::problem::Problem;

/// Nobody waits longer for an answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What can be asked of the process. Access was judged before.
#[derive(Debug)]
pub enum Ask {
    /// The whole process at this moment.
    Status,
    /// The plan's budget and its use; null without Supabase settings.
    Quota,
    /// The disk queue; null without one.
    Spool,
    /// The event types that were seen, with a proposed rule file; null without a classifier.
    Types,
    /// The validator's reports, one a line; null without CROSSFADE_STATE_DIR.
    Reports,
    /// One report.
    Report {
        /// Its name.
        id: String,
        /// Whoever asks may see samples of payloads.
        with_samples: bool,
    },
    /// Samples of what did not match; null without a validator.
    Discrepancies,
    /// The validator's noise rules and what each has done; null without a validator.
    Noise,
    /// The breaker alone.
    Breaker,
    /// The variables, without secrets.
    Config,
    /// The last quarter of an hour.
    History,
    /// A page of sessions: the query as an object.
    Sessions(serde_json::Value),
    /// Why is it here?
    Session {
        /// Its id, as it was asked for.
        id: String,
        /// Whoever asks may see the name of its key.
        with_key: bool,
    },
    /// The rollout's settings.
    Rollout,
    /// The plan: where it stands, and what its gates say.
    Plan,
    /// What another rollout would move.
    Preview(serde_json::Value),
    /// The incidents that are kept.
    Incidents,
    /// One of them, by its name.
    Incident(String),
    /// The drills that are kept.
    Drills,
    /// What a link would do; it is not used by that.
    Link(LinkToken),
    /// Somebody uses a link.
    UseLink(LinkToken),
    /// A person wants something changed.
    Change(Change),
}

/// A link's token. Whoever has it may use it, so it never shows.
#[derive(Clone)]
pub struct LinkToken(pub String);

impl fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkToken")
    }
}

/// What can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `PUT /rollout`.
    Rollout,
    /// `POST /rollout/emergency-off`.
    Emergency,
    /// `POST /plan/…`.
    Plan(PlanChange),
    /// `POST /breaker`.
    Breaker,
    /// `POST /breaker/reset`.
    BreakerReset,
    /// `POST /sessions/{id}/move`.
    MoveSession,
    /// `POST /sessions/{id}/close`.
    CloseSession,
    /// `POST /drill`.
    Drill,
}

/// What can be said about the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanChange {
    /// Begins, with the plan that was sent or the one that is there.
    Start,
    /// Stays where it is.
    Pause,
    /// Goes on.
    Resume,
    /// The next step now, gates or not.
    Promote,
    /// 0 % and the end.
    Abort,
}

impl PlanChange {
    /// The word in the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "plan_start",
            Self::Pause => "plan_pause",
            Self::Resume => "plan_resume",
            Self::Promote => "plan_promote",
            Self::Abort => "plan_abort",
        }
    }

    /// Whether it may bring more people to Realtime. The way back must not be held up.
    #[must_use]
    pub const fn may_raise(self) -> bool {
        matches!(self, Self::Start | Self::Resume | Self::Promote)
    }
}

impl What {
    /// The word in the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Emergency => "emergency_off",
            Self::Plan(change) => change.as_str(),
            Self::Breaker => "breaker",
            Self::BreakerReset => "breaker_reset",
            Self::MoveSession => "session_move",
            Self::CloseSession => "session_close",
            Self::Drill => "drill",
        }
    }
}

/// A change as it was asked for.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of what kind.
    pub what: What,
    /// Of which one, where there are several.
    pub subject: Option<String>,
    /// What was sent.
    pub body: serde_json::Value,
    /// `If-Match`.
    pub if_match: Option<String>,
}

/// An answer, or why there is none.
pub type Reply = Result<serde_json::Value, Problem>;
/// The way to an answer.
pub type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Answers what is asked. Handed in by the wiring.
#[derive(Clone)]
pub struct Desk(Arc<dyn Fn(Ask) -> Answer + Send + Sync>);

impl Desk {
    /// A desk at which this function answers.
    pub fn new(answer: impl Fn(Ask) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// Asks, and waits no longer than [`PATIENCE`].
    ///
    /// # Errors
    /// What the process says, or 503 when it says nothing in time.
    pub async fn ask(&self, ask: Ask) -> Reply {
        tokio::time::timeout(PATIENCE, (self.0)(ask))
            .await
            .unwrap_or_else(|_| Err(Problem::busy("crossfade")))
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}
