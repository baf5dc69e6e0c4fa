//! One byte stream, over TCP in the clear, over TCP under TLS, over a Unix
//! socket, or as one stream of HTTP/2. Reads go through tokio's `AsyncRead` for `TcpStream`, so that its
//! partial-read optimisation saves the empty read that would otherwise follow each message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::http2::Http2Stream;

/// A connection to a client or to the service.
#[derive(Debug)]
pub enum Io {
    /// TCP as it is.
    Plain(TcpStream),
    /// TLS over TCP, either role.
    Tls(Box<TlsStream<TcpStream>>),
    /// To a service on this machine.
    Unix(UnixStream),
    /// One stream of a client's HTTP/2 connection.
    Http2(Box<Http2Stream>),
}

impl Io {
    /// The socket below, where it is this stream's own.
    fn socket(&self) -> Option<SockRef<'_>> {
        match self {
            Self::Plain(tcp) => Some(SockRef::from(tcp)),
            Self::Tls(tls) => Some(SockRef::from(tls.get_ref().0)),
            Self::Unix(unix) => Some(SockRef::from(unix)),
            Self::Http2(_) => None,
        }
    }

    /// True when the bytes on the wire are encrypted by this stream itself.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The protocol that was agreed on by ALPN (RFC 7301), where it was asked for.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol(),
            Self::Plain(_) | Self::Unix(_) | Self::Http2(_) => None,
        }
    }

    /// Ends our direction with a FIN and no word of TLS: the stream was cut short, and the peer shall see it. A stream
    /// of HTTP/2 has no such end; it ends as an orderly one, because the other direction may live on.
    pub(super) fn end_unannounced(&mut self) -> io::Result<()> {
        if let Self::Http2(stream) = self {
            return stream.end();
        }
        self.socket().map_or(Ok(()), |socket| socket.shutdown(std::net::Shutdown::Write))
    }

    /// Says close_notify where TLS is spoken, if the socket takes it at once, and END_STREAM in HTTP/2.
    pub(super) fn farewell(&mut self, cx: &mut Context<'_>) {
        if matches!(self, Self::Tls(_) | Self::Http2(_)) {
            // The connection is closed now, whether the word went out or not.
            drop(Pin::new(self).poll_shutdown(cx));
        }
    }

    /// Closes with a reset instead of a FIN, so that the peer learns that the stream was cut and not ended
    /// (RFC 9293 section 3.10.7.4). Unsent bytes are dropped. A stream of HTTP/2 that is dropped before its end sends
    /// what it has and `RST_STREAM` with CANCEL, which is what RFC 8441 section 5 has for a reset.
    pub fn reset(self) {
        if let Some(Err(error)) = self.socket().map(|socket| socket.set_linger(Some(Duration::ZERO))) {
            tracing::debug!(%error, "a connection could not be reset and is closed instead");
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Http2(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Self::Http2(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
            Self::Http2(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
            Self::Unix(unix) => unix.is_write_vectored(),
            Self::Http2(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Self::Http2(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Http2(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Connection for Io {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
