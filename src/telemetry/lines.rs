//! The way of a log line to standard error: through a bounded queue and a thread of its own.
//!
//! **Problem.** Standard error is a pipe to whoever collects the logs. When that reader stalls, the pipe fills
//! (64 KiB), `write` blocks, and with it the thread that wanted to say a line: on a data thread that is every
//! session it serves.
//!
//! **Decision.** Who logs only puts the finished line into a queue; a full queue costs the line, never the caller.
//! Lost lines are counted ([`Queue::lost`], a metric) and said once the reader is back. The end of the process waits a
//! bounded time for the queue ([`Queue::flush`]).
//!
//! **Limits.** [`LINES_MAX`] lines of at most [`LINE_MAX`] bytes each; a longer line is cut and says so.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The most lines that wait.
pub const LINES_MAX: usize = 1024;

/// The longest line that is written, in bytes.
pub const LINE_MAX: usize = 16 * 1024;

/// What a cut line ends with.
const CUT: &[u8] = b"... (cut)\n";

/// A queue of lines and the count of those that it lost.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queued: AtomicU64,
    lost: AtomicU64,
    written: Mutex<u64>,
    advanced: Condvar,
}

impl Queue {
    /// A queue of at most `lines_max` lines, written to `target` by a thread that lives as long as the process.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(lines_max: usize, target: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, lines) = sync_channel(lines_max);
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&lines, &own, target))?;
        Ok(Self { sender, shared })
    }

    /// Lines that found the queue full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was queued before the call is written, or `limit` has passed. True: it is written.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        let goal = self.shared.queued.load(Ordering::SeqCst);
        let written = self.shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.advanced.wait_timeout_while(written, limit, |written| *written < goal);
        let (written, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *written >= goal
    }

    fn put(&self, mut line: Vec<u8>) {
        if line.len() > LINE_MAX {
            line.truncate(LINE_MAX - CUT.len());
            line.extend_from_slice(CUT);
        }
        // Counted first: the writer may be done with the line before this thread goes on.
        self.shared.queued.fetch_add(1, Ordering::SeqCst);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.sender.try_send(line) {
            self.shared.queued.fetch_sub(1, Ordering::SeqCst);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, shared: &Shared, mut target: impl Write) {
    let mut said = 0;
    while let Ok(line) = lines.recv() {
        // A reader that has gone for good (EPIPE) is no reason to stop: the metric still tells.
        let gone = target.write_all(&line).and_then(|()| target.flush()).is_err();
        let lost = shared.lost.load(Ordering::Relaxed);
        if !gone && lost > said {
            let told = format!("crossfade: {} log lines were lost, the log's reader is slow\n", lost - said);
            said = if target.write_all(told.as_bytes()).is_ok() { lost } else { said };
        }
        let mut written = shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        *written += 1;
        drop(written);
        shared.advanced.notify_all();
    }
}

/// One line in the making: it is put into the queue when its maker lets go of it.
#[derive(Debug)]
pub struct Line {
    queue: Queue,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.put(std::mem::take(&mut self.bytes));
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { queue: self.clone(), bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that takes nothing until it is let go.
    #[derive(Clone, Default)]
    struct Stalled(Arc<(Mutex<Option<Vec<u8>>>, Condvar)>);

    impl Stalled {
        fn let_go(&self) {
            self.0.0.lock().unwrap().get_or_insert_default();
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().clone().unwrap_or_default()).unwrap()
        }
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.0.1.wait_while(self.0.0.lock().unwrap(), |taken| taken.is_none()).unwrap();
            { taken }.as_mut().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HANG: Duration = Duration::from_secs(60);

    #[test]
    fn a_stalled_reader_costs_lines_and_never_the_caller() {
        let reader = Stalled::default();
        let queue = Queue::start(4, reader.clone()).unwrap();
        for number in 0..100 {
            writeln!(queue.make_writer(), "line {number}").unwrap();
        }
        // One may be in the writer's hand beside the four that wait.
        assert!((95..=96).contains(&queue.lost()), "{}", queue.lost());
        assert!(!queue.flush(Duration::ZERO), "nothing was written yet");
        reader.let_go();
        assert!(queue.flush(HANG));
        let text = reader.text();
        assert!(text.starts_with("line 0\n"), "{text}");
        assert!(text.contains("log lines were lost"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("line")).count() as u64, 100 - queue.lost());
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let reader = Stalled::default();
        reader.let_go();
        let queue = Queue::start(4, reader.clone()).unwrap();
        writeln!(queue.make_writer(), "{}", "x".repeat(LINE_MAX)).unwrap();
        assert!(queue.flush(HANG));
        assert_eq!(reader.text().len(), LINE_MAX);
        assert!(reader.text().ends_with("x... (cut)\n"));
    }
}
