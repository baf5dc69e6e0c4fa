//! From a name to an open WebSocket: DNS, TCP, TLS, upgrade, all within one limit of time.
//! What goes wrong is told in the link's words; no error text of a lower layer gets out, as some quote the request.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::realtime::link::ConnectFailure;
use crate::realtime::url::ConnectRequest;

/// Which certificates are trusted.
#[derive(Clone, Debug, Default)]
pub enum Tls {
    /// Those of the operating system (`SSL_CERT_FILE` and `SSL_CERT_DIR` are heeded).
    #[default]
    Native,
    /// Exactly these.
    Roots(Arc<RootCertStore>),
}

/// An open socket over either transport.
pub(super) type Socket = WebSocketStream<Box<dyn Transport>>;

/// TCP, or TLS over it.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Opens sockets.
pub(super) struct Dialer {
    tls: Tls,
    /// Made at the first TLS connection: reading the native roots takes a while.
    connector: Option<TlsConnector>,
    timeout: Duration,
}

impl Dialer {
    pub(super) const fn new(tls: Tls, timeout: Duration) -> Self {
        Self { tls, connector: None, timeout }
    }

    /// One attempt.
    pub(super) fn dial(
        &mut self,
        request: ConnectRequest,
    ) -> impl Future<Output = Result<Box<Socket>, ConnectFailure>> + Send + 'static {
        if request.tls && self.connector.is_none() {
            self.connector = connector(&self.tls);
        }
        let connector = self.connector.clone().filter(|_| request.tls);
        let timeout = self.timeout;
        async move {
            let attempt = Box::pin(attempt(request, connector));
            tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(ConnectFailure::Timeout))
        }
    }
}

async fn attempt(
    request: ConnectRequest,
    connector: Option<TlsConnector>,
) -> Result<Box<Socket>, ConnectFailure> {
    let upgrade = upgrade(&request)?;
    let address = (request.host.as_str(), request.port);
    let tcp = TcpStream::connect(address).await.map_err(|_| ConnectFailure::Unreachable)?;
    // Batches are flushed whole; waiting for more would only add latency.
    tcp.set_nodelay(true).map_err(|_| ConnectFailure::Unreachable)?;
    let transport: Box<dyn Transport> = if request.tls {
        let connector = connector.ok_or(ConnectFailure::Certificate)?;
        let name = ServerName::try_from(request.host).map_err(|_| ConnectFailure::Unreachable)?;
        Box::new(connector.connect(name, tcp).await.map_err(|error| tls_failure(&error))?)
    } else {
        Box::new(tcp)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    match client_async_with_config(upgrade, transport, Some(config)).await {
        Ok((socket, _)) => Ok(Box::new(socket)),
        Err(WsError::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = body.get(..BODY_BYTES_MAX).unwrap_or(body);
            let body = String::from_utf8_lossy(body).into_owned();
            Err(ConnectFailure::Refused { status: response.status().as_u16(), body })
        }
        Err(_) => Err(ConnectFailure::Unreachable),
    }
}

fn upgrade(request: &ConnectRequest) -> Result<Request, ConnectFailure> {
    let mut upgrade = request.url.as_str().into_client_request().map_err(|_| ConnectFailure::BadKey)?;
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_str(value).map_err(|_| ConnectFailure::BadKey)?;
        value.set_sensitive(true);
        upgrade.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(upgrade)
}

fn connector(tls: &Tls) -> Option<TlsConnector> {
    let roots = match tls {
        Tls::Roots(roots) => Arc::clone(roots),
        Tls::Native => {
            let mut roots = RootCertStore::empty();
            let (_, ignored) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if ignored > 0 {
                tracing::debug!(ignored, "some native root certificates could not be read");
            }
            Arc::new(roots)
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

fn tls_failure(error: &io::Error) -> ConnectFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => ConnectFailure::Certificate,
        _ => ConnectFailure::Unreachable,
    }
}

/// The default of 128 KiB is taken at once; broadcasts are mostly smaller than this.
const READ_BUFFER_BYTES: usize = 8 << 10;
/// The server's frames are below 5 MB.
const MESSAGE_BYTES_MAX: usize = 6_000_000;
/// Of a refusal's body: Realtime's are shorter.
const BODY_BYTES_MAX: usize = 1_024;
