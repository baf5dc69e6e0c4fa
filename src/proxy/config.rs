//! What the proxy can be told, with defaults. Limits that would refuse or cut what the service accepts are off
//! (`None`); those that protect the proxy itself are on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::cold::Door;
use super::forwarded::Trusted;
use super::native::Native;
use super::proxy_protocol::Version;
use super::spans::Spans;
use super::target::Target;
use super::tls::Live;

/// Everything the proxy needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The service.
    pub upstream: Target,
    /// TLS towards the service; `None` takes the system's roots if its URL asks for TLS.
    pub upstream_tls: Option<Arc<Live<rustls::ClientConfig>>>,
    /// The name that the service's certificate must carry, where it is not that of the URL.
    pub upstream_name: Option<ServerName<'static>>,
    /// TLS towards clients.
    pub tls: Option<Arc<Live<rustls::ServerConfig>>>,
    /// Every connection begins with a PROXY header, from one of `trusted`.
    pub proxy_protocol: bool,
    /// The PROXY header that every connection to the service begins with.
    pub announce: Option<Version>,
    /// Clients may speak HTTP/2: agreed on by ALPN, or begun with its preface where there is no TLS.
    pub http2: bool,
    /// Connections were redirected to us: the port that the client meant, and not the one of `upstream`, is where
    /// they go on to.
    pub intercept: bool,
    /// Data threads; `None` takes the processors this process may use.
    pub workers: Option<usize>,
    /// Messages a worker's inbox holds. When it is full, new sockets are closed and counted.
    pub inbox: usize,
    /// Time limits.
    pub deadlines: Deadlines,
    /// Size limits.
    pub limits: Limits,
    /// Socket options.
    pub tcp: Tcp,
    /// Whose forwarding fields are believed.
    pub trusted: Trusted,
    /// Where native clients go; `None` leaves every offer of `realtime` as it came.
    pub native: Option<Native>,
    /// Where upgrades of the cold lane are decided; `None` sends them to the service.
    pub cold: Option<Door>,
    /// Which sessions have spans, and where these go; `None`: none.
    pub spans: Option<Spans>,
    /// Adds `X-Crossfade-Lane` to the 101.
    pub lane_header: bool,
    /// Answers `GET /.crossfade/lane` and its script in place of the service.
    pub lane_endpoint: bool,
}

impl Config {
    /// The defaults in front of this service.
    #[must_use]
    pub fn new(upstream: Target) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            upstream,
            upstream_tls: None,
            upstream_name: None,
            tls: None,
            proxy_protocol: false,
            announce: None,
            http2: true,
            intercept: false,
            workers: None,
            inbox: 1024,
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            tcp: Tcp::default(),
            trusted: Trusted::default(),
            native: None,
            cold: None,
            spans: None,
            lane_header: false,
            lane_endpoint: false,
        }
    }
}

/// Time limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Resolving, connecting and, where asked for, TLS, towards the service. Then 502.
    pub connect: Duration,
    /// From a valid upgrade to its answer's head, connecting included. Then 504.
    pub upgrade: Duration,
    /// TLS handshake of a client; and a request head, from the accept or, on a connection kept alive, from its
    /// first byte. Then 408, or, when nothing at all was sent, a silent close.
    pub head: Duration,
    /// How long a session, or a connection between two requests, may stay without a byte. Off.
    pub idle: Option<Duration>,
    /// From a plain request to its answer's head. Off: the service alone decides how long it thinks. Then 504.
    pub response: Option<Duration>,
    /// How long a body is held back under `Expect: 100-continue` for the service's word (RFC 9110 section 10.1.1).
    pub expect: Duration,
    /// How long an unused connection to the service is kept. Below the 5 s after which common servers (Node.js)
    /// close theirs, so that a request rarely meets a connection that is being closed.
    pub pool_idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            upgrade: Duration::from_secs(30),
            head: Duration::from_secs(10),
            idle: None,
            response: None,
            expect: Duration::from_secs(1),
            pool_idle: Duration::from_secs(4),
        }
    }
}

/// Size limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head. More is answered with 431.
    pub head_bytes: usize,
    /// Fields of a request head. More is answered with 431.
    pub head_fields: usize,
    /// Connections that one address may have. Off. More are closed at once; trusted proxies speak for many.
    pub connections_per_address: Option<u32>,
    /// Upgrades that may come in one second. Off. More are answered with 429.
    pub upgrades_per_second: Option<u32>,
    /// Unused connections to the service that each worker keeps.
    pub pool_idle: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            head_fields: 256,
            connections_per_address: None,
            upgrades_per_second: None,
            pool_idle: 64,
        }
    }
}

/// Socket options that free what vanished without a FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Silence before the first keep-alive probe.
    pub keepalive: Duration,
    /// Between probes.
    pub keepalive_interval: Duration,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged, or a peer's window closed. Long, because
    /// a client that merely stops reading for a while must not be cut.
    pub user_timeout: Duration,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(15),
            user_timeout: Duration::from_secs(300),
        }
    }
}
