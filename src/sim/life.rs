//! The course of one life, and what must hold in it: always, soon after the service has fallen silent, and at the end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::world::World;
use super::{Sabotage, start};
use crate::breaker::State;
use crate::hot::Fallback;
use crate::ledger::Account;
use crate::mirror::publish::FLIGHTS_MAX;
use crate::proxy::Lane;
use crate::realtime::link::TopicNo;

/// After the service's last byte everything is with the clients, whatever Realtime does: deadlines of 250 and 500 ms
/// one after the other, for each message that is too large to be held anew.
const DELIVERED_WITHIN: Duration = Duration::from_secs(4);
/// What the faults did goes on for a while: slow pushes arrive, lost ones are given up after 10 s, and the breaker's
/// window of 20 s can still tip when good samples leave it before the bad ones.
const ECHOES: Duration = Duration::from_secs(30);
/// Recovery: hold-offs after a quota or a full window take a minute, a link's longest wait a few.
const RECOVERED_WITHIN: Duration = Duration::from_secs(1_200);
/// Ledger's tokens are settled: four attempts of ten seconds each.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// With a spool: a backlog takes what live traffic leaves.
const EMPTIED_WITHIN: Duration = Duration::from_secs(600);

/// What a life has brought, for figures over many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) confirmed: u64,
    pub(super) shed: u64,
    pub(super) via_realtime: u64,
    pub(super) rescued: u64,
    pub(super) altered: u64,
    pub(super) switched_back: u64,
    pub(super) late: u64,
    pub(super) trips: u64,
    pub(super) window_full: u64,
    pub(super) side_stuck: u64,
    pub(super) steps: u64,
}

/// Lives one life. The first rule that does not hold ends it.
pub(super) fn live(seed: u64, sabotage: Option<Sabotage>) -> Result<Figures, String> {
    live_in(&mut World::new(seed, sabotage, start()))
}

/// The same in a world that was made otherwise.
pub(super) fn live_in(world: &mut World) -> Result<Figures, String> {
    let last =
        world.sessions.iter().flat_map(|session| session.script.writes.last()).map(|write| write.at_ms).max();
    let silent = world.begin + Duration::from_millis(last.unwrap_or(0) + 1);
    world.run_until(silent)?;
    world.sessions.iter_mut().for_each(|session| session.read_freely());
    world.run_until(silent + DELIVERED_WITHIN)?;
    world.delivered("after the last byte")?;
    world.clear();
    world.run_until(world.now + ECHOES)?;
    world.recover()?;
    let at_ms = u64::try_from((world.now - world.begin).as_millis()).unwrap_or(0);
    let before = world.counters.via_realtime.load(Ordering::Relaxed);
    let mut hopeful = 0;
    for (place, session) in world.sessions.iter_mut().enumerate().filter(|(_, session)| !session.is_over) {
        session.script.epilogue(place, at_ms, &mut world.dice);
        hopeful += 3;
    }
    world.run_until(world.now + DELIVERED_WITHIN)?;
    world.delivered("after recovery")?;
    world.settle()?;
    let after = world.counters.via_realtime.load(Ordering::Relaxed);
    let figures = world.figures();
    if hopeful > 0 && after == before && world.budget.limit() > 1 << 20 {
        return Err(format!("Realtime feeds nobody after recovery: {:?}, {figures:?}", world.ops.last_trip));
    }
    Ok(figures)
}

impl World {
    /// What holds at every moment. (Prefixes are checked where the client reads.)
    pub(super) fn check(&self) -> Result<(), String> {
        let joined = self.wires.iter().all(|wire| wire.link.is_joined(TopicNo(0)));
        let is_known = self.wires.iter().all(super::wire::Wire::is_still) && !self.side_hangs();
        if !joined && is_known {
            for session in self.sessions.iter().filter(|session| !session.is_over) {
                if session.cell.lane() == Lane::Hot {
                    return Err("a session is hot although nothing can be read back".to_owned());
                }
            }
        }
        if self.side.publisher.len() > FLIGHTS_MAX + 1 {
            return Err(format!("{} batches unsettled", self.side.publisher.len()));
        }
        if self.budget.used() > self.budget.limit() {
            return Err("over the byte budget".to_owned());
        }
        let most = self.sessions.iter().map(|session| session.most_waiting).max().unwrap_or(0);
        if most > 1_200_000 {
            return Err(format!("{most} bytes in an outbox"));
        }
        let account = self.ledger.account();
        if account.imbalance() != 0 || account.internal() != 0 {
            return Err(format!("the ledger: {account:?}"));
        }
        let arrived = self.witness.arrived();
        if let Some(name) = self.witness.renamed().filter(|_| !self.corrupts) {
            return Err(format!("{name:?} came under two batches"));
        }
        if account.confirmed > arrived {
            return Err(format!("{} confirmed, {arrived} came back as sent", account.confirmed));
        }
        Ok(())
    }

    fn delivered(&self, when: &str) -> Result<(), String> {
        for (place, session) in self.sessions.iter().enumerate() {
            let complete = session.reader.complete(&session.script);
            complete
                .map_err(|what| format!("{when}, session {place} ({:?}): {what}", session.cell.lane()))?;
        }
        Ok(())
    }

    /// Links joined, breaker closed, every session hot.
    fn recover(&mut self) -> Result<(), String> {
        let until = self.now + RECOVERED_WITHIN;
        while !self.is_well() {
            if self.now >= until {
                let links = self.ops.links;
                let lanes: Vec<Lane> = self.sessions.iter().map(|session| session.cell.lane()).collect();
                let policy = *self.policy.borrow();
                return Err(format!(
                    "no recovery: {links:?}, {:?}, {lanes:?}, {policy:?}",
                    self.ops.breaker.state()
                ));
            }
            self.step(until)?;
        }
        Ok(())
    }

    fn is_well(&self) -> bool {
        let closed = matches!(self.ops.breaker.state(), State::Closed { share_permille: 1_000, .. });
        let hot = |session: &super::session::Session| session.is_over || session.cell.lane() == Lane::Hot;
        let joined = self.wires.iter().all(|wire| wire.link.is_joined(TopicNo(0)));
        closed && joined && self.policy.borrow().hot.is_ok() && self.sessions.iter().all(hot)
    }

    /// Every token settled, every byte given back.
    fn settle(&mut self) -> Result<(), String> {
        let until = self.now + if self.disk.is_some() { EMPTIED_WITHIN } else { SETTLED_WITHIN };
        let open = |account: Account| account.in_flight + account.spooled > 0;
        while open(self.ledger.account()) || self.budget.used() > 0 {
            if self.now >= until {
                let (account, used) = (self.ledger.account(), self.budget.used());
                return Err(format!("not settled: {account:?}, {used} bytes held"));
            }
            self.step(until)?;
        }
        let account: Account = self.ledger.account();
        let written: usize = self.sessions.iter().map(|session| session.script.bodies.len()).sum();
        if account.seen != written as u64 {
            return Err(format!("{written} messages written, {} seen", account.seen));
        }
        Ok(())
    }

    fn figures(&self) -> Figures {
        let account = self.ledger.account();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let back = |why: Fallback| read(&self.counters.moved_back[why as usize]);
        Figures {
            confirmed: account.confirmed,
            shed: account.shed_total(),
            via_realtime: read(&self.counters.via_realtime),
            rescued: read(&self.counters.rescued),
            altered: read(&self.counters.altered),
            switched_back: read(&self.counters.switched_back),
            late: read(&self.counters.late),
            trips: self.ops.trips.iter().sum(),
            window_full: back(Fallback::WindowFull),
            side_stuck: back(Fallback::SideStuck),
            steps: self.steps,
        }
    }
}
