//! The part of a worker that is not a session: hears the policy and the drain, and keeps the tick.

use std::rc::Rc;
use std::time::Duration;

use super::cell::Order;
use super::drain::Phase;
use super::sessions::TICK;
use super::worker::Worker;

/// Turns in which the closes of a drain happen, and the time between two of them: clients that are told one after
/// the other do not all reconnect in the same instant.
const TURNS: u32 = 20;
const TURN: Duration = Duration::from_millis(50);

/// Applies every policy that is published, and ticks while something waits.
pub(super) async fn control(worker: Rc<Worker>) {
    let sessions = worker.sessions();
    let mut policy = worker.shared.mirroring.policy.clone();
    let code = worker.shared.mirroring.close_code;
    let first = *policy.borrow_and_update();
    let mut version = first.version;
    sessions.apply(first, code);
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
            changed = policy.changed(), if policy_lives => {
                policy_lives = changed.is_ok();
                let policy = *policy.borrow_and_update();
                if std::mem::replace(&mut version, policy.version) != policy.version {
                    sessions.follow_anew(&worker.shared.mirroring.follow);
                }
                sessions.apply(policy, code);
            }
            () = tick => {
                sessions.tick(worker.now());
                next_tick = tokio::time::Instant::now() + TICK;
            }
        }
    }
}

/// When the drain says so, ends this worker's sessions: told in turns, so that clients come back spread out. Those
/// that do not go are dropped with the worker when the grace period ends.
pub(super) async fn close_sessions(worker: Rc<Worker>) {
    worker.shared.drain.reached(Phase::Closing).await;
    let code = worker.shared.mirroring.close_code;
    for turn in 0..TURNS {
        worker.sessions().close_part(code, turn, TURNS);
        tokio::time::sleep(TURN).await;
    }
    worker.sessions().close_all(Order::Close(code)); // those that came while we closed
}
