//! The end of the process inside its grace period, whatever a thread of ours may hang on.
//!
//! `CROSSFADE_DRAIN_GRACE` is a promise to whoever set `terminationGracePeriodSeconds`: after it comes SIGKILL, and with
//! it the loss of what was only in memory. So the time is divided: clients get [`CLIENTS`] of it, the mirror's flush at
//! most [`FLUSH`], and a thread that has not ended by then (a disk or a store that hangs) is left behind and named.

use std::time::Duration;

use tokio::time::Instant;

/// The part of the grace that sessions and requests may use, in percent.
const CLIENTS: u32 = 75;

/// The part of the grace that the flush of the mirror may use, in percent.
const FLUSH: u32 = 20;

/// The longest flush of the mirror.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// So long may sessions and requests take.
pub(super) fn clients(grace: Duration) -> Duration {
    grace * CLIENTS / 100
}

/// So long may the mirror be flushed.
pub(super) fn flush(grace: Duration) -> Duration {
    FLUSH_MAX.min(grace * FLUSH / 100)
}

/// Waits for `work`, which ends something of this name, until the deadline. True: it was done in time.
///
/// The work runs on a thread of its own and not on a runtime's: a runtime waits for its blocking work when it ends.
pub(super) async fn done_by(
    deadline: Instant,
    name: &'static str,
    work: impl FnOnce() -> std::thread::Result<()> + Send + 'static,
) -> bool {
    let (told, ended) = tokio::sync::oneshot::channel();
    let life = move || told.send(work()).unwrap_or_default();
    if let Err(error) = std::thread::Builder::new().name(format!("end-{name}")).spawn(life) {
        tracing::error!(thread = name, %error, "its end is not waited for: no thread");
        return false;
    }
    match tokio::time::timeout_at(deadline, ended).await {
        Ok(Ok(Ok(()))) => true,
        Ok(_) => {
            tracing::error!(thread = name, "it had panicked");
            true
        }
        Err(_) => {
            tracing::error!(thread = name, "it did not end within CROSSFADE_DRAIN_GRACE and is left behind");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const HANG: Duration = Duration::from_secs(60);

    fn ended(deadline: Duration, work: impl FnOnce() -> std::thread::Result<()> + Send + 'static) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { done_by(Instant::now() + deadline, "test", work).await })
    }

    #[test]
    fn all_parts_fit_the_grace() {
        for grace in [1, 10, 25, 90, 3_600].map(Duration::from_secs) {
            assert!(clients(grace) + flush(grace) < grace, "{grace:?}");
        }
        assert_eq!(flush(Duration::from_secs(25)), FLUSH_MAX, "the default grace has room for a whole flush");
    }

    #[test]
    fn who_ends_or_panics_is_waited_for() {
        assert!(ended(HANG, || Ok(())));
        assert!(ended(HANG, || std::thread::spawn(|| panic!("on purpose")).join()));
    }

    #[test]
    fn who_hangs_is_left_behind() {
        let (_never, waits) = mpsc::sync_channel::<()>(1);
        let hangs = move || if waits.recv().is_ok() { Ok(()) } else { Err(Box::new("let go") as _) };
        assert!(!ended(Duration::from_millis(1), hangs));
    }
}
