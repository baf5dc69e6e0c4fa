//! One byte budget for everything behind the tap.
//!
//! **Problem.** A captured message sits in a queue, in a batch that is being filled, in a batch in flight and in
//! the window of a hot session, often at once. Four limits that do not know of each other either waste memory or
//! exceed it.
//!
//! **Decision.** Bytes are paid for once, when they are copied off the wire, and given back by the *last* holder:
//! a [`Payload`] is shared by reference count and carries its [`Lease`] with it. Taking never waits; who gets
//! nothing goes on without the copy (`Shed::Budget`).
//!
//! **Limits.** The figure counts payload bytes, not allocator overhead. Relaxed atomics are enough: the sum is
//! kept by read-modify-write operations, and nothing is ordered by it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A shared limit in bytes.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// Takes `bytes` if they fit, without waiting.
    #[must_use]
    pub fn try_take(self: &Arc<Self>, bytes: u32) -> Option<Lease> {
        let want = u64::from(bytes);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(want).filter(|sum| *sum <= self.limit)
            })
            .ok()
            .map(|_| Lease { budget: Arc::clone(self), bytes })
    }

    /// Bytes taken and not given back.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit given at the start.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }
}

/// Bytes taken from a [`Budget`]; given back on drop.
#[derive(Debug)]
pub struct Lease {
    budget: Arc<Budget>,
    bytes: u32,
}

impl Lease {
    /// How many bytes this lease holds.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(u64::from(self.bytes), Ordering::Relaxed);
    }
}

/// The bytes of one message, paid for. Cloning shares; it never copies and never pays twice.
#[derive(Clone)]
pub struct Payload(Arc<(Bytes, Lease)>);

impl Payload {
    /// Binds bytes to the lease that pays for them.
    #[must_use]
    pub fn new(bytes: Bytes, lease: Lease) -> Self {
        Self(Arc::new((bytes, lease)))
    }

    /// Copies `bytes` if the budget has room for them.
    #[must_use]
    pub fn copy_from(bytes: &[u8], budget: &Arc<Budget>) -> Option<Self> {
        let lease = budget.try_take(u32::try_from(bytes.len()).ok()?)?;
        Some(Self::new(Bytes::copy_from_slice(bytes), lease))
    }

    /// The bytes as a cheap handle. The lease stays with this payload.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.0
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.0
    }
}

impl fmt::Debug for Payload {
    /// Payloads never appear in logs (invariant 7): only the length does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_holder_gives_the_bytes_back() {
        let budget = Budget::new(10);
        let first = Payload::copy_from(b"12345678", &budget).unwrap();
        let second = first.clone();
        assert_eq!(budget.used(), 8);
        assert!(Payload::copy_from(b"123", &budget).is_none(), "8 + 3 is over the limit of 10");
        drop(first);
        assert_eq!(budget.used(), 8);
        drop(second);
        assert_eq!(budget.used(), 0);
        assert!(Payload::copy_from(b"1234567890", &budget).is_some());
    }

    #[test]
    fn a_payload_never_shows_its_bytes() {
        let budget = Budget::new(100);
        let payload = Payload::copy_from(b"hunter2", &budget).unwrap();
        assert_eq!(format!("{payload:?}"), "Payload(7 bytes)");
    }
}
