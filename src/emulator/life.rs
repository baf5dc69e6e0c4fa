//! Stopping, dying, coming back, and what an operator can do to the tenant (recordings 05b and 11).
//! SIGTERM closes joined sockets with 1012 at once, holds joins that arrive meanwhile, and cuts what is left after 5 s.

use super::channel::Notice;
use super::codec;
use super::config::{Limits, Policy};
use super::json::Json;
use super::machine::{ConnId, Emulator, Life, Out, Rates};
use super::timers::Timer;
use std::time::{Duration, Instant};

/// Joined sockets are closed so long after SIGTERM…
const DRAIN_JOINED: Duration = Duration::from_millis(22);
/// …the others later (how much later is not recorded; more than 60 ms).
const DRAIN_OTHERS: Duration = Duration::from_secs(1);
/// Sockets held by a join end when the process gives up.
const DRAIN_ENDS: Duration = Duration::from_millis(5_030);

impl Emulator {
    /// SIGTERM. The server stays away until [`start`](Self::start).
    pub fn terminate(&mut self, now: Instant) {
        self.handle_timeout(now);
        if self.life != Life::Up {
            return;
        }
        self.life = Life::Draining;
        self.timers.add(now + DRAIN_JOINED, Timer::Drain { joined_only: true });
        self.timers.add(now + DRAIN_OTHERS, Timer::Drain { joined_only: false });
        self.timers.add(now + DRAIN_ENDS, Timer::Gone);
    }

    /// SIGKILL. The server stays away until [`start`](Self::start).
    pub fn kill(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.gone();
    }

    /// The server is there again.
    pub fn start(&mut self, now: Instant) {
        if self.life == Life::Draining {
            self.gone();
        }
        self.life = Life::Up;
        self.rates = Rates::started(now);
    }

    /// SIGTERM or SIGKILL now and a start after `away`.
    pub fn restart(&mut self, away: Duration, kill: bool, now: Instant) {
        if kill {
            self.kill(now);
        } else {
            self.terminate(now);
        }
        self.timers.add(now + away, Timer::Start);
    }

    /// Whether upgrades are answered.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.life == Life::Up
    }

    /// Suspends the tenant, or lets it back.
    pub fn suspend(&mut self, suspended: bool, now: Instant) {
        self.handle_timeout(now);
        self.suspended = suspended;
        if suspended {
            self.disconnect_all();
        }
    }

    /// Reloads the tenant: everyone is told and closed with 1012.
    pub fn reload(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.disconnect_all();
    }

    /// New tenant limits. Counting begins anew; joined channels keep the message limit they joined with.
    pub fn set_limits(&mut self, limits: Limits, now: Instant) {
        self.handle_timeout(now);
        self.config.limits = limits;
        self.rates = Rates::started(now);
    }

    /// Public channels are refused from now on, or no longer.
    pub fn set_private_only(&mut self, private_only: bool) {
        self.config.private_only = private_only;
    }

    /// New policies for private topics. What a channel was judged by stays until it joins anew or is told a token.
    pub fn set_policies(&mut self, policies: Vec<Policy>) {
        self.config.policies = policies;
    }

    pub(super) fn drain(&mut self, joined_only: bool) {
        if self.life != Life::Draining {
            return;
        }
        let due = |emulator: &Emulator, id: &ConnId| {
            emulator
                .conns
                .get(id)
                .is_some_and(|conn| conn.held.is_none() && (!joined_only || !conn.channels.is_empty()))
        };
        for id in self.sorted() {
            if due(self, &id) {
                self.end(id, Out::Close { code: 1012 });
            }
        }
    }

    pub(super) fn gone(&mut self) {
        self.life = Life::Down;
        for id in self.sorted() {
            self.end(id, Out::Reset);
        }
        let pending: Vec<ConnId> = self.pending.drain().map(|(id, _)| id).collect();
        for id in pending {
            self.transmit(id, Out::Reset);
        }
        self.timers.clear_process();
        self.database.restarted();
    }

    fn disconnect_all(&mut self) {
        let notice = Notice { everywhere: true, ..Notice::ok("Server requested disconnect") };
        for id in self.sorted() {
            let Some(conn) = self.conns.get(&id) else { continue };
            let version = conn.identity.version;
            let frames: Vec<_> = conn
                .channels
                .keys()
                .map(|topic| codec::system(version, &Json::Null, topic, &notice))
                .collect();
            for frame in frames {
                self.send(id, frame);
            }
            self.end(id, Out::Close { code: 1012 });
        }
    }

    fn sorted(&self) -> Vec<ConnId> {
        let mut ids: Vec<ConnId> = self.conns.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}
