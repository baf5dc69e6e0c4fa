//! What survives a restart, and the rule for reading it back: it may make the new breaker stricter, never laxer.
//! Times are kept as ages, so a jump of the wall clock can only stretch or shorten a wait.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::machine::{Breaker, Inner};
use super::outcome::Trigger;
use super::state::Mode;

/// The version this program writes; any other is ignored.
pub const SAVED_VERSION: u32 = 1;

/// A saved file larger than this is not ours.
pub const SAVED_BYTES_MAX: usize = 16 * 1024;

/// The saved state of a breaker (JSON).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// [`SAVED_VERSION`].
    pub version: u32,
    /// When it was written, Unix time in ms.
    pub at_unix_ms: u64,
    /// What opened it and how much of the cool-down was left, if it was open.
    pub open: Option<SavedOpen>,
    /// A person had forced it open.
    pub forced_open: bool,
    /// Openings in a row without a complete return; the next cool-down grows with it.
    pub openings: u32,
    /// The next return has to be paced.
    pub paced: bool,
    /// Ages of the trips that still count for the latch.
    pub trips_ago_ms: Vec<u64>,
}

/// An opening that had not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOpen {
    /// What opened it.
    pub trip: Trigger,
    /// What was left of the cool-down.
    pub left_ms: u64,
    /// Only a person can end it.
    pub latched: bool,
}

/// Why a saved file was ignored. The breaker then starts half-open, as it does without any file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// Over [`SAVED_BYTES_MAX`].
    #[error("the saved breaker state is too large to be ours")]
    TooLarge,
    /// Not the JSON this program writes.
    #[error("the saved breaker state is corrupt")]
    Corrupt,
    /// Written by another version.
    #[error("the saved breaker state has version {0}, not {SAVED_VERSION}")]
    Version(u32),
}

/// Whole milliseconds, for the file.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The same, never less than it was: a restart shortens no cool-down.
pub(super) fn millis_up(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl Saved {
    /// Reads a saved file.
    ///
    /// # Errors
    /// Says why it must be ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, SavedError> {
        if bytes.len() > SAVED_BYTES_MAX {
            return Err(SavedError::TooLarge);
        }
        let saved: Self = serde_json::from_slice(bytes).map_err(|_| SavedError::Corrupt)?;
        if saved.version == SAVED_VERSION { Ok(saved) } else { Err(SavedError::Version(saved.version)) }
    }

    /// The text to write.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// How long ago it was written; zero when it claims to be from the future.
    pub(super) fn age(&self, now_unix_ms: u64) -> Duration {
        Duration::from_millis(now_unix_ms.saturating_sub(self.at_unix_ms))
    }
}

/// What a [`Saved`] holds without its ages: two marks differ exactly when there is something new to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    open: Option<(Instant, Trigger, bool)>,
    forced_open: bool,
    paced: bool,
    openings: u32,
    trips: (usize, Option<Instant>),
}

impl Breaker {
    /// Trips that count for the latch at `now`, those before a restart included; never more than it takes.
    #[must_use]
    pub fn trips_counted(&self, now: Instant) -> usize {
        self.past.trips_at(now)
    }

    /// The mark of what [`save`](Self::save) would hold now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let open = match self.inner {
            Inner::Open { until, trip, latched, .. } => Some((until, trip, latched)),
            _ => None,
        };
        let paced = match self.inner {
            Inner::Closed { paced, .. } => paced,
            _ => self.past.paced,
        };
        let forced_open = self.mode == Mode::ForcedOpen;
        let (openings, trips) = self.past.counted();
        Mark { open, forced_open, paced, openings, trips }
    }
}
