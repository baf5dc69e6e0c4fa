//! What the connection's task must know that hyper keeps to itself: whether bytes arrived, whether a head was
//! read, whether an exchange is under way. From these the deadline for a request head is kept; hyper's own would
//! also cut connections that are merely idle between two requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::config::Deadlines;
use super::io::Io;

/// Figures of one connection. Only its own thread touches them; atomics because hyper asks for `Send`.
#[derive(Debug, Default)]
pub(super) struct Watch {
    read: AtomicU64,
    heads: AtomicU64,
    in_flight: AtomicUsize,
    http2: AtomicBool,
}

impl Watch {
    /// Notes that a request head is complete.
    pub(super) fn head_read(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// True once the client has sent the whole preface of HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// True until the first byte.
    pub(super) fn is_silent(&self) -> bool {
        self.read.load(Ordering::Relaxed) == 0
    }
}

/// Held by everything that belongs to an exchange under way: the call, the request's body, the answer's body.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Watch>);

impl InFlight {
    pub(super) fn enter(watch: &Arc<Watch>) -> Self {
        watch.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(watch))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// The rest of a head.
    Head,
    /// The next request, where idle connections have a limit.
    Idle,
}

/// The deadline for a request head. Polled after the connection, in the same task.
///
/// The first head is due from the start. Later ones are due from their first byte; a part of a head that came
/// together with the previous request does not start the clock until more of it arrives, which leaves its sender
/// no more than any idle connection has.
pub(super) struct HeadClock {
    watch: Arc<Watch>,
    limit: Duration,
    idle_limit: Option<Duration>,
    idle_at: u64,
    /// What `sleep` runs for, if anything.
    runs_for: Option<Runs>,
    sleep: Pin<Box<Sleep>>,
}

impl HeadClock {
    pub(super) fn start(watch: Arc<Watch>, deadlines: &Deadlines) -> Self {
        let (limit, idle_limit) = (deadlines.head, deadlines.idle);
        let sleep = Box::pin(tokio::time::sleep(limit));
        Self { watch, limit, idle_limit, idle_at: 0, runs_for: Some(Runs::Head), sleep }
    }

    /// Ready when a head is overdue, or the connection has been idle for longer than it may.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Runs> {
        let read = self.watch.read.load(Ordering::Relaxed);
        if self.watch.in_flight.load(Ordering::Relaxed) > 0 {
            self.idle_at = read;
            self.runs_for = None;
            return Poll::Pending;
        }
        if self.runs_for != Some(Runs::Head) {
            let idle = read == self.idle_at;
            let wanted = if idle { (Runs::Idle, self.idle_limit) } else { (Runs::Head, Some(self.limit)) };
            let (what, Some(limit)) = wanted else { return Poll::Pending };
            if self.runs_for != Some(what) {
                self.runs_for = Some(what);
                self.sleep.as_mut().reset(Instant::now() + limit);
            }
        }
        let what = self.runs_for.unwrap_or(Runs::Head);
        self.sleep.as_mut().poll(cx).map(|()| what)
    }
}

/// What every connection of HTTP/2 begins with (RFC 9113 section 3.4). No request of HTTP/1.1 does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads are noted, and whose first bytes may turn out to be the preface of HTTP/2. They are passed on
/// without any wait as soon as they are not, which for nearly all requests is with the first byte.
#[derive(Debug)]
pub(super) struct Watched {
    io: Io,
    watch: Arc<Watch>,
    /// What has come and may be, or is, the preface and what came with it.
    held: Vec<u8>,
    /// Whether that is still to be found out.
    sniffs: bool,
}

impl Watched {
    pub(super) const fn new(io: Io, watch: Arc<Watch>, sniffs: bool) -> Self {
        Self { io, watch, held: Vec::new(), sniffs }
    }

    pub(super) fn into_inner(self) -> Io {
        self.io
    }

    fn poll_noted(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let new = buf.filled().len().saturating_sub(before);
        if new > 0 {
            self.watch.read.fetch_add(new as u64, Ordering::Relaxed);
        }
        polled
    }

    /// Reads until it is clear whether this is HTTP/2. If it is, nobody is given anything by this call.
    fn poll_sniff(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            ready!(self.poll_noted(cx, buf))?;
            let new = buf.filled().get(before..).unwrap_or_default();
            let ended = new.is_empty();
            if self.held.is_empty() && (ended || !begins_preface(new)) {
                self.sniffs = false;
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(new);
            buf.set_filled(before);
            if ended || !begins_preface(&self.held) {
                self.sniffs = false;
                self.release(buf);
                return Poll::Ready(Ok(()));
            }
            if self.held.len() >= PREFACE.len() {
                // The connection's task sees it after this poll.
                self.sniffs = false;
                self.watch.http2.store(true, Ordering::Relaxed);
                return Poll::Pending;
            }
        }
    }

    fn release(&mut self, buf: &mut ReadBuf<'_>) {
        let fits = self.held.len().min(buf.remaining());
        buf.put_slice(self.held.get(..fits).unwrap_or_default());
        self.held.drain(..fits);
    }
}

/// True of every part of the preface from its first byte, and of everything that begins with it whole.
fn begins_preface(bytes: &[u8]) -> bool {
    bytes.iter().zip(PREFACE).all(|(one, other)| one == other)
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sniffs {
            return this.poll_sniff(cx, buf);
        }
        if !this.held.is_empty() {
            this.release(buf);
            return Poll::Ready(Ok(()));
        }
        this.poll_noted(cx, buf)
    }
}

impl AsyncWrite for Watched {
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
