//! A growing buffer whose every byte of capacity is paid for. The lease is exchanged for a larger one *before*
//! the memory grows, so the budget never shows less than what is held.

use std::sync::Arc;

use bytes::Bytes;

use crate::budget::{Budget, Lease, Payload};

/// The smallest capacity worth allocating while the final size is open.
const GROW_BYTES_MIN: usize = 512;

/// Bytes and the lease that pays for their capacity.
#[derive(Debug, Default)]
pub(super) struct PaidBuf {
    bytes: Vec<u8>,
    lease: Option<Lease>,
}

/// The budget had no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpaid;

impl PaidBuf {
    /// Makes room for `more` bytes. `final_len` is the largest length this buffer will reach: when it is near,
    /// the room is made exactly, so that a message in one piece is allocated once and in its final size.
    ///
    /// Capacity never exceeds twice the length asked for (or the minimum): what a peer merely announces costs
    /// nothing.
    pub(super) fn grow(&mut self, more: usize, final_len: usize, budget: &Arc<Budget>) -> Result<(), Unpaid> {
        let need = self.bytes.len().saturating_add(more);
        if need <= self.bytes.capacity() {
            return Ok(());
        }
        let capacity = need.saturating_mul(2).max(GROW_BYTES_MIN).min(final_len.max(need));
        let lease = u32::try_from(capacity).ok().and_then(|size| budget.try_take(size)).ok_or(Unpaid)?;
        self.bytes.reserve_exact(capacity - self.bytes.len());
        self.lease = Some(lease);
        Ok(())
    }

    /// The buffer, for appending within the room made by [`grow`](Self::grow).
    pub(super) const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes, exactly sized and paid for exactly.
    ///
    /// A lease that is too large is given back before the smaller one is taken: with the budget at its limit the
    /// other order would refuse a message that is paid for already.
    pub(super) fn into_payload(self, budget: &Arc<Budget>) -> Result<Payload, Unpaid> {
        let Self { bytes, lease } = self;
        let size = u32::try_from(bytes.len()).map_err(|_| Unpaid)?;
        let bytes = Bytes::from(bytes.into_boxed_slice());
        let lease = match lease.filter(|lease| lease.bytes() == size) {
            Some(exact) => exact,
            None => budget.try_take(size).ok_or(Unpaid)?,
        };
        Ok(Payload::new(bytes, lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_the_whole_is_allocated_exactly() {
        let budget = Budget::new(1 << 20);
        let mut buf = PaidBuf::default();
        buf.grow(1000, 1000, &budget).unwrap();
        assert_eq!((buf.bytes.capacity(), budget.used()), (1000, 1000));
        buf.bytes_mut().extend_from_slice(&[7; 1000]);
        let payload = buf.into_payload(&budget).unwrap();
        assert_eq!((payload.len(), budget.used()), (1000, 1000));
        drop(payload);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn growth_is_paid_and_the_end_is_exact() {
        let budget = Budget::new(1 << 20);
        let mut buf = PaidBuf::default();
        for piece in 1..=300 {
            buf.grow(100, 1 << 20, &budget).unwrap();
            buf.bytes_mut().extend_from_slice(&[7; 100]);
            assert_eq!(budget.used(), buf.bytes.capacity() as u64);
            assert!(buf.bytes.capacity() <= (2 * 100 * piece).max(GROW_BYTES_MIN));
        }
        let payload = buf.into_payload(&budget).unwrap();
        assert_eq!((payload.len(), budget.used()), (30_000, 30_000));
    }

    #[test]
    fn a_refusal_leaves_what_was_there() {
        let budget = Budget::new(1000);
        let mut buf = PaidBuf::default();
        buf.grow(300, 2000, &budget).unwrap();
        buf.bytes_mut().extend_from_slice(&[7; 300]);
        assert_eq!(buf.grow(600, 2000, &budget), Err(Unpaid));
        assert_eq!((buf.len(), budget.used()), (300, 600));
    }

    #[test]
    fn a_full_budget_does_not_refuse_what_is_paid_already() {
        let budget = Budget::new(600);
        let mut buf = PaidBuf::default();
        buf.grow(300, 2000, &budget).unwrap();
        buf.bytes_mut().extend_from_slice(&[7; 300]);
        assert_eq!(budget.used(), 600);
        assert_eq!(buf.into_payload(&budget).unwrap().len(), 300);
    }
}
