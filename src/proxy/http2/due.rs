//! The deadline for a request head in HTTP/2: `h2` waits for the rest of a head, and for a first request, as long as
//! the client likes. So the frames are walked once more here, by their heads alone.
//!
//! As in HTTP/1.1 the first head is due from the start of the connection, which is what ends connections that never
//! ask anything, and each later one from its first byte to the last of its last CONTINUATION. Nothing else is due:
//! bodies, sessions and idle connections may take their time.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes before the first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Bytes of a frame before its payload (RFC 9113 section 4.1).
const FRAME_HEAD: usize = 9;
/// How many of them say what kind it is.
const KIND: usize = 4;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where the client is in its stream of frames.
#[derive(Debug)]
pub(super) struct Frames {
    preface_left: usize,
    head: [u8; FRAME_HEAD],
    head_bytes: usize,
    payload_left: usize,
    under_way: bool,
    /// Heads that have begun.
    begun: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            preface_left: PREFACE,
            head: [0; FRAME_HEAD],
            head_bytes: 0,
            payload_left: 0,
            under_way: false,
            begun: 0,
        }
    }
}

impl Frames {
    /// Walks what has come.
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = match (self.preface_left, self.head_bytes) {
                (0, FRAME_HEAD) => self.payload_left,
                (0, so_far) => FRAME_HEAD - so_far,
                (left, _) => left,
            };
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            bytes = later;
            if self.preface_left > 0 {
                self.preface_left -= now.len();
                continue;
            }
            if self.head_bytes == FRAME_HEAD {
                self.payload_left -= now.len();
            } else {
                self.head_more(now);
            }
            if self.head_bytes == FRAME_HEAD && self.payload_left == 0 {
                self.frame_ended();
            }
        }
    }

    fn head_more(&mut self, bytes: &[u8]) {
        for (place, byte) in self.head.iter_mut().skip(self.head_bytes).zip(bytes) {
            *place = *byte;
        }
        self.head_bytes += bytes.len();
        let [a, b, c, kind, ..] = self.head;
        if self.head_bytes >= KIND && matches!(kind, HEADERS | CONTINUATION) && !self.under_way {
            self.under_way = true;
            self.begun += 1;
        }
        if self.head_bytes == FRAME_HEAD {
            self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        }
    }

    fn frame_ended(&mut self) {
        self.head_bytes = 0;
        let [_, _, _, kind, flags, ..] = self.head;
        if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0 {
            self.under_way = false;
        }
    }

    /// The number of the head that has begun and not ended.
    fn waits_for(&self) -> Option<u64> {
        self.under_way.then_some(self.begun)
    }
}

/// A connection whose frames are walked as they are read.
#[derive(Debug)]
pub(super) struct Walked<T> {
    io: T,
    frames: Rc<RefCell<Frames>>,
}

impl<T> Walked<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, frames: Rc::default() }
    }

    pub(super) fn frames(&self) -> Rc<RefCell<Frames>> {
        Rc::clone(&self.frames)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Walked<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.frames.borrow_mut().feed(buf.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Walked<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What a connection is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Its first request.
    First,
    /// The rest of the head with this number.
    Rest(u64),
}

/// The deadline. Polled after the connection, in the same task.
pub(super) struct Clock {
    frames: Rc<RefCell<Frames>>,
    limit: Duration,
    runs_for: Option<Due>,
    sleep: Pin<Box<Sleep>>,
}

impl Clock {
    pub(super) fn start(frames: Rc<RefCell<Frames>>, limit: Duration) -> Self {
        let sleep = Box::pin(tokio::time::sleep(limit));
        Self { frames, limit, runs_for: Some(Due::First), sleep }
    }

    /// Ready when something is overdue. `used` says that there was a request.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, used: bool) -> Poll<Due> {
        let due = if used { self.frames.borrow().waits_for().map(Due::Rest) } else { Some(Due::First) };
        if self.runs_for != due {
            self.runs_for = due;
            self.sleep.as_mut().reset(Instant::now() + self.limit);
        }
        match due {
            None => Poll::Pending,
            Some(due) => self.sleep.as_mut().poll(cx).map(|()| due),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn preface() -> Vec<u8> {
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
    }

    fn after(bytes: &[u8]) -> Option<u64> {
        let mut frames = Frames::default();
        frames.feed(bytes);
        frames.waits_for()
    }

    #[test]
    fn a_head_is_under_way_from_its_kind_to_its_last_byte() {
        let mut sent = preface();
        sent.extend(frame(4, 0, &[0; 12]));
        sent.extend(frame(0, 0, &[HEADERS; 40]));
        let begins = sent.len();
        sent.extend(frame(HEADERS, 0, &[0; 30]));
        sent.extend(frame(CONTINUATION, 0, &[]));
        sent.extend(frame(CONTINUATION, END_HEADERS, &[0; 7]));
        let ends = sent.len();
        sent.extend(frame(8, 0, &[0; 4]));
        sent.extend(frame(HEADERS, END_HEADERS, &[0; 3]));
        for at in 0..sent.len() {
            let expect = if (begins + KIND..ends).contains(&at) {
                Some(1)
            } else {
                (at >= ends + 13 + KIND).then_some(2)
            };
            assert_eq!(after(&sent[..at]), expect, "after {at} bytes, a head from {begins} to {ends}");
        }
        assert_eq!(after(&sent), None);
    }

    proptest! {
        /// However the bytes come, the walk ends where it would have ended with all of them at once.
        #[test]
        fn pieces_make_no_difference(
            kinds in proptest::collection::vec((0u8..11, any::<u8>(), 0usize..70), 0..12),
            cuts in proptest::collection::vec(1usize..20, 0..200),
            kept in 0usize..1000,
        ) {
            let mut sent = preface();
            for (kind, flags, length) in kinds {
                sent.extend(frame(kind, flags, &vec![kind; length]));
            }
            sent.truncate(kept);
            let mut frames = Frames::default();
            let mut rest = &sent[..];
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                frames.feed(now);
                rest = later;
            }
            frames.feed(rest);
            prop_assert_eq!(frames.waits_for(), after(&sent));
        }
    }
}
