//! The window of one hot session: messages taken from the legacy leg and not yet written to the client.
//!
//! A pure machine. The model it is held against: *what was delivered is always a prefix of what was captured, and
//! equals it within one deadline of the last capture while the client reads.*

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::session::Seq;

use super::{Direct, Fallback};

/// Limits and clocks of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of frames that may wait for Realtime; more puts the session on legacy (`window_full`).
    pub waiting_bytes_max: usize,
    /// From the hand-over to the publisher to the read-back; later is a rescue and an error outcome.
    pub deadline: Duration,
    /// How long a message may wait in our own queue before it is released as `direct(own_queue)`.
    pub own_queue_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            waiting_bytes_max: 256 * 1024,
            deadline: Duration::from_millis(500),
            own_queue_max: Duration::from_millis(250),
        }
    }
}

/// What the read-back said about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// Length and checksum are those that were sent.
    Matched,
    /// They are not. The original is delivered, and the difference is an error outcome.
    Altered,
}

/// How a message came to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Realtime delivered it back and it was proved identical.
    ViaRealtime,
    /// It never went the way over Realtime, or did not have to finish it.
    Direct(Direct),
    /// Realtime had its chance and missed the deadline: the original was written from the window.
    Rescued,
    /// Realtime delivered something else: the original was written.
    Altered,
    /// The session went back to legacy while it waited: written from the window.
    SwitchedBack,
}

/// A message that may be written to the client now.
#[derive(Debug, PartialEq, Eq)]
pub struct Deliver {
    /// Its place in the session.
    pub seq: Seq,
    /// The original frames as the service sent them.
    pub frames: Vec<u8>,
    /// Why now.
    pub how: Released,
}

/// What happened that somebody outside must hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowEvent {
    /// The deadline passed: an error outcome.
    Rescued(Seq),
    /// Realtime delivered something else: an error outcome.
    Altered(Seq),
    /// A read-back of a message that was delivered before: a counted duplicate.
    Late(Seq),
    /// More waits than may wait: the session goes back to legacy.
    Full,
}

/// What feeds the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Each message waits for its read-back.
    Realtime,
    /// Nothing waits.
    Legacy(Fallback),
}

#[derive(Debug)]
enum State {
    /// In our own queue.
    Queued { since: Instant },
    /// Handed to the publisher.
    Published { since: Instant },
    /// May go as soon as all before it went.
    Done(Released),
}

#[derive(Debug)]
struct Item {
    frames: Vec<u8>,
    state: State,
}

/// At most this many events wait to be polled; the oldest goes first when nobody polls.
const EVENTS_MAX: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Window {
    config: Config,
    source: Source,
    /// Starts with an item that is not done; consecutive numbers from `front`.
    items: VecDeque<Item>,
    front: Seq,
    waiting_bytes: usize,
    ready: VecDeque<Deliver>,
    ready_bytes: usize,
    events: VecDeque<WindowEvent>,
    #[cfg(test)]
    pub(super) sabotage: Option<Sabotage>,
}

/// One rule broken on purpose, so that the suite can prove that it would notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    SkipOnOverflow,
    DeliverLateTwice,
    ReleaseOutOfOrder,
    FlushInReverse,
    ForgetDeadline,
    TrustAltered,
    DropOnSwitch,
}

impl Window {
    /// An empty window whose first message will be `next`.
    #[must_use]
    pub fn new(config: Config, next: Seq) -> Self {
        Self {
            config,
            source: Source::Realtime,
            items: VecDeque::new(),
            front: next,
            waiting_bytes: 0,
            ready: VecDeque::new(),
            ready_bytes: 0,
            events: VecDeque::new(),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// Takes a whole message off the legacy leg. `direct` says why it does not go over Realtime, if so.
    /// Returns whether it now waits for Realtime.
    pub fn capture(&mut self, frames: Vec<u8>, direct: Option<Direct>, now: Instant) -> bool {
        let direct = match self.source {
            Source::Realtime => direct,
            Source::Legacy(_) => Some(direct.unwrap_or(Direct::Legacy)),
        };
        let waits = direct.is_none();
        self.waiting_bytes += frames.len();
        let state = direct.map_or(State::Queued { since: now }, |why| State::Done(Released::Direct(why)));
        self.items.push_back(Item { frames, state });
        self.advance();
        if self.waiting_bytes > self.config.waiting_bytes_max {
            #[cfg(test)]
            if self.sabotage == Some(Sabotage::SkipOnOverflow) {
                self.items.pop_back();
            }
            self.note(WindowEvent::Full);
            self.set_source(Source::Legacy(Fallback::WindowFull));
        }
        waits
    }

    /// A message that was never held went by: its number is used up. Only while nothing is in the window.
    pub fn skip(&mut self) {
        debug_assert!(self.items.is_empty(), "a streamed message passes only behind an empty window");
        self.front = self.front.next();
    }

    /// The publisher has it: the deadline starts.
    pub fn published(&mut self, seq: Seq, now: Instant) {
        if let Some(item) = self.item(seq)
            && let State::Queued { .. } = item.state
        {
            item.state = State::Published { since: now };
        }
    }

    /// The mirror does not carry it after all: it goes from here, in its place.
    pub fn turned_away(&mut self, seq: Seq, why: Direct) {
        if let Some(item) = self.item(seq)
            && !matches!(item.state, State::Done(_))
        {
            item.state = State::Done(Released::Direct(why));
            self.advance();
        }
    }

    /// Realtime delivered it back.
    pub fn returned(&mut self, seq: Seq, proof: ReadBack) {
        let next = Seq(self.front.0 + self.items.len() as u64);
        if seq < self.front {
            #[cfg(test)]
            if self.sabotage == Some(Sabotage::DeliverLateTwice) {
                self.ready.push_back(Deliver { seq, frames: Vec::new(), how: Released::ViaRealtime });
            }
            self.note(WindowEvent::Late(seq));
            return;
        }
        if seq >= next {
            return; // not captured by this window: it was delivered before the session became hot
        }
        let Some(item) = self.item(seq) else { return };
        if matches!(item.state, State::Done(_)) {
            self.note(WindowEvent::Late(seq));
            return;
        }
        match proof {
            ReadBack::Matched => item.state = State::Done(Released::ViaRealtime),
            ReadBack::Altered => {
                item.state = State::Done(Released::Altered);
                #[cfg(test)]
                if self.sabotage == Some(Sabotage::TrustAltered)
                    && let Some(item) = self.item(seq)
                {
                    item.frames.reverse();
                }
                self.note(WindowEvent::Altered(seq));
            }
        }
        self.advance();
    }

    /// Switches what feeds the client, between two messages. To legacy: all that waits is released in order.
    pub fn set_source(&mut self, source: Source) {
        self.source = source;
        if let Source::Legacy(_) = source {
            #[cfg(test)]
            if self.sabotage == Some(Sabotage::DropOnSwitch) {
                self.items.pop_front();
            }
            #[cfg(test)]
            if self.sabotage == Some(Sabotage::FlushInReverse) {
                self.items.make_contiguous().reverse();
            }
            for item in &mut self.items {
                if !matches!(item.state, State::Done(_)) {
                    item.state = State::Done(Released::SwitchedBack);
                }
            }
            self.advance();
        }
    }

    /// What feeds the client.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The next message that may be written. Call it only while the client can take bytes.
    pub fn poll_deliver(&mut self) -> Option<Deliver> {
        #[cfg(test)]
        if self.sabotage == Some(Sabotage::ReleaseOutOfOrder) && self.ready.len() > 1 {
            return self.ready.pop_back();
        }
        let deliver = self.ready.pop_front()?;
        self.ready_bytes -= deliver.frames.len();
        Some(deliver)
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<WindowEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, at the earliest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Both clocks start in the order of capture, so that the first item of each kind is the oldest of it.
        let mut queued = None;
        let mut published = None;
        for item in &self.items {
            match item.state {
                State::Queued { since } if queued.is_none() => {
                    queued = Some(since + self.config.own_queue_max)
                }
                State::Published { since } if published.is_none() => {
                    published = Some(since + self.config.deadline);
                }
                _ => {}
            }
            if queued.is_some() && published.is_some() {
                break;
            }
        }
        match (queued, published) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Releases what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        #[cfg(test)]
        if self.sabotage == Some(Sabotage::ForgetDeadline) {
            return;
        }
        let config = self.config;
        let mut rescued = Vec::new();
        for (place, item) in self.items.iter_mut().enumerate() {
            match item.state {
                State::Queued { since } if now >= since + config.own_queue_max => {
                    item.state = State::Done(Released::Direct(Direct::OwnQueue));
                }
                State::Published { since } if now >= since + config.deadline => {
                    item.state = State::Done(Released::Rescued);
                    rescued.push(Seq(self.front.0 + place as u64));
                }
                _ => {}
            }
        }
        for seq in rescued {
            self.note(WindowEvent::Rescued(seq));
        }
        self.advance();
    }

    /// Nothing waits and nothing is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.ready.is_empty()
    }

    /// Bytes of frames that wait for Realtime (or behind one that does).
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Bytes of frames that may be written and were not polled yet.
    #[must_use]
    pub const fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Messages that wait for Realtime (or behind one that does).
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.items.len()
    }

    fn item(&mut self, seq: Seq) -> Option<&mut Item> {
        let place = usize::try_from(seq.0.checked_sub(self.front.0)?).ok()?;
        self.items.get_mut(place)
    }

    /// Moves the done prefix to `ready`, which is what keeps the order.
    fn advance(&mut self) {
        while matches!(self.items.front(), Some(Item { state: State::Done(_), .. })) {
            let Some(Item { frames, state: State::Done(how) }) = self.items.pop_front() else { return };
            self.waiting_bytes -= frames.len();
            self.ready_bytes += frames.len();
            self.ready.push_back(Deliver { seq: self.front, frames, how });
            self.front = self.front.next();
        }
    }

    fn note(&mut self, event: WindowEvent) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
