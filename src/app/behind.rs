//! The side thread: what it is built from, and how it is started.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::figures::SideFigures;
use super::ops::{Links, View, Word};
use super::side::{self, Book, Side};
use super::table::{self, TableFigures, TableOffer};
use super::{StartError, Tuning, seed, settings};
use crate::budget::Budget;
use crate::config::Config;
use crate::mirror::batch::{self, Batcher};
use crate::mirror::flight::Epoch;
use crate::mirror::governor::Governor;
use crate::mirror::publish::Publisher;
use crate::mirror::settings::Settings as PublisherSettings;
use crate::mirror::shard::Shard;
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
    pub(super) terms: crate::mirror::governor::Terms,
    pub(super) limit_bytes: u32,
    pub(super) table: Arc<TableFigures>,
}

impl Behind<'_> {
    pub(super) fn start(
        self,
        running: &Arc<Running>,
        (receiver, budget, epoch): (TapReceiver, Arc<Budget>, Epoch),
        stop: Arc<Notify>,
    ) -> Result<JoinHandle<()>, StartError> {
        let config = self.config;
        let machines = settings::mirror(config)?;
        let sampling = settings::sampling(config);
        let unread = Shard::Acked.topic(&config.service.name, &config.service.pod);
        let (governor, limit_bytes) = (Governor::new(self.terms, epoch.at), self.limit_bytes);
        let instance = format!("{}-{:08x}", config.service.pod, seed() & 0xFFFF_FFFF);
        let mut publisher = PublisherSettings::new(&instance, seed());
        publisher.deadline = config.hot.deadline;
        let topic = settings::topic(config);
        let flush = self.tuning.flush.unwrap_or(Duration::from_secs(5));
        let workers = running.workers().to_vec();
        let key_file = config.supabase.as_ref().and_then(|supabase| supabase.key.file.clone());
        let limits = batch::Limits { bytes: config.mirror.buffer };
        let (offer, table) = self.start_table(&instance, epoch, flush)?.unzip();
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
                if sampling.splits()
                    && publish
                        .0
                        .commands()
                        .try_join(side::ACKED_TOPIC, Join { ack: true, ..Join::new(&unread, true) })
                        .is_err()
                {
                    tracing::error!("a fresh link takes no second command (a bug)");
                }
                let acked = sampling.splits().then(|| side::Acked {
                    batcher: Batcher::new(limits),
                    publisher: Publisher::new(
                        PublisherSettings { readback: false, seed: seed(), ..publisher.clone() },
                        epoch,
                    ),
                });
                tokio::task::spawn_local(publish.1);
                tokio::task::spawn_local(readback.1);
                let side = Side {
                    tap: receiver,
                    intake: side::Intake::new(machines, budget, epoch, sampling).with_table(offer),
                    batcher: Batcher::new(limits),
                    publisher: Publisher::new(publisher, epoch),
                    acked,
                    governor,
                    publish: publish.0,
                    readback: readback.0,
                    links: Links::default(),
                    limit_bytes,
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
            // The table's last flush begins when the side has given up its end.
            if table.is_some_and(|table| table.join().is_err()) {
                tracing::error!("the table's thread had panicked");
            }
        };
        std::thread::Builder::new().name("side".to_owned()).spawn(life).map_err(StartError::Thread)
    }

    /// Starts the table sink where one is asked for.
    fn start_table(
        &self,
        instance: &str,
        epoch: Epoch,
        flush: Duration,
    ) -> Result<Option<(TableOffer, JoinHandle<()>)>, StartError> {
        let config = self.config;
        let Some(url) = settings::rows(config, &self.link)? else { return Ok(None) };
        let plan = table::Plan {
            url,
            endpoint: self.link.endpoint.clone(),
            key: self.link.key.clone(),
            key_file: config.supabase.as_ref().and_then(|supabase| supabase.key.file.clone()),
            wanted: settings::wanted(config),
            rate: config.mirror.table_rate,
            quarantine: config.mirror.table_quarantine.clone(),
            source: config.service.name.clone(),
            instance: instance.to_owned(),
            epoch,
            flush,
            seed: seed(),
            figures: Arc::clone(&self.table),
        };
        table::start(plan).map(Some).map_err(StartError::Thread)
    }
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
