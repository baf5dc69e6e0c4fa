//! The owner's side of a client: commands go in without waiting, events come out.
//! The two halves can live in different tasks; the client ends when the last [`Commands`] is dropped.

use tokio::sync::{mpsc, watch};

use crate::realtime::key::ApiKey;
use crate::realtime::link::{Join, LinkEvent, Push, Stats, TopicNo};
#[cfg(doc)]
use crate::realtime::link::{Link, Outcome};

/// Sizes of the queues between owner and shell.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Commands that the shell has not taken; at least 1.
    pub commands: usize,
    /// Events that the owner has not taken; at least 1. Beyond, the link keeps and at last sheds them.
    pub events: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Self { commands: 256, events: 1_024 }
    }
}

/// The owner's end: commands in, events out.
#[derive(Debug)]
pub struct Handle {
    pub(super) commands: Commands,
    pub(super) events: mpsc::Receiver<LinkEvent>,
}

impl Handle {
    /// A handle whose other ends are a test's: what is asked of the link, and what it tells.
    #[cfg(test)]
    pub(crate) fn for_tests() -> (Self, mpsc::Receiver<Command>, mpsc::Sender<LinkEvent>) {
        let sizes = Queues::default();
        let (queue, asked) = mpsc::channel(sizes.commands);
        let (tell, events) = mpsc::channel(sizes.events);
        let stats = watch::Sender::new(Stats::default()).subscribe();
        (Self { commands: Commands { queue, stats }, events }, asked, tell)
    }

    /// The next event; `None` when the client has ended. Safe to cancel.
    pub async fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }

    /// An event that is there already.
    pub fn try_event(&mut self) -> Option<LinkEvent> {
        self.events.try_recv().ok()
    }

    /// Sends a broadcast; never waits. See [`Commands::try_push`].
    ///
    /// # Errors
    /// Gives the push back.
    pub fn try_push(&self, push: Push) -> Result<(), Push> {
        self.commands.try_push(push)
    }

    /// The sending half, to be cloned.
    #[must_use]
    pub const fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Both halves, for two tasks.
    #[must_use]
    pub fn into_parts(self) -> (Commands, mpsc::Receiver<LinkEvent>) {
        (self.commands, self.events)
    }
}

/// The sending half of a [`Handle`]. No method waits: a full queue says so.
#[derive(Clone, Debug)]
pub struct Commands {
    /// To the shell.
    pub(super) queue: mpsc::Sender<Command>,
    /// The link's counters, as of the shell's last turn.
    pub(super) stats: watch::Receiver<Stats>,
}

/// The queue of commands is full, or the client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client takes no command at the moment")]
pub struct Busy;

impl Commands {
    /// The link's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.stats.borrow()
    }

    /// Sends a broadcast. Its outcome comes as [`LinkEvent::Ack`], [`Outcome::NotSent`] if the link had no room.
    ///
    /// # Errors
    /// Gives the push back when the queue is full or the client has ended.
    pub fn try_push(&self, push: Push) -> Result<(), Push> {
        match self.queue.try_reserve() {
            Ok(permit) => {
                permit.send(Command::Push(push));
                Ok(())
            }
            Err(_) => Err(push),
        }
    }

    /// Adds a channel. One that cannot be added is told as [`LinkEvent::GiveUp`].
    ///
    /// # Errors
    /// [`Busy`].
    pub fn try_join(&self, topic: TopicNo, join: Join) -> Result<(), Busy> {
        self.queue.try_send(Command::Join(topic, join)).map_err(|_| Busy)
    }

    /// Says that the channel's broadcasts arrive; see [`Link::vouch`].
    ///
    /// # Errors
    /// [`Busy`].
    pub fn try_vouch(&self, topic: TopicNo) -> Result<(), Busy> {
        self.queue.try_send(Command::Vouch(topic)).map_err(|_| Busy)
    }

    /// Removes a channel.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn try_leave(&self, topic: TopicNo) -> Result<(), Busy> {
        self.queue.try_send(Command::Leave(topic)).map_err(|_| Busy)
    }

    /// A new token for the joins; see [`Link::set_token`].
    ///
    /// # Errors
    /// [`Busy`].
    pub fn try_set_token(&self, token: Option<ApiKey>) -> Result<(), Busy> {
        self.queue.try_send(Command::Token(token)).map_err(|_| Busy)
    }

    /// A new key; see [`Link::set_key`].
    ///
    /// # Errors
    /// [`Busy`].
    pub fn try_set_key(&self, key: ApiKey) -> Result<(), Busy> {
        self.queue.try_send(Command::Key(key)).map_err(|_| Busy)
    }
}

/// What the owner wants.
#[derive(Debug)]
pub(crate) enum Command {
    Push(Push),
    Join(TopicNo, Join),
    Leave(TopicNo),
    Vouch(TopicNo),
    Token(Option<ApiKey>),
    Key(ApiKey),
}
