//! The whole chain in one thread on a virtual clock: service bytes in, client bytes out, Realtime misbehaving.
//!
//! **Problem.** Each room is tested against its own model; exactly once and in order is a promise about all of them
//! together, and about the loops between them, at moments that no hand-written test thinks of.
//!
//! **Decision.** One life per seed. Everything is the product's: the tap that walks and copies (`proxy::taps`),
//! relay and window, the worker's book, the side thread's turn, the ops thread's, both links, and the emulator with
//! its faults. Stand-ins are only what the real shells do with sockets: `session.rs` for the tunnel's downward half,
//! `wire.rs` for the link's shell. Time jumps to the next wake-up of any machine.
//!
//! **The oracle** (`oracle.rs`) stands outside: the script knows every frame that the service writes, the client
//! decodes what it reads with a decoder of its own. What was read is always a prefix of what was written, and all of
//! it soon after the service's last byte, *while the faults still act*. A witness reads the frames that arrived on
//! the reading socket: nothing may be confirmed that did not arrive as it was sent. At the end the faults are
//! cleared, the breaker must close, every session be hot again, every token settled, every byte given back.
//!
//! `quota.rs` runs the same chain for minutes against the emulator's own rate counting, with the governor and without.
//!
//! `denied.rs` is a role that may read our topic and not write it.
//!
//! `outage.rs` is ten minutes without Realtime, `spooled.rs` lives with every fault, both with the spool's machine on
//! real files.
//!
//! **Limits.** Upward messages, compression, draining and lost wake-ups are not in it.
//!
//! A failing seed is printed; put it into `seeds.txt`, which is replayed first.

mod denied;
mod life;
mod oracle;
mod outage;
mod proof;
mod quota;
mod script;
mod session;
mod spooled;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Instant;

use crate::{hot, mirror};
use life::{Figures, live};

/// The wall clock at the begin of every life, in seconds since 1970.
const UNIX: u64 = 1_760_000_000;

/// Lives in one test run.
const LIVES: u64 = if cfg!(debug_assertions) { 500 } else { 20_000 };

/// One rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    /// The window's own.
    Window(hot::Sabotage),
    /// The publisher's own.
    Mirror(mirror::Sabotage),
    /// A read-back that comes after its rescue is delivered once more.
    DeliverLateTwice,
    /// The loss of a link is not passed on.
    IgnoreReadBackLoss,
    /// No news reaches the windows (which is bearable with their clocks), and the clocks are gone too.
    LoseNoticesAndClock,
}

/// The one instant that every virtual clock starts from.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "only offsets to it are used")]
    *START.get_or_init(Instant::now)
}

fn try_life(seed: u64, sabotage: Option<Sabotage>) -> Result<Figures, String> {
    catch_unwind(AssertUnwindSafe(|| live(seed, sabotage))).unwrap_or_else(|_| Err("a panic".to_owned()))
}

fn kept_seeds() -> impl Iterator<Item = u64> {
    let lines = include_str!("seeds.txt").lines().map(|line| line.split('#').next().unwrap_or("").trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().expect("a seed"))
}

fn all_hold(seeds: impl Iterator<Item = u64>) -> Vec<Figures> {
    let mut failures = Vec::new();
    let mut figures = Vec::new();
    for seed in seeds {
        match try_life(seed, None) {
            Ok(one) => figures.push(one),
            Err(what) => failures.push(format!("seed {seed}: {what}")),
        }
    }
    let (all, first) = (failures.len(), failures.iter().take(20).cloned().collect::<Vec<_>>());
    assert!(failures.is_empty(), "{all} lives failed:\n  {}\n", first.join("\n  "));
    figures
}

#[test]
fn seeds_that_failed_once_hold() {
    all_hold(kept_seeds());
}

#[test]
fn every_life_delivers_exactly_once_and_recovers() {
    let first = std::env::var("CROSSFADE_SIM_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let lives = std::env::var("CROSSFADE_SIM_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(LIVES);
    let half = first + lives / 2;
    let (mut figures, other) = std::thread::scope(|scope| {
        let other = scope.spawn(move || all_hold(half..first + lives));
        (all_hold(first..half), other.join().expect("the other half failed"))
    });
    figures.extend(other);
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>();
    let brought = [
        ("confirmed", sum(|one| one.confirmed)),
        ("shed", sum(|one| one.shed)),
        ("via_realtime", sum(|one| one.via_realtime)),
        ("rescued", sum(|one| one.rescued)),
        ("altered", sum(|one| one.altered)),
        ("switched_back", sum(|one| one.switched_back)),
        ("late", sum(|one| one.late)),
        ("trips", sum(|one| one.trips)),
        ("window_full", sum(|one| one.window_full)),
        ("side_stuck", sum(|one| one.side_stuck)),
    ];
    println!("{lives} lives, {} steps: {brought:?}", sum(|one| one.steps));
    for (what, count) in brought {
        assert!(count > 0 || lives < 500, "no life in {lives} knows {what}");
    }
}

#[test]
fn every_sabotage_is_caught() {
    use hot::Sabotage as W;
    let all = [
        Sabotage::Window(W::SkipOnOverflow),
        Sabotage::Window(W::DropOnSwitch),
        Sabotage::Window(W::FlushInReverse),
        Sabotage::Window(W::ReleaseOutOfOrder),
        Sabotage::Window(W::TrustAltered),
        Sabotage::Mirror(mirror::Sabotage::ForgetChecksum),
        Sabotage::Mirror(mirror::Sabotage::SettleOnAck),
        Sabotage::DeliverLateTwice,
        Sabotage::IgnoreReadBackLoss,
        Sabotage::LoseNoticesAndClock,
    ];
    for sabotage in all {
        let caught =
            |seed| Some((seed, try_life(seed, Some(sabotage)).err()?)).filter(|_| live(seed, None).is_ok());
        let (seed, what) = (0..300).find_map(caught).unwrap_or_else(|| panic!("{sabotage:?} is not noticed"));
        println!("{sabotage:?}: seed {seed}: {what}");
    }
}
