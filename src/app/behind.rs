//! The side thread: what it is built from, and how it is started.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::events::{self, EventFigures, EventOffer};
use super::figures::SideFigures;
use super::ops::{Links, View, Word};
use super::report_rows;
use super::reports;
use super::side::{self, Book, EventPublisher, Side};
use super::table::{self, TableFigures, TableOffer};
use super::{StartError, Tuning, ending, parity, seed, settings};
use crate::budget::Budget;
use crate::config::{Config, MirrorFormat, Readback};
use crate::ledger::Ledger;
use crate::mirror::batch::{self, Batcher};
use crate::mirror::events::Events;
use crate::mirror::flight::Epoch;
use crate::mirror::governor::Governor;
use crate::mirror::publish::Publisher;
use crate::mirror::settings::Settings as PublisherSettings;
use crate::mirror::shard::Shard;
use crate::proxy::Running;
use crate::realtime::client;
use crate::realtime::link::Join;
use crate::spool::disk;
use crate::tap::TapReceiver;
use crate::validator::report::Report;

/// The side thread's way to the thread that posts reports, and that thread.
type ReportRows = (mpsc::Sender<Arc<Report>>, JoinHandle<()>);

/// What the side thread is built from.
pub(super) struct Behind<'a> {
    pub(super) config: &'a Config,
    pub(super) tuning: &'a Tuning,
    pub(super) link: crate::realtime::link::Config,
    pub(super) words: mpsc::Sender<Word>,
    pub(super) view: watch::Receiver<View>,
    pub(super) asked: mpsc::Receiver<crate::breaker::Probe>,
    pub(super) figures: Arc<SideFigures>,
    /// What the plan allows, and the largest batch in bytes.
    pub(super) plan: (crate::mirror::governor::Terms, u32),
    pub(super) table: Arc<TableFigures>,
    pub(super) events: Arc<EventFigures>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) disk: Arc<disk::Figures>,
    pub(super) proofs: Arc<reports::ProofFigures>,
    pub(super) fine: &'a super::tuning::Fine,
    pub(super) standing: watch::Receiver<Arc<super::flags::Standing>>,
}

/// Waits for threads that have been told to end.
fn joined(what: &'static str, threads: impl IntoIterator<Item = JoinHandle<()>>) {
    if threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count() > 0 {
        tracing::error!(what, "a thread behind the side had panicked");
    }
}

impl Behind<'_> {
    pub(super) fn start(
        self,
        running: &Arc<Running>,
        (receiver, budget, epoch, parity): (TapReceiver, Arc<Budget>, Epoch, Option<parity::Plan>),
        stop: Arc<Notify>,
    ) -> Result<JoinHandle<()>, StartError> {
        let config = self.config;
        let machines = settings::mirror(config)?;
        let sampling = settings::sampling(config);
        let unread = Shard::Acked.topic(&config.service.name, &config.service.pod);
        let (governor, limit_bytes) = (Governor::new(self.plan.0, epoch.at), self.plan.1);
        let instance = format!("{}-{:08x}", config.service.pod, seed() & 0xFFFF_FFFF);
        let mut publisher = PublisherSettings::new(&instance, seed());
        publisher.deadline = config.hot.deadline;
        let (spool, disk) = self.start_spool(&instance, epoch)?.unzip();
        publisher.spools = spool.is_some();
        let topic = settings::topic(config);
        let flush = self.tuning.flush.unwrap_or_else(|| ending::flush(config.drain.grace));
        let workers = running.workers().to_vec();
        let key_file = config.supabase.as_ref().and_then(|supabase| supabase.key.file.clone());
        let limits = batch::Limits { bytes: config.mirror.buffer };
        let (offer, table) = self.start_table(&instance, epoch, flush)?.unzip();
        let (sender, sending) = self.start_events(machines.0.topics(), flush)?.unzip();
        let maker = Events::new(&instance, config.mirror.events_max_age);
        let events = sender.map(|sender| EventPublisher::new(maker, epoch, sender));
        let (scene, writers) = self.watch_scene(&instance, epoch, flush)?;
        let parity = self.start_parity(parity, epoch)?;
        let shares = self.fine.shares.by_class();
        let runtime = runtime().map_err(StartError::Thread)?;
        let life = move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let topics = (topic, sampling.splits().then_some(unread));
                let (publish, readback) = join_links(self.link, topics);
                let acked = sampling.splits().then(|| acked(limits, &publisher, epoch));
                let intake = side::Intake::new(machines, budget, epoch, sampling);
                let mut intake = intake.with_table(offer).with_shares(shares);
                intake.set_parity(parity);
                intake.set_spools(spool.is_some());
                let side = Side {
                    tap: receiver,
                    intake,
                    batcher: Batcher::new(limits),
                    publisher: Publisher::new(publisher, epoch),
                    acked,
                    governor,
                    publish,
                    readback,
                    links: Links::default(),
                    limit_bytes,
                    view: self.view,
                    probes: self.asked,
                    ops: self.words,
                    workers,
                    figures: self.figures,
                    stop,
                    key_file,
                    spool,
                    events,
                    watch: side::Watch::new(scene),
                    state: Book::default(),
                };
                Box::pin(side.run(flush)).await;
            });
            // The table's last flush begins when the side has given up its end.
            joined("table", table);
            joined("events", sending);
            joined("reports", writers);
            joined("disk", disk);
        };
        std::thread::Builder::new().name("side".to_owned()).spawn(life).map_err(StartError::Thread)
    }

    /// What the validator watches, and the threads that take its reports where there is a place for them.
    fn watch_scene(
        &self,
        instance: &str,
        epoch: Epoch,
        flush: Duration,
    ) -> Result<(side::WatchScene, Vec<JoinHandle<()>>), StartError> {
        let config = self.config;
        let writer = config.ops.state_dir.as_ref().map(|state| {
            let unusable = |error| StartError::State(state.clone(), error);
            reports::start(state, Arc::clone(&self.proofs)).map_err(unusable)
        });
        let (disk, writer) = writer.transpose()?.unzip();
        let (rows, poster) = self.start_report_rows(instance, flush)?.unzip();
        let outbox = (disk.is_some() || rows.is_some()).then_some(reports::Outbox { disk, rows });
        let scene = side::WatchScene {
            names: (config.service.name.clone(), config.service.pod.clone()),
            src: instance.to_owned(),
            noise: self.fine.noise.clone(),
            epoch,
            standing: Some(self.standing.clone()),
            outbox,
            ledger: Arc::clone(&self.ledger),
            figures: Arc::clone(&self.proofs),
        };
        Ok((scene, writer.into_iter().chain(poster).collect()))
    }

    /// Starts the thread that posts reports as rows, where that is asked for.
    fn start_report_rows(&self, instance: &str, flush: Duration) -> Result<Option<ReportRows>, StartError> {
        let Some(url) = settings::report_rows(self.config, &self.link)? else { return Ok(None) };
        let plan = report_rows::Plan {
            url,
            endpoint: self.link.endpoint.clone(),
            key: self.link.key.clone(),
            key_file: self.config.supabase.as_ref().and_then(|supabase| supabase.key.file.clone()),
            instance: instance.to_owned(),
            flush,
            seed: seed(),
            figures: Arc::clone(&self.proofs),
        };
        report_rows::start(plan).map(Some).map_err(StartError::Thread)
    }

    /// Starts the thread that asks who may read, where that is compared.
    fn start_parity(
        &self,
        plan: Option<parity::Plan>,
        epoch: Epoch,
    ) -> Result<Option<parity::Watcher>, StartError> {
        let started = plan.map(|plan| plan.start(self.link.clone(), Arc::clone(&self.proofs), epoch.at));
        started.transpose().map_err(StartError::Thread)
    }

    /// Starts the spool where one is asked for.
    fn start_spool(
        &self,
        instance: &str,
        epoch: Epoch,
    ) -> Result<Option<(side::Spool, JoinHandle<()>)>, StartError> {
        let Some(settings) = settings::spool(self.config, instance)? else { return Ok(None) };
        let (port, plug) = disk::connect(Arc::clone(&self.disk));
        let thread = disk::spawn(settings, plug).map_err(StartError::Thread)?;
        Ok(Some((side::Spool::new(port, Arc::clone(&self.ledger), epoch.at), thread)))
    }

    /// Starts the events' thread where the format asks for it.
    fn start_events(
        &self,
        topics: Vec<String>,
        flush: Duration,
    ) -> Result<Option<(EventOffer, JoinHandle<()>)>, StartError> {
        let config = self.config;
        if config.mirror.format == MirrorFormat::Messages {
            return Ok(None);
        }
        // What is not read back costs no delivery: then events are not, either.
        let readback = (config.mirror.readback == Readback::All).then_some(topics);
        let plan = events::Plan {
            link: self.link.clone(),
            readback,
            key_file: config.supabase.as_ref().and_then(|supabase| supabase.key.file.clone()),
            max_age: config.mirror.events_max_age,
            limit_bytes: self.plan.1,
            flush,
            seed: seed(),
            figures: Arc::clone(&self.events),
        };
        events::start(plan).map(Some).map_err(StartError::Thread)
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
        let fine = settings::fine(config)?.table;
        let plan = table::Plan {
            url,
            endpoint: self.link.endpoint.clone(),
            key: self.link.key.clone(),
            key_file: config.supabase.as_ref().and_then(|supabase| supabase.key.file.clone()),
            wanted: settings::wanted(config),
            rate: fine.rate,
            quarantine: fine.quarantine,
            state: config.ops.state_dir.clone(),
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

/// Starts both links, with the topic that is read back and the one that is not. To be called on the side's runtime.
fn join_links(
    link: crate::realtime::link::Config,
    (topic, unread): (String, Option<String>),
) -> (client::Handle, client::Handle) {
    let join = |receive: bool| Join { ack: !receive, ..Join::new(&topic, true) };
    let publish = client::start(client::Config::new(link.clone(), seed()));
    let readback = client::start(client::Config::new(link, seed()));
    let mut joins = vec![(&publish.0, side::TOPIC, join(false)), (&readback.0, side::TOPIC, join(true))];
    if let Some(unread) = unread {
        joins.push((&publish.0, side::ACKED_TOPIC, Join { ack: true, ..Join::new(&unread, true) }));
    }
    for (handle, topic, join) in joins {
        if handle.commands().try_join(topic, join).is_err() {
            tracing::error!("a fresh link takes no command (a bug)");
        }
    }
    tokio::task::spawn_local(publish.1);
    tokio::task::spawn_local(readback.1);
    (publish.0, readback.0)
}

/// The shard that nobody reads back.
fn acked(limits: batch::Limits, publisher: &PublisherSettings, epoch: Epoch) -> side::Acked {
    let settings = PublisherSettings { readback: false, seed: seed(), ..publisher.clone() };
    side::Acked { batcher: Batcher::new(limits), publisher: Publisher::new(settings, epoch) }
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
