//! Logging: one line per event on standard error, JSON or text, never the same line in a flood.
//!
//! **Problem.** When Realtime is gone, one cause makes ten thousand equal lines a second, and the log becomes the
//! outage. And a panic message may carry a piece of a payload.
//!
//! **Decision.** JSON lines have the fields `timestamp`, `level`, `target`, `message` and the event's own, flat.
//! A filter lets each place in the code speak [`BURST`] times per [`WINDOW`]; what it swallows is counted in
//! [`suppressed`], a metric. The panic hook logs the thread, the place and the message only where that is a literal
//! of ours; formatted messages stay unsaid. Lines go through a bounded queue (see [`lines`]): a stalled reader of
//! the log costs lines, which are counted, and never a session.
//!
//! **Limits.** At most [`PLACES_MAX`] places are tracked (a program has a few hundred); beyond it they pass.
//! Who logs decides what a line holds: secrets and payloads have no readable `Debug` (see `config`, `budget`).

pub mod lines;

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tracing::{Event, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::layer::{Context, Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::{Log, LogFormat};

/// Events of one place that pass in one window.
pub const BURST: u32 = 20;

/// The length of a window.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The most places that are tracked.
pub const PLACES_MAX: usize = 1024;

/// The longest time that the end of the process waits for the log's reader.
pub const FLUSH_MAX: Duration = Duration::from_secs(1);

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);
static QUEUE: OnceLock<lines::Queue> = OnceLock::new();

/// Events that were not written because their place had spoken too often.
#[must_use]
pub fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// Lines that were lost because the log's reader was slow.
#[must_use]
pub fn lost() -> u64 {
    QUEUE.get().map_or(0, lines::Queue::lost)
}

/// Waits for the lines said so far, at most [`FLUSH_MAX`]. For the end of the process.
pub fn flush() {
    // False means that nobody reads the log: there is nobody to tell.
    QUEUE.get().map(|queue| queue.flush(FLUSH_MAX));
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A subscriber is already set: a bug of the caller.
    #[error("the log is already set up: {0}")]
    Twice(#[from] TryInitError),
    /// The writing thread cannot be started: the limit of threads or memory.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Sets up the log and the panic hook of this process.
///
/// `colours`: standard error is for eyes (text only; JSON never has any).
///
/// # Errors
/// A subscriber is already set, or no thread is to be had.
pub fn init(log: &Log, colours: bool) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let queue = lines::Queue::start(lines::LINES_MAX, std::io::stderr())?;
    let lines = fmt::layer().with_writer(QUEUE.get_or_init(|| queue).clone());
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        // By itself the crate colours every text, also the one that a collector reads from a pipe.
        LogFormat::Text => lines.with_ansi(colours).boxed(),
    };
    let limit = RepeatLimit(Mutex::new(Repeats::new(BURST, WINDOW, PLACES_MAX)));
    Registry::default().with(lines.with_filter(filter.and(limit))).try_init()?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown)");
    tracing::error!(
        place,
        thread = thread.name().unwrap_or("unnamed"),
        panic = message,
        "bug: a task panicked"
    );
}

/// How often each place speaks: a fixed window per key.
#[derive(Debug)]
pub struct Repeats<K> {
    burst: u32,
    window: Duration,
    places_max: usize,
    places: HashMap<K, Spoken>,
}

#[derive(Debug)]
struct Spoken {
    since: Instant,
    times: u32,
}

impl<K: Eq + Hash> Repeats<K> {
    /// Lets each of `places_max` keys pass `burst` times per `window`.
    #[must_use]
    pub fn new(burst: u32, window: Duration, places_max: usize) -> Self {
        Self { burst, window, places_max, places: HashMap::new() }
    }

    /// Whether this one may pass. A key beyond the limit of keys always may.
    pub fn admit(&mut self, key: K, now: Instant) -> bool {
        if !self.places.contains_key(&key) && self.places.len() >= self.places_max {
            return true;
        }
        let spoken = self.places.entry(key).or_insert(Spoken { since: now, times: 0 });
        if now.saturating_duration_since(spoken.since) >= self.window {
            *spoken = Spoken { since: now, times: 0 };
        }
        spoken.times = spoken.times.saturating_add(1);
        spoken.times <= self.burst
    }
}

struct RepeatLimit(Mutex<Repeats<Identifier>>);

impl<S: Subscriber> Filter<S> for RepeatLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        #[expect(clippy::disallowed_methods, reason = "the log is a shell; its clock stops nothing")]
        let now = Instant::now();
        let mut repeats = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pass = repeats.admit(event.metadata().callsite(), now);
        if !pass {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        }
        pass
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a starting point for the virtual clock")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_place_speaks_a_burst_per_window() {
        let start = start();
        let mut repeats = Repeats::new(3, Duration::from_secs(10), 2);
        let mut passed = |key, seconds, times: usize| {
            (0..times).filter(|_| repeats.admit(key, start + Duration::from_secs(seconds))).count()
        };
        assert_eq!(passed("a", 0, 10), 3);
        assert_eq!(passed("b", 0, 10), 3, "each place has its own window");
        assert_eq!(passed("a", 9, 10), 0);
        assert_eq!(passed("a", 10, 10), 3, "a new window");
        assert_eq!(passed("c", 0, 10), 10, "beyond the limit of places nothing is tracked");
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_of_equal_events_is_cut_and_the_fields_are_stable() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().with_writer(move || writer.clone()).json().flatten_event(true);
        let limit = RepeatLimit(Mutex::new(Repeats::new(2, Duration::from_secs(3600), 8)));
        let before = suppressed();
        tracing::subscriber::with_default(Registry::default().with(layer.with_filter(limit)), || {
            for session in 0..5 {
                tracing::warn!(session, "lost");
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(suppressed() - before >= 3);
        assert_eq!((&rows[1]["level"], &rows[1]["message"]), (&"WARN".into(), &"lost".into()));
        assert_eq!(rows[1]["session"], 1);
        assert!(rows[1]["timestamp"].is_string() && rows[1]["target"].is_string(), "{text}");
    }
}
