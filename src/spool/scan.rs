//! Finds records in a file that may be torn or damaged, a piece at a time: the caller reads what is wanted.
//! Memory is one header or one window, however large the file.

use super::record::{HEADER_LEN, Header, MAGIC};

/// How much is searched at once for the next header behind damage.
const WINDOW: usize = 64 << 10;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record; its body has not been looked at.
    Record {
        /// Where its header begins.
        at: u64,
        /// Its header.
        header: Header,
    },
    /// Bytes that are no record, with records behind them.
    Damaged {
        /// The first of them …
        from: u64,
        /// … and the first that is good again.
        to: u64,
    },
    /// The last write did not end: everything from here on is to be cut off.
    Torn {
        /// The first byte to go.
        from: u64,
    },
}

/// A walk over one file.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    at: u64,
    len: u64,
    /// Where the damage began that is being searched for its end.
    lost_from: Option<u64>,
}

impl Scanner {
    /// A walk from `at` to `len`.
    #[must_use]
    pub const fn new(at: u64, len: u64) -> Self {
        Self { at, len, lost_from: None }
    }

    /// Where it stands.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// The file has grown.
    pub const fn set_len(&mut self, len: u64) {
        self.len = len;
    }

    /// What to read next (offset and length); nothing at the end.
    #[must_use]
    pub fn wants(&self) -> Option<(u64, usize)> {
        let left = self.len.saturating_sub(self.at);
        let most = if self.lost_from.is_some() { WINDOW } else { HEADER_LEN };
        (left > 0).then(|| (self.at, usize::try_from(left).unwrap_or(most).min(most)))
    }

    /// Takes what was wanted. Fewer bytes than wanted mean that the file ends there.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Found> {
        match self.lost_from {
            None => self.header(bytes),
            Some(from) => self.search(from, bytes),
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Option<Found> {
        let at = self.at;
        if bytes.len() < HEADER_LEN {
            return self.torn(at);
        }
        let Some(header) = Header::decode(bytes) else {
            self.lost_from = Some(at);
            self.at += 1;
            return None;
        };
        let end = at + header.record_len();
        if end > self.len {
            return self.torn(at);
        }
        self.at = end;
        Some(Found::Record { at, header })
    }

    fn search(&mut self, from: u64, bytes: &[u8]) -> Option<Found> {
        let fits = |place: usize, header: Header| self.at + place as u64 + header.record_len() <= self.len;
        let places = bytes.windows(MAGIC.len()).enumerate().filter(|(_, four)| *four == MAGIC);
        let good = places.map(|(place, _)| place).find(|place| {
            bytes.get(*place..).and_then(Header::decode).is_some_and(|header| fits(*place, header))
        });
        if let Some(place) = good {
            self.at += place as u64;
            self.lost_from = None;
            return Some(Found::Damaged { from, to: self.at });
        }
        // A header may lie across the edge of two windows.
        let step = bytes.len().saturating_sub(HEADER_LEN - 1);
        self.at += step as u64;
        if step == 0 || self.at + HEADER_LEN as u64 > self.len { self.torn(from) } else { None }
    }

    const fn torn(&mut self, from: u64) -> Option<Found> {
        self.at = self.len;
        self.lost_from = None;
        Some(Found::Torn { from })
    }
}
