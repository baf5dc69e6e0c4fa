//! Rapid reset (CVE-2023-44487): a client that opens streams and cancels them at once keeps below every limit of
//! streams at a time and makes us open connections to the service as fast as it can write.

/// Cancellations that nobody minds: a page that is left cancels all it had asked for.
const FREE: u64 = 256;

/// Streams of one connection, and how many of them the client cancelled before they were answered.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    opened: u64,
    cancelled: u64,
}

impl Cancelled {
    /// Notes a stream.
    pub(super) const fn open(&mut self) {
        self.opened += 1;
    }

    /// Notes that it was cancelled before its answer.
    pub(super) const fn cancel(&mut self) {
        self.cancelled += 1;
    }

    /// True once more than [`FREE`] and more than half of all streams were cancelled.
    pub(super) const fn is_abuse(&self) -> bool {
        self.cancelled > FREE && self.cancelled * 2 > self.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answered: u64, cancelled: u64) -> bool {
        let mut figures = Cancelled::default();
        (0..answered + cancelled).for_each(|_| figures.open());
        (0..cancelled).for_each(|_| figures.cancel());
        figures.is_abuse()
    }

    #[test]
    fn only_many_and_most_are_too_many() {
        assert!(!after(0, FREE));
        assert!(after(0, FREE + 1));
        assert!(!after(FREE + 1, FREE + 1));
        assert!(after(FREE, FREE + 1));
        assert!(!after(1_000_000, 100_000));
    }
}
