//! A passive reader of permessage-deflate (RFC 7692), one per direction. It follows what the two ends have
//! agreed on without a part in it: it may miss nothing, and when it does, the direction is lost for the tap.

use std::fmt;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};

use super::history::{History, WINDOW_BYTES};
use super::lost::LostWhy;
use super::paid::Unpaid;
use crate::budget::{Budget, Lease};
use crate::ledger::Shed;

/// What each sender cut off and each reader puts back (RFC 7692 section 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Bytes inflated at a time. Small enough to stay in the first-level cache together with the window's end.
const OUT_BYTES: usize = 8 * 1024;

/// What a live decompressor costs: about 46 KiB for zlib-rs's state and window, plus the output buffer.
const LIVE_BYTES: u32 = 48 * 1024 + OUT_BYTES as u32;

/// What a direction needs to wake for the first time: a decompressor, and the window that stays.
pub const INFLATER_BYTES: u32 = LIVE_BYTES + WINDOW_BYTES as u32;

/// Final blocks in one message. None is needed, RFC 7692 section 7.2.3.4 shows one; each costs a window's copy.
const FINAL_BLOCKS_MAX: u8 = 4;

/// Below this much output the ratio says nothing.
const RATIO_FREE_BYTES: u64 = 64 * 1024;

/// Limits against bombs. DEFLATE can reach 1032 : 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflateCaps {
    /// Inflated bytes of one message.
    pub message_bytes: u64,
    /// Inflated bytes per byte on the wire, looked at beyond 64 KiB.
    pub ratio: u32,
}

impl Default for InflateCaps {
    /// 16 MiB and 200 : 1. JSON seldom passes 20 : 1, tables of zeros 100 : 1.
    fn default() -> Self {
        Self { message_bytes: 16 << 20, ratio: 200 }
    }
}

/// Why a message could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InflateFault {
    /// Not DEFLATE.
    Corrupt,
    /// Over [`InflateCaps::message_bytes`].
    TooLarge,
    /// Over [`InflateCaps::ratio`].
    Ratio,
    /// No room in the budget for the decompressor or its window.
    Budget,
}

impl InflateFault {
    /// The word for the direction, when the fault costs all later messages too.
    #[must_use]
    pub const fn lost_why(self) -> LostWhy {
        match self {
            Self::Corrupt => LostWhy::InflateCorrupt,
            Self::TooLarge => LostWhy::InflateTooLarge,
            Self::Ratio => LostWhy::InflateRatio,
            Self::Budget => LostWhy::InflateBudget,
        }
    }

    /// The word for the message itself.
    #[must_use]
    pub const fn shed(self) -> Shed {
        match self {
            Self::Corrupt => Shed::Lost,
            Self::TooLarge | Self::Ratio => Shed::TooLarge,
            Self::Budget => Shed::Budget,
        }
    }
}

impl From<Unpaid> for InflateFault {
    fn from(_: Unpaid) -> Self {
        Self::Budget
    }
}

/// Inflates the messages of one direction.
///
/// After a fault, call [`reset`](Self::reset) before the next message if the direction does without context
/// takeover; with takeover the stream cannot be picked up again.
#[derive(Debug)]
pub struct Inflater {
    caps: InflateCaps,
    live: Option<Box<Live>>,
    /// With context takeover only: without it no message refers to another.
    history: Option<History>,
    progress: Progress,
    #[cfg(test)]
    pub(super) sabotage: Option<Sabotage>,
}

/// The memory that hibernation gives back.
struct Live {
    state: Decompress,
    out: [u8; OUT_BYTES],
    _lease: Lease,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

/// The current message.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    bytes_in: u64,
    bytes_out: u64,
    final_blocks: u8,
    /// A final block has ended and nothing has followed it.
    ended: bool,
}

impl Inflater {
    /// An inflater that allocates nothing before the first compressed byte.
    #[must_use]
    pub fn new(takeover: bool, caps: InflateCaps) -> Self {
        Self {
            caps,
            live: None,
            history: takeover.then(History::default),
            progress: Progress::default(),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// Whether a fault costs all later messages, not only the current one.
    #[must_use]
    pub const fn takeover(&self) -> bool {
        self.history.is_some()
    }

    /// Inflates a piece of the current message (unmasked) and hands the output to `sink` in pieces.
    ///
    /// # Errors
    ///
    /// [`InflateFault`]; what `sink` got up to then is the true beginning of the message.
    pub fn feed(
        &mut self,
        wire: &[u8],
        budget: &Arc<Budget>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), InflateFault> {
        self.wake(budget)?;
        let mut rest = wire;
        while !rest.is_empty() {
            self.inflate(&mut rest, sink)?;
        }
        Ok(())
    }

    /// Ends the message: what the sender cut off is put back, the last output goes to `sink`.
    ///
    /// # Errors
    ///
    /// As for [`feed`](Self::feed).
    pub fn end_message(
        &mut self,
        budget: &Arc<Budget>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), InflateFault> {
        // A stream that has ended, or a message without any byte, would take the tail for the start of a stored
        // block and swallow the next message.
        #[cfg_attr(not(test), expect(unused_mut, reason = "a sabotage changes it"))]
        let mut complete = self.progress.ended || self.progress.bytes_in == 0;
        #[cfg(test)]
        match self.sabotage {
            Some(Sabotage::ForgetTail) => complete = true,
            Some(Sabotage::TailAfterFinal) => complete = false,
            _ => {}
        }
        if !complete {
            self.feed(&TAIL, budget, sink)?;
        }
        self.progress = Progress::default();
        if !self.takeover() {
            self.reset();
        }
        Ok(())
    }

    /// Forgets the current message and the decompressor's state; the memory stays for the next one.
    pub fn reset(&mut self) {
        self.progress = Progress::default();
        #[cfg(test)]
        if self.sabotage == Some(Sabotage::ForgetReset) {
            return;
        }
        if let Some(live) = &mut self.live {
            live.state.reset(false);
        }
    }

    /// Drops the decompressor between two messages and keeps the window (at most 32 KiB, nothing without context
    /// takeover). The next message brings it back. Inside a message it does nothing and says `false`.
    pub fn hibernate(&mut self) -> bool {
        let between = self.progress.bytes_in == 0;
        if between {
            self.live = None;
        }
        between
    }

    /// Whether a decompressor is in memory.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        self.live.is_some()
    }

    /// Whether the window, which stays as long as the session, has yet to be paid.
    #[must_use]
    pub fn lacks_window(&self) -> bool {
        self.history.as_ref().is_some_and(History::is_unpaid)
    }

    fn wake(&mut self, budget: &Arc<Budget>) -> Result<(), InflateFault> {
        if self.live.is_some() {
            return Ok(());
        }
        if let Some(history) = &mut self.history {
            history.reserve(budget)?;
        }
        let lease = budget.try_take(LIVE_BYTES).ok_or(Unpaid)?;
        // Fewer window bits than 15 save nothing, and below 9 this constructor's sibling would panic.
        let state = Decompress::new(false);
        self.live = Some(Box::new(Live { state, out: [0; OUT_BYTES], _lease: lease }));
        self.seed()
    }

    /// Gives the fresh decompressor the window of the messages before.
    fn seed(&mut self) -> Result<(), InflateFault> {
        #[cfg(test)]
        if self.sabotage == Some(Sabotage::ForgetWindow) {
            return Ok(());
        }
        let (Some(live), Some(history)) = (&mut self.live, &mut self.history) else { return Ok(()) };
        let window = history.window();
        if !window.is_empty() {
            live.state.set_dictionary(window).map_err(|_| InflateFault::Corrupt)?;
        }
        Ok(())
    }

    /// One call of the decompressor: at most [`OUT_BYTES`] of output, `rest` moves behind what was read. Calls
    /// go on while output may be pending, even when `rest` is empty.
    fn inflate(&mut self, rest: &mut &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), InflateFault> {
        loop {
            let Some(live) = &mut self.live else { return Err(InflateFault::Corrupt) };
            let (read_before, wrote_before) = (live.state.total_in(), live.state.total_out());
            let status = live
                .state
                .decompress(rest, &mut live.out, FlushDecompress::None)
                .map_err(|_| InflateFault::Corrupt)?;
            let read = live.state.total_in() - read_before;
            let wrote = live.state.total_out() - wrote_before;
            *rest = usize::try_from(read).ok().and_then(|read| rest.get(read..)).unwrap_or_default();
            let out = usize::try_from(wrote).ok().and_then(|size| live.out.get(..size)).unwrap_or_default();
            sink(out);
            if let Some(history) = &mut self.history {
                history.push(out);
            }
            self.progress.ended = false;
            self.account(read, wrote)?;
            if status == Status::StreamEnd {
                return self.next_stream();
            }
            if read == 0 && wrote == 0 && !rest.is_empty() {
                return Err(InflateFault::Corrupt);
            }
            if wrote < OUT_BYTES as u64 {
                return Ok(());
            }
        }
    }

    fn account(&mut self, read: u64, wrote: u64) -> Result<(), InflateFault> {
        let progress = &mut self.progress;
        progress.bytes_in += read;
        progress.bytes_out += wrote;
        if progress.bytes_out > self.caps.message_bytes {
            return Err(InflateFault::TooLarge);
        }
        let allowed = progress.bytes_in.saturating_mul(u64::from(self.caps.ratio));
        if progress.bytes_out > allowed.max(RATIO_FREE_BYTES) {
            return Err(InflateFault::Ratio);
        }
        Ok(())
    }

    /// After a block with BFINAL the decompressor is at its end, but neither the message nor the window is.
    fn next_stream(&mut self) -> Result<(), InflateFault> {
        self.progress.ended = true;
        self.progress.final_blocks += 1;
        if self.progress.final_blocks > FINAL_BLOCKS_MAX {
            return Err(InflateFault::Corrupt);
        }
        if let Some(live) = &mut self.live {
            live.state.reset(false);
        }
        self.seed()
    }
}

/// Rules that the tests break on purpose, to see that breaking them is noticed.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The four bytes are not put back.
    ForgetTail,
    /// They are put back even after a final block.
    TailAfterFinal,
    /// Without takeover, the state after a fault reaches into the next message.
    ForgetReset,
    /// A fresh decompressor starts without the window.
    ForgetWindow,
}
