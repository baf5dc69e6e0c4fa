//! A broadcast on its way through the HTTP sink: its bytes, who pays for them, and how it may end.

use std::fmt;
use std::time::Instant;

use crate::budget::Lease;
use crate::ledger::{Entry, Proof, Shed};
use crate::realtime::http::Outgoing;

/// A broadcast on its way.
pub struct Parcel {
    /// What to publish. Its `id` names it in read-backs.
    pub message: Outgoing,
    /// The ledger's token, where this is the message's way into Realtime.
    pub entry: Option<Entry>,
    /// Whether our own subscription hears this topic.
    pub readback: bool,
    /// Pays for its bytes.
    pub lease: Lease,
    /// It ought to be read back and cannot be: taken is then not proved.
    pub(super) blind: bool,
    /// Realtime has taken it at least once.
    pub(super) taken: bool,
    /// It was read back while its request was not answered yet.
    pub(super) heard: bool,
    /// Not sent any more after this; `None` waits as long as it takes.
    until: Option<Instant>,
    pub(super) attempts: u8,
}

impl Parcel {
    /// A broadcast that has not been tried. Without an id it cannot be told from others, so it is not read back.
    #[must_use]
    pub fn new(message: Outgoing, entry: Option<Entry>, readback: bool, lease: Lease) -> Self {
        let readback = readback && message.id.is_some();
        Self {
            message,
            entry,
            readback,
            lease,
            blind: false,
            taken: false,
            heard: false,
            until: None,
            attempts: 0,
        }
    }

    /// Says that nobody of ours listens to its topic.
    #[must_use]
    pub const fn unheard(mut self) -> Self {
        self.readback = false;
        self
    }

    /// Says that it ought to be read back, and that we may not listen to its topic.
    #[must_use]
    pub const fn blind(mut self) -> Self {
        self.readback = false;
        self.blind = true;
        self
    }

    /// Says when it is too old for a live topic.
    #[must_use]
    pub const fn until(mut self, at: Instant) -> Self {
        self.until = Some(at);
        self
    }

    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.until.is_some_and(|at| at < now)
    }

    /// Whether this is what came back: its name, and its contents as values.
    pub(super) fn is(&self, topic: &str, id: &str, payload: &[u8]) -> bool {
        let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let named = self.readback && self.message.topic == topic && self.message.id.as_deref() == Some(id);
        // Never read back before it was sent: then it is somebody else's.
        named
            && self.attempts > 0
            && value(payload).is_some_and(|got| value(&self.message.payload) == Some(got))
    }

    /// In a batch only objects are taken.
    pub(super) fn is_object(&self) -> bool {
        self.message.payload.trim_ascii_start().starts_with(b"{") && self.is_json()
    }

    pub(super) fn is_json(&self) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(&self.message.payload).is_ok()
    }

    pub(super) fn shed(self, why: Shed) {
        if let Some(entry) = self.entry {
            entry.shed(why);
        }
    }

    pub(super) fn confirm(self, how: Proof) {
        if let Some(entry) = self.entry {
            entry.confirm(how);
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parcel({} bytes, attempt {})", self.message.payload.len(), self.attempts)
    }
}
