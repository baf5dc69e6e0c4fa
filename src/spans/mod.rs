//! Spans for OpenTelemetry: what is said of a session, which sessions are chosen, and when it is sent.
//!
//! **Problem.** Whoever follows a request through a mesh sees it vanish at the upgrade: a session lives for hours, and
//! nothing between its ends has a span. But a collector is one more stranger that may hang, refuse or vanish, and a
//! span is one more place to which a token could leak.
//!
//! **Decision.** The data threads make at most two spans of a chosen session, one when the service has answered the
//! upgrade and one at the session's end, and hand each over without waiting. Everything here is pure: [`Sampler`] says
//! who is chosen, `encode` writes OTLP as JSON, [`Exporter`] decides what is sent when. The wiring has the
//! thread, the clock and the connection. Without `[otlp]` in the tuning file there is none of it.
//!
//! **What is never said.** Query, fields, cookies, tokens, payloads, the client's address, the subprotocol (some put
//! tokens there), the parent's `tracestate`. Names and keys are words of ours; texts are cut to [`TEXT_BYTES_MAX`].
//!
//! **Limits.** [`EVENTS_MAX`] events in a span, more are counted. Spans that wait are bounded by the queue between the
//! threads and one batch; what does not fit is dropped and counted. A batch is tried [`TRIES_MAX`] times.

mod encode;
mod exporter;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub use encode::{Epoch, body};
pub use exporter::{Exporter, Heard, Limits, Settled, TRIES_MAX};

/// Events that one span holds.
pub const EVENTS_MAX: usize = 32;
/// The longest text of an attribute, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// The id of a span (W3C Trace Context section 3.2.2.4). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub NonZeroU64);

impl SpanId {
    /// The id of the given random bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Whose work a span is: the numbers are OTLP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// We answer somebody.
    Server = 2,
    /// We ask somebody.
    Client = 3,
}

/// What an attribute holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl Value {
    /// A text from outside, cut to [`TEXT_BYTES_MAX`].
    #[must_use]
    pub fn cut(text: &str) -> Self {
        Self::Text(Cow::Owned(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()))
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        // What OTLP cannot say is the most that it can.
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A name of ours and what it holds.
pub type Attribute = (&'static str, Value);

/// Something that happened inside a span.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub name: &'static str,
    /// When.
    pub at: Instant,
    /// The rest.
    pub attributes: Vec<Attribute>,
}

/// Where a span belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its trace. Never zero.
    pub trace: u128,
    /// Itself.
    pub id: SpanId,
    /// The span above it, and whether that is another process's.
    pub parent: Option<(SpanId, bool)>,
}

/// One finished span.
#[derive(Clone, Debug)]
pub struct Span {
    /// Where it belongs.
    pub place: Place,
    /// What it is called.
    pub name: &'static str,
    /// Whose work it is.
    pub kind: Kind,
    /// From when …
    pub start: Instant,
    /// … to when.
    pub end: Instant,
    /// What is known of it.
    pub attributes: Vec<Attribute>,
    /// What happened in it.
    pub events: Vec<Event>,
    /// Events that did not fit.
    pub events_lost: u32,
    /// It ended in an error of ours or of the service's.
    pub failed: bool,
}

/// Chooses traces that nobody before us has decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Traces whose last 56 bits are below it are not chosen.
    threshold: u64,
}

/// The random part of a trace id that everybody decides by (W3C Trace Context level 2, random flag).
const RANDOM: u64 = (1 << 56) - 1;

impl Sampler {
    /// Chooses this part of all traces, from 0 to 1.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        let all = RANDOM + 1;
        // The cast saturates; what is no number chooses nothing.
        let chosen = (ratio.clamp(0.0, 1.0) * all as f64) as u64;
        Self { threshold: all - chosen.min(all) }
    }

    /// Whether this trace is chosen: the same everywhere where the ratio is the same.
    #[must_use]
    pub const fn wants(self, trace: u128) -> bool {
        (trace as u64 & RANDOM) >= self.threshold
    }
}

/// What became of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The collector has it.
    Exported,
    /// The queue was full, or the collector could not be reached for too long.
    Dropped,
    /// The collector does not take it.
    Rejected,
}

impl Outcome {
    /// Every outcome, in label order.
    pub const ALL: [Self; 3] = [Self::Exported, Self::Dropped, Self::Rejected];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
        }
    }
}

/// Counts what became of spans.
#[derive(Debug, Default)]
pub struct Figures([AtomicU64; Outcome::ALL.len()]);

impl Figures {
    /// Counts so many.
    pub fn add(&self, outcome: Outcome, spans: u64) {
        self.0[outcome as usize].fetch_add(spans, Ordering::Relaxed);
    }

    /// By label.
    #[must_use]
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        Outcome::ALL.map(|one| (one.as_str(), self.0[one as usize].load(Ordering::Relaxed))).to_vec()
    }
}
