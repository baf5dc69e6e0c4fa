//! The accept loop: its own small thread, so that a busy worker never keeps clients from connecting. It places
//! each socket on the worker with the fewest connections and never waits for one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::drain::Phase;
use super::worker::{Shared, WorkerHandle, WorkerMessage};

/// The first pause after an `accept` that failed for want of descriptors or memory; doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// At most one line of log per this long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The listener and where its sockets go.
pub(super) struct Acceptor {
    pub(super) listener: std::net::TcpListener,
    pub(super) runtime: Runtime,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) shared: Arc<Shared>,
}

impl Acceptor {
    /// The thread's whole life: until the drain reaches [`Phase::Finishing`].
    pub(super) fn run(self) {
        let Self { listener, runtime, workers, shared } = self;
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept(&listener, &workers, &shared).await,
                Err(error) => tracing::error!(%error, "the listener cannot be used"),
            }
        });
    }
}

async fn accept(listener: &TcpListener, workers: &[WorkerHandle], shared: &Shared) {
    let mut stop = std::pin::pin!(shared.drain.reached(Phase::Finishing));
    let mut trouble = Trouble::default();
    let mut turn = 0_usize;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                trouble.pause = None;
                turn = turn.wrapping_add(1);
                place(socket, peer, pick(workers, turn), shared);
            }
            Err(error) => {
                shared.counters.accept_errors.add();
                let pause = trouble.note(&error);
                tokio::select! {
                    () = &mut stop => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// The worker with the fewest connections; among equals the turn goes round.
fn pick(workers: &[WorkerHandle], turn: usize) -> Option<&WorkerHandle> {
    let count = workers.len().max(1);
    (0..workers.len())
        .filter_map(|step| workers.get(turn.wrapping_add(step) % count))
        .min_by_key(|worker| worker.load.connections.load(Ordering::Relaxed))
}

fn place(socket: TcpStream, peer: SocketAddr, worker: Option<&WorkerHandle>, shared: &Shared) {
    let counters = &shared.counters;
    counters.connections_total.add();
    let Some(worker) = worker else { return counters.connections_shed.add() };
    // Counted before it is posted, so that a burst spreads out although no worker has run yet.
    worker.load.connections.fetch_add(1, Ordering::Relaxed);
    counters.connections_open.add();
    let posted = socket.into_std().ok().map(|socket| worker.post(WorkerMessage::Accept(socket, peer)));
    if !matches!(posted, Some(Ok(()))) {
        worker.load.connections.fetch_sub(1, Ordering::Relaxed);
        counters.connections_open.sub();
        counters.connections_shed.add();
    }
}

/// A run of failed accepts.
#[derive(Default)]
struct Trouble {
    pause: Option<Duration>,
    logged: Option<Instant>,
}

impl Trouble {
    /// How long to pause. Errors of the one connection that was to be accepted need no pause; a lack of descriptors
    /// or memory does, or the loop would spin until one is freed.
    fn note(&mut self, error: &io::Error) -> Duration {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return Duration::ZERO;
        }
        let pause = self.pause.map_or(PAUSE_FIRST, |last| (last * 2).min(PAUSE_LONGEST));
        self.pause = Some(pause);
        let now = Instant::now();
        if self.logged.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY) {
            self.logged = Some(now);
            tracing::warn!(%error, "new connections cannot be accepted; open ones are not affected");
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_pauses_longer_and_longer() {
        let mut trouble = Trouble::default();
        let full = io::Error::other("too many open files");
        assert_eq!(trouble.note(&full), PAUSE_FIRST);
        assert_eq!(trouble.note(&full), PAUSE_FIRST * 2);
        for _ in 0..20 {
            assert!(trouble.note(&full) <= PAUSE_LONGEST);
        }
        assert_eq!(trouble.note(&full), PAUSE_LONGEST);
        assert_eq!(trouble.note(&io::ErrorKind::ConnectionAborted.into()), Duration::ZERO);
    }
}
