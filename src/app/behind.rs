//! The side thread: what it is built from, and how it is started.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::figures::SideFigures;
use super::ops::{Links, View, Word};
use super::side::{self, Book, Side};
use super::{StartError, Tuning, seed, settings};
use crate::budget::Budget;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::mirror::batch::{self, Batcher};
use crate::mirror::flight::Epoch;
use crate::mirror::publish::Publisher;
use crate::mirror::settings::Settings as PublisherSettings;
use crate::proxy::Running;
use crate::realtime::client;
use crate::realtime::link::Join;
use crate::spool::disk;
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
    pub(super) ledger: Arc<Ledger>,
    pub(super) disk: Arc<disk::Figures>,
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
        let spool = settings::spool(config, &instance)?.map(|settings| {
            let (port, plug) = disk::connect(self.disk);
            disk::spawn(settings, plug).map(|thread| (side::Spool::new(port, self.ledger, epoch.at), thread))
        });
        let (spool, disk) = spool.transpose().map_err(StartError::Thread)?.unzip();
        publisher.spools = spool.is_some();
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
                let mut intake = side::Intake::new(classifier, redactor, budget, epoch);
                intake.set_spools(spool.is_some());
                let side = Side {
                    tap: receiver,
                    intake,
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
                    spool,
                    state: Book::default(),
                };
                side.run(flush).await;
            });
            if disk.is_some_and(|disk| disk.join().is_err()) {
                tracing::error!("the disk thread had panicked");
            }
        };
        std::thread::Builder::new().name("side".to_owned()).spawn(life).map_err(StartError::Thread)
    }
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
