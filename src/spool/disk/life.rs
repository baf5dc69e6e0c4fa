//! The disk thread's life: it opens the directory, works, and waits for a directory that cannot be used now.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;

use super::figures::State;
use super::store::OpenError;
use super::{CHECKPOINT_EVERY, Command, Plug, Report, Settings, Worker, body_len, unix_ms};
use crate::ledger::Shed;

/// How often and how long the lock of another process is waited for before the spool is called broken.
const LOCK_TRIES: u32 = 120;
const LOCK_PAUSE: Duration = Duration::from_millis(500);
/// How often a directory that cannot be used is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);

impl Plug {
    pub(super) fn report(&self, report: Report) -> bool {
        match self.reports.try_send(report) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(report)) => self.reports.blocking_send(report).is_ok(),
        }
    }

    /// Refuses what is asked of a disk that is not there, for so long; whether anybody still listens.
    fn refuse_for(&self, span: Duration) -> bool {
        let until = unix_ms() + u64::try_from(span.as_millis()).unwrap_or(0);
        loop {
            let left = until.saturating_sub(unix_ms());
            match self.commands.recv_timeout(Duration::from_millis(left)) {
                Ok(command) => {
                    self.waiting.fetch_sub(body_len(&command), Ordering::Relaxed);
                    if let Some(answer) = refusal(command)
                        && !self.report(answer)
                    {
                        return false;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}

fn refusal(command: Command) -> Option<Report> {
    Some(match command {
        Command::Append { draft, .. } => Report::Failed(vec![draft.batch], Shed::SpoolBroken),
        Command::Release(_, messages) => Report::Lost { messages, why: Shed::SpoolBroken },
        Command::Next => Report::Empty,
        Command::Close => Report::Closed { messages: 0 },
        Command::Settle(_) | Command::Done(_) | Command::Return(_) | Command::Account(_) => return None,
    })
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.plug.commands.recv_timeout(CHECKPOINT_EVERY) {
                Ok(command) => {
                    self.turn(Some(command), unix_ms());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.turn(None, unix_ms());
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Opens the spool on a thread of its own; it ends when the port is dropped. A directory that another process has is
/// waited for: that one may be stopping. One that cannot be used is tried again; until then everything is refused.
///
/// # Errors
/// The thread cannot be made.
pub fn spawn(settings: Settings, plug: Plug) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("disk".to_owned()).spawn(move || live(&settings, plug))
}

fn live(settings: &Settings, mut plug: Plug) {
    let copy = || Settings {
        dir: settings.dir.clone(),
        limits: settings.limits,
        seal: settings.seal.clone(),
        instance: settings.instance.clone(),
    };
    let (mut tries, mut told) = (0u32, None);
    loop {
        let (error, back) = match Worker::open(copy(), plug) {
            Ok(worker) => return worker.run(),
            Err(failed) => failed,
        };
        plug = back;
        tries = tries.saturating_add(1);
        if let OpenError::Locked { dir } = &error
            && tries < LOCK_TRIES
        {
            if plug.reports.is_closed() {
                return;
            }
            tracing::warn!(dir, "another process has the spool; waiting for it");
            std::thread::sleep(LOCK_PAUSE);
            continue;
        }
        plug.figures.set_state(state_of(&error));
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        if told.as_ref() != Some(&cause) {
            tracing::error!(%error, cause, "no spool: what cannot be published is lost until it can be used");
            told = Some(cause);
        }
        if !plug.refuse_for(RETRY_EVERY) {
            return;
        }
    }
}

fn state_of(error: &OpenError) -> State {
    match error {
        OpenError::Directory { source, .. } => State::of(source),
        OpenError::Locked { .. } => State::Broken,
    }
}
