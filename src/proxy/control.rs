//! The part of a worker that is not a session: hears policy, notices and the drain, and keeps the tick.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::cell::Order;
use super::sessions::{Notice, TICK};
use super::worker::Worker;
use super::Policy;

/// How open sessions are ended when the process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The close code that clients get.
    pub code: u16,
    /// The closes are spread over this time.
    pub spread: Duration,
    /// Sessions that are still open after this are cut.
    pub deadline: Duration,
}

/// Turns in which the closes of a drain happen.
const TURNS: u32 = 20;

/// Applies every policy that is published, delivers notices, and ticks while something waits.
pub(super) async fn control(
    worker: Rc<Worker>,
    mut notices: mpsc::Receiver<Vec<Notice>>,
    mut policy: watch::Receiver<Policy>,
    close_code: u16,
) {
    let sessions = worker.sessions();
    let mut policy_lives = true;
    let mut next_tick = tokio::time::Instant::now() + TICK;
    loop {
        let tick = async {
            if !sessions.wants_tick() {
                sessions.stirred().await;
            }
            tokio::time::sleep_until(next_tick).await;
        };
        tokio::select! {
            batch = notices.recv() => match batch {
                Some(batch) => sessions.notify(&batch, worker.now()),
                None => return,
            },
            changed = policy.changed(), if policy_lives => {
                policy_lives = changed.is_ok();
                let policy = *policy.borrow_and_update();
                sessions.apply(policy, close_code);
            }
            () = tick => {
                sessions.tick(worker.now());
                next_tick = tokio::time::Instant::now() + TICK;
            }
        }
    }
}

/// Ends this worker's sessions: told in turns, cut at the deadline.
pub(super) async fn close_sessions(worker: Rc<Worker>, closing: Closing) {
    let started = tokio::time::Instant::now();
    for turn in 0..TURNS {
        worker.sessions().close_part(closing.code, turn, TURNS);
        if worker.sessions().is_empty() {
            return;
        }
        tokio::time::sleep(closing.spread / TURNS).await;
    }
    worker.sessions().close_all(Order::Close(closing.code)); // those that came while we closed
    while !worker.sessions().is_empty() && started.elapsed() < closing.deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.sessions().close_all(Order::Cut);
}
