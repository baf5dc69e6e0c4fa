//! A look at a disk that may hang: on a thread of its own, and waited for only so long.
//!
//! A volume that does not answer (NFS, a FIFO where a file should be) hangs whoever reads it, for as long as it likes.
//! At the start that would be the proxy itself, and with it every client of a service that needs no state at all. A
//! thread that hangs in the kernel ends with the process; nobody waits for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The start waits no longer for any one look.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What came of a look.
pub(super) enum Looked<T> {
    /// Seen.
    InTime(T),
    /// Not yet; it arrives here when the disk answers.
    Late(Receiver<T>),
    /// There is no thread for it, or it has panicked.
    Failed,
}

/// Looks, and waits [`PATIENCE`] at most. What it was is told where that is not enough.
pub(super) fn look<T: Send + 'static>(
    what: &'static str,
    look: impl FnOnce() -> T + Send + 'static,
) -> Looked<T> {
    let (said, heard) = sync_channel(1);
    let life = move || {
        // Nobody may be left to hear it.
        said.send(look()).unwrap_or_default();
    };
    if let Err(error) = std::thread::Builder::new().name("look".to_owned()).spawn(life) {
        tracing::error!(what, %error, "no thread to look into CROSSFADE_STATE_DIR");
        return Looked::Failed;
    }
    match heard.recv_timeout(PATIENCE) {
        Ok(seen) => Looked::InTime(seen),
        Err(RecvTimeoutError::Timeout) => {
            tracing::error!(
                what,
                waited_s = PATIENCE.as_secs(),
                "CROSSFADE_STATE_DIR does not answer; the process starts without what is kept there"
            );
            Looked::Late(heard)
        }
        Err(RecvTimeoutError::Disconnected) => Looked::Failed,
    }
}

/// What was seen, or nothing when it did not come in time.
pub(super) fn on_time<T: Send + 'static>(
    what: &'static str,
    see: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match look(what, see) {
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
        let later = match look("a volume", move || hangs.recv()) {
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
