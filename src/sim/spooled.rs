//! Lives with a spool on real files: whatever Realtime does, every message arrives or is declared, and what arrives
//! twice does so under one name.

use std::path::PathBuf;
use std::sync::Arc;

use super::life::live_in;
use super::start;
use super::world::World;
use crate::app::side::Spool;
use crate::ledger::{Account, Shed};
use crate::spool::disk::{Settings, Worker, connect};
use crate::spool::index::Limits;

/// Lives in one test run; each opens files.
const LIVES: u64 = if cfg!(debug_assertions) { 40 } else { 2_000 };

/// A directory that goes with the test.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new(what: &str, seed: u64) -> Self {
        Self(std::env::temp_dir().join(format!("crossfade-sim-{what}-{}-{seed}", std::process::id())))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl World {
    /// Puts a spool of so many bytes behind the side thread.
    pub(super) fn attach_spool(&mut self, dir: &Dir, total: u64) {
        let limits = Limits::of(total);
        let settings = Settings { dir: dir.0.clone(), limits, seal: None, instance: "sim".to_owned() };
        let (port, plug) = connect(Arc::default());
        self.disk = Some(Worker::open(settings, plug).expect("a fresh directory"));
        self.side.spool = Some(Spool::new(port, Arc::clone(&self.ledger), self.begin));
        self.side.publisher.set_spools(true);
        self.side.acked.iter_mut().for_each(|acked| acked.publisher.set_spools(true));
        self.side.intake.set_spools(true);
    }
}

/// One life with a spool; what its account says in the end, and how many of its messages were seen to arrive.
/// Sabotaged, the publisher does not know of the disk.
fn live(seed: u64, sabotage: bool) -> Result<(Account, u64), String> {
    let dir = Dir::new("life", seed);
    let mut world = World::new(seed, None, start());
    world.attach_spool(&dir, 64 << 20);
    if sabotage {
        world.side.publisher.set_spools(false);
    }
    live_in(&mut world)?;
    let account = world.ledger.account();
    // A disk that works loses nothing, and a Realtime that is away is no reason while there is a disk.
    let never = [
        Shed::SpoolFull,
        Shed::SpoolBusy,
        Shed::SpoolBroken,
        Shed::SpoolDamaged,
        Shed::BreakerOpen,
        Shed::Disconnected,
        Shed::Crash,
        Shed::Internal,
    ];
    if let Some(why) = never.into_iter().find(|why| account.shed(*why) > 0) {
        return Err(format!("shed as {}: {account:?}", why.as_str()));
    }
    if account.imbalance() != 0
        || account.confirmed + account.acked_only + account.shed_total() != account.seen
    {
        return Err(format!("not closed: {account:?}"));
    }
    Ok((account, world.witness.arrived()))
}

#[test]
fn with_a_spool_every_fault_ends_in_arrival_or_a_declared_loss() {
    let (mut failures, mut confirmed, mut arrived, mut shed) = (Vec::new(), 0, 0, 0);
    for seed in 0..LIVES {
        match live(seed, false) {
            Ok((account, came)) => {
                confirmed += account.confirmed;
                shed += account.shed_total();
                arrived += came;
            }
            Err(what) => failures.push(format!("seed {seed}: {what}")),
        }
    }
    println!(
        "{LIVES} lives with a spool: {confirmed} confirmed, {arrived} seen to arrive, {shed} declared lost"
    );
    assert!(failures.is_empty(), "{} lives failed:\n  {}", failures.len(), failures.join("\n  "));
    assert!(confirmed > 1_000 && arrived >= confirmed);
}

#[test]
fn a_publisher_that_forgets_the_disk_is_noticed() {
    let caught = |seed| live(seed, true).err().filter(|_| live(seed, false).is_ok());
    let what = (0..60).find_map(caught).expect("no life notices it");
    println!("{what}");
}
