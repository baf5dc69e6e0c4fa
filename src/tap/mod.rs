//! The tap: where a copy of a message leaves the data threads.
//!
//! **Problem.** The mirror must see every message, and no mirror, however slow, stuck, full or dead, may be felt
//! by the tunnel. A woken receiver costs the data thread half its throughput (measured: a futex call and a
//! context switch for each message).
//!
//! **Decision.** One bounded queue; the data threads only ever `try_send`. What does not fit is shed with a
//! reason, and the ledger's token says so. The side thread drains the queue on a short tick; only a message that
//! a hot session awaits wakes it ([`TapReceiver::awaited`]). While the breaker is open the gate is shut: messages
//! are numbered and accounted for, but not copied.
//!
//! **Limits.** [`CAPACITY`] messages, and the byte budget that their payloads were paid from. The side thread
//! beats ([`TapReceiver::beat`]); data threads that miss the beat for a second stop trusting Realtime
//! (`Fallback::SideStuck`). A side thread that is gone closes the queue, and everything is shed from then on.

mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use crate::budget::Budget;
use crate::ledger::{Entry, Ledger, Shed};
use crate::session::{Key, SessionId, SessionNo};
use crate::ws::Captured;

pub use token::{Seats, TOKEN_BYTES_MAX, Token, TokenRef};

/// Messages that may wait between the data threads and the side thread.
pub const CAPACITY: usize = 16 * 1024;

/// What the side thread receives.
#[derive(Debug)]
pub enum Tapped {
    /// A session opened.
    Opened(Opened),
    /// A whole message went by.
    Message(Message),
    /// A session ended.
    Closed(SessionNo),
}

/// The announcement of a session.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its number.
    pub no: SessionNo,
    /// Its name to the outside.
    pub id: SessionId,
    /// The request path, without the query.
    pub path: Arc<str>,
    /// The subprotocol that the service has chosen.
    pub subprotocol: Option<Arc<str>>,
    /// Where to find the user's token, of sessions whose authorization is compared.
    pub token: Option<TokenRef>,
    /// The bucket that chooses what is mirrored of it.
    pub mirror_bucket: u32,
}

/// One copied message with its token.
#[derive(Debug)]
pub struct Message {
    /// The copy. Its body is always there: what could not be copied was shed at the tap.
    pub captured: Captured,
    /// The token that the mirror must settle.
    pub entry: Entry,
    /// The request path of its session.
    pub path: Arc<str>,
    /// A hot session's window awaits the read-back.
    pub hot: bool,
}

#[derive(Debug)]
struct Shared {
    awaited: Notify,
    /// Set while Realtime may be used; otherwise messages are not even copied.
    gate: AtomicBool,
    /// Milliseconds since `origin` at the side thread's last beat.
    beat_ms: AtomicU64,
    origin: Instant,
    opens_shed: AtomicU64,
}

/// The data threads' end.
#[derive(Clone, Debug)]
pub struct Tap {
    queue: mpsc::Sender<Tapped>,
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    ledger: Arc<Ledger>,
}

/// The side thread's end.
#[derive(Debug)]
pub struct TapReceiver {
    queue: mpsc::Receiver<Tapped>,
    shared: Arc<Shared>,
}

/// Makes both ends. `origin` is any moment before the first beat.
#[must_use]
pub fn channel(budget: Arc<Budget>, ledger: Arc<Ledger>, origin: Instant) -> (Tap, TapReceiver) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let shared = Arc::new(Shared {
        awaited: Notify::new(),
        gate: AtomicBool::new(true),
        beat_ms: AtomicU64::new(0),
        origin,
        opens_shed: AtomicU64::new(0),
    });
    let tap = Tap { queue: sender, shared: Arc::clone(&shared), budget, ledger };
    (tap, TapReceiver { queue: receiver, shared })
}

impl Tap {
    /// Whether copies are wanted now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.gate.load(Ordering::Relaxed) && !self.queue.is_closed()
    }

    /// The budget that copies are paid from.
    #[must_use]
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Offers a message that went by. Never waits.
    ///
    /// # Errors
    /// The reason why the mirror will not carry it; its token is settled with that reason already.
    pub fn offer(&self, captured: Captured, path: &Arc<str>, hot: bool) -> Result<(), Shed> {
        let entry = self.ledger.open(captured.key);
        let refused = match &captured.body {
            Err(why) => Some(*why),
            Ok(_) if !self.shared.gate.load(Ordering::Relaxed) => Some(Shed::BreakerOpen),
            Ok(_) => None,
        };
        if let Some(why) = refused {
            entry.shed(why);
            return Err(why);
        }
        let message = Message { captured, entry, path: Arc::clone(path), hot };
        match self.queue.try_send(Tapped::Message(message)) {
            Ok(()) => {
                if hot {
                    self.shared.awaited.notify_one();
                }
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => {
                if let Tapped::Message(message) = back {
                    message.entry.shed(Shed::QueueFull);
                }
                Err(Shed::QueueFull)
            }
        }
    }

    /// Accounts for a message that went by while no copies were wanted.
    pub fn uncopied(&self, key: Key, why: Shed) {
        self.ledger.open(key).shed(why);
    }

    /// Accounts for messages of a session that the mirror's share leaves out.
    pub fn unsampled(&self, messages: u64) {
        self.ledger.unsampled(messages);
    }

    /// Announces a session.
    pub fn opened(&self, opened: Opened) {
        self.announce(Tapped::Opened(opened));
    }

    /// Announces the end of a session.
    pub fn closed(&self, no: SessionNo) {
        self.announce(Tapped::Closed(no));
    }

    /// How long the side thread has not beaten.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        let beat = self.shared.origin + Duration::from_millis(self.shared.beat_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(beat)
    }

    /// Announcements that did not fit; the sessions' messages carry all that the mirror needs.
    #[must_use]
    pub fn announcements_shed(&self) -> u64 {
        self.shared.opens_shed.load(Ordering::Relaxed)
    }

    fn announce(&self, what: Tapped) {
        if self.queue.try_send(what).is_err() {
            self.shared.opens_shed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl TapReceiver {
    /// The next item, without waiting.
    pub fn poll_next(&mut self) -> Option<Tapped> {
        self.queue.try_recv().ok()
    }

    /// Completes when a hot session's message has come in.
    pub async fn awaited(&self) {
        self.shared.awaited.notified().await;
    }

    /// Tells the data threads that the side thread lives.
    pub fn beat(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.shared.origin).as_millis();
        self.shared.beat_ms.store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Opens or shuts the gate.
    pub fn set_open(&self, open: bool) {
        self.shared.gate.store(open, Ordering::Relaxed);
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }
}
