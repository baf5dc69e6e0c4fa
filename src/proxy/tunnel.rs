//! A session from its 101 to its end: what is known about it, and how it is set up and accounted for. The bytes are
//! moved by `pump`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::cell::SessionCell;
use super::pump::Tunnel;
use super::spans::Open;
use super::taps::DirectionTap;
use super::worker::Worker;
use super::{Io, Lane, TraceId, Verdict};
use crate::session::{Direction, SessionId, SessionNo};
use crate::ws::Negotiated;

/// Two connections that have left HTTP, with the bytes that arrived together with, or right after, the 101.
#[derive(Debug)]
pub struct Upgraded {
    /// The client's connection.
    pub client: Io,
    /// Bytes the client sent before the tunnel began: the first of the upward stream.
    pub client_early: Bytes,
    /// The service's connection.
    pub upstream: Io,
    /// Bytes the service sent before the tunnel began: the first of the downward stream.
    pub upstream_early: Bytes,
    /// What is known about the session.
    pub head: SessionHead,
}

/// What is known about a session from its handshake. `Debug` shows no query, cookie or key: they are not in it.
#[derive(Clone, Debug)]
pub struct SessionHead {
    /// Its number in this process.
    pub number: SessionNo,
    /// Its name to the outside.
    pub id: SessionId,
    /// The path the client asked for, without the query.
    pub path: String,
    /// `Sec-WebSocket-Protocol` of the 101.
    pub subprotocol: Option<String>,
    /// `Sec-WebSocket-Extensions` of the 101.
    pub extensions: Option<String>,
    /// The other end of the client's connection.
    pub peer: SocketAddr,
    /// The client's address, as trusted proxies report it (the port is the peer's).
    pub client: SocketAddr,
    /// The trace that the client's upgrade belongs to.
    pub trace: Option<TraceId>,
    /// Its span, where it has one.
    pub(super) span: Option<Box<Open>>,
    /// The lane at the upgrade, and why.
    pub verdict: Verdict,
    /// When the service's 101 had been read.
    pub opened_at: Instant,
}

/// Carries one session from the 101 to its end. Dropping the future closes both connections. What is only needed
/// to begin is gone when this returns: the future lives as long as the session and must be small.
pub fn run(upgraded: Upgraded, worker: Rc<Worker>) -> impl Future<Output = Ended> + Unpin {
    let Upgraded { client, client_early, upstream, upstream_early, head } = upgraded;
    let path: Arc<str> = head.path.as_str().into();
    let cell =
        SessionCell::new(head.number, head.id, Arc::clone(&path), head.verdict.clone(), head.opened_at)
            .speaking(head.subprotocol.as_deref());
    let cell = Rc::new(cell.traced(head.trace, head.span));
    let extensions = Negotiated::parse(head.extensions.iter().map(String::as_bytes));
    let taps = [Direction::Up, Direction::Down].map(|dir| {
        let mut one = DirectionTap::new(head.number, dir).negotiated(extensions);
        if let Some(tap) = worker.sessions().tap().filter(|_| head.verdict.is_tapped()) {
            one.mirror_into(tap.clone(), Arc::clone(&path), worker.shared.mirroring.copies, extensions);
            one.rest_in(worker.inflaters());
            one.want(head.verdict.mirrored);
        }
        one
    });
    let mut tunnel = Tunnel::new((client, upstream), Rc::clone(&cell), Rc::clone(&worker), taps);
    // The settings may have changed since the verdict, while the service was dialled: an emergency holds for it, too.
    cell.follow_anew(&worker.shared.mirroring.follow);
    worker.sessions().enter(&cell);
    if let Some(exposed) = &worker.shared.mirroring.exposed {
        exposed.tell(&cell.verdict);
    }
    tunnel.early(&client_early, &upstream_early);
    // No async block: it would hold the tunnel twice, as what it captured and as what it awaits.
    std::future::poll_fn(move |cx| {
        let ended = std::task::ready!(std::pin::Pin::new(&mut tunnel).poll(cx));
        worker.sessions().leave(&cell, &ended);
        if let Some(span) = &cell.span {
            span.ended(&cell, &ended, worker.now());
        }
        std::task::Poll::Ready(ended)
    })
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndCause {
    /// Both sides finished (FIN both ways).
    Finished,
    /// The client's connection broke.
    ClientReset,
    /// The service's connection broke.
    UpstreamReset,
    /// We closed it while draining.
    Drained,
    /// The time to drain was over.
    Cut,
    /// Nothing had passed for as long as the idle timeout allows (off by default).
    Idle,
}

impl EndCause {
    /// Every cause, in label order.
    pub const ALL: [Self; 6] =
        [Self::Finished, Self::ClientReset, Self::UpstreamReset, Self::Drained, Self::Cut, Self::Idle];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ClientReset => "client_reset",
            Self::UpstreamReset => "upstream_reset",
            Self::Drained => "drained",
            Self::Cut => "cut",
            Self::Idle => "idle",
        }
    }
}

/// What a session was, told at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub cause: EndCause,
    /// What fed the client at the end.
    pub lane: Lane,
    /// Bytes from the client.
    pub bytes_up: u64,
    /// Bytes from the service.
    pub bytes_down: u64,
    /// Data messages from the client, as far as they could be followed.
    pub messages_up: u64,
    /// Data messages from the service.
    pub messages_down: u64,
}
