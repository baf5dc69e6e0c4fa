//! Connecting to the service or to Supabase: names, addresses, TLS, socket options, all within one deadline.
//! Addresses are tried in turn, each with its share of the time left, so that one dead address cannot use it all.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};

use super::config::Tcp;
use super::error::{ConnectionError, Fault};
use super::io::Io;
use super::target::Target;

/// Opens connections to one target.
pub struct Dialer {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    deadline: Duration,
    tcp: Tcp,
}

/// TLS is asked for and cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The host in the URL is not a name a certificate can carry.
    #[error("the host is no valid TLS server name")]
    ServerName,
    /// No root certificate in the system's store.
    #[error("no root certificates found")]
    Roots,
    /// rustls does not want these settings.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl Dialer {
    /// Prepares for `target`. `tls` is used if the target asks for TLS; `None` means the system's roots.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be set up.
    pub fn new(
        target: Target,
        tls: Option<Arc<rustls::ClientConfig>>,
        deadline: Duration,
        tcp: Tcp,
    ) -> Result<Self, TlsSetupError> {
        let tls = if target.tls() {
            let config = match tls {
                Some(config) => config,
                None => Arc::new(system_roots()?),
            };
            let name =
                ServerName::try_from(target.host().to_owned()).map_err(|_| TlsSetupError::ServerName)?;
            Some((TlsConnector::from(config), name))
        } else {
            None
        };
        Ok(Self { target, tls, deadline, tcp })
    }

    /// The place this leads to.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Connects. Cancel-safe: dropping it closes what was opened.
    ///
    /// # Errors
    /// [`Fault::Resolve`], [`Fault::ConnectRefused`], [`Fault::ConnectTimeout`] or [`Fault::UpstreamTls`].
    pub async fn dial(&self) -> Result<Io, ConnectionError> {
        let by = Instant::now() + self.deadline;
        let addresses = timeout_at(by, self.resolve()).await.map_err(late)??;
        let tcp = connect_first(&addresses, by).await?;
        tune(&tcp, &self.tcp);
        let Some((connector, name)) = &self.tls else { return Ok(Io::Plain(tcp)) };
        let stream = timeout_at(by, connector.connect(name.clone(), tcp))
            .await
            .map_err(late)?
            .map_err(|error| ConnectionError::new(Fault::UpstreamTls, error))?;
        Ok(Io::Tls(Box::new(TlsStream::Client(stream))))
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectionError> {
        let found = lookup_host((self.target.host(), self.target.port()))
            .await
            .map_err(|error| ConnectionError::new(Fault::Resolve, error))?;
        Ok(found.collect())
    }
}

async fn connect_first(addresses: &[SocketAddr], by: Instant) -> Result<TcpStream, ConnectionError> {
    let mut last = ConnectionError::from(Fault::Resolve);
    for (tried, address) in addresses.iter().enumerate() {
        let still = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = by.saturating_duration_since(Instant::now()) / still;
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => connect_error(error),
            Err(elapsed) => late(elapsed),
        };
    }
    Err(last)
}

fn connect_error(error: io::Error) -> ConnectionError {
    let fault =
        if error.kind() == io::ErrorKind::TimedOut { Fault::ConnectTimeout } else { Fault::ConnectRefused };
    ConnectionError::new(fault, error)
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

fn system_roots() -> Result<rustls::ClientConfig, TlsSetupError> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(TlsSetupError::Roots);
    }
    client_tls(roots)
}

/// TLS towards a service whose certificate chains to one of `roots`; ring provider, HTTP/1.1 only.
///
/// # Errors
/// When rustls refuses its own default versions, which a build without them would.
pub fn client_tls(roots: rustls::RootCertStore) -> Result<rustls::ClientConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The dialer as a connection pool wants to see it.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<Dialer>);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Io>;
    type Error = ConnectionError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = Arc::clone(&self.0);
        Box::pin(async move { dialer.dial().await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        let by = Instant::now() + Duration::from_secs(30);
        let tcp = connect_first(&[closed, address], by).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), address);
        let error = connect_first(&[closed, closed], by).await.unwrap_err();
        assert_eq!(error.fault, Fault::ConnectRefused);
        assert_eq!(connect_first(&[], by).await.unwrap_err().fault, Fault::Resolve);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_use_up_the_time_of_the_next() {
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let dead = full.local_addr().unwrap().as_socket().unwrap();
        let _filler = std::net::TcpStream::connect(dead).unwrap();
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        let by = Instant::now() + Duration::from_secs(2);
        let tcp = connect_first(&[dead, address], by).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), address);
    }

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
