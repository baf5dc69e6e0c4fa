//! Connecting to the service or to Supabase: names, addresses, TLS, socket options, all within one deadline. A name
//! is resolved anew for every connection, so that a service that moves is found again; what is kept alive is
//! connections, not answers of the resolver.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};

use super::circle::{Circle, Noted, Own};
use super::config::Tcp;
use super::error::{ConnectionError, Fault};
use super::io::Io;
use super::proxy_protocol::{self, Header, Version};
use super::race;
use super::target::Target;
use super::tls::{Handshake, Live, TlsCounters, TlsSetupError};

/// Opens connections to one target.
#[derive(Clone)]
pub struct Dialer {
    target: Target,
    tls: Option<Secure>,
    deadline: Duration,
    tcp: Tcp,
    figures: Arc<TlsCounters>,
    announce: Option<Version>,
    circle: Arc<Circle>,
}

/// TLS towards the target.
#[derive(Clone)]
struct Secure {
    config: Arc<Live<ClientConfig>>,
    name: ServerName<'static>,
}

impl Dialer {
    /// Prepares for `target`. `tls` is used if the target asks for TLS; `None` means the system's roots.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be set up.
    pub fn new(
        target: Target,
        tls: Option<Arc<Live<ClientConfig>>>,
        deadline: Duration,
        tcp: Tcp,
    ) -> Result<Self, TlsSetupError> {
        let tls = if target.tls() {
            let config = match tls {
                Some(config) => config,
                None => Live::fixed(super::tls::system_tls()?),
            };
            let name =
                ServerName::try_from(target.host().to_owned()).map_err(|_| TlsSetupError::ServerName)?;
            Some(Secure { config, name })
        } else {
            None
        };
        Ok(Self {
            target,
            tls,
            deadline,
            tcp,
            figures: Arc::default(),
            announce: None,
            circle: Arc::default(),
        })
    }

    /// Asks for another name than that of the target, in SNI and in the certificate.
    #[must_use]
    pub fn named(mut self, name: Option<ServerName<'static>>) -> Self {
        if let (Some(tls), Some(name)) = (&mut self.tls, name) {
            tls.name = name;
        }
        self
    }

    /// Begins every connection with a PROXY header.
    #[must_use]
    pub const fn announcing(mut self, version: Option<Version>) -> Self {
        self.announce = version;
        self
    }

    /// Notes its connections there, so that those that come back are known.
    #[must_use]
    pub(super) fn noting(mut self, circle: &Arc<Circle>) -> Self {
        self.circle = Arc::clone(circle);
        self
    }

    /// The way to another port of the same host.
    pub(super) fn at_port(&self, port: u16) -> Self {
        Self { target: self.target.at_port(port), ..self.clone() }
    }

    /// Whether connections begin with a header that says whose they are: then nobody else may use them.
    pub(super) const fn announces(&self) -> bool {
        self.announce.is_some()
    }

    /// The place this leads to.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Handshakes so far.
    #[must_use]
    pub fn figures(&self) -> &TlsCounters {
        &self.figures
    }

    /// Connects on nobody's behalf. Cancel-safe: dropping it closes what was opened.
    ///
    /// # Errors
    /// [`Fault::Resolve`], [`Fault::ConnectRefused`], [`Fault::ConnectTimeout`] or [`Fault::UpstreamTls`].
    pub async fn dial(&self) -> Result<Io, ConnectionError> {
        Ok(self.dial_for(Header::Own).await?.0)
    }

    /// Connects on behalf of a client, which the service is told of if it is told of anybody. What comes with the
    /// connection is to be kept until it has answered.
    pub(super) async fn dial_for(&self, client: Header) -> Result<(Io, Option<Own>), ConnectionError> {
        let by = Instant::now() + self.deadline;
        if let Some(path) = self.target.unix_path() {
            let mut unix = unix(path, by).await?;
            self.announce(&mut unix, client).await?;
            return Ok((Io::Unix(unix), None));
        }
        let addresses = timeout_at(by, self.resolve()).await.map_err(late)??;
        let mut tcp = race::connect(&addresses, by).await?;
        let own = Own::of(&self.circle, &tcp);
        tune(&tcp, &self.tcp);
        self.announce(&mut tcp, client).await?;
        match &self.tls {
            None => Ok((Io::Plain(tcp), own)),
            Some(tls) => Ok((self.secure(tls, tcp, by).await?, own)),
        }
    }

    /// The header is the first thing on the wire, before TLS. An empty socket takes it at once.
    async fn announce(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        client: Header,
    ) -> Result<(), ConnectionError> {
        let Some(version) = self.announce else { return Ok(()) };
        let written = to.write_all(&proxy_protocol::write(version, client)).await;
        written.map_err(|error| ConnectionError::new(Fault::UpstreamClosed, error))
    }

    async fn secure(&self, tls: &Secure, tcp: TcpStream, by: Instant) -> Result<Io, ConnectionError> {
        let connector = TlsConnector::from(tls.config.load());
        let Ok(shaken) = timeout_at(by, connector.connect(tls.name.clone(), tcp)).await else {
            self.figures.outcome(Handshake::Timeout).add();
            return Err(ConnectionError::new(Fault::UpstreamTls, "the handshake took too long"));
        };
        match shaken {
            Ok(stream) => {
                self.figures.succeeded(stream.get_ref().1);
                Ok(Io::Tls(Box::new(TlsStream::Client(stream))))
            }
            Err(error) => {
                self.figures.outcome(Handshake::of(&error)).add();
                Err(ConnectionError::new(Fault::UpstreamTls, error))
            }
        }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectionError> {
        let found = lookup_host((self.target.host(), self.target.port()))
            .await
            .map_err(|error| ConnectionError::new(Fault::Resolve, error))?;
        Ok(found.collect())
    }
}

async fn unix(path: &Path, by: Instant) -> Result<UnixStream, ConnectionError> {
    let connected = timeout_at(by, UnixStream::connect(path)).await.map_err(late)?;
    let named = |error| format!("{}: {error}", path.display());
    connected.map_err(|error| ConnectionError::new(Fault::ConnectRefused, named(error)))
}

fn late(elapsed: tokio::time::error::Elapsed) -> ConnectionError {
    ConnectionError::new(Fault::ConnectTimeout, elapsed)
}

/// Sets the options every connection has, on either side: no Nagle delay, keep-alive, user timeout. A socket that
/// refuses one (its peer may be gone already) is used as it is.
pub(super) fn tune(socket: &TcpStream, settings: &Tcp) {
    let socket = SockRef::from(socket);
    let keepalive =
        TcpKeepalive::new().with_time(settings.keepalive).with_interval(settings.keepalive_interval);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(settings.user_timeout)));
    if let Err(error) = set {
        tracing::debug!(%error, "a socket option was refused");
    }
}

/// The dialer as a connection pool wants to see it.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<Dialer>);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Noted>;
    type Error = ConnectionError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    /// The pool asks for the host that requests were addressed to: ours, at the port that is meant.
    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = match uri.port_u16() {
            Some(port) if port != self.0.target.port() => Arc::new(self.0.at_port(port)),
            _ => Arc::clone(&self.0),
        };
        Box::pin(async move {
            let (io, own) = dialer.dial_for(Header::Own).await?;
            Ok(TokioIo::new(Noted::new(io, own)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tuned_socket_frees_what_vanished() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let settings = Tcp::default();
        tune(&tcp, &settings);
        let socket = SockRef::from(&tcp);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), settings.keepalive);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(settings.user_timeout));
    }
}
