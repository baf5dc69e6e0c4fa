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
    /// Where everything listens; what was not said yet is said in the log.
    pub(super) fn told(
        running: &proxy::Running,
        metrics: Option<SocketAddr>,
        admin: Option<&super::control::Listener>,
    ) -> Self {
        let addresses =
            Self { proxy: running.local_addr(), metrics, admin: admin.map(|listener| listener.address) };
        if let Some(addr) = metrics {
            tracing::info!(listener = "metrics", %addr, "listening");
        }
        addresses
    }

    /// Clients are served from now on, whatever else still has to start.
    pub(super) fn serving(running: &proxy::Running) {
        tracing::info!(listener = "proxy", addr = %running.local_addr(), "listening");
    }
}
