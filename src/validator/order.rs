//! Who has come back last, by session and direction: whatever comes after something that was sent later was overtaken.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::session::{Direction, Key, SessionNo};

/// Directions whose order is known at once; of more, nothing is said.
pub const SESSIONS_MAX: usize = 64 * 1024;
/// A direction that was silent for so long is forgotten.
const SILENT: Duration = Duration::from_secs(120);

/// Place of a message in what was sent: batch, then position in it.
pub(super) type Place = (u64, u32);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: HashMap<(SessionNo, Direction), (Place, Instant)>,
}

impl Order {
    /// Notes that a message came back; whether one that was sent later had come back before it.
    pub(super) fn overtaken(&mut self, key: Key, place: Place, now: Instant) -> bool {
        let line = (key.session, key.dir);
        if self.last.len() >= SESSIONS_MAX && !self.last.contains_key(&line) {
            return false;
        }
        let (last, at) = self.last.entry(line).or_insert((place, now));
        let overtaken = *last > place;
        (*last, *at) = ((*last).max(place), now);
        overtaken
    }

    /// Forgets who has been silent.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.last.retain(|_, (_, at)| now.saturating_duration_since(*at) < SILENT);
    }

    pub(super) fn len(&self) -> usize {
        self.last.len()
    }
}
