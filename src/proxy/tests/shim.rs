//! TLS put around plain sockets, outside the proxy: what a test says to a plain socket reaches the proxy under TLS,
//! ends included (FIN as close_notify and FIN, reset as reset), so that the same test speaks to both.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// What stands behind the door of a shim.
#[derive(Clone)]
pub(super) enum Beyond {
    /// Plain in, TLS out: for clients of the proxy.
    Tls(Arc<rustls::ClientConfig>),
    /// TLS in, plain out: for its service.
    Plain(Arc<rustls::ServerConfig>),
}

/// Opens a door to `to`. It stays open as long as the process lives.
pub(super) fn door(to: SocketAddr, beyond: Beyond) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((near, _)) = listener.accept().await {
                let beyond = beyond.clone();
                tokio::spawn(async move { pass(near, to, beyond).await.unwrap_or(()) });
            }
        });
    });
    address
}

/// One connection.
async fn pass(near: TcpStream, to: SocketAddr, beyond: Beyond) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    let connect = async || {
        let far = TcpStream::connect(to).await?;
        far.set_nodelay(true)?;
        std::io::Result::Ok(far)
    };
    let (plain, tls) = match beyond {
        Beyond::Tls(config) => {
            let name = ServerName::try_from("localhost").unwrap();
            let tls = TlsConnector::from(config).connect(name, connect().await?).await?;
            (near, TlsStream::Client(tls))
        }
        Beyond::Plain(config) => {
            let tls = TlsAcceptor::from(config).accept(near).await?;
            (connect().await?, TlsStream::Server(tls))
        }
    };
    // Second handles, to say how each socket shall end.
    let plain = plain.into_std()?;
    let ends = [plain.try_clone()?, handle(tls.get_ref().0)?];
    let (plain_read, plain_write) = tokio::io::split(TcpStream::from_std(plain)?);
    let (tls_read, tls_write) = tokio::io::split(tls);
    let up = carry(plain_read, tls_write);
    let down = carry(tls_read, plain_write);
    if tokio::try_join!(up, down).is_err() {
        for end in &ends {
            socket2::SockRef::from(end).set_linger(Some(Duration::ZERO))?;
        }
    }
    Ok(())
}

fn handle(tcp: &TcpStream) -> std::io::Result<std::net::TcpStream> {
    Ok(socket2::SockRef::from(tcp).try_clone()?.into())
}

/// One direction, to its end. An error is a reset.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = match from.read(&mut buffer).await {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..n).unwrap_or(&[])).await?;
        to.flush().await?;
    }
}
