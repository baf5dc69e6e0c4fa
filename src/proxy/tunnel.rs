//! After the 101: bytes both ways until one side ends. This is the plain form of it, without a tap: two copies
//! that carry half-closes over, and an end when the drain says that sessions shall go.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, copy_bidirectional};

use super::drain::Phase;
use super::io::Io;
use super::verdict::Verdict;
use super::worker::Worker;
use crate::session::{SessionId, SessionNo};

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
    /// The lane at the upgrade, and why.
    pub verdict: Verdict,
    /// When the service's 101 had been read.
    pub opened_at: Instant,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Both directions ended with a FIN.
    Closed,
    /// A connection broke.
    Broken,
    /// The drain told it to go.
    Drained,
}

/// The account of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why it ended.
    pub why: EndReason,
    /// Bytes from the client to the service.
    pub up: u64,
    /// Bytes from the service to the client.
    pub down: u64,
}

/// Carries one session from the 101 to its end. Dropping the future closes both connections.
pub async fn run(upgraded: Upgraded, worker: Rc<Worker>) -> Ended {
    let Upgraded { mut client, client_early, mut upstream, upstream_early, .. } = upgraded;
    let mut ended =
        Ended { why: EndReason::Closed, up: client_early.len() as u64, down: upstream_early.len() as u64 };
    let carry = async {
        upstream.write_all(&client_early).await?;
        client.write_all(&upstream_early).await?;
        copy_bidirectional(&mut client, &mut upstream).await
    };
    tokio::select! {
        carried = carry => match carried {
            Ok((up, down)) => {
                ended.up += up;
                ended.down += down;
            }
            Err(_) => ended.why = EndReason::Broken,
        },
        () = worker.shared.drain.reached(Phase::Closing) => ended.why = EndReason::Drained,
    }
    if ended.why == EndReason::Broken {
        client.reset();
        upstream.reset();
    }
    ended
}
