//! Batches of the backlog that are larger than a broadcast: they lie on disk as a whole, are published in pieces, and
//! have ended when every piece has. A piece has the same name each time, so that a repetition is known as one.

use std::collections::{HashMap, VecDeque};

use ulid::Ulid;

use crate::mirror::report::StoredEnd;
use crate::mirror::stored::Stored;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    /// Pieces that wait for their turn.
    queue: VecDeque<Stored>,
    /// The batch that a piece is of.
    of: HashMap<Ulid, Ulid>,
    /// By batch: pieces that have not ended, and the worst end so far.
    open: HashMap<Ulid, (usize, StoredEnd)>,
}

impl Wholes {
    /// Takes the pieces of a batch.
    pub(super) fn add(&mut self, batch: Ulid, pieces: Vec<Stored>) {
        self.open.insert(batch, (pieces.len(), StoredEnd::Arrived));
        self.of.extend(pieces.iter().map(|piece| (piece.batch, batch)));
        self.queue.extend(pieces);
    }

    /// The next piece to publish.
    pub(super) fn next(&mut self) -> Option<Stored> {
        self.queue.pop_front()
    }

    /// Whether no piece waits for its turn.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether it is a piece.
    pub(super) fn contains(&self, piece: Ulid) -> bool {
        self.of.contains_key(&piece)
    }

    /// A batch or piece has ended; what that means for the batch, once it is known.
    pub(super) fn ended(&mut self, piece: Ulid, end: StoredEnd) -> Option<(Ulid, StoredEnd)> {
        let Some(batch) = self.of.remove(&piece) else { return Some((piece, end)) };
        let Self { queue, of, open } = self;
        let (left, worst) = open.get_mut(&batch)?;
        *left = left.saturating_sub(1);
        if end != StoredEnd::Arrived {
            // Without this piece the others are of no use now.
            queue.retain(|waits| {
                let goes = of.get(&waits.batch) == Some(&batch);
                if goes {
                    of.remove(&waits.batch);
                    *left = left.saturating_sub(1);
                }
                !goes
            });
        }
        *worst = match (*worst, end) {
            (lost @ StoredEnd::Lost(_), _) | (_, lost @ StoredEnd::Lost(_)) => lost,
            (StoredEnd::Back, _) | (_, StoredEnd::Back) => StoredEnd::Back,
            (StoredEnd::Arrived, StoredEnd::Arrived) => StoredEnd::Arrived,
        };
        let (left, worst) = (*left, *worst);
        (left == 0).then(|| {
            open.remove(&batch);
            (batch, worst)
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ledger::Shed;

    fn piece(number: u128) -> Stored {
        Stored { batch: Ulid(number), messages: 1, body: Bytes::new() }
    }

    #[test]
    fn a_batch_has_arrived_with_its_last_piece_and_goes_back_with_the_first_that_does() {
        use StoredEnd::{Arrived, Back, Lost};
        let mut wholes = Wholes::default();
        assert_eq!(wholes.ended(Ulid(9), Arrived), Some((Ulid(9), Arrived)), "no piece");
        wholes.add(Ulid(1), vec![piece(11), piece(12)]);
        while wholes.next().is_some() {}
        assert_eq!(wholes.ended(Ulid(12), Arrived), None);
        assert_eq!(wholes.ended(Ulid(11), Arrived), Some((Ulid(1), Arrived)));

        wholes.add(Ulid(1), vec![piece(11), piece(12), piece(13), piece(14)]);
        wholes.add(Ulid(2), vec![piece(21)]);
        let under_way = [wholes.next(), wholes.next()].map(|one| one.map(|one| one.batch));
        assert_eq!(under_way, [Some(Ulid(11)), Some(Ulid(12))]);
        assert_eq!(wholes.ended(Ulid(11), Back), None, "one is still under way");
        assert_eq!(wholes.next().map(|one| one.batch), Some(Ulid(21)), "what waited does not go any more");
        assert_eq!(wholes.ended(Ulid(12), Arrived), Some((Ulid(1), Back)));
        assert_eq!(wholes.ended(Ulid(21), Lost(Shed::Refused)), Some((Ulid(2), Lost(Shed::Refused))));
        assert!(wholes.is_empty() && wholes.of.is_empty() && wholes.open.is_empty());
    }
}
