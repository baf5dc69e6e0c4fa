//! Builds whole messages out of the walker's steps, where copies are wanted: unmasked, inflated, in one paid and
//! exactly sized piece of memory. Whatever cannot be copied is still numbered.

use std::sync::Arc;
use std::time::Instant;

use super::deflate::{InflateCaps, InflateFault, Inflater};
use super::extensions::Negotiated;
use super::header::{FrameKind, Head};
use super::lost::LostWhy;
use super::mask;
use super::paid::PaidBuf;
use super::walk::Step;
use crate::budget::{Budget, Payload};
use crate::ledger::Shed;
use crate::session::{Direction, Key, Opcode, SessionNo};

/// Compressed bytes unmasked at a time, on the stack.
const UNMASK_BYTES: usize = 2 * 1024;

/// How much one direction may copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that is copied, in bytes after inflating. Larger ones stream by and are numbered.
    pub message_bytes: u32,
    /// Limits against compressed bombs.
    pub inflate: InflateCaps,
}

impl Default for Limits {
    /// 1 MiB, what Realtime's largest payload limit could carry at all.
    fn default() -> Self {
        Self { message_bytes: 1 << 20, inflate: InflateCaps::default() }
    }
}

/// One data message that the tap has seen to its end.
#[derive(Debug)]
pub struct Captured {
    /// Its name.
    pub key: Key,
    /// Text or binary.
    pub op: Opcode,
    /// When its last byte was read.
    pub at: Instant,
    /// The message, unmasked and inflated, or why there is no copy.
    pub body: Result<Payload, Shed>,
    /// Bytes of its bodies on the wire: masked, compressed, without headers.
    pub wire_len: u64,
}

/// Collects the messages of one direction.
#[derive(Debug)]
pub struct Assembler {
    session: SessionNo,
    dir: Direction,
    limits: Limits,
    inflater: Option<Box<Inflater>>,
    /// What the decompressor is paid from; `None`: from what messages are.
    inflating: Option<Arc<Budget>>,
    lost: Option<LostWhy>,
    /// The data frame whose body is wanted.
    frame: Option<Frame>,
    message: Message,
    #[cfg(test)]
    pub(super) sabotage: Option<Sabotage>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    mask: Option<[u8; 4]>,
    len: u64,
    fin: bool,
}

/// The data message that is open.
#[derive(Debug)]
enum Message {
    /// None, or one whose start was not seen.
    Idle,
    /// Copied as it comes.
    Plain(PaidBuf),
    /// Inflated into the buffer.
    Inflating(PaidBuf),
    /// Inflated only for the sake of the window: no copy, for this reason.
    Following(Shed),
    /// Not looked at.
    Refused(Shed),
}

impl Assembler {
    /// For a direction whose steps will be seen from the first byte on.
    #[must_use]
    pub fn new(session: SessionNo, dir: Direction, limits: Limits, extensions: Negotiated) -> Self {
        let (inflater, lost) = match extensions {
            Negotiated::None => (None, None),
            Negotiated::Unknown => (None, Some(LostWhy::UnknownExtension)),
            Negotiated::Deflate(params) => {
                let fresh = match dir {
                    Direction::Up => params.client_no_context_takeover,
                    Direction::Down => params.server_no_context_takeover,
                };
                (Some(Box::new(Inflater::new(!fresh, limits.inflate))), None)
            }
        };
        Self {
            session,
            dir,
            limits,
            inflater,
            inflating: None,
            lost,
            frame: None,
            message: Message::Idle,
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// From now on its decompressor and window are paid from a budget of their own.
    pub fn inflate_from(&mut self, budget: Arc<Budget>) {
        self.inflating = Some(budget);
    }

    /// For a direction that has been running without copies, from any point on. A message that is open now counts
    /// as lost; with context takeover all of them do, since they may refer to what was missed.
    #[must_use]
    pub fn joining(session: SessionNo, dir: Direction, limits: Limits, extensions: Negotiated) -> Self {
        let mut this = Self::new(session, dir, limits, extensions);
        if this.inflater.as_ref().is_some_and(|inflater| inflater.takeover()) {
            this.lose(LostWhy::MissedStart);
        }
        this
    }

    /// Takes one step of the direction's walker; returns the message that it completes.
    ///
    /// Every [`Step::MessageEnd`] gives exactly one [`Captured`]. After [`Step::Lost`] messages can no longer be
    /// counted and none is returned.
    pub fn step(&mut self, step: &Step<'_>, now: Instant, budget: &Arc<Budget>) -> Option<Captured> {
        match *step {
            Step::Header { head: Some(head), .. } => self.begin_frame(&head),
            Step::Body { bytes, offset } => self.body(bytes, offset, budget),
            Step::FrameEnd(_) => self.frame = None,
            Step::MessageEnd { seq, op, wire_len, .. } => {
                let key = Key { session: self.session, dir: self.dir, seq };
                let body = self.finish(budget);
                return Some(Captured { key, op, at: now, body, wire_len });
            }
            Step::Lost { why, .. } => self.lose(why),
            Step::Header { head: None, .. } | Step::Opaque { .. } => {}
        }
        None
    }

    /// Gives back the decompressor's memory between two messages; for idle sessions. `false` inside a message.
    pub fn hibernate(&mut self) -> bool {
        self.inflater.as_mut().is_none_or(|inflater| inflater.hibernate())
    }

    /// Whether the next compressed message makes a window that stays as long as the session.
    #[must_use]
    pub fn lacks_window(&self) -> bool {
        self.inflater.as_ref().is_some_and(|inflater| inflater.lacks_window())
    }

    /// Gives up a direction for whose window there is no room.
    pub fn refuse_window(&mut self) {
        self.lose(LostWhy::InflateBudget);
    }

    /// Whether a decompressor is in memory, that is whether [`hibernate`](Self::hibernate) would free something.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.inflater.as_ref().is_some_and(|inflater| inflater.is_awake())
    }

    /// Why no message of this direction can be copied any more.
    #[must_use]
    pub const fn lost(&self) -> Option<LostWhy> {
        self.lost
    }

    #[cfg(test)]
    pub(super) fn inflater_mut(&mut self) -> Option<&mut Inflater> {
        self.inflater.as_deref_mut()
    }

    fn begin_frame(&mut self, head: &Head) {
        if head.kind.is_control() {
            return;
        }
        self.frame = Some(Frame { mask: head.mask, len: head.len, fin: head.fin });
        if head.kind != FrameKind::Continuation {
            self.message = match self.lost {
                Some(_) => Message::Refused(Shed::Lost),
                None if head.rsv.rsv1() => Message::Inflating(PaidBuf::default()),
                None => Message::Plain(PaidBuf::default()),
            };
        }
        // Refused before anything is copied: the wire length is known, even if only announced.
        if let Message::Plain(buf) = &self.message
            && (buf.len() as u64).saturating_add(head.len) > u64::from(self.limits.message_bytes)
        {
            self.message = Message::Refused(Shed::TooLarge);
        }
    }

    fn body(&mut self, bytes: &[u8], offset: u64, budget: &Arc<Budget>) {
        let Some(frame) = self.frame else { return };
        #[cfg(test)]
        let offset = if self.sabotage == Some(Sabotage::ForgetOffset) { 0 } else { offset };
        match &mut self.message {
            Message::Idle | Message::Refused(_) => {}
            Message::Plain(buf) => {
                let left = usize::try_from(frame.len.saturating_sub(offset)).unwrap_or(usize::MAX);
                let limit = self.limits.message_bytes as usize;
                // Only the last frame tells how long the message will be.
                let final_len = if frame.fin { buf.len().saturating_add(left) } else { limit };
                match buf.grow(bytes.len(), final_len, budget) {
                    Ok(()) => mask::append(buf.bytes_mut(), bytes, frame.mask, offset),
                    Err(_) => self.message = Message::Refused(Shed::Budget),
                }
            }
            Message::Inflating(_) | Message::Following(_) => match frame.mask {
                None => self.inflate(bytes, budget),
                Some(key) => self.unmask_and_inflate(bytes, key, offset, budget),
            },
        }
    }

    fn unmask_and_inflate(&mut self, bytes: &[u8], key: [u8; 4], offset: u64, budget: &Arc<Budget>) {
        let mut scratch = [0; UNMASK_BYTES];
        let mut offset = offset;
        for piece in bytes.chunks(UNMASK_BYTES) {
            let (plain, _) = scratch.split_at_mut(piece.len());
            plain.copy_from_slice(piece);
            mask::apply(plain, key, offset);
            offset = offset.wrapping_add(piece.len() as u64);
            self.inflate(plain, budget);
        }
    }

    fn inflate(&mut self, wire: &[u8], budget: &Arc<Budget>) {
        self.with_inflater(budget, |inflater, budget, sink| inflater.feed(wire, budget, sink));
    }

    /// Runs `work` with the output going into the open message, and deals with its fault.
    fn with_inflater<F>(&mut self, budget: &Arc<Budget>, work: F)
    where
        F: FnOnce(&mut Inflater, &Arc<Budget>, &mut dyn FnMut(&[u8])) -> Result<(), InflateFault>,
    {
        let Self { inflater, inflating, message, limits, .. } = self;
        let Some(inflater) = inflater else {
            return self.lose(LostWhy::ReservedBits);
        };
        if !matches!(message, Message::Inflating(_) | Message::Following(_)) {
            return;
        }
        let mut sink = |out: &[u8]| message.keep(out, limits.message_bytes, budget);
        if let Err(fault) = work(inflater, inflating.as_ref().unwrap_or(budget), &mut sink) {
            *message = Message::Refused(fault.shed());
            if inflater.takeover() {
                self.lost = Some(fault.lost_why());
                self.inflater = None;
            } else {
                inflater.reset();
            }
        } else if let Message::Following(shed) = *message
            && !inflater.takeover()
        {
            // Nothing will refer to this message: no need to follow it.
            inflater.reset();
            *message = Message::Refused(shed);
        }
    }

    fn finish(&mut self, budget: &Arc<Budget>) -> Result<Payload, Shed> {
        if matches!(self.message, Message::Inflating(_) | Message::Following(_)) {
            self.with_inflater(budget, |inflater, budget, sink| inflater.end_message(budget, sink));
        }
        match std::mem::replace(&mut self.message, Message::Idle) {
            Message::Idle => Err(Shed::Lost),
            Message::Plain(buf) | Message::Inflating(buf) => {
                buf.into_payload(budget).map_err(|_| Shed::Budget)
            }
            Message::Following(shed) | Message::Refused(shed) => Err(shed),
        }
    }

    fn lose(&mut self, why: LostWhy) {
        self.lost.get_or_insert(why);
        self.message = Message::Refused(Shed::Lost);
        self.frame = None;
        self.inflater = None;
    }
}

impl Message {
    /// Appends inflated bytes, as long as there is a copy and room for it.
    fn keep(&mut self, out: &[u8], limit: u32, budget: &Arc<Budget>) {
        let Self::Inflating(buf) = self else { return };
        if out.is_empty() {
            return;
        }
        // The first output of most messages is all of it: exact then, generous for those that go on.
        let final_len = if buf.len() == 0 { out.len() } else { limit as usize };
        if buf.len().saturating_add(out.len()) > limit as usize {
            *self = Self::Following(Shed::TooLarge);
        } else if buf.grow(out.len(), final_len, budget).is_err() {
            *self = Self::Following(Shed::Budget);
        } else {
            buf.bytes_mut().extend_from_slice(out);
        }
    }
}

/// Rules that the tests break on purpose, to see that breaking them is noticed.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// Each piece of a body is unmasked as if it were the first.
    ForgetOffset,
}
