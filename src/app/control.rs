//! The admin listener on a thread of its own. There is none without a token: nothing may be changed without one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::Notify;

use super::{StartError, Tuning, runtime};
use crate::admin;
use crate::config::Config;
use crate::proxy::{Phase, Running};

/// Ends the listener and its connections when dropped.
pub(super) struct Listener {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    pub(super) address: SocketAddr,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the admin thread had panicked");
        }
    }
}

/// Starts it where there is a token.
pub(super) fn start(
    config: &Config,
    tuning: &Tuning,
    running: &Running,
) -> Result<Option<Listener>, StartError> {
    let Some(token) = config.ops.admin_token.as_ref().filter(|_| !tuning.quiet) else { return Ok(None) };
    let address = config.ops.admin_listen;
    let listener = TcpListener::bind(address).map_err(|error| StartError::Admin(address, error))?;
    let address = listener.local_addr().map_err(StartError::Thread)?;
    listener.set_nonblocking(true).map_err(StartError::Thread)?;
    let signal = running.drain_signal();
    let drain = Arc::new(move || signal.advance(Phase::Settling));
    let router = admin::Control { token: token.secret.expose().into(), drain }.router();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let runtime = runtime().map_err(StartError::Thread)?;
    let life = move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => admin::serve(listener, router, stopped.notified()).await,
                Err(error) => tracing::error!(%error, "the admin listener cannot be used"),
            }
        });
    };
    let thread =
        std::thread::Builder::new().name("admin".to_owned()).spawn(life).map_err(StartError::Thread)?;
    tracing::info!(listener = "admin", addr = %address, "listening");
    Ok(Some(Listener { stop, thread: Some(thread), address }))
}
