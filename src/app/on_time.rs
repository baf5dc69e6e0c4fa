//! A look at a disk that may hang: on a thread of its own, and waited for only so long.
//!
//! A volume that does not answer (NFS, a FIFO where a file should be) hangs whoever reads it, for as long as it likes.
//! At the start that would be the proxy itself, and with it every client of a service that needs no state at all. So a
//! look begins at once and is asked for its answer when clients are served. A thread that hangs in the kernel ends with
//! the process; nobody waits for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Nobody waits longer for any one look, counted from its begin.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A look that is under way.
#[derive(Debug)]
pub(super) struct Looking<T> {
    what: &'static str,
    began: Instant,
    /// `None`: there is no thread for it.
    answer: Option<Receiver<T>>,
}

/// What came of a look.
pub(super) enum Looked<T> {
    /// Seen.
    InTime(T),
    /// Not yet; it arrives here when the disk answers.
    Late(Receiver<T>),
    /// There is no thread for it, or it has panicked.
    Failed,
}

impl<T: Send + 'static> Looking<T> {
    /// Begins to look; does not wait.
    pub(super) fn begin(what: &'static str, look: impl FnOnce() -> T + Send + 'static) -> Self {
        let (said, heard) = sync_channel(1);
        let life = move || {
            // Nobody may be left to hear it.
            said.send(look()).unwrap_or_default();
        };
        let thread = std::thread::Builder::new().name("look".to_owned()).spawn(life);
        if let Err(error) = &thread {
            tracing::error!(what, %error, "no thread to look at the disk");
        }
        Self { what, began: clock(), answer: thread.is_ok().then_some(heard) }
    }

    /// What came of it, [`PATIENCE`] after its begin at the latest. What it was is told where that is not enough.
    pub(super) fn finish(self) -> Looked<T> {
        let Some(heard) = self.answer else { return Looked::Failed };
        match heard.recv_timeout(PATIENCE.saturating_sub(self.began.elapsed())) {
            Ok(seen) => Looked::InTime(seen),
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!(
                    what = self.what,
                    waited_s = PATIENCE.as_secs(),
                    "the disk does not answer; the process goes on without what is kept there"
                );
                Looked::Late(heard)
            }
            Err(RecvTimeoutError::Disconnected) => Looked::Failed,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a disk is waited for by the real clock")]
fn clock() -> Instant {
    Instant::now()
}

/// What was seen, or nothing when it did not come in time.
pub(super) fn on_time<T: Send + 'static>(
    what: &'static str,
    see: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match Looking::begin(what, see).finish() {
        Looked::InTime(seen) => Some(seen),
        Looked::Late(_) | Looked::Failed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_not_waited_for_and_arrives_later() {
        assert_eq!(on_time("a number", || 7), Some(7));
        let (let_go, hangs) = sync_channel::<u32>(0);
        let later = match Looking::begin("a volume", move || hangs.recv()).finish() {
            Looked::Late(later) => Some(later),
            Looked::InTime(_) | Looked::Failed => None,
        };
        let later = later.expect("it is not waited for, and has not failed");
        let_go.send(9).expect("it still looks");
        assert_eq!(later.recv_timeout(Duration::from_secs(60)).expect("it arrives"), Ok(9));
    }

    #[test]
    fn a_look_that_panics_is_nothing_seen() {
        assert_eq!(on_time("nothing", || assert!(std::hint::black_box(false), "on purpose")), None);
    }
}
