//! What can keep the process from starting.

/// Why the process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] super::SettingError),
    /// The proxy did not start.
    #[error("the proxy cannot start")]
    Proxy(#[from] crate::proxy::StartError),
    /// The metrics listener cannot be bound.
    #[error("cannot listen on {0} (CROSSFADE_METRICS_LISTEN)")]
    Metrics(std::net::SocketAddr, #[source] std::io::Error),
    /// The admin listener cannot be bound.
    #[error("cannot listen on {0} (CROSSFADE_ADMIN_LISTEN)")]
    Admin(std::net::SocketAddr, #[source] std::io::Error),
    /// `CROSSFADE_STATE_DIR` cannot be used.
    #[error("cannot write into {} (CROSSFADE_STATE_DIR)", .0.display())]
    State(std::path::PathBuf, #[source] std::io::Error),
    /// A thread or its runtime cannot be made.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The process was asked to stop while it started, and the start did not end within `CROSSFADE_DRAIN_GRACE`.
    #[error("the start hangs, and the process was asked to stop")]
    Late,
    /// The metrics contradict each other (a bug).
    #[error("the metrics cannot be registered")]
    Registry(#[from] prometheus::Error),
}
