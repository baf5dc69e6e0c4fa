//! Between a link and the emulator: a socket with a latency, as `realtime::client` drives a real one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::UNIX;
use crate::emulator::{self, Admission, ConnId, Emulator, Out, OutFrame, UpgradeRequest};
use crate::realtime::client::{Command, Handle};
use crate::realtime::link::{Config, ConnectFailure, Input, Link, LinkEvent, Order, Outcome};
use crate::realtime::message::Frame;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    None,
    Connecting(ConnId),
    Open(ConnId),
}

/// See the module.
pub(super) struct Wire {
    pub(super) link: Link,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<LinkEvent>,
    socket: Socket,
    up: VecDeque<(Instant, Frame)>,
    down: VecDeque<(Instant, Out)>,
    latency: Duration,
    begin: Instant,
}

impl Wire {
    pub(super) fn new(config: Config, seed: u64, latency: Duration, begin: Instant) -> (Self, Handle) {
        let (handle, commands, events) = Handle::for_tests();
        let (up, down) = (VecDeque::new(), VecDeque::new());
        let link = Link::new(config, seed);
        (Self { link, commands, events, socket: Socket::None, up, down, latency, begin }, handle)
    }

    pub(super) fn is(&self, id: ConnId) -> bool {
        matches!(self.socket, Socket::Connecting(own) | Socket::Open(own) if own == id)
    }

    /// Nothing waits between the link's shell and its owner.
    pub(super) fn is_still(&self) -> bool {
        self.commands.is_empty() && self.events.capacity() == self.events.max_capacity()
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        let up = self.up.front().map(|(at, _)| *at);
        let down = self.down.front().map(|(at, _)| *at);
        [self.link.poll_timeout(), up, down].into_iter().flatten().min()
    }

    /// What the emulator has said reaches the link after the latency.
    pub(super) fn receive(&mut self, out: Out, now: Instant) {
        self.down.push_back((now + self.latency, out));
    }

    /// One turn of the shell. Gives back frames that have just reached the link.
    pub(super) fn turn(&mut self, emulator: &mut Emulator, ids: &mut u64, now: Instant) -> Vec<Bytes> {
        let unix = UNIX + now.saturating_duration_since(self.begin).as_secs();
        self.link.set_clock(unix, now);
        self.link.handle_timeout(now);
        let mut seen = Vec::new();
        while self.down.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, out)) = self.down.pop_front() {
                self.hear(out, &mut seen, now);
            }
        }
        self.tell(emulator, ids, now);
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command, now);
        }
        if let Socket::Open(id) = self.socket {
            while let Some(frame) = self.link.poll_transmit() {
                self.up.push_back((now + self.latency, frame));
            }
            while self.up.front().is_some_and(|(at, _)| *at <= now) {
                let Some((_, frame)) = self.up.pop_front() else { break };
                let frame = match frame {
                    Frame::Binary(bytes) => emulator::Frame::Binary(bytes),
                    Frame::Text(bytes) => emulator::Frame::Text(
                        String::from_utf8(bytes.to_vec()).expect("the link writes UTF-8"),
                    ),
                };
                emulator.handle(id, frame, now);
            }
        }
        self.tell(emulator, ids, now);
        seen
    }

    fn hear(&mut self, out: Out, seen: &mut Vec<Bytes>, now: Instant) {
        let open = matches!(self.socket, Socket::Open(_));
        match out {
            Out::Frame(frame) => {
                let (input, bytes) = match frame {
                    OutFrame::Text(bytes) => (Input::Text(bytes.clone()), bytes),
                    OutFrame::Binary(bytes) => (Input::Binary(bytes.clone()), bytes),
                };
                seen.push(bytes);
                self.link.handle(input, now);
            }
            Out::Close { code } => self.ended(Input::Closed { code }, now),
            Out::Http(answer) => {
                let failure = ConnectFailure::Refused { status: answer.status, body: answer.body };
                self.ended(Input::Failed(failure), now);
            }
            Out::Cut(_) | Out::Reset if open => self.ended(Input::Closed { code: 1006 }, now),
            Out::Cut(_) | Out::Reset => self.ended(Input::Failed(ConnectFailure::Unreachable), now),
        }
    }

    fn ended(&mut self, input: Input, now: Instant) {
        self.socket = Socket::None;
        self.up.clear();
        self.down.clear();
        self.link.handle(input, now);
    }

    /// Hands events to the owner while there is room; the shell's own are done here.
    fn tell(&mut self, emulator: &mut Emulator, ids: &mut u64, now: Instant) {
        while let Some(order) = self.link.poll_order() {
            match order {
                Order::Connect => self.connect(emulator, ids, now),
                Order::Disconnect => {
                    if let Socket::Connecting(id) | Socket::Open(id) = self.socket {
                        emulator.closed(id, now);
                    }
                    self.ended(Input::Closed { code: 1000 }, now);
                }
            }
        }
        while let Ok(permit) = self.events.try_reserve() {
            match self.link.poll_event() {
                None => return,
                Some(event) => permit.send(event),
            }
        }
    }

    fn connect(&mut self, emulator: &mut Emulator, ids: &mut u64, now: Instant) {
        *ids += 1;
        let id = ConnId(*ids);
        let request = self.link.connect_request();
        let url = url::Url::parse(&request.url).expect("our own URL");
        let headers = request.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        let request = UpgradeRequest {
            path: url.path().to_owned(),
            query: url.query().unwrap_or_default().to_owned(),
            headers: headers.collect(),
        };
        match emulator.connect(id, &request, now) {
            Admission::Accepted => {
                self.socket = Socket::Open(id);
                self.link.handle_connected(now);
            }
            Admission::Pending => self.socket = Socket::Connecting(id),
            Admission::Unreachable => self.link.handle(Input::Failed(ConnectFailure::Unreachable), now),
        }
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Join(topic, join) => self.link.join(topic, join, now).expect("a good channel"),
            Command::Leave(topic) => self.link.leave(topic, now),
            Command::Vouch(topic) => self.link.vouch(topic),
            Command::Token(token) => self.link.set_token(token, now),
            Command::Key(key) => self.link.set_key(key, now),
            Command::Push(push) => {
                let (topic, id) = (push.topic, push.id);
                if let Err(error) = self.link.push(push, now) {
                    let event = LinkEvent::Ack { topic, push: id, outcome: Outcome::NotSent(error) };
                    self.events.try_send(event).unwrap_or_default();
                }
            }
        }
    }
}
