//! What the windows of all hot sessions hold together. One session may hold 256 KiB; ten thousand of them must not
//! hold ten thousand times as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The limit of the process, and how much of it is held.
#[derive(Debug)]
pub struct Windows {
    limit: u64,
    held: AtomicU64,
}

impl Windows {
    /// No more than `limit` bytes of frames in wait.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0) })
    }

    /// Bytes that all windows hold now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// One session's part, given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    windows: Arc<Windows>,
    held: u64,
}

impl Share {
    pub(super) const fn new(windows: Arc<Windows>) -> Self {
        Self { windows, held: 0 }
    }

    /// The session now holds `bytes`. Returns whether it has grown while the process was over its limit: then it
    /// must let go.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let (before, now) = (self.held, bytes as u64);
        self.held = now;
        if now <= before {
            self.windows.held.fetch_sub(before - now, Ordering::Relaxed);
            return false;
        }
        let more = now - before;
        self.windows.held.fetch_add(more, Ordering::Relaxed) + more > self.windows.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_grows_over_the_limit_must_let_go_and_gives_everything_back() {
        let windows = Windows::new(100);
        let (mut one, mut two) = (Share::new(Arc::clone(&windows)), Share::new(Arc::clone(&windows)));
        assert!(!one.set(60));
        assert!(two.set(60), "120 of 100");
        assert!(!two.set(50), "shrinking is never refused");
        assert!(!two.set(0));
        assert!(!two.set(40));
        drop(one);
        drop(two);
        assert_eq!(windows.held(), 0);
    }
}
