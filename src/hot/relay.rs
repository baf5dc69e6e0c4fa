//! Cuts what the service sends to a hot session into messages, and puts what may go into the client's outbox.
//!
//! Pure: the tunnel walks the frames and tells the relay whose bytes it has; the relay decides which of them wait.

use std::collections::VecDeque;
use std::time::Instant;

use crate::session::Seq;

use super::{Config, Direct, Fallback, ReadBack, Released, Source, Window, WindowEvent};

/// Bytes that the client's socket has not taken yet. The policy when full is the caller's: it stops reading.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Vec<u8>>,
    /// Written of the first chunk.
    written: usize,
    len: usize,
}

/// Small pieces are joined up to this size, so that many small messages cost one write.
const JOIN_MAX: usize = 16 * 1024;

impl Outbox {
    /// Appends a copy.
    pub fn extend(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= JOIN_MAX => last.extend_from_slice(bytes),
            _ => self.chunks.push_back(bytes.to_vec()),
        }
    }

    /// Appends without a copy where that pays.
    pub fn push(&mut self, bytes: Vec<u8>) {
        if bytes.len() <= JOIN_MAX / 8 {
            self.extend(&bytes);
        } else {
            self.len += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    /// The bytes to write next; empty when there is nothing.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk.get(self.written..).unwrap_or(&[]))
    }

    /// The socket took `n` of [`front`](Self::front).
    pub fn advance(&mut self, n: usize) {
        self.written += n;
        self.len = self.len.saturating_sub(n);
        if self.chunks.front().is_some_and(|chunk| self.written >= chunk.len()) {
            self.chunks.pop_front();
            self.written = 0;
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new(); // an idle session keeps no buffer
        }
    }

    /// Bytes in wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything: the reader is gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Where a whole message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The mirror took a copy: wait for it.
    Publish,
    /// It does not travel through Realtime.
    Direct(Direct),
}

/// How messages reached the client while the session was hot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayStats {
    /// Released by a proven read-back.
    pub via_realtime: u64,
    /// Released from the window at the deadline.
    pub rescued: u64,
    /// Realtime delivered something else.
    pub altered: u64,
    /// Written from memory when the session went back to legacy.
    pub switched_back: u64,
    /// Read back after they had been delivered.
    pub late: u64,
    /// Did not travel through Realtime, by [`Direct::ALL`].
    pub direct: [u64; Direct::ALL.len()],
}

/// The outbox takes no more released messages above this.
pub(crate) const OUTBOX_MAX: usize = 256 * 1024;
/// The largest message that is held; a larger one streams through.
pub(crate) const HELD_MAX: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Messages are collected and go through the window.
    Holding,
    /// The current message is too large to hold: its bytes go straight to the outbox.
    Streaming,
    /// The session is back on legacy; only what the window still has is written.
    Passing,
}

/// One hot session's down leg. See the module.
#[derive(Debug)]
pub struct Relay {
    window: Window,
    mode: Mode,
    /// The bytes of the message that is being collected, as they came.
    message: Vec<u8>,
    /// The bytes of the control frame that is being collected.
    control: Vec<u8>,
    /// The message being collected exceeds [`HELD_MAX`].
    oversize: bool,
    stats: RelayStats,
}

impl Relay {
    /// Takes over at a message boundary; `next` is the number of the next message.
    #[must_use]
    pub fn new(config: Config, next: Seq) -> Self {
        Self {
            window: Window::new(config, next),
            mode: Mode::Holding,
            message: Vec::new(),
            control: Vec::new(),
            oversize: false,
            stats: RelayStats::default(),
        }
    }

    /// Breaks one rule of the window.
    #[cfg(test)]
    pub(crate) fn sabotage(&mut self, by: super::Sabotage) {
        self.window.sabotage = Some(by);
    }

    /// Bytes of the data message in progress (headers and bodies of its frames).
    pub fn data(&mut self, bytes: &[u8], outbox: &mut Outbox) {
        match self.mode {
            Mode::Streaming | Mode::Passing => outbox.extend(bytes),
            Mode::Holding => {
                self.message.extend_from_slice(bytes);
                self.oversize |= self.message.len() > HELD_MAX;
            }
        }
    }

    /// The frame header says that `left` more bytes of this message follow: no need to collect what cannot be held.
    pub fn expect(&mut self, left: u64) {
        self.oversize |= self.mode == Mode::Holding && self.message.len() as u64 + left > HELD_MAX as u64;
    }

    /// Bytes of a control frame; it passes when it is whole.
    pub fn control(&mut self, bytes: &[u8]) {
        self.control.extend_from_slice(bytes);
    }

    /// A ping, pong or unknown control frame is whole: it passes at once, between messages.
    pub fn control_end(&mut self, outbox: &mut Outbox) {
        outbox.push(std::mem::take(&mut self.control));
    }

    /// The stream cannot be followed any more: what was collected of a control frame passes as it is.
    pub fn abandon_control(&mut self, outbox: &mut Outbox) {
        outbox.push(std::mem::take(&mut self.control));
    }

    /// The service's close frame is whole: it ends the window and passes after it.
    pub fn close_end(&mut self, outbox: &mut Outbox) {
        let close = std::mem::take(&mut self.control);
        self.pass(Fallback::Closing, outbox);
        outbox.push(close);
    }

    /// The data message in progress is whole.
    pub fn message_end(&mut self, route: Route, now: Instant) {
        if self.mode == Mode::Holding {
            let direct = match route {
                _ if self.oversize => Some(Direct::TooLarge),
                Route::Publish => None,
                Route::Direct(why) => Some(why),
            };
            self.window.capture(std::mem::take(&mut self.message), direct, now);
        } else {
            let why = if self.mode == Mode::Streaming { Direct::TooLarge } else { Direct::Legacy };
            self.stats.direct[why as usize] += 1;
            if self.mode == Mode::Streaming {
                self.mode = Mode::Holding;
                self.window.skip();
            }
        }
        self.oversize = false;
    }

    /// Whether the service's leg may be read on. Not while the client is behind, and not while a message that is
    /// too large to hold waits for the window to empty.
    #[must_use]
    pub fn wants_bytes(&self, outbox: &Outbox) -> bool {
        let behind = outbox.len() + self.window.ready_bytes() >= OUTBOX_MAX;
        let blocked = self.oversize && self.mode == Mode::Holding && !self.window.is_empty();
        !behind && !blocked
    }

    /// Moves released messages to the outbox while it has room.
    pub fn pump(&mut self, outbox: &mut Outbox) {
        while outbox.len() < OUTBOX_MAX {
            let Some(deliver) = self.window.poll_deliver() else { break };
            self.count(deliver.how);
            outbox.push(deliver.frames);
        }
        if self.oversize && self.mode == Mode::Holding && self.window.is_empty() {
            self.mode = Mode::Streaming;
            outbox.push(std::mem::take(&mut self.message));
        }
    }

    /// Back to legacy: the window is released in order, then the partial message, and from now on bytes pass.
    pub fn pass(&mut self, why: Fallback, outbox: &mut Outbox) {
        self.window.set_source(Source::Legacy(why));
        self.flush(outbox);
    }

    /// Everything that was taken from the service goes to the outbox, whatever its size.
    fn flush(&mut self, outbox: &mut Outbox) {
        while let Some(deliver) = self.window.poll_deliver() {
            self.count(deliver.how);
            outbox.push(deliver.frames);
        }
        outbox.push(std::mem::take(&mut self.message));
        self.mode = Mode::Passing;
    }

    /// The publisher has this message.
    pub fn published(&mut self, seq: Seq, now: Instant) {
        self.window.published(seq, now);
    }

    /// The mirror does not carry this message after all.
    pub fn turned_away(&mut self, seq: Seq, why: Direct) {
        self.window.turned_away(seq, why);
    }

    /// Realtime delivered this message back.
    pub fn returned(&mut self, seq: Seq, proof: ReadBack) {
        self.window.returned(seq, proof);
    }

    /// Releases what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.window.handle_timeout(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.window.poll_timeout()
    }

    /// What happened in the window. `Full` has already put the session on legacy.
    pub fn poll_event(&mut self) -> Option<WindowEvent> {
        let event = self.window.poll_event()?;
        if let WindowEvent::Late(_) = event {
            self.stats.late += 1;
        }
        Some(event)
    }

    /// What feeds the client.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.window.source()
    }

    /// Whether the relay has nothing left to do: bytes pass, the window is written, no control frame is open.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.mode == Mode::Passing && self.window.is_empty() && self.control.is_empty()
    }

    /// Messages that wait for their read-back.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.window.waiting()
    }

    /// Bytes of frames that this relay holds back from the client's outbox.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.window.waiting_bytes() + self.window.ready_bytes() + self.message.len()
    }

    /// Whether messages wait, so that somebody must look after the clocks.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.window.waiting() > 0
    }

    /// How messages reached the client since the last call.
    pub fn take_stats(&mut self) -> RelayStats {
        std::mem::take(&mut self.stats)
    }

    fn count(&mut self, how: Released) {
        match how {
            Released::ViaRealtime => self.stats.via_realtime += 1,
            Released::Direct(why) => self.stats.direct[why as usize] += 1,
            Released::Rescued => self.stats.rescued += 1,
            Released::Altered => self.stats.altered += 1,
            Released::SwitchedBack => self.stats.switched_back += 1,
        }
    }
}
