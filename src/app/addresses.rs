//! Where the parts of a running process listen, and how that is told.

use std::net::SocketAddr;

use crate::proxy;

/// Where the parts of a running process listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients connect here.
    pub proxy: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub metrics: Option<SocketAddr>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
}

impl Addresses {
    /// Where everything listens, said in the log.
    pub(super) fn told(
        running: &proxy::Running,
        metrics: Option<SocketAddr>,
        admin: Option<&super::control::Listener>,
    ) -> Self {
        let addresses =
            Self { proxy: running.local_addr(), metrics, admin: admin.map(|listener| listener.address) };
        addresses.tell();
        addresses
    }

    fn tell(self) {
        tracing::info!(listener = "proxy", addr = %self.proxy, "listening");
        if let Some(addr) = self.metrics {
            tracing::info!(listener = "metrics", %addr, "listening");
        }
    }
}
