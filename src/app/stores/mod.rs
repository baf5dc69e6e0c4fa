//! The stores of the rollout's flags: file, Redis, the table. Shells that fetch, keep and tell.
//!
//! **Problem.** A fader that hangs on a store is a fader that moves when the store dies. Losing Redis, Supabase or
//! a disk may neither move a user nor be felt by a session.
//!
//! **Decision.** Each configured store has a thread of its own and is never waited for. What it says goes through a
//! [`Keeper`](crate::rollout::Keeper): read whole or refused by name, and never older than what holds. What was
//! taken goes to the ops thread as a [`FlagWord`] and to `CROSSFADE_STATE_DIR`, so that a pod that starts while its
//! store is down decides as before. With neither, the tier is silent: 0 %.
//!
//! **Push and poll.** Redis tells changes by PUBSUB and the table by `postgres_changes`; both are asked again every
//! `CROSSFADE_FLAGS_POLL`, since a push can be lost. The file is read once a second, through its name, so that a
//! ConfigMap's swapped link is seen.
//!
//! **Plan.** Its driver is a thread, too: with Redis for all pods ([`driver`]), without it for a single pod ([`local`]).
//!
//! **Start.** Clients are served before any disk has answered: their sessions are legacy, and follow when it is known
//! what was kept ([`Stores::recall`]), as after any other change.
//!
//! **Limits.** What was saved is waited for 2 s at the start, then the tier is silent until the store or the disk speaks.
//! A document has at most 256 KiB. A saved value keeps its age: it is shown as old as it is.

pub(crate) mod desk;
pub(crate) mod driver;
mod file;
mod local;
mod look;
pub(crate) mod redis;
mod report;
mod saved;
mod shared;
mod table_flags;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::flags::{FlagBook, FlagWord};
use super::on_time::on_time;
use super::ops::Word;
use super::{SettingError, StartError, runtime, tuning};
use crate::config::Config;
use crate::rollout::{Identity, Order, Slot, Tier, Tiers};
use desk::{Desk, TierFigures};
use driver::{Asked, FleetView, Part};
pub(crate) use report::Said;

/// Words of people about the plan that may wait.
const PLAN_WORDS_MAX: usize = 16;

/// Most bytes of a document that are read from anywhere.
const READ_MAX: u64 = 256 * 1024 + 1;

/// Stores that are opened but not yet running.
pub(crate) struct Stores {
    file: Option<(Desk, PathBuf)>,
    redis: Option<(Desk, redis::Place)>,
    table: Option<(Desk, table_flags::Place)>,
    /// Who drives the plan where there is no Redis.
    local: Option<local::Local>,
    plan: (mpsc::Sender<Asked>, mpsc::Receiver<Asked>),
    figures: Vec<Arc<TierFigures>>,
    pod: String,
    pods_min: u32,
    fleet: watch::Sender<FleetView>,
}

impl Stores {
    /// Opens what is configured, all of it silent, and begins to read what was kept: no disk is waited for.
    ///
    /// # Errors
    /// A tuning file that asks for what cannot be had.
    pub(crate) fn open(
        config: &Config,
        identity: &Identity,
        tiers: &mut Tiers,
    ) -> Result<Self, SettingError> {
        let own = &config.rollout;
        let state = config.ops.state_dir.clone();
        let desk = |tier, order| Desk::open(tier, order, identity.hasher.clone(), state.clone());
        let mut figures = Vec::new();
        let file = own.flags_file.clone().map(|path| {
            let desk = desk(Tier::File, Order::Content);
            tiers.file = Slot::Silent;
            figures.push(desk.figures());
            (desk, path)
        });
        let redis = own.redis_url.as_ref().map(|url| {
            let desk = desk(Tier::Redis, Order::Version);
            tiers.redis = Slot::Silent;
            figures.push(desk.figures());
            let place = redis::Place {
                url: url.secret.clone(),
                service: config.service.name.clone(),
                poll: own.flags_poll,
            };
            (desk, place)
        });
        let table = table_place(config)?.map(|place| {
            let desk = desk(Tier::Supabase, Order::Version);
            tiers.supabase = Slot::Silent;
            figures.push(desk.figures());
            (desk, place)
        });
        let pod = format!("{}-{:08x}", config.service.pod, super::seed() & 0xFFFF_FFFF);
        let pods_min = config.supabase.as_ref().map_or(1, |supabase| supabase.pods.max(1));
        let local = redis.is_none().then(|| local::Local::open(state.as_deref(), pods_min, tiers));
        let plan = mpsc::channel(PLAN_WORDS_MAX);
        let first = local.as_ref().map_or_else(FleetView::unheard, |local| local.view(None));
        let fleet = watch::Sender::new(first);
        Ok(Self { file, redis, table, local, plan, figures, pod, pods_min, fleet })
    }

    /// Takes over what was kept; clients are served already. What is late comes by the stores' own threads.
    pub(crate) fn recall(&mut self, flags: &FlagBook) {
        let mut tiers = flags.standing().tiers.clone();
        if let Some((desk, _)) = &mut self.redis {
            tiers.redis = desk.recall();
        }
        if let Some((desk, _)) = &mut self.table {
            tiers.supabase = desk.recall();
        }
        if let Some((desk, path)) = &mut self.file {
            let (saved, path) = (desk.recall(), path.clone());
            let read = on_time("CROSSFADE_FLAGS_FILE", move || file::read(&path));
            tiers.file = match read.and_then(|said| desk.judge(None, said)) {
                Some(FlagWord::Store(_, slot)) => slot,
                _ => saved,
            };
        }
        if let Some(local) = &mut self.local {
            local.recall(&mut tiers);
            self.fleet.send_replace(local.view(None));
        }
        let stores =
            [(Tier::Redis, &tiers.redis), (Tier::Supabase, &tiers.supabase), (Tier::File, &tiers.file)];
        for (tier, slot) in stores {
            if matches!(slot, Slot::Silent) {
                tracing::warn!(tier = tier.as_str(), "no flags yet and none saved: nobody is on Realtime");
            }
        }
        if !self.figures.is_empty() || self.local.as_ref().is_some_and(local::Local::has_place) {
            flags.recalled(tiers);
        }
    }

    /// Where a person's words go: to the ops thread, and to the plan's driver.
    pub(crate) fn to(&self, words: &mpsc::Sender<Word>) -> (mpsc::Sender<Word>, mpsc::Sender<Asked>) {
        (words.clone(), self.plan.0.clone())
    }

    /// Figures of every configured store.
    pub(crate) fn figures(&self) -> Vec<Arc<TierFigures>> {
        self.figures.clone()
    }

    /// What is known of the fleet.
    pub(crate) fn fleet(&self) -> watch::Receiver<FleetView> {
        self.fleet.subscribe()
    }

    /// Starts the threads; through `eyes` the pod sees what to say of itself.
    pub(crate) fn start(self, words: &mpsc::Sender<Word>, eyes: super::Eyes) -> Result<Running, StartError> {
        let asked = self.plan.1;
        let running = Running { stop: watch::Sender::new(()) };
        if let Some((desk, path)) = self.file {
            let words = words.clone();
            running.spawn("flags-file", move || file::run(path, desk, words))?;
        }
        if let Some((desk, place)) = self.table {
            let words = words.clone();
            running.spawn("flags-table", move || table_flags::run(place, desk, words))?;
        }
        if let Some(local) = self.local {
            let (words, standing) = (words.clone(), eyes.standing.clone());
            let part = local::Part { local, words, standing, view: self.fleet, asked };
            running.spawn("plan", move || local::run(part, move || eyes.said(super::side::clock())))?;
        } else if let Some((desk, place)) = self.redis {
            let part = Part {
                place: place.clone(),
                pod: self.pod,
                words: words.clone(),
                view: self.fleet,
                asked,
                pods_min: self.pods_min,
            };
            running.spawn("fleet", move || driver::run(part, move || eyes.said(super::side::clock())))?;
            let words = words.clone();
            running.spawn("flags-redis", move || redis::run(place, desk, words))?;
        }
        Ok(running)
    }
}

/// Where the table is, if the tuning file asks for it.
fn table_place(config: &Config) -> Result<Option<table_flags::Place>, SettingError> {
    let wrong = |problem: String| SettingError { variable: "CROSSFADE_TUNING", problem };
    if !tuning::fine(config.ops.tuning.as_deref()).map_err(wrong)?.flags_table {
        return Ok(None);
    }
    let missing = || wrong(tuning::NO_TABLES.to_owned());
    let supabase = config.supabase.as_ref().ok_or_else(missing)?;
    let key_file = supabase.key.file.clone();
    let (link, poll) = (super::link(supabase)?, config.rollout.flags_poll);
    let place = table_flags::Place::new(link, key_file, &config.service.name, poll);
    place.map(Some).ok_or_else(missing)
}

/// The threads of the stores; they end when this is dropped, and nobody waits for one that hangs in a disk.
pub(crate) struct Running {
    stop: watch::Sender<()>,
}

impl Running {
    fn spawn<F: Future<Output = ()>>(
        &self,
        name: &str,
        life: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), StartError> {
        let runtime = runtime().map_err(StartError::Thread)?;
        let mut stop = self.stop.subscribe();
        let life = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = life() => {}
                    _ = stop.changed() => {}
                }
            });
            runtime.shutdown_timeout(Duration::ZERO);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(life).map_err(StartError::Thread)?;
        Ok(())
    }
}
