//! What the hub and a session's task share: messages that wait for the client, and the word that ends it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

use crate::cold::{Ending, Frame};
use crate::rollout::KeyHash;

/// The room that a message takes besides its bytes, so that many small ones are bounded, too.
const OWN_BYTES: usize = 64;

/// See the module. Both ends live on one thread.
#[derive(Debug)]
pub(super) struct Outlet {
    /// In the metadata of its messages.
    pub(super) name: String,
    /// Whose it is.
    pub(super) key: Option<KeyHash>,
    queue: RefCell<VecDeque<(u64, Frame)>>,
    bytes: Cell<usize>,
    ending: Cell<Option<Ending>>,
    /// Messages of the client that Realtime has not acknowledged.
    unacknowledged: Cell<usize>,
    /// The position that the client has certainly read.
    read: Cell<u64>,
    filled: Notify,
    acknowledged: Notify,
    ended: Notify,
}

impl Outlet {
    /// One whose client stands at `position`.
    pub(super) fn new(name: String, key: Option<KeyHash>, position: u64) -> Self {
        Self {
            name,
            key,
            queue: RefCell::default(),
            bytes: Cell::new(0),
            ending: Cell::new(None),
            unacknowledged: Cell::new(0),
            read: Cell::new(position),
            filled: Notify::new(),
            acknowledged: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Gives the client a message; `false`: it has not read enough of the earlier ones, and is ended for it.
    pub(super) fn offer(&self, position: u64, frame: &Frame, bytes_max: usize) -> bool {
        let bytes = self.bytes.get() + frame.body.len() + OWN_BYTES;
        if bytes > bytes_max && !self.queue.borrow().is_empty() {
            self.end(Ending::SlowClient);
            return false;
        }
        self.bytes.set(bytes);
        self.queue.borrow_mut().push_back((position, frame.clone()));
        self.filled.notify_one();
        true
    }

    /// The next message, and the position behind it.
    pub(super) async fn next(&self) -> (u64, Frame) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            if let Some((position, frame)) = next {
                self.bytes.set(self.bytes.get().saturating_sub(frame.body.len() + OWN_BYTES));
                return (position, frame);
            }
            self.filled.notified().await;
        }
    }

    /// Ends the session; the first word counts. What waits is not sent any more, except before a close that only says
    /// that it ends.
    pub(super) fn end(&self, ending: Ending) {
        if self.ending.get().is_none() {
            self.ending.set(Some(ending));
            self.ended.notify_one();
        }
    }

    /// The word that ends it.
    pub(super) async fn ended(&self) -> Ending {
        loop {
            if let Some(ending) = self.ending.get() {
                return ending;
            }
            self.ended.notified().await;
        }
    }

    /// One more message of the client is on its way.
    pub(super) fn sent(&self) {
        self.unacknowledged.set(self.unacknowledged.get() + 1);
    }

    /// Realtime has answered one.
    pub(super) fn answered(&self) {
        self.unacknowledged.set(self.unacknowledged.get().saturating_sub(1));
        self.acknowledged.notify_one();
    }

    /// Completes while fewer than `most` are on their way.
    pub(super) async fn may_send(&self, most: usize) {
        while self.unacknowledged.get() >= most {
            self.acknowledged.notified().await;
        }
    }

    /// The client has read everything up to there.
    pub(super) fn has_read(&self, position: u64) {
        self.read.set(self.read.get().max(position));
    }

    /// The position that the client has certainly read.
    pub(super) fn position(&self) -> u64 {
        self.read.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_ended_and_not_remembered_for_ever() {
        let outlet = Outlet::new("a".to_owned(), None, 3);
        let frame = Frame { text: true, body: vec![b'x'; 400].into() };
        assert!(outlet.offer(4, &frame, 1_000));
        assert!(outlet.offer(5, &frame, 1_000));
        assert!(!outlet.offer(6, &frame, 1_000));
        outlet.end(Ending::Gap);
        assert_eq!(outlet.ended().await, Ending::SlowClient, "the first word counts");
        assert_eq!(outlet.next().await.0, 4);
        assert!(outlet.offer(7, &frame, 1_000), "there is room again");
        outlet.has_read(2);
        assert_eq!(outlet.position(), 3, "nobody unreads");
    }

    #[tokio::test]
    async fn one_message_always_fits() {
        let outlet = Outlet::new("a".to_owned(), None, 0);
        let large = Frame { text: false, body: vec![0; 5_000].into() };
        assert!(outlet.offer(1, &large, 1_000));
        assert!(!outlet.offer(2, &large, 1_000));
    }
}
