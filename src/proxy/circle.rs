//! The loop guard: a connection of our own that comes back to us. `CROSSFADE_UPSTREAM` may name our own listener, and
//! a rule that redirects the service's port may forget to leave us out; each request would then call us again, until
//! no descriptor is left.
//!
//! Both ends of such a connection are ours, so both ends of its addresses are known here: a connection to the service
//! is noted while it has not answered yet, under the address it comes from and the one it goes to. One that is accepted
//! from that address, and was meant for that other one, is the same, whatever was rewritten between. It is known
//! before its first request is read, because nothing is written to it before it is noted.
//!
//! **Cost.** One short lock for a client's connection, two for one to the service, and `SO_ORIGINAL_DST` once.
//! **Limits.** As many entries as there are connections to the service without an answer or in a pool.
//! **What it does not see.** Circles through somebody who puts another address in place of ours (SNAT), and Unix sockets.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::Io;

/// At most one line of log per this long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Connections of ours to the service that have not answered yet.
#[derive(Debug, Default)]
pub(super) struct Circle {
    own: Mutex<BTreeSet<(SocketAddr, SocketAddr)>>,
    logged: Mutex<Option<Instant>>,
}

impl Circle {
    /// Notes a connection of ours, until the answer is dropped.
    pub(super) fn note(self: &Arc<Self>, from: SocketAddr, to: SocketAddr) -> Own {
        let pair = (plain(from), plain(to));
        self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(pair);
        Own { circle: Arc::clone(self), pair }
    }

    /// True if what was accepted is a connection of ours.
    pub(super) fn closes(&self, arrived: &Arrived) -> bool {
        let Arrived { peer, local, meant } = *arrived;
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        // Who shares our source port, as local clients towards another port may, is not us yet.
        [Some(local), meant].into_iter().flatten().any(|to| own.contains(&(plain(peer), plain(to))))
    }

    /// Says it in the log, now and then.
    pub(super) fn tell(&self, arrived: &Arrived, now: Instant) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY) {
            *logged = Some(now);
            let meant = arrived.meant.unwrap_or(arrived.local);
            tracing::warn!(
                listener = %arrived.local,
                %meant,
                "a connection of crossfade's own came back to it: CROSSFADE_UPSTREAM, or a rule that redirects \
                 crossfade's own connections, leads to crossfade itself; such requests are answered 508"
            );
        }
    }
}

/// An address without what only one of its writings has: IPv4 as such, no flow, no scope.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Where a connection that was accepted comes from and goes to, by the socket alone: what a PROXY header says is
/// somebody else's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// Where it was meant to go before somebody rewrote it, if the system knows.
    pub(super) meant: Option<SocketAddr>,
}

/// A connection of ours that is noted. Forgotten on drop, which must be before its socket is closed.
#[derive(Debug)]
pub(super) struct Own {
    circle: Arc<Circle>,
    pair: (SocketAddr, SocketAddr),
}

impl Own {
    /// Notes a socket of ours; nothing to note where it has no addresses.
    pub(super) fn of(circle: &Arc<Circle>, tcp: &tokio::net::TcpStream) -> Option<Self> {
        let (from, to) = (tcp.local_addr().ok()?, tcp.peer_addr().ok()?);
        Some(circle.note(from, to))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.circle.own.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pair);
    }
}

/// A connection to the service in a pool, noted as long as it lives.
#[derive(Debug)]
pub(super) struct Noted {
    /// Before `io`: fields are dropped in this order.
    _own: Option<Own>,
    io: Io,
}

impl Noted {
    pub(super) const fn new(io: Io, own: Option<Own>) -> Self {
        Self { _own: own, io }
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noted {
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

impl Connection for Noted {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(peer: &str, local: &str, meant: Option<&str>) -> Arrived {
        let parse = |text: &str| text.parse().unwrap();
        Arrived { peer: parse(peer), local: parse(local), meant: meant.map(parse) }
    }

    #[test]
    fn only_a_connection_whose_both_ends_are_ours_is_ours() {
        let circle = Arc::new(Circle::default());
        let (from, to) = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:3000".parse().unwrap());
        let own = circle.note(from, to);
        let is = |peer, local, meant| circle.closes(&arrived(peer, local, meant));
        assert!(is("127.0.0.1:50000", "127.0.0.1:3000", None), "our listener is the service");
        assert!(is("127.0.0.1:50000", "127.0.0.1:8080", Some("127.0.0.1:3000")), "it was redirected");
        assert!(is("[::ffff:127.0.0.1]:50000", "[::]:8080", Some("127.0.0.1:3000")), "in another writing");
        assert!(!is("127.0.0.1:50000", "127.0.0.1:8080", None), "somebody who shares our source port");
        assert!(!is("127.0.0.1:50000", "127.0.0.1:8080", Some("127.0.0.1:3001")));
        assert!(!is("127.0.0.2:50000", "127.0.0.1:8080", Some("127.0.0.1:3000")), "somebody else");
        drop(own);
        assert!(!is("127.0.0.1:50000", "127.0.0.1:3000", None), "it has been forgotten");
    }
}
