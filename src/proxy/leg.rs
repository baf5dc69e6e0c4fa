//! One direction's plumbing: what the writer's socket has not taken, and the calls that read, write and observe.

use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Io;
use super::cell::SessionCell;
use super::taps::{CloseAt, DirectionTap};
use super::timing::Held;
use super::tunnel::{EndCause, Ended};
use super::worker::Worker;
use crate::hot::Outbox;
use crate::session::Direction;

/// Reads and writes in one wake-up before other sessions get their turn.
pub(super) const ROUNDS_MAX: u32 = 32;
/// A session whose window overflowed stays on legacy for this long.
pub(super) const FULL_HOLD_OFF: Duration = Duration::from_secs(60);

/// One direction's plumbing.
pub(super) struct Leg {
    pub(super) outbox: Outbox,
    pub(super) tap: DirectionTap,
    pub(super) bytes: u64,
    /// What of `bytes` and of the tap's messages the worker's counters know.
    pub(super) counted: (u64, u64),
    /// Since when the outbox waits for the writer's socket.
    pub(super) held: Held,
    /// The reader's side has sent FIN.
    pub(super) eof: bool,
    /// It did so under TLS without a close_notify: the stream may have been cut short (RFC 8446 section 6.1).
    cut: bool,
    /// TLS holds records that the writer's socket has not taken.
    unflushed: bool,
    /// FIN was passed on.
    pub(super) shut: bool,
    /// The writer's side is gone: what is read is thrown away.
    pub(super) dead: bool,
    /// … by a reset that a write has heard of. The kernel tells it once: what is read there afterwards looks like FIN.
    pub(super) broken: bool,
}

impl Leg {
    pub(super) fn new(tap: DirectionTap) -> Self {
        Self {
            outbox: Outbox::default(),
            tap,
            bytes: 0,
            counted: (0, 0),
            held: Held::default(),
            eof: false,
            cut: false,
            unflushed: false,
            shut: false,
            dead: false,
            broken: false,
        }
    }

    /// Nothing is left to be written, neither here nor in TLS.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbox.is_empty() && (!self.unflushed || self.dead)
    }

    /// Something has passed that the worker's counters do not know.
    pub(super) fn has_moved(&self) -> bool {
        (self.bytes, self.tap.messages) != self.counted
    }

    pub(super) fn is_done(&self) -> bool {
        self.shut || (self.dead && self.eof)
    }
}

/// How far a close of ours has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    No,
    /// The client is to be told at the next frame boundary.
    Wanted(u16),
    /// The client was told; the service is told when the client's own close (or end) comes.
    ClientTold,
    /// Both were told.
    BothTold,
}

/// Shows bytes to the tap and hears where a close frame begins in them. A panic there ends the copying and
/// nothing else.
pub(super) fn guarded(
    tap: &mut DirectionTap,
    chunk: &[u8],
    now: Instant,
    worker: &Worker,
) -> Option<CloseAt> {
    if chunk.is_empty() {
        return None;
    }
    let seen = std::panic::catch_unwind(AssertUnwindSafe(|| tap.observe(chunk, now)));
    seen.unwrap_or_else(|_| {
        tap.stop();
        worker.sessions().tap_panicked();
        None
    })
}

/// A turn that began then is over: notes what waits for its peer, and of a turn that passed everything on, now and then,
/// how long it took.
pub(super) fn turned(legs: [&mut Leg; 2], (timed, ended): (bool, bool), worker: &Worker, began: Instant) {
    let counters = worker.sessions().counters();
    let mut waits = false;
    for (dir, leg) in Direction::ALL.into_iter().zip(legs) {
        waits |= !leg.is_flushed();
        leg.held.note(!ended && !leg.outbox.is_empty(), dir, counters, began);
    }
    if timed && !waits {
        counters.turned(|| worker.now().saturating_duration_since(began));
    }
}

/// Reads what is there; nothing is the end. A TLS stream that ends without its close_notify ends all the same: its
/// last bytes are delivered, and what was no orderly end does not become one on the other side.
pub(super) fn poll_chunk(
    io: &mut Io,
    leg: &mut Leg,
    cx: &mut Context<'_>,
    scratch: &mut [u8],
) -> Poll<std::io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    match ready!(Pin::new(io).poll_read(cx, &mut buffer)) {
        Ok(()) => Poll::Ready(Ok(buffer.filled().len())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            leg.cut = true;
            Poll::Ready(Ok(0))
        }
        Err(error) => Poll::Ready(Err(error)),
    }
}

/// Where a chunk is read to: while a close waits for a place between two frames, not past the end of this one.
pub(super) fn as_far_as_the_frame<'a>(
    closing: Closing,
    tap: &DirectionTap,
    scratch: &'a mut [u8],
) -> &'a mut [u8] {
    let left = match closing {
        Closing::Wanted(_) => tap.frame_left(),
        _ => None,
    };
    let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
    let size = scratch.len().min(left);
    scratch.split_at_mut(size).0
}

/// Writes what was kept. Ready when nothing is kept any more.
pub(super) fn poll_flush(io: &mut Io, leg: &mut Leg, cx: &mut Context<'_>) -> Poll<()> {
    while !leg.outbox.is_empty() {
        match ready!(Pin::new(&mut *io).poll_write(cx, leg.outbox.front())) {
            Ok(n) if n > 0 => leg.outbox.advance(n),
            other => writer_gone(leg, other.err().as_ref()),
        }
    }
    // TLS keeps records of its own; other sockets have nothing to flush.
    if io.is_tls() {
        leg.unflushed = true;
        if let Err(error) = ready!(Pin::new(io).poll_flush(cx)) {
            writer_gone(leg, Some(&error));
        }
        leg.unflushed = false;
    }
    Poll::Ready(())
}

/// Passes the end of the stream on: FIN as FIN, close_notify as close_notify, and a cut without either's word.
pub(super) fn poll_end(io: &mut Io, leg: &mut Leg, cx: &mut Context<'_>) -> Poll<()> {
    let ended = if leg.cut { io.end_unannounced() } else { ready!(Pin::new(io).poll_shutdown(cx)) };
    leg.shut = true;
    leg.dead |= ended.is_err();
    Poll::Ready(())
}

/// Writes a fresh chunk; keeps what the socket does not take now.
pub(super) fn write_on(io: &mut Io, leg: &mut Leg, chunk: &[u8], cx: &mut Context<'_>) {
    if leg.dead {
        return;
    }
    let mut rest = chunk;
    leg.unflushed |= io.is_tls();
    while !rest.is_empty() {
        match Pin::new(&mut *io).poll_write(cx, rest) {
            Poll::Ready(Ok(n)) if n > 0 => rest = rest.get(n..).unwrap_or(&[]),
            Poll::Ready(other) => return writer_gone(leg, other.err().as_ref()),
            Poll::Pending => return leg.outbox.extend(rest),
        }
    }
}

fn writer_gone(leg: &mut Leg, error: Option<&std::io::Error>) {
    leg.dead = true;
    // After a FIN it would be a broken pipe: then the end was an orderly one.
    leg.broken |= error.is_some_and(|error| error.kind() == ErrorKind::ConnectionReset);
    leg.outbox.clear();
}

/// While we close: passes the client's messages on, and in place of its close frame tells the service 1001.
/// Returns whether the service has now heard a close.
pub(super) fn end_before_close(leg: &mut Leg, chunk: &[u8], worker: &Worker) -> bool {
    match guarded(&mut leg.tap, chunk, worker.now(), worker) {
        Some(CloseAt::Whole(at)) => {
            leg.outbox.extend(chunk.get(..at).unwrap_or(chunk));
            leg.outbox.extend(&crate::ws::close(crate::ws::CLOSE_GOING_AWAY, "", Some(worker.mask_key())));
            true
        }
        // Its first byte went out with the chunk before: let the client's own close pass.
        Some(CloseAt::Begun) => {
            leg.outbox.extend(chunk);
            true
        }
        None => {
            leg.outbox.extend(chunk);
            false
        }
    }
}

/// What has become of a session with these two legs, up and down.
pub(super) fn ended([up, down]: [&Leg; 2], cell: &SessionCell, cause: EndCause) -> Ended {
    Ended {
        cause: cell.end_cause(cause),
        lane: cell.lane(),
        bytes_up: up.bytes,
        bytes_down: down.bytes,
        messages_up: up.tap.messages,
        messages_down: down.tap.messages,
    }
}
