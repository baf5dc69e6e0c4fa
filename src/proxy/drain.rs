//! Stopping without cutting anyone off: one value that every part of the proxy watches. It only moves forward.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How far the proxy has come in stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// All is served.
    Serving,
    /// Still serving all, but `/readyz` says no, so that nothing new is sent here.
    Settling,
    /// The listener is closed; plain requests in flight finish, connections kept alive close.
    Finishing,
    /// Sessions are told to go.
    Closing,
    /// The grace period is over: what is left is dropped.
    Expired,
}

/// The shared phase. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<Phase>>);

impl Default for Drain {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }
}

impl Drain {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// False from the moment the drain began.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Serving
    }

    /// A receiver that sees every later phase (perhaps not each one in between).
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Waits until `phase` has been reached. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as self, so this cannot fail.
        drop(self.watch().wait_for(|now| *now >= phase).await);
    }

    /// Moves forward to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }
}

/// How much time each part of stopping gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// Between "not ready" and the closed listener: the time load balancers need to notice.
    pub settle: Duration,
    /// For plain requests, before sessions are told. Ends early when none is left.
    pub finish: Duration,
    /// For everything, from the start. What is left then is dropped.
    pub grace: Duration,
}

impl Default for DrainPlan {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(5),
            finish: Duration::from_secs(5),
            grace: Duration::from_secs(90),
        }
    }
}

/// What the drain came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// How long it took.
    pub took: Duration,
    /// Connections with plain HTTP that the grace period cut off.
    pub plain_left: u64,
    /// Sessions that the grace period cut off.
    pub sessions_left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_never_goes_back() {
        let drain = Drain::default();
        assert!(drain.is_ready());
        drain.advance(Phase::Closing);
        drain.advance(Phase::Settling);
        assert_eq!(drain.phase(), Phase::Closing);
        assert!(!drain.is_ready());
    }
}
