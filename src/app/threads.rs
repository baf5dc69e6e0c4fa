//! The threads behind the proxy: `side` with everything behind the tap, `ops` with breaker, metrics and health.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::figures::SideFigures;
use super::ops::{Links, Ops, View, Word};
use super::side::{self, Book, Side};
use super::{Eyes, StartError, Tuning, seed, settings};
use crate::admin::{self, Health};
use crate::budget::Budget;
use crate::config::Config;
use crate::mirror::batch::{self, Batcher};
use crate::mirror::flight::Epoch;
use crate::mirror::publish::Publisher;
use crate::mirror::settings::Settings as PublisherSettings;
use crate::proxy::Running;
use crate::realtime::client;
use crate::realtime::link::Join;
use crate::tap::TapReceiver;

/// What the side thread is built from.
pub(super) struct Behind<'a> {
    pub(super) config: &'a Config,
    pub(super) tuning: &'a Tuning,
    pub(super) link: crate::realtime::link::Config,
    pub(super) words: mpsc::Sender<Word>,
    pub(super) view: watch::Receiver<View>,
    pub(super) asked: mpsc::Receiver<crate::breaker::Probe>,
    pub(super) figures: Arc<SideFigures>,
}

impl Behind<'_> {
    pub(super) fn start(
        self,
        running: &Arc<Running>,
        (receiver, budget, epoch): (TapReceiver, Arc<Budget>, Epoch),
        stop: Arc<Notify>,
    ) -> Result<JoinHandle<()>, StartError> {
        let config = self.config;
        let (classifier, redactor) = settings::mirror(config)?;
        let instance = format!("{}-{:08x}", config.service.pod, seed() & 0xFFFF_FFFF);
        let mut publisher = PublisherSettings::new(&instance, seed());
        publisher.deadline = config.hot.deadline;
        let topic = settings::topic(config);
        let flush = self.tuning.flush.unwrap_or(Duration::from_secs(5));
        let workers = running.workers().to_vec();
        let key_file = config.supabase.as_ref().and_then(|supabase| supabase.key.file.clone());
        let limits = batch::Limits { bytes: config.mirror.buffer };
        let runtime = runtime().map_err(StartError::Thread)?;
        let life = move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let join = |receive: bool| Join { ack: !receive, ..Join::new(&topic, true) };
                let publish = client::start(client::Config::new(self.link.clone(), seed()));
                let readback = client::start(client::Config::new(self.link, seed()));
                for (handle, receive) in [(&publish.0, false), (&readback.0, true)] {
                    if handle.commands().try_join(side::TOPIC, join(receive)).is_err() {
                        tracing::error!("a fresh link takes no command (a bug)");
                    }
                }
                tokio::task::spawn_local(publish.1);
                tokio::task::spawn_local(readback.1);
                let side = Side {
                    tap: receiver,
                    intake: side::Intake::new(classifier, redactor, budget, epoch),
                    batcher: Batcher::new(limits),
                    publisher: Publisher::new(publisher, epoch),
                    publish: publish.0,
                    readback: readback.0,
                    links: Links::default(),
                    limit_bytes: batch::BATCH_BYTES_MAX,
                    view: self.view,
                    probes: self.asked,
                    ops: self.words,
                    workers,
                    figures: self.figures,
                    stop,
                    key_file,
                    state: Book::default(),
                };
                side.run(flush).await;
            });
        };
        std::thread::Builder::new().name("side".to_owned()).spawn(life).map_err(StartError::Thread)
    }
}

/// Starts the ops thread: breaker and metrics listener.
pub(super) fn start_ops(
    config: &Config,
    tuning: &Tuning,
    machine: Ops,
    (running, eyes): (&Arc<Running>, &Eyes),
    stop: Arc<Notify>,
) -> Result<(JoinHandle<()>, Option<std::net::SocketAddr>), StartError> {
    let address = config.ops.metrics_listen;
    let listener = (!tuning.quiet).then(|| std::net::TcpListener::bind(address)).transpose();
    let listener = listener.map_err(|error| StartError::Metrics(address, error))?;
    let bound = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    if let Some(listener) = &listener {
        listener.set_nonblocking(true).map_err(StartError::Thread)?;
    }
    let own = eyes.clone();
    let registry = admin::registry(move || own.snapshot(side::clock()))?;
    let health = health(running);
    let probing = Arc::clone(&health.1);
    let served = admin::Ops { registry, health: health.0 };
    let running = Arc::clone(running);
    let runtime = runtime().map_err(StartError::Thread)?;
    let life = move || {
        runtime.block_on(async move {
            let heart = tokio::spawn(machine.run());
            let upstream = tokio::spawn(async move {
                loop {
                    let reachable = running.probe_upstream().await.is_ok();
                    probing.store(reachable, Ordering::Relaxed);
                    tokio::time::sleep(if reachable { UPSTREAM_EVERY } else { UPSTREAM_RETRY }).await;
                }
            });
            if let Some(listener) =
                listener.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok())
            {
                admin::serve(listener, served, stop.notified()).await;
            } else {
                stop.notified().await;
            }
            upstream.abort();
            heart.abort();
        });
    };
    let thread =
        std::thread::Builder::new().name("ops".to_owned()).spawn(life).map_err(StartError::Thread)?;
    Ok((thread, bound))
}

/// How often the way to the service is tried for `/readyz`.
const UPSTREAM_EVERY: Duration = Duration::from_secs(5);
const UPSTREAM_RETRY: Duration = Duration::from_millis(500);
/// A data worker that has been silent for this long needs a restart.
const WORKER_SILENCE_MAX: Duration = Duration::from_secs(10);

fn health(running: &Arc<Running>) -> (Health, Arc<AtomicBool>) {
    let reachable = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reachable);
    let (live, ready) = (Arc::clone(running), running.drain_signal());
    let health = Health {
        live: Arc::new(move || {
            let silent = live.health(side::clock()).into_iter().any(|silence| silence > WORKER_SILENCE_MAX);
            if silent { admin::Status::Failing("a data worker hangs") } else { admin::Status::Ok }
        }),
        ready: Arc::new(move || {
            if !ready.is_ready() {
                admin::Status::Failing("draining")
            } else if seen.load(Ordering::Relaxed) {
                admin::Status::Ok
            } else {
                admin::Status::Failing("the service cannot be reached")
            }
        }),
    };
    (health, reachable)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
