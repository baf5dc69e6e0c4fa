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
//! **Limits.** A document has at most 256 KiB. A saved value keeps its age: it is shown as old as it is.

pub(crate) mod desk;
mod file;
pub(crate) mod redis;
mod saved;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::flags::FlagWord;
use super::ops::Word;
use super::{StartError, runtime};
use crate::config::Config;
use crate::rollout::{Identity, Order, Slot, Tier, Tiers};
use desk::{Desk, TierFigures};

/// Most bytes of a document that are read from anywhere.
const READ_MAX: u64 = 256 * 1024 + 1;

/// Stores that are opened but not yet running: what they had saved is in the tiers already.
pub(crate) struct Stores {
    file: Option<(Desk, PathBuf)>,
    redis: Option<(Desk, redis::Place)>,
    figures: Vec<Arc<TierFigures>>,
}

impl Stores {
    /// Opens what is configured and fills in what is known before anything was asked. The file is read here, so
    /// that the first session is decided by it.
    pub(crate) fn open(config: &Config, identity: &Identity, tiers: &mut Tiers) -> Self {
        let own = &config.rollout;
        let state = config.ops.state_dir.clone();
        let desk = |tier, order| Desk::open(tier, order, identity.hasher.clone(), state.clone());
        let mut figures = Vec::new();
        let file = own.flags_file.clone().map(|path| {
            let (mut desk, saved) = desk(Tier::File, Order::Content);
            tiers.file = match desk.judge(None, file::read(&path)) {
                Some(FlagWord::Store(_, slot)) => slot,
                _ => saved,
            };
            figures.push(desk.figures());
            (desk, path)
        });
        let redis = own.redis_url.as_ref().map(|url| {
            let (desk, saved) = desk(Tier::Redis, Order::Version);
            tiers.redis = saved;
            figures.push(desk.figures());
            let place = redis::Place {
                url: url.secret.clone(),
                service: config.service.name.clone(),
                poll: own.flags_poll,
            };
            (desk, place)
        });
        for (tier, slot) in [(Tier::Redis, &tiers.redis), (Tier::File, &tiers.file)] {
            if matches!(slot, Slot::Silent) {
                tracing::warn!(tier = tier.as_str(), "no flags yet and none saved: nobody is on Realtime");
            }
        }
        Self { file, redis, figures }
    }

    /// Figures of every configured store.
    pub(crate) fn figures(&self) -> Vec<Arc<TierFigures>> {
        self.figures.clone()
    }

    /// Starts the threads.
    pub(crate) fn start(self, words: &mpsc::Sender<Word>) -> Result<Running, StartError> {
        let running = Running { stop: watch::Sender::new(()) };
        if let Some((desk, path)) = self.file {
            let words = words.clone();
            running.spawn("flags-file", move || file::run(path, desk, words))?;
        }
        if let Some((desk, place)) = self.redis {
            let words = words.clone();
            running.spawn("flags-redis", move || redis::run(place, desk, words))?;
        }
        Ok(running)
    }
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
