//! The admin listener on a thread of its own: the API, and what beats once a second for its figures.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::Notify;

use super::console::Console;
use super::{StartError, Tuning, notices, runtime};
use crate::admin;
use crate::admin::api::{Access, Api, Desk, Token};
use crate::config::{Config, Credential};
use crate::proxy::{Phase, Running};

/// Ends the listener and its connections when dropped.
pub(super) struct Listener {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    pub(super) address: SocketAddr,
    _notices: Option<notices::Running>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the admin thread had panicked");
        }
    }
}

/// Starts it.
pub(super) fn start(
    config: &Config,
    tuning: &Tuning,
    running: &Running,
    console: Console,
) -> Result<Option<Listener>, StartError> {
    if tuning.quiet {
        return Ok(None);
    }
    let address = config.ops.admin_listen;
    let listener = TcpListener::bind(address).map_err(|error| StartError::Admin(address, error))?;
    let address = listener.local_addr().map_err(StartError::Thread)?;
    listener.set_nonblocking(true).map_err(StartError::Thread)?;
    let signal = running.drain_signal();
    let drain = Arc::new(move || signal.advance(Phase::Settling));
    let access = Arc::new(access(config, address));
    let notices = notices::open(config)?;
    let links = notices.as_ref().and_then(|notices| notices.links.clone());
    let notices = notices.map(|notices| notices::start(notices, console.eyes())).transpose()?;
    let host = links.as_ref().map(|links| links.host().to_owned());
    let console = Arc::new(console.with_links(links));
    let desk = Arc::clone(&console);
    let desk = Desk::new(move |ask| Box::pin(Arc::clone(&desk).answer(ask)));
    let api = Api::new(Arc::clone(&access), desk).with_links(host.as_deref());
    let pump = api.events.clone().pump(api.desk.clone());
    let router = admin::Control { access, drain }.router().merge(admin::ui::router()).merge(api.router());
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let runtime = runtime().map_err(StartError::Thread)?;
    let life = move || {
        runtime.block_on(async move {
            let beat = tokio::spawn(console.beat());
            let pump = tokio::spawn(pump);
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => admin::serve(listener, router, stopped.notified()).await,
                Err(error) => tracing::error!(%error, "the admin listener cannot be used"),
            }
            beat.abort();
            pump.abort();
        });
    };
    let thread =
        std::thread::Builder::new().name("admin".to_owned()).spawn(life).map_err(StartError::Thread)?;
    tracing::info!(listener = "admin", addr = %address, "listening");
    Ok(Some(Listener { stop, thread: Some(thread), address, _notices: notices }))
}

fn access(config: &Config, address: SocketAddr) -> Access {
    let token = |credential: &Option<Credential>| credential.as_ref().map(|c| Token::new(c.secret.expose()));
    Access {
        operate: token(&config.ops.admin_token),
        view: token(&config.ops.admin_view_token),
        loopback: address.ip().is_loopback(),
    }
}
