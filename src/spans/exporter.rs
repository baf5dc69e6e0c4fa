//! When a batch is sent, and what its answer means (OTLP/HTTP): success, partial success, later, never.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value as Json;

use super::Span;

/// How often one batch is tried.
pub const TRIES_MAX: u32 = 5;
/// The wait after the first failure; each further one doubles it.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait, also of what a collector asks for.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How spans are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Spans in one request.
    pub batch: usize,
    /// A span waits so long for company.
    pub delay: Duration,
}

/// What a request has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// No answer, or none in time.
    Nothing,
    /// This answer.
    Answer {
        /// Its status.
        status: u16,
        /// What it asks us to wait.
        retry_after: Option<Duration>,
        /// Its body, or the beginning.
        body: &'a str,
    },
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The collector has these.
    pub exported: u64,
    /// It does not take these.
    pub rejected: u64,
    /// It could not be reached for too long.
    pub dropped: u64,
}

/// One batch at a time: gathered, sent, tried again, settled.
#[derive(Debug)]
pub struct Exporter {
    limits: Limits,
    batch: Vec<Span>,
    /// When the batch goes, full or not; later after a failure.
    due: Option<Instant>,
    failures: u32,
}

impl Exporter {
    /// Nothing to send yet.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, batch: Vec::new(), due: None, failures: 0 }
    }

    /// Whether another span fits. A batch that has failed once stays as it is.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.failures == 0 && self.batch.len() < self.limits.batch
    }

    /// Takes a span for which [there is room](Self::has_room).
    pub fn push(&mut self, span: Span, now: Instant) {
        self.batch.push(span);
        self.due.get_or_insert(now + self.limits.delay);
    }

    /// When to look again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be sent now. `last`: nothing more will come, so that nothing is waited for but a failure's time.
    #[must_use]
    pub fn poll_transmit(&self, now: Instant, last: bool) -> Option<&[Span]> {
        let due = self.due?;
        let full = self.failures == 0 && (last || self.batch.len() >= self.limits.batch);
        (full || now >= due).then_some(self.batch.as_slice())
    }

    /// Hears what came of sending. `jitter`: random bits, so that pods do not come back together.
    pub fn handle_answer(&mut self, heard: Heard<'_>, now: Instant, jitter: u64) -> Settled {
        let spans = self.batch.len() as u64;
        let (later, status) = match heard {
            Heard::Nothing => (Some(None), 0),
            // The four that OTLP calls retryable.
            Heard::Answer { status: status @ (429 | 502 | 503 | 504), retry_after, .. } => {
                (Some(retry_after), status)
            }
            Heard::Answer { status, .. } => (None, status),
        };
        if let Some(asked) = later {
            self.failures += 1;
            if self.failures < TRIES_MAX {
                self.due =
                    Some(now + asked.map_or_else(|| self.backoff(jitter), |time| time.min(BACKOFF_MAX)));
                return Settled::default();
            }
            self.clear();
            return Settled { dropped: spans, ..Settled::default() };
        }
        self.clear();
        match heard {
            Heard::Answer { body, .. } if (200..300).contains(&status) => {
                let rejected = rejected(body).min(spans);
                Settled { exported: spans - rejected, rejected, dropped: 0 }
            }
            _ => Settled { rejected: spans, ..Settled::default() },
        }
    }

    /// Gives up what it holds: how many spans that were.
    pub fn clear(&mut self) -> u64 {
        self.due = None;
        self.failures = 0;
        std::mem::take(&mut self.batch).len() as u64
    }

    /// Half of the time for certain, and a random part of the other half.
    fn backoff(&self, jitter: u64) -> Duration {
        let whole = BACKOFF_MIN.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(BACKOFF_MAX);
        whole / 2 + whole.mul_f64((jitter % 1_000) as f64 / 2_000.0)
    }
}

/// How many spans a collector says it has not taken: a number, or a text as JSON has 64-bit numbers.
fn rejected(body: &str) -> u64 {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Answer {
        partial_success: Option<Partial>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Partial {
        rejected_spans: Json,
    }
    let answer: Answer = serde_json::from_str(body).unwrap_or_default();
    match answer.partial_success.map(|partial| partial.rejected_spans) {
        Some(Json::Number(number)) => number.as_u64().unwrap_or(0),
        Some(Json::String(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}
