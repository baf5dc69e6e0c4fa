//! The machine's state and its outside: upgrades, frames, closes and time go in, transmits come out.
//! What a message means is in the files beside this one; each adds an `impl Emulator` for one subject.

use super::channel::{Channel, Identity, Notice, Room};
use super::codec::{self, Frame, OutFrame, Version};
use super::config::{Clock, Config};
use super::database::Database;
use super::fault::Faults;
use super::json::Json;
use super::rate::Rate;
use super::rest::memory::Memory;
use super::stats::Stats;
use super::timers::{Timer, Timers};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A refused join is answered after this long, and the socket waits for it.
pub(super) const JOIN_REFUSED_AFTER: Duration = Duration::from_secs(5);
/// A silent socket is looked at in steps of this length…
pub(super) const IDLE_STEP: Duration = Duration::from_secs(6);
/// …and closed at the eleventh step without a frame: 60 to 66 s after the last one (recording 07).
pub(super) const IDLE_STEPS: u8 = 11;
/// Sockets whose channels were all left are killed by a sweep this often.
pub(super) const SWEEP: Duration = Duration::from_secs(600);
/// Most items one held socket may queue; beyond it the socket is reset, as a full mailbox kills the real one.
pub const WAITING_MAX: usize = 8_192;
/// Most transmits waiting for the shell; beyond it the newest is dropped and counted.
pub(super) const OUT_MAX: usize = 262_144;

/// Names one socket or one pending upgrade; the shell makes them up and never reuses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the shell must do for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Write a frame.
    Frame(OutFrame),
    /// Write part of this frame, then cut the connection (a fault).
    Cut(OutFrame),
    /// Close with this code and an empty reason.
    Close {
        /// RFC 6455 close code.
        code: u16,
    },
    /// End the TCP connection without a close frame.
    Reset,
    /// Answer the pending upgrade with this instead of 101.
    Http(HttpAnswer),
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, where there is a body.
    pub content_type: Option<&'static str>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: String,
}

/// What became of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Answer 101 now; frames may be handed in.
    Accepted,
    /// An [`Out::Http`] for this id comes later; nothing may be handed in.
    Pending,
    /// The server is down: end the TCP connection.
    Unreachable,
}

/// One socket.
#[derive(Debug)]
pub(super) struct Conn {
    pub identity: Identity,
    pub channels: BTreeMap<String, Channel>,
    /// Idle steps since the last frame.
    pub quiet: u8,
    /// Counts as a user from its first join on.
    pub user: bool,
    pub held: Option<Held>,
    pub waiting: VecDeque<Waiting>,
}

/// A refused join that is not yet answered.
#[derive(Debug)]
pub(super) struct Held {
    pub answer: OutFrame,
    pub topic: String,
    /// Close the socket with 1001 after the answer.
    pub then_close: bool,
}

/// What a held socket has queued, in order of arrival.
#[derive(Debug)]
pub(super) enum Waiting {
    In(Frame),
    Out(OutFrame),
}

/// Whether the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Up,
    /// SIGTERM came.
    Draining,
    Down,
}

/// The rates a tenant is limited by.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub events: Rate,
    pub joins: Rate,
    pub presence: Rate,
    pub requests: Rate,
    pub changes: Rate,
}

impl Rates {
    pub(super) fn started(now: Instant) -> Rates {
        let rate = Rate::started(now);
        Rates {
            events: rate.clone(),
            joins: rate.clone(),
            presence: rate.clone(),
            requests: Rate::of_requests(),
            changes: rate,
        }
    }
}

/// A Supabase-Realtime-compatible server without sockets and without a clock.
///
/// Call [`poll_transmit`](Self::poll_transmit) until `None` after every call that takes `now`; call
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) is due. Spurious calls are harmless.
#[derive(Debug)]
pub struct Emulator {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) conns: HashMap<ConnId, Conn>,
    pub(super) pending: HashMap<ConnId, HttpAnswer>,
    pub(super) rooms: HashMap<Room, BTreeMap<u64, ConnId>>,
    pub(super) timers: Timers,
    pub(super) out: VecDeque<(ConnId, Out)>,
    pub(super) rates: Rates,
    pub(super) life: Life,
    pub(super) suspended: bool,
    pub(super) database: Database,
    /// Rows behind `/rest/v1`.
    pub(super) memory: Memory,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    pub(super) channels_made: u64,
    #[cfg(test)]
    pub(crate) sabotage: Option<super::Sabotage>,
}

impl Emulator {
    /// A running server. `seed` decides made-up ids; `clock` says what time it is at one moment.
    #[must_use]
    pub fn new(config: Config, seed: u64, clock: Clock) -> Emulator {
        let memory = Memory::new(&config.tables);
        let mut emulator = Emulator {
            config,
            clock,
            seed,
            conns: HashMap::new(),
            pending: HashMap::new(),
            rooms: HashMap::new(),
            timers: Timers::default(),
            out: VecDeque::new(),
            rates: Rates::started(clock.at),
            life: Life::Up,
            suspended: false,
            database: Database::default(),
            memory,
            faults: Faults::default(),
            stats: Stats::default(),
            channels_made: 0,
            #[cfg(test)]
            sabotage: None,
        };
        emulator.timers.add(clock.at + SWEEP, Timer::Sweep);
        for fault in emulator.config.faults.clone() {
            emulator.inject(fault, clock.at);
        }
        emulator
    }

    /// A frame from an accepted socket. Frames for a socket that has ended are ignored.
    pub fn handle(&mut self, id: ConnId, frame: Frame, now: Instant) {
        self.handle_timeout(now);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.quiet = 0;
        if conn.held.is_some() {
            self.wait(id, Waiting::In(frame));
        } else {
            self.take(id, frame, now);
        }
    }

    /// The socket is gone without a close frame.
    pub fn closed(&mut self, id: ConnId, now: Instant) {
        self.handle_timeout(now);
        self.pending.remove(&id);
        self.forget(id);
    }

    /// The next thing to do for a connection.
    pub fn poll_transmit(&mut self) -> Option<(ConnId, Out)> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.due(now) {
            self.fire(timer, at);
        }
    }

    /// Largest frame the shell should take; a larger one is handed in as [`Frame::TooBig`].
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.config.limits.frame_bytes
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let channels = self.conns.values().map(|conn| conn.channels.len()).sum::<usize>();
        Stats { sockets: self.conns.len(), channels, ..self.stats.clone() }
    }

    pub(super) fn take(&mut self, id: ConnId, frame: Frame, now: Instant) {
        match &frame {
            Frame::Ping => {}
            Frame::TooBig => self.end(id, Out::Close { code: 1009 }),
            Frame::Close { code } => self.end(id, Out::Close { code: *code }),
            Frame::Text(_) | Frame::Binary(_) => {
                let Some(conn) = self.conns.get(&id) else { return };
                match codec::decode(conn.identity.version, &frame) {
                    Some(message) => self.meet_faults(id, message, now),
                    None => self.stats.ignored += 1,
                }
            }
        }
    }

    /// Sends a frame, behind the answer the socket is held for.
    pub(super) fn send(&mut self, id: ConnId, frame: OutFrame) {
        match self.conns.get(&id) {
            Some(conn) if conn.held.is_some() => self.wait(id, Waiting::Out(frame)),
            Some(_) => self.transmit(id, Out::Frame(frame)),
            None => {}
        }
    }

    pub(super) fn transmit(&mut self, id: ConnId, out: Out) {
        if self.out.len() < OUT_MAX {
            self.out.push_back((id, out));
        } else {
            self.stats.shed += 1;
        }
    }

    fn wait(&mut self, id: ConnId, item: Waiting) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.waiting.len() < WAITING_MAX {
            conn.waiting.push_back(item);
        } else {
            self.stats.shed += 1;
            self.end(id, Out::Reset);
        }
    }

    /// Ends a socket from this side.
    pub(super) fn end(&mut self, id: ConnId, out: Out) {
        if self.forget(id) {
            self.transmit(id, out);
        }
    }

    fn forget(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.remove(&id) else { return false };
        for channel in conn.channels.into_values() {
            self.leave_room(&channel);
        }
        true
    }

    /// Takes a channel off its socket and out of its room. Presence is told; the client is not.
    pub(super) fn detach(&mut self, id: ConnId, topic: &str) -> Option<Channel> {
        let channel = self.conns.get_mut(&id)?.channels.remove(topic)?;
        self.leave_room(&channel);
        Some(channel)
    }

    fn leave_room(&mut self, channel: &Channel) {
        let room = channel.room();
        if let Some(members) = self.rooms.get_mut(&room) {
            members.remove(&channel.id);
            if members.is_empty() {
                self.rooms.remove(&room);
            }
        }
        self.presence_gone(channel);
    }

    /// Ends a channel with a `system` message and `phx_close`; the socket stays.
    pub(super) fn shut(&mut self, id: ConnId, topic: &str, notice: &Notice) {
        let Some(version) = self.version(id) else { return };
        let Some(channel) = self.detach(id, topic) else { return };
        self.send(id, codec::system(version, &channel.join_ref, topic, notice));
        self.send(id, codec::close(version, &channel.join_ref, topic));
        self.stats.shut += 1;
    }

    pub(super) fn reply(&mut self, id: ConnId, refs: (&Json, &Json), topic: &Json, answer: (&str, &str)) {
        if let Some(version) = self.version(id) {
            self.send(id, codec::reply(version, refs, topic, answer.0, answer.1));
        }
    }

    pub(super) fn version(&self, id: ConnId) -> Option<Version> {
        self.conns.get(&id).map(|conn| conn.identity.version)
    }

    pub(super) fn channel(&mut self, id: ConnId, topic: &str) -> Option<&mut Channel> {
        self.conns.get_mut(&id)?.channels.get_mut(topic)
    }

    /// The next made-up number (splitmix64).
    pub(super) fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.seed;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A made-up UUID, version 4.
    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }
}
