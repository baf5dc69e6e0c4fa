//! From an accepted socket to a byte stream and who is behind it: the load balancer's PROXY header where it is
//! expected, then TLS where it is configured, both within the deadline of a request head. What comes after (which
//! HTTP is spoken, see [`Io::alpn`]) is the connection's business.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::admission::Place;
use super::circle::Arrived;
use super::dial::{Dialer, tune};
use super::error::{ConnectionError, Fault};
use super::io::Io;
use super::proxy_protocol::{Header, Parser};
use super::tls::Handshake;
use super::worker::Shared;

/// Bytes of a PROXY header that are looked at together. Those of nearly all load balancers are smaller.
const PEEK: usize = 256;

/// A client that has got in.
pub(super) struct Entered {
    pub(super) io: Io,
    /// The client, or the last proxy before us that is no transparent one.
    pub(super) peer: SocketAddr,
    /// Where it connected to.
    pub(super) destination: SocketAddr,
    /// The same by the socket alone.
    pub(super) arrived: Arrived,
    /// The way on to the service.
    pub(super) upstream: Arc<Dialer>,
    /// What its address is counted by, where that is limited.
    pub(super) place: Option<Place>,
}

/// Lets a client in.
///
/// # Errors
/// [`Fault::ProxyUntrusted`], [`Fault::ProxyHeader`], [`Fault::ProxyTimeout`], [`Fault::ClientTls`],
/// [`Fault::ClientGone`].
pub(super) async fn enter(
    shared: &Shared,
    socket: std::net::TcpStream,
    peer: SocketAddr,
) -> Result<Entered, ConnectionError> {
    let by = Instant::now() + shared.config.deadlines.head;
    let gone = |error: std::io::Error| ConnectionError::new(Fault::ClientGone, error);
    let mut tcp = TcpStream::from_std(socket).map_err(gone)?;
    tune(&tcp, &shared.config.tcp);
    let local = tcp.local_addr().map_err(gone)?;
    let original = original_destination(&tcp, local);
    let arrived = Arrived { peer, local, meant: original.as_ref().ok().copied() };
    let meant = if shared.config.intercept { intercepted(original, local)? } else { local };
    let upstream = if shared.config.intercept && meant.port() != shared.upstream.target().port() {
        Arc::new(shared.upstream.at_port(meant.port()))
    } else {
        Arc::clone(&shared.upstream)
    };
    let (peer, destination) = match announced(shared, &mut tcp, peer, by).await? {
        Header::Own => (peer, meant),
        Header::Proxied { source, destination } => (source, destination),
    };
    let place = admitted(shared, peer)?;
    let io = secure(shared, tcp, by).await?;
    Ok(Entered { io, peer, destination, arrived, upstream, place })
}

/// Where the client wanted to go, if the connection was rewritten on its way.
///
/// # Errors
/// ENOENT where the connection is not in the table of those that the system watches, or there is no such table.
fn original_destination(tcp: &TcpStream, local: SocketAddr) -> std::io::Result<SocketAddr> {
    let socket = SockRef::from(tcp);
    let v4 = local.ip().to_canonical().is_ipv4();
    let meant = if v4 { socket.original_dst_v4()? } else { socket.original_dst_v6()? };
    meant.as_socket().ok_or_else(|| std::io::ErrorKind::Unsupported.into())
}

/// Where a redirected connection was meant to go. What was meant for us is refused: to go on with it would be to
/// connect to ourselves, over and over.
fn intercepted(
    original: std::io::Result<SocketAddr>,
    local: SocketAddr,
) -> Result<SocketAddr, ConnectionError> {
    let meant = original.map_err(|error| ConnectionError::new(Fault::RedirectUnknown, error))?;
    // Whatever its address: only the port goes on, and this one leads to our own listener.
    if meant.port() == local.port() { Err(Fault::RedirectLoop.into()) } else { Ok(meant) }
}

/// A place among the connections of the client's address. A trusted proxy's address stands for all who come through
/// it, unless it says for whom.
fn admitted(shared: &Shared, peer: SocketAddr) -> Result<Option<Place>, ConnectionError> {
    let Some(addresses) = &shared.addresses else { return Ok(None) };
    if shared.config.trusted.contains(peer.ip()) {
        return Ok(None);
    }
    addresses.enter(peer.ip()).map(Some).ok_or_else(|| Fault::AddressLimit.into())
}

/// What the load balancer says about the connection. Anybody else who could say it would choose their own address.
async fn announced(
    shared: &Shared,
    tcp: &mut TcpStream,
    peer: SocketAddr,
    by: Instant,
) -> Result<Header, ConnectionError> {
    if !shared.config.proxy_protocol {
        return Ok(Header::Own);
    }
    if !shared.config.trusted.contains(peer.ip()) {
        return Err(Fault::ProxyUntrusted.into());
    }
    let header = timeout_at(by, header(tcp)).await;
    header.map_err(|elapsed| ConnectionError::new(Fault::ProxyTimeout, elapsed))?
}

/// Takes the header off the socket and leaves what follows it there.
async fn header(tcp: &mut TcpStream) -> Result<Header, ConnectionError> {
    let gone = |error: std::io::Error| ConnectionError::new(Fault::ClientGone, error);
    let mut parser = Parser::default();
    let mut seen = [0; PEEK];
    loop {
        let count = tcp.peek(&mut seen).await.map_err(gone)?;
        let next = seen.get(..count).filter(|next| !next.is_empty());
        let next = next.ok_or_else(|| ConnectionError::from(Fault::ClientGone))?;
        let fed = parser.feed(next).map_err(|why| ConnectionError::new(Fault::ProxyHeader, why))?;
        let (taken, header) = fed;
        let taken = seen.get_mut(..taken).unwrap_or_default();
        tcp.read_exact(taken).await.map_err(gone)?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

/// TLS, where it is configured.
async fn secure(shared: &Shared, tcp: TcpStream, by: Instant) -> Result<Io, ConnectionError> {
    let Some(tls) = &shared.config.tls else { return Ok(Io::Plain(tcp)) };
    let figures = &shared.counters.tls;
    let failed = |outcome, cause: std::io::Error| {
        figures.outcome(outcome).add();
        ConnectionError::new(Fault::ClientTls, cause)
    };
    let stream = timeout_at(by, TlsAcceptor::from(tls.load()).accept(tcp))
        .await
        .map_err(|elapsed| failed(Handshake::Timeout, elapsed.into()))?
        .map_err(|error| failed(Handshake::of(&error), error))?;
    figures.succeeded(stream.get_ref().1);
    Ok(Io::Tls(Box::new(TlsStream::Server(stream))))
}
