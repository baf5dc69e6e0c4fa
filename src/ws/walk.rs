//! Follows the frames of one direction in the bytes that flow by. Never allocates, never refuses, and cuts each
//! chunk into pieces that, put together again, are exactly that chunk.

use super::extensions::Negotiated;
use super::header::{CONTROL_BYTES_MAX, FrameKind, HEADER_BYTES_MAX, Head, Rsv};
use super::lost::LostWhy;
use crate::session::{Direction, Opcode, Seq};

/// One step through a chunk. The `bytes` of all steps, in order, are the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A piece of a header, never empty.
    Header {
        /// As on the wire.
        bytes: &'a [u8],
        /// Present when this piece completes a header that may stand in this place. A completed header that may
        /// not is followed by [`Step::Lost`].
        head: Option<Head>,
    },
    /// A piece of the current frame's body, never empty.
    Body {
        /// As on the wire: still masked, still compressed.
        bytes: &'a [u8],
        /// Where the piece starts in the frame's body; the masking key's phase.
        offset: u64,
    },
    /// The frame is complete. Comes at once for an empty body.
    FrameEnd(Head),
    /// A data message is complete; follows its last [`Step::FrameEnd`].
    MessageEnd {
        /// Its number in this direction.
        seq: Seq,
        /// Text or binary.
        op: Opcode,
        /// RSV1 was set on its first frame.
        compressed: bool,
        /// Bytes of all its bodies on the wire.
        wire_len: u64,
    },
    /// From here on the frames cannot be told apart. Comes once.
    Lost {
        /// The first rule that was broken.
        why: LostWhy,
        /// The rest of the chunk; may be empty.
        bytes: &'a [u8],
    },
    /// Bytes after [`Step::Lost`] or after a close frame, never empty.
    Opaque {
        /// As on the wire.
        bytes: &'a [u8],
    },
}

/// What lies at the current position: where the hot lane may inject a frame or switch legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Between messages: anything may be written here.
    Message,
    /// Between the frames of a fragmented message: control frames only.
    Frame,
    /// Inside a header or a body: nothing may be written.
    Inside,
    /// After a close frame: nothing more is expected and nothing may be written.
    Closed,
    /// Unknown for good.
    Lost,
}

/// The position in one direction of a session.
#[derive(Debug)]
pub struct Walker {
    place: Place,
    /// The data message whose last frame has not been seen.
    message: Option<Open>,
    next_seq: Seq,
    wrong_masks: u32,
    masked: bool,
    reserved: Reserved,
    #[cfg(test)]
    pub(super) sabotage: Option<Sabotage>,
}

// One per direction of every session: 10,000 sessions cost 1.25 MiB.
#[cfg(not(test))]
const _: () = assert!(size_of::<Walker>() <= 64);

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before or inside a header of which `have` bytes were seen.
    Header {
        have: u8,
        part: [u8; HEADER_BYTES_MAX],
    },
    /// Inside a body of which `left` bytes are missing; at 0 the frame's end is due.
    Body {
        head: Head,
        left: u64,
    },
    /// The frame's end was told, the message's is due.
    MessageEnd(Open),
    /// The header was told, the loss is due.
    Condemned(LostWhy),
    Lost,
    Closed,
}

impl Place {
    const START: Self = Self::Header { have: 0, part: [0; HEADER_BYTES_MAX] };
}

#[derive(Clone, Copy, Debug)]
struct Open {
    op: Opcode,
    compressed: bool,
    wire_len: u64,
}

/// Which reserved bits are no violation.
#[derive(Clone, Copy, Debug)]
enum Reserved {
    Forbidden,
    Deflate,
    Any,
}

impl Walker {
    /// At the first byte after the handshake, without extensions.
    #[must_use]
    pub const fn new(dir: Direction) -> Self {
        Self {
            place: Place::START,
            message: None,
            next_seq: Seq::FIRST,
            wrong_masks: 0,
            masked: matches!(dir, Direction::Up),
            reserved: Reserved::Forbidden,
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// The same walker with the reserved bits that these extensions use.
    ///
    /// permessage-deflate allows RSV1 on the first frame of a message. Unknown extensions allow every bit
    /// everywhere: they may change bodies, but no registered one changes where frames begin and end.
    #[must_use]
    pub const fn negotiated(mut self, extensions: Negotiated) -> Self {
        self.reserved = match extensions {
            Negotiated::None => Reserved::Forbidden,
            Negotiated::Deflate(_) => Reserved::Deflate,
            Negotiated::Unknown => Reserved::Any,
        };
        self
    }

    /// Walks `chunk`. Dropping the iterator early walks the rest unseen: the walker never falls behind.
    #[inline]
    pub const fn feed<'a, 'w>(&'w mut self, chunk: &'a [u8]) -> Steps<'a, 'w> {
        Steps { walker: self, rest: chunk }
    }

    /// Walks `chunk` while nobody wants to see the steps.
    #[inline]
    pub fn pass(&mut self, chunk: &[u8]) {
        drop(self.feed(chunk));
    }

    /// Takes one step and moves `rest` behind it; `None` when `rest` is empty and nothing is due.
    ///
    /// For callers that stop in the middle of a chunk. They must call until `None`: ends are told even when no
    /// byte is left.
    #[inline]
    pub fn next_step<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Step<'a>> {
        match self.place {
            Place::Body { head, left: 0 } => Some(self.end_frame(head)),
            Place::MessageEnd(open) => Some(self.end_message(open)),
            Place::Condemned(why) => {
                self.place = Place::Lost;
                Some(Step::Lost { why, bytes: take(rest, usize::MAX) })
            }
            _ if rest.is_empty() => None,
            Place::Body { head, left } => {
                let bytes = take(rest, usize::try_from(left).unwrap_or(usize::MAX));
                self.place = Place::Body { head, left: left - bytes.len() as u64 };
                Some(Step::Body { bytes, offset: head.len - left })
            }
            Place::Header { have: 0, .. } => Some(match Head::parse(rest) {
                Some((head, size)) => self.begin_frame(take(rest, size), head),
                None => self.gather(rest),
            }),
            Place::Header { .. } => Some(self.gather(rest)),
            Place::Lost | Place::Closed => Some(Step::Opaque { bytes: take(rest, usize::MAX) }),
        }
    }

    /// Where the walker stands between two calls.
    #[must_use]
    pub const fn boundary(&self) -> Boundary {
        match self.place {
            Place::Header { have: 0, .. } if self.message.is_some() => Boundary::Frame,
            Place::Header { have: 0, .. } => Boundary::Message,
            Place::Header { .. } | Place::Body { .. } | Place::MessageEnd(_) => Boundary::Inside,
            Place::Closed => Boundary::Closed,
            Place::Condemned(_) | Place::Lost => Boundary::Lost,
        }
    }

    /// Bytes of the current body that have not been seen; 0 outside a body.
    #[must_use]
    pub const fn body_left(&self) -> u64 {
        match self.place {
            Place::Body { left, .. } => left,
            _ => 0,
        }
    }

    /// The number of the message that is open or comes next.
    #[must_use]
    pub const fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// Frames masked although they go down, or not masked although they go up (RFC 6455 section 5.1). They are
    /// walked all the same; the receiving end decides.
    #[must_use]
    pub const fn wrong_masks(&self) -> u32 {
        self.wrong_masks
    }

    /// The slow way, for a header in several chunks: byte by byte into the small buffer.
    #[cold]
    fn gather<'a>(&mut self, rest: &mut &'a [u8]) -> Step<'a> {
        let Place::Header { mut have, mut part } = self.place else {
            return Step::Opaque { bytes: take(rest, usize::MAX) };
        };
        let mut complete = None;
        let mut taken = 0;
        for (slot, byte) in part.iter_mut().skip(usize::from(have)).zip(rest.iter()) {
            *slot = *byte;
            taken += 1;
        }
        // The zip above may have run into the body: keep only what belongs to the header.
        let filled = usize::from(have) + taken;
        if let Some((head, size)) = Head::parse(part.get(..filled).unwrap_or(&part)) {
            taken = size.saturating_sub(usize::from(have));
            complete = Some(head);
        }
        have = have.saturating_add(u8::try_from(taken).unwrap_or(u8::MAX));
        #[cfg(test)]
        if self.sabotage == Some(Sabotage::ForgetPartialHeader) {
            have = 0;
        }
        let bytes = take(rest, taken);
        self.place = Place::Header { have, part };
        match complete {
            Some(head) => self.begin_frame(bytes, head),
            None => Step::Header { bytes, head: None },
        }
    }

    #[inline]
    fn begin_frame<'a>(&mut self, bytes: &'a [u8], head: Head) -> Step<'a> {
        if let Err(why) = self.admit(&head) {
            self.place = Place::Condemned(why);
            return Step::Header { bytes, head: None };
        }
        self.place = Place::Body { head, left: head.len };
        Step::Header { bytes, head: Some(head) }
    }

    /// Checks that this frame may stand here, and opens or extends its message.
    #[inline]
    fn admit(&mut self, head: &Head) -> Result<(), LostWhy> {
        if head.len > i64::MAX.unsigned_abs() {
            return Err(LostWhy::LengthTooBig);
        }
        if !self.rsv_allowed(head) {
            return Err(LostWhy::ReservedBits);
        }
        match head.kind {
            FrameKind::Text => self.open(Opcode::Text, head)?,
            FrameKind::Binary => self.open(Opcode::Binary, head)?,
            FrameKind::Continuation => {
                let open = self.message.as_mut().ok_or(LostWhy::ContinuationWithoutStart)?;
                open.wire_len = open.wire_len.saturating_add(head.len);
            }
            FrameKind::Close | FrameKind::Ping | FrameKind::Pong => {
                if !head.fin {
                    return Err(LostWhy::ControlFragmented);
                }
                if head.len > CONTROL_BYTES_MAX {
                    return Err(LostWhy::ControlTooLong);
                }
            }
            FrameKind::Reserved(_) => return Err(LostWhy::ReservedOpcode),
        }
        if head.mask.is_some() != self.masked {
            self.wrong_masks = self.wrong_masks.saturating_add(1);
        }
        Ok(())
    }

    #[inline]
    fn open(&mut self, op: Opcode, head: &Head) -> Result<(), LostWhy> {
        if self.message.is_some() {
            return Err(LostWhy::DataInsideMessage);
        }
        self.message = Some(Open { op, compressed: head.rsv.rsv1(), wire_len: head.len });
        Ok(())
    }

    #[inline]
    fn rsv_allowed(&self, head: &Head) -> bool {
        match self.reserved {
            Reserved::Forbidden => head.rsv == Rsv::NONE,
            Reserved::Deflate => {
                let first = matches!(head.kind, FrameKind::Text | FrameKind::Binary);
                head.rsv == Rsv::NONE || (head.rsv == Rsv::ONE && first)
            }
            Reserved::Any => true,
        }
    }

    #[inline]
    fn end_frame<'a>(&mut self, head: Head) -> Step<'a> {
        self.place = match (head.kind, self.message) {
            (FrameKind::Close, _) => Place::Closed,
            (kind, Some(open)) if self.ends_message(kind, head.fin) => {
                self.message = None;
                Place::MessageEnd(open)
            }
            _ => Place::START,
        };
        Step::FrameEnd(head)
    }

    #[inline]
    fn ends_message(&self, kind: FrameKind, fin: bool) -> bool {
        #[cfg(test)]
        match self.sabotage {
            Some(Sabotage::ControlEndsMessage) => return fin,
            Some(Sabotage::EveryFrameEndsMessage) => return !kind.is_control(),
            _ => {}
        }
        fin && !kind.is_control()
    }

    #[inline]
    fn end_message<'a>(&mut self, open: Open) -> Step<'a> {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.place = Place::START;
        Step::MessageEnd { seq, op: open.op, compressed: open.compressed, wire_len: open.wire_len }
    }
}

/// Cuts up to `size` bytes off the front of `rest`.
#[inline]
fn take<'a>(rest: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (piece, tail) = rest.split_at(size.min(rest.len()));
    *rest = tail;
    piece
}

/// The steps through one chunk.
#[derive(Debug)]
#[must_use = "use Walker::pass to walk without looking"]
pub struct Steps<'a, 'w> {
    walker: &'w mut Walker,
    rest: &'a [u8],
}

impl<'a> Iterator for Steps<'a, '_> {
    type Item = Step<'a>;

    #[inline]
    fn next(&mut self) -> Option<Step<'a>> {
        self.walker.next_step(&mut self.rest)
    }
}

impl Drop for Steps<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

/// Rules that the tests break on purpose, to see that breaking them is noticed.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// A header in two chunks starts anew with the second.
    ForgetPartialHeader,
    /// A ping inside a fragmented message ends it.
    ControlEndsMessage,
    /// FIN is not looked at.
    EveryFrameEndsMessage,
}
