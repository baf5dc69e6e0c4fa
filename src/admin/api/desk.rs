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
    /// What another rollout would move.
    Preview(serde_json::Value),
    /// A person wants something changed.
    Change(Change),
}

/// What can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `PUT /rollout`.
    Rollout,
    /// `POST /rollout/emergency-off`.
    Emergency,
    /// `POST /breaker`.
    Breaker,
    /// `POST /breaker/reset`.
    BreakerReset,
    /// `POST /sessions/{id}/move`.
    MoveSession,
    /// `POST /sessions/{id}/close`.
    CloseSession,
}

impl What {
    /// The word in the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Emergency => "emergency_off",
            Self::Breaker => "breaker",
            Self::BreakerReset => "breaker_reset",
            Self::MoveSession => "session_move",
            Self::CloseSession => "session_close",
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
