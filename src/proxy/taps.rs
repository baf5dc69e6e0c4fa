//! What one direction of a session does with its bytes besides passing them: walk the frames, copy the messages.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::inflaters::{Inflaters, Sleeper};
use super::spans::CLOSE_NO_STATUS;
use crate::hot::{Direct, Outbox, Relay, Route};
use crate::ledger::Shed;
use crate::session::{Direction, Key, Seq, SessionNo};
use crate::tap::Tap;
use crate::ws::{Assembler, Boundary, Captured, FrameKind, Head, Limits, Negotiated, Step, Walker};

/// One direction's observer. The walker is always on; copies are made only where the mirror wants them.
#[derive(Debug)]
pub(crate) struct DirectionTap {
    session: SessionNo,
    dir: Direction,
    /// `None` after a panic in here: nothing is known about frames any more.
    walker: Option<Walker>,
    mirror: Option<Mirror>,
    /// The piece of a frame header that came without its rest (hot lane only).
    header: Vec<u8>,
    /// The frame in progress is a control frame.
    in_control: bool,
    /// The code of the first close frame, once there was one.
    closed: Option<u16>,
    pub(crate) messages: u64,
    /// Sabotage: what a bug in here would do.
    #[cfg(test)]
    pub(crate) panics: bool,
}

#[derive(Debug)]
struct Mirror {
    tap: Tap,
    path: Arc<str>,
    assembler: Rc<Sleeper>,
    /// Where a compressed direction's decompressor rests while nothing passes.
    inflaters: Option<Rc<Inflaters>>,
    /// The mirror wants this session's messages now.
    wanted: bool,
    /// Messages are being copied. Changes only between two messages.
    copying: bool,
    /// The stream is compressed: the inflater must see every message, wanted or not.
    compressed: bool,
}

/// Where a close frame begins in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseAt {
    /// Its whole header is in this chunk, from this offset on.
    Whole(usize),
    /// Its first byte was in a chunk before.
    Begun,
}

impl DirectionTap {
    pub(crate) fn new(session: SessionNo, dir: Direction) -> Self {
        Self {
            session,
            dir,
            walker: Some(Walker::new(dir)),
            mirror: None,
            header: Vec::new(),
            in_control: false,
            closed: None,
            messages: 0,
            #[cfg(test)]
            panics: false,
        }
    }

    /// The same tap for a session with these extensions.
    pub(crate) fn negotiated(mut self, extensions: Negotiated) -> Self {
        self.walker = self.walker.map(|walker| walker.negotiated(extensions));
        self
    }

    /// Gets ready to copy messages into `tap`; [`want`](Self::want) says from when on.
    pub(crate) fn mirror_into(&mut self, tap: Tap, path: Arc<str>, limits: Limits, extensions: Negotiated) {
        let assembler = Sleeper::new(Assembler::new(self.session, self.dir, limits, extensions));
        let compressed = matches!(extensions, Negotiated::Deflate(_));
        let inflaters = None;
        self.mirror =
            Some(Mirror { tap, path, assembler, inflaters, wanted: false, copying: false, compressed });
    }

    /// Puts a compressed direction's decompressor into the worker's care.
    pub(crate) fn rest_in(&mut self, inflaters: &Rc<Inflaters>) {
        if let Some(mirror) = self.mirror.as_mut().filter(|mirror| mirror.compressed) {
            mirror.assembler.assembler.borrow_mut().inflate_from(Arc::clone(inflaters.budget()));
            mirror.inflaters = Some(Rc::clone(inflaters));
        }
    }

    /// Where in the stream of frames this direction stands.
    pub(crate) fn boundary(&self) -> Boundary {
        self.walker.as_ref().map_or(Boundary::Lost, Walker::boundary)
    }

    /// So many bytes belong to the frame in progress at least; `None` where there is none that is known. Of a header
    /// in pieces that is one: it is over soon.
    pub(crate) fn frame_left(&self) -> Option<u64> {
        let walker = self.walker.as_ref().filter(|walker| walker.boundary() == Boundary::Inside)?;
        Some(walker.body_left().max(1))
    }

    /// The number of the next message, if one may begin now.
    pub(crate) fn next_message(&self) -> Option<Seq> {
        self.walker.as_ref().filter(|walker| walker.boundary() == Boundary::Message).map(Walker::next_seq)
    }

    /// Whether the mirror wants the messages, from the next one on.
    pub(crate) fn want(&mut self, wanted: bool) {
        if let Some(mirror) = self.mirror.as_mut() {
            mirror.wanted = wanted;
        }
    }

    /// Whether messages of this session can be copied at all.
    pub(crate) const fn is_mirrored(&self) -> bool {
        self.mirror.is_some()
    }

    /// Looks at bytes that pass, and says where a close frame begins in them.
    pub(crate) fn observe(&mut self, chunk: &[u8], now: Instant) -> Option<CloseAt> {
        #[cfg(test)]
        assert!(!self.panics, "sabotage");
        let Self { walker: Some(walker), mirror, messages, session, dir, closed, .. } = self else {
            return None;
        };
        if let Some(mirror) = mirror.as_mut()
            && walker.boundary() == Boundary::Message
        {
            mirror.copying = mirror.compressed || (mirror.wanted && mirror.tap.is_open());
        }
        Mirror::before(mirror.as_ref());
        let mut left_out = 0;
        let (mut at, mut close) = (0, None);
        for step in walker.feed(chunk) {
            if let Step::Header { bytes, head: Some(head) } = &step
                && head.kind == FrameKind::Close
            {
                let whole = bytes.len() == head.encode().len();
                close = close.or(Some(if whole { CloseAt::Whole(at) } else { CloseAt::Begun }));
                closed.get_or_insert_with(|| close_code(*head, chunk.get(at + bytes.len()..)));
            }
            at += step_len(&step);
            let ended = if let Step::MessageEnd { seq, .. } = step { Some(seq) } else { None };
            *messages += u64::from(ended.is_some());
            let Some(mirror) = mirror.as_mut() else { continue };
            left_out += u64::from(ended.is_some() && !mirror.wanted);
            if mirror.copying {
                let captured = mirror.step(&step, now);
                if let Some(captured) = captured.filter(|_| mirror.wanted) {
                    // A refusal is in the ledger already; on the legacy lane nobody else wants to know.
                    mirror.tap.offer(captured, &mirror.path, false).unwrap_or_default();
                }
            } else if let Some(seq) = ended.filter(|_| mirror.wanted && !mirror.tap.is_open()) {
                mirror.tap.uncopied(Key { session: *session, dir: *dir, seq }, Shed::BreakerOpen);
            }
            if ended.is_some() {
                mirror.copying = mirror.compressed || (mirror.wanted && mirror.tap.is_open());
            }
        }
        Mirror::after(mirror.as_ref(), now);
        if let Some(mirror) = mirror.as_ref().filter(|_| left_out > 0) {
            mirror.tap.unsampled(left_out);
        }
        close
    }

    /// The code of the first close frame that has passed, as far as it could be read.
    pub(crate) const fn closed(&self) -> Option<u16> {
        self.closed
    }

    /// Stops looking: something in here has panicked, and nothing that it knew can be trusted.
    pub(crate) fn stop(&mut self) {
        self.walker = None;
        self.mirror = None;
        #[cfg(test)]
        {
            self.panics = false;
        }
    }

    /// Cuts bytes of a hot session into messages for its relay.
    pub(crate) fn relay(&mut self, chunk: &[u8], relay: &mut Relay, outbox: &mut Outbox, now: Instant) {
        let Self { walker, mirror, messages, header, in_control, closed, .. } = self;
        let mut closing = None;
        let (Some(mirror), Some(walker)) = (mirror.as_mut(), walker.as_mut()) else {
            // A session without a mirror is never made hot; if it were, its bytes would simply pass.
            relay.pass(crate::hot::Fallback::Untracked, outbox);
            outbox.extend(chunk);
            return;
        };
        if walker.boundary() == Boundary::Message {
            mirror.copying = true;
        }
        Mirror::before(Some(mirror));
        for step in walker.feed(chunk) {
            let captured = if mirror.copying { mirror.step(&step, now) } else { None };
            match step {
                Step::Header { bytes, head: None } => header.extend_from_slice(bytes),
                Step::Header { bytes, head: Some(head) } => {
                    header.extend_from_slice(bytes);
                    *in_control = head.kind.is_control();
                    if *in_control {
                        relay.control(header);
                        closing = (head.kind == FrameKind::Close).then_some(head);
                    } else {
                        relay.data(header, outbox);
                        relay.expect(head.len);
                    }
                    header.clear();
                }
                Step::Body { bytes, .. } if *in_control => {
                    if let Some(head) = closing.take() {
                        closed.get_or_insert_with(|| close_code(head, Some(bytes)));
                    }
                    relay.control(bytes);
                }
                Step::Body { bytes, .. } => relay.data(bytes, outbox),
                Step::FrameEnd(head) if head.kind.is_control() => {
                    *in_control = false;
                    if head.kind == FrameKind::Close {
                        // Without a body, or with one that came later, there was nothing to read above.
                        closed.get_or_insert(CLOSE_NO_STATUS);
                        relay.close_end(outbox)
                    } else {
                        relay.control_end(outbox)
                    }
                }
                Step::FrameEnd(_) => {}
                Step::MessageEnd { .. } => {
                    *messages += 1;
                    let route = match captured {
                        Some(captured) => mirror.route(captured),
                        None => Route::Direct(Direct::Untracked),
                    };
                    relay.message_end(route, now);
                    mirror.copying = true;
                }
                Step::Lost { bytes, .. } | Step::Opaque { bytes } => {
                    relay.pass(crate::hot::Fallback::Untracked, outbox);
                    relay.abandon_control(outbox);
                    outbox.extend(header);
                    header.clear();
                    outbox.extend(bytes);
                }
            }
        }
        Mirror::after(Some(mirror), now);
    }

    /// Whether the bytes held back by an unfinished frame header or control frame are all out.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.header.is_empty()
    }

    /// Gives out the held piece of a header: the stream ended inside it.
    pub(crate) fn release_header(&mut self, outbox: &mut Outbox) {
        outbox.extend(&self.header);
        self.header = Vec::new();
    }
}

impl Mirror {
    fn step(&self, step: &Step<'_>, now: Instant) -> Option<Captured> {
        self.assembler.assembler.borrow_mut().step(step, now, self.tap.budget())
    }

    /// Before bytes of a compressed direction.
    fn before(this: Option<&Self>) {
        if let Some(this) = this
            && let Some(inflaters) = &this.inflaters
        {
            inflaters.before(&this.assembler);
        }
    }

    /// After bytes of a compressed direction.
    fn after(this: Option<&Self>, now: Instant) {
        if let Some(this) = this
            && let Some(inflaters) = &this.inflaters
        {
            inflaters.after(&this.assembler, now);
        }
    }

    /// Offers a hot session's message and says which way it goes.
    fn route(&self, captured: Captured) -> Route {
        match self.tap.offer(captured, &self.path, true) {
            Ok(()) => Route::Publish,
            Err(Shed::TooLarge) => Route::Direct(Direct::TooLarge),
            Err(Shed::Lost) => Route::Direct(Direct::Untracked),
            Err(_) => Route::Direct(Direct::Shed),
        }
    }
}

/// The code of a close frame whose body begins here. One that does not come together with its header stays unread.
fn close_code(head: Head, body: Option<&[u8]>) -> u16 {
    let body = body.and_then(<[u8]>::first_chunk::<2>).filter(|_| head.len >= 2);
    let key = head.mask.unwrap_or_default();
    body.map_or(CLOSE_NO_STATUS, |[high, low]| u16::from_be_bytes([high ^ key[0], low ^ key[1]]))
}

/// How many bytes of the chunk a step stands for.
const fn step_len(step: &Step<'_>) -> usize {
    match step {
        Step::Header { bytes, .. }
        | Step::Body { bytes, .. }
        | Step::Lost { bytes, .. }
        | Step::Opaque { bytes } => bytes.len(),
        Step::FrameEnd(_) | Step::MessageEnd { .. } => 0,
    }
}
