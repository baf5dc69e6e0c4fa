//! A topic that is joined for one token: how it stands with it, who listens, and what it has said.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use super::outlet::Outlet;
use crate::cold::log::Log;
use crate::realtime::link::{PushRef, TopicNo};
use crate::realtime::reason::{Cause, Reason};

pub(super) type ChannelRef = Rc<RefCell<Channel>>;

/// How it stands with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Joining,
    Joined,
    /// The policies do not let this token read it.
    Denied,
    /// A person must change something else.
    Failed,
}

/// A topic that is joined for one token.
pub(super) struct Channel {
    /// Differs from that of any other, a later one of the same topic included.
    pub(super) id: u64,
    pub(super) link: u64,
    pub(super) no: TopicNo,
    pub(super) state: State,
    pub(super) changed: Rc<Notify>,
    pub(super) log: Log,
    pub(super) clients: BTreeMap<u64, Rc<Outlet>>,
    pub(super) pushes: HashMap<PushRef, Rc<Outlet>>,
    pub(super) idle_since: Option<Instant>,
}

impl Channel {
    /// How many messages the topic has said.
    pub(super) const fn position(&self) -> u64 {
        self.log.position()
    }

    /// It stands so now, and whoever waits for it looks again.
    pub(super) fn turn(&mut self, state: State) {
        self.state = state;
        self.changed.notify_waiters();
    }
}

/// Whether the token, or the policies for it, are the reason.
pub(super) fn denies(reason: Reason) -> bool {
    reason.cause() == Cause::OurAuthorization
}
