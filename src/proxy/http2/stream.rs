//! One stream as a byte stream for the tunnel. What waits for the client waits in `h2`, at most as much as its send
//! buffer is set to; what the service has not taken keeps the stream's window shut.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of HTTP/2 whose DATA frames are a WebSocket's bytes (RFC 8441 section 5).
///
/// Dropped before both ends are through, it sends what was written and `RST_STREAM` with CANCEL.
#[derive(Debug)]
pub struct Http2Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What was received and not read.
    unread: Bytes,
    ended: bool,
}

impl Http2Stream {
    pub(super) const fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, unread: Bytes::new(), ended: false }
    }

    /// Sends END_STREAM, once.
    pub(in crate::proxy) fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.send.send_data(Bytes::new(), true).map_err(broken)
    }
}

/// Whatever the code says, the stream did not end in good order: CANCEL, and even NO_ERROR, is a reset.
fn broken(error: h2::Error) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, error)
}

impl AsyncRead for Http2Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.unread.len().min(buf.remaining());
        buf.put_slice(this.unread.get(..count).unwrap_or_default());
        this.unread.advance(count);
        this.receive.flow_control().release_capacity(count).map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.send.reserve_capacity(bytes.len());
        let count = loop {
            match this.send.capacity().min(bytes.len()) {
                0 => match ready!(this.send.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
                },
                count => break count,
            }
        };
        let data = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
        this.send.send_data(data, false).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task writes on its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().end())
    }
}
