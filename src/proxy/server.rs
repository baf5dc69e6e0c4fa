//! Starting and stopping: the listener, the threads, and the handle that the rest of the process holds.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use super::accept::Acceptor;
use super::admission::{Addresses, Pace};
use super::circle::Circle;
use super::config::Config;
use super::counters::Counters;
use super::dial::Dialer;
use super::drain::{Drain, DrainPlan, DrainReport, Phase};
use super::error::ConnectionError;
use super::tls::TlsSetupError;
use super::verdict::Decide;
use super::worker::{self, Mirroring, Shared, WorkerHandle};

/// Connections the kernel holds for us while the acceptor is busy or out of descriptors.
const BACKLOG: i32 = 4096;

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A thread or its runtime cannot be made.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// TLS towards the service or Supabase cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsSetupError),
}

/// The way in.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds, starts the threads and serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: Config, decide: Decide, mirroring: Mirroring) -> Result<Running, StartError> {
        let listener =
            listen(config.listen).map_err(|source| StartError::Listen { address: config.listen, source })?;
        Self::start_on(listener, config, decide, mirroring)
    }

    /// As [`Server::start`], on a listener that is there already; `config.listen` is not looked at.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start_on(
        listener: TcpListener,
        config: Config,
        decide: Decide,
        mirroring: Mirroring,
    ) -> Result<Running, StartError> {
        let local_addr = listener.local_addr().map_err(StartError::Thread)?;
        let shared = Arc::new(share(config, decide, mirroring)?);
        #[expect(clippy::disallowed_methods, reason = "the shell where beats begin to be counted")]
        let origin = Instant::now();
        let mut running = Running { local_addr, origin, shared, workers: Vec::new(), threads: Vec::new() };
        running.start_threads(listener).map_err(StartError::Thread)?;
        Ok(running)
    }
}

pub(super) fn share(config: Config, decide: Decide, mirroring: Mirroring) -> Result<Shared, StartError> {
    let dialer = |target: &super::target::Target, tls| {
        Dialer::new(target.clone(), tls, config.deadlines.connect, config.tcp)
    };
    let upstream = dialer(&config.upstream, config.upstream_tls.clone())?;
    let circle = Arc::new(Circle::default());
    let upstream = upstream.named(config.upstream_name.clone()).announcing(config.announce).noting(&circle);
    let upstream = Arc::new(upstream);
    // The service's own roots do not vouch for Supabase.
    let native = config.native.as_ref().map(|native| dialer(native.target(), None)).transpose()?;
    let workers = match config.workers {
        Some(count) => count.max(1),
        None => std::thread::available_parallelism().map_err(StartError::Thread)?.get(),
    };
    let addresses = config.limits.connections_per_address.map(Addresses::new);
    let pace = config.limits.upgrades_per_second.map(Pace::new);
    Ok(Shared {
        config,
        decide,
        counters: Counters::default(),
        drain: Drain::default(),
        upstream,
        circle,
        native,
        mirroring,
        sessions: (0..workers).map(|_| Arc::default()).collect(),
        addresses,
        pace,
        left: Notify::new(),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A proxy at work. Dropping it cuts everything off; [`Running::drain`] does not.
pub struct Running {
    local_addr: SocketAddr,
    origin: Instant,
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    fn start_threads(&mut self, listener: TcpListener) -> io::Result<()> {
        for index in 0..self.shared.sessions.len() {
            let (seat, handle) = worker::prepare(index, &self.shared, self.origin)?;
            self.workers.push(handle);
            self.spawn(format!("data-{index}"), move || seat.run())?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let workers = self.workers.clone();
        let acceptor = Acceptor { listener, runtime, workers, shared: Arc::clone(&self.shared) };
        self.spawn("accept".to_owned(), move || acceptor.run())
    }

    fn spawn(&mut self, name: String, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name).spawn(life)?);
        Ok(())
    }

    /// Where it listens; the port is the real one even if 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What is counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// What all workers share, for rooms that outlive this handle.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The workers' inboxes, in the order of their indices.
    #[must_use]
    pub fn workers(&self) -> &[WorkerHandle] {
        &self.workers
    }

    /// For each worker, how long ago it last said that it is alive: for `/healthz`. A healthy one says so every
    /// [`worker::BEAT`].
    #[must_use]
    pub fn health(&self, now: Instant) -> Vec<Duration> {
        self.workers.iter().map(|worker| worker.silence(self.origin, now)).collect()
    }

    /// Connects to the service and hangs up: for `/readyz`.
    ///
    /// # Errors
    /// Why the service cannot be reached.
    pub async fn probe_upstream(&self) -> Result<(), ConnectionError> {
        self.shared.upstream.dial().await.map(drop)
    }

    /// The stop signal, for rooms that want to see it or give it.
    #[must_use]
    pub fn drain_signal(&self) -> Drain {
        self.shared.drain.clone()
    }

    /// Stops without cutting anyone off: not ready, settle, close the listener, let plain requests finish, tell the
    /// sessions, wait for them, all inside the plan's grace. May be called from any runtime; a second call joins
    /// the first one's phases. Dropping the future leaves the proxy in the phase it has reached.
    pub async fn drain(&self, plan: DrainPlan) -> DrainReport {
        let began = tokio::time::Instant::now();
        let deadline = began + plan.grace;
        let counters = &self.shared.counters;
        let plain = || counters.plain_connections();
        let signal = &self.shared.drain;
        signal.advance(Phase::Settling);
        tokio::time::sleep_until(deadline.min(began + plan.settle)).await;
        signal.advance(Phase::Finishing);
        self.wait_until(|| plain() == 0, deadline.min(began + plan.settle + plan.finish)).await;
        signal.advance(Phase::Closing);
        self.wait_until(|| counters.connections_open.value() == 0, deadline).await;
        let sessions_left = counters.sessions();
        let plain_left = plain();
        signal.advance(Phase::Expired);
        DrainReport { took: began.elapsed(), plain_left, sessions_left }
    }

    async fn wait_until(&self, gone: impl Fn() -> bool, deadline: tokio::time::Instant) {
        loop {
            let mut left = std::pin::pin!(self.shared.left.notified());
            left.as_mut().enable();
            if gone() || tokio::time::timeout_at(deadline, left).await.is_err() {
                return;
            }
        }
    }

    /// Cuts off what is left and waits for the threads to end.
    pub fn stop(mut self) {
        self.shared.drain.advance(Phase::Expired);
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread of the proxy had panicked");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.drain.advance(Phase::Expired);
    }
}
