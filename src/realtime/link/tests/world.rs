//! A server on a virtual clock that keeps the protocol's rules, breaks down in every recorded way, and notices when
//! its client does not keep them. The seed decides everything.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{
    Config, ConnectFailure, Input, Join, Link, LinkEvent, Order, Outcome, Push, PushRef, TRIAL_EVENT, TopicNo,
};
use super::{Refs, Sabotage};
use crate::realtime::codec;
use crate::realtime::key::unsigned;
use crate::realtime::message::{Encoding, Frame, Head, Message, Origin, UserBroadcast, Vsn};
use crate::realtime::reason::Reason;
use crate::realtime::url::Endpoint;

/// What is wrong with the provider at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Good,
    Closes,
    Silence,
    RefusesJoins,
    Quota,
    RefusesConnects,
    ClosesChannels,
    DropsReplies,
}

const WEATHERS: [Weather; 7] = [
    Weather::Closes,
    Weather::Silence,
    Weather::RefusesJoins,
    Weather::Quota,
    Weather::RefusesConnects,
    Weather::ClosesChannels,
    Weather::DropsReplies,
];

const TOPICS: u32 = 3;
const UNIX: u64 = 1_800_000_000;

/// The server's side of one socket.
struct Socket {
    heard_at: Instant,
    beat_at: Instant,
    /// Topic to join_ref.
    channels: BTreeMap<String, String>,
    /// While a join is being refused nothing else is read.
    blocked_until: Instant,
    to_read: VecDeque<Message>,
    to_client: VecDeque<(Instant, Frame)>,
    /// Swallows everything in both directions.
    dead: bool,
}

impl Socket {
    fn next_due(&self) -> Option<Instant> {
        self.to_client.front().map(|(at, _)| *at)
    }
}

pub(super) struct World {
    pub(super) link: Link,
    pub(super) now: Instant,
    begin: Instant,
    rng: u64,
    pub(super) weather: Weather,
    socket: Option<Socket>,
    connect_at: Option<Instant>,
    token_exp: u64,
    /// When each topic was closed for quota.
    quota_closed: BTreeMap<String, Instant>,
    join_refs: HashSet<String>,
    /// Pushes without an outcome, and those that the server said ok to.
    open: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    next_push: u64,
    pub(super) violations: Vec<String>,
    pub(super) accepted: u64,
    pub(super) received: u64,
    pub(super) downs: u64,
    /// The most that waited anywhere.
    pub(super) most_waiting: usize,
}

impl World {
    pub(super) fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let now = super::start();
        let token_exp = UNIX + 3_600;
        let endpoint = Endpoint::parse("https://ref.supabase.co").expect("a good URL");
        let mut link = Link::new(Config::new(endpoint, unsigned("service_role", token_exp)), seed);
        link.sabotage = sabotage;
        link.set_clock(UNIX, now);
        for number in 0..TOPICS {
            link.join(TopicNo(number), Join::new(&format!("t{number}"), true), now).expect("fits");
        }
        Self {
            link,
            now,
            begin: now,
            rng: seed,
            weather: Weather::Good,
            socket: None,
            connect_at: None,
            token_exp,
            quota_closed: BTreeMap::new(),
            join_refs: HashSet::new(),
            open: BTreeSet::new(),
            acked: BTreeSet::new(),
            next_push: 0,
            violations: Vec::new(),
            accepted: 0,
            received: 0,
            downs: 0,
            most_waiting: 0,
        }
    }

    /// One in `n`.
    pub(super) fn chance(&mut self, n: u64) -> bool {
        self.number(n) == 0
    }

    pub(super) fn number(&mut self, below: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        (self.rng >> 11) % below
    }

    pub(super) fn any_weather(&mut self) -> Weather {
        WEATHERS[self.number(WEATHERS.len() as u64) as usize]
    }

    pub(super) fn all_joined(&self) -> bool {
        (0..TOPICS).all(|number| self.link.is_joined(TopicNo(number)))
    }

    /// Runs for `time` with traffic every 5 s.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        let (mut traffic_at, mut spins) = (self.now, 0);
        while self.now < until {
            if self.now >= traffic_at {
                traffic_at = self.now + Duration::from_secs(5);
                self.traffic();
                self.misfortune();
            }
            let next = [
                self.link.poll_timeout(),
                self.connect_at,
                self.socket.as_ref().filter(|socket| !socket.dead).and_then(Socket::next_due),
                Some(traffic_at),
                Some(until),
            ];
            let soonest = next.into_iter().flatten().min().expect("until");
            spins = if soonest > self.now { 0 } else { spins + 1 };
            if spins == 1_000 {
                self.violations.push("asks to be woken in the past, again and again".into());
            }
            self.now = soonest.max(self.now + Duration::from_micros(50));
            self.link.handle_timeout(self.now);
            self.turn();
        }
    }

    /// Moves everything that can move at this moment.
    fn turn(&mut self) {
        self.connect();
        while let Some(frame) = self.link.poll_transmit() {
            let message =
                codec::decode(Vsn::V2, Origin::Client, &frame).expect("the link writes good frames");
            if let Some(socket) = self.socket.as_mut().filter(|socket| !socket.dead) {
                socket.heard_at = self.now;
                socket.to_read.push_back(message);
            }
        }
        self.serve();
        self.say_what_is_due();
        while let Some(order) = self.link.poll_order() {
            self.obey(order);
        }
        self.most_waiting = self.most_waiting.max(self.link.events_waiting());
        while let Some(event) = self.link.poll_event() {
            self.note(event);
        }
    }

    fn connect(&mut self) {
        if self.connect_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.connect_at = None;
        if self.weather == Weather::RefusesConnects {
            let failure = match self.number(5) {
                0 => ConnectFailure::Unreachable,
                1 => ConnectFailure::Timeout,
                2 => refused(503, ""),
                3 => refused(429, "{\"error\":\"Too many connected users\"}"),
                _ => refused(401, "{\"error\":\"Token has expired\"}"),
            };
            self.link.handle(Input::Failed(failure), self.now);
            return;
        }
        self.socket = Some(Socket {
            heard_at: self.now,
            beat_at: self.now,
            channels: BTreeMap::new(),
            blocked_until: self.now,
            to_read: VecDeque::new(),
            to_client: VecDeque::new(),
            dead: false,
        });
        self.link.handle_connected(self.now);
    }

    fn traffic(&mut self) {
        let unix = UNIX + (self.now - self.begin).as_secs();
        self.link.set_clock(unix, self.now);
        for number in 0..TOPICS {
            self.next_push += 1;
            let push = Push {
                id: PushRef(self.next_push),
                topic: TopicNo(number),
                event: "frames".into(),
                body: Bytes::from(self.next_push.to_string()),
                encoding: Encoding::Json,
            };
            if self.link.push(push, self.now).is_ok() {
                self.open.insert(self.next_push);
            }
        }
    }

    /// What the weather does to a socket, and the server's own timeouts.
    fn misfortune(&mut self) {
        let (roll, code) = (self.number(12), [1000, 1001, 1006, 1009, 1011, 1012][self.number(6) as usize]);
        let which = format!("realtime:t{}", self.number(u64::from(TOPICS)));
        let expired = UNIX + (self.now - self.begin).as_secs() >= self.token_exp;
        let Some(socket) = &mut self.socket else { return };
        if !socket.dead && self.now - socket.beat_at > Duration::from_secs(40) {
            self.violations.push("no heartbeat for 40 s".into());
            socket.beat_at = self.now;
        }
        if self.now - socket.heard_at > Duration::from_secs(62) && !socket.dead {
            self.close(1000);
            return;
        }
        if expired {
            for topic in socket.channels.keys().cloned().collect::<Vec<_>>() {
                self.end_channel(&topic, Some("Token has expired 0 seconds ago"));
            }
            return;
        }
        let weather = self.weather;
        match weather {
            Weather::Closes if roll == 0 => self.close(code),
            Weather::Closes if roll == 1 => {
                self.announce();
                self.close(1012);
            }
            Weather::Silence if roll == 0 => socket.dead = true,
            Weather::ClosesChannels if roll >= 10 => drop(socket.channels.remove(&which)),
            Weather::Quota if roll < 3 && self.end_channel(&which, Some("Too many messages per second")) => {
                self.quota_closed.insert(which, self.now);
            }
            Weather::ClosesChannels if roll < 2 => drop(self.end_channel(&which, None)),
            _ => {}
        }
    }

    fn close(&mut self, code: u16) {
        self.socket = None;
        self.link.handle(Input::Closed { code }, self.now);
    }

    fn announce(&mut self) {
        let system =
            "{\"message\":\"Server requested disconnect\",\"status\":\"ok\",\"extension\":\"system\"}";
        let Some(socket) = &self.socket else { return };
        for (topic, join_ref) in socket.channels.clone() {
            let head = Head { join_ref: Some(join_ref), topic, event: "system".into(), ..Head::default() };
            let frame = codec::encode(Vsn::V2, &Message::Text(head, Bytes::from_static(system.as_bytes())));
            let Ok(Frame::Text(text)) = frame else { panic!("text") };
            self.link.handle(Input::Text(text), self.now);
        }
    }

    /// The server ends a channel; answers whether there was one.
    fn end_channel(&mut self, topic: &str, complaint: Option<&str>) -> bool {
        let Some(join_ref) = self.socket.as_mut().and_then(|socket| socket.channels.remove(topic)) else {
            return false;
        };
        if let Some(complaint) = complaint {
            let body =
                format!("{{\"status\":\"error\",\"extension\":\"system\",\"message\":\"{complaint}\"}}");
            self.say((Some(&join_ref), None), topic, "system", &body);
        }
        self.say((Some(&join_ref), Some(&join_ref)), topic, "phx_close", "{}");
        true
    }

    fn say(&mut self, (join_ref, reference): Refs<'_>, topic: &str, event: &str, body: &str) {
        let head = Head {
            join_ref: join_ref.map(Into::into),
            reference: reference.map(Into::into),
            topic: topic.into(),
            event: event.into(),
        };
        let message = Message::Text(head, Bytes::copy_from_slice(body.as_bytes()));
        self.queue(&message);
    }

    fn queue(&mut self, message: &Message) {
        let delay = Duration::from_millis(1 + self.number(50));
        let frame = codec::encode(Vsn::V2, message).expect("fits");
        let Some(socket) = &mut self.socket else { return };
        let at = (self.now + delay).max(socket.blocked_until);
        let at = socket.to_client.back().map_or(at, |(last, _)| at.max(*last));
        socket.to_client.push_back((at, frame));
    }

    fn say_what_is_due(&mut self) {
        while let Some(socket) = self.socket.as_mut().filter(|socket| !socket.dead) {
            if socket.to_client.front().is_none_or(|(at, _)| *at > self.now) {
                return;
            }
            let Some((_, frame)) = socket.to_client.pop_front() else { return };
            let input = match frame {
                Frame::Text(text) => Input::Text(text),
                Frame::Binary(bytes) => Input::Binary(bytes),
            };
            self.link.handle(input, self.now);
        }
    }

    fn serve(&mut self) {
        while let Some(message) = self.socket.as_mut().and_then(|socket| socket.to_read.pop_front()) {
            let head = message.head().clone();
            let (join_ref, reference) = (head.join_ref.as_deref(), head.reference.as_deref());
            match (&message, head.event.as_str()) {
                (Message::Text(..), "heartbeat") => {
                    if let Some(socket) = &mut self.socket {
                        socket.beat_at = self.now;
                    }
                    self.say((None, reference), "phoenix", "phx_reply", OK);
                }
                (Message::Text(_, payload), "phx_join") => self.serve_join(&head, payload),
                (Message::Text(_, payload), "access_token") => self.serve_token(payload),
                (Message::User(user), _) => self.serve_push(user),
                _ => self.say((join_ref, reference), &head.topic, "phx_reply", OK),
            }
        }
    }

    fn serve_join(&mut self, head: &Head, payload: &[u8]) {
        let reference = head.reference.clone().unwrap_or_default();
        if !self.join_refs.insert(reference.clone()) {
            self.violations.push(format!("join ref {reference} used again"));
        }
        let closed = self.quota_closed.get(&head.topic).copied();
        if closed.is_some_and(|at| self.now - at < Duration::from_secs(15)) {
            self.violations.push(format!(
                "{} joined {:?} after a quota close",
                head.topic,
                self.now - closed.unwrap()
            ));
        }
        let expired = !String::from_utf8_lossy(payload)
            .contains(unsigned("service_role", self.token_exp).reveal())
            || UNIX + (self.now - self.begin).as_secs() >= self.token_exp;
        let refusal = match (expired, self.weather) {
            (true, _) => Some("InvalidJWTToken: Token has expired 3 seconds ago"),
            (_, Weather::RefusesJoins) => Some(REFUSALS[self.number(REFUSALS.len() as u64) as usize]),
            _ => None,
        };
        let jr = Some(reference.as_str());
        if let Some(refusal) = refusal {
            if let Some(socket) = &mut self.socket {
                socket.blocked_until = socket.blocked_until.max(self.now) + Duration::from_secs(5);
            }
            let body = format!("{{\"status\":\"error\",\"response\":{{\"reason\":\"{refusal}\"}}}}");
            self.say((jr, jr), &head.topic, "phx_reply", &body);
            return;
        }
        self.say((jr, jr), &head.topic, "phx_reply", OK);
        let old = self
            .socket
            .as_mut()
            .and_then(|socket| socket.channels.insert(head.topic.clone(), reference.clone()));
        if let Some(old) = old {
            self.say((Some(&old), Some(&old)), &head.topic, "phx_close", "{}");
        }
    }

    fn serve_token(&mut self, payload: &[u8]) {
        if !String::from_utf8_lossy(payload).contains(unsigned("service_role", self.token_exp).reveal()) {
            self.violations.push("an old token was told".into());
        }
    }

    fn serve_push(&mut self, push: &UserBroadcast) {
        let head = &push.head;
        let (join_ref, reference) = (head.join_ref.as_deref(), head.reference.as_deref());
        let current = self.socket.as_ref().and_then(|socket| socket.channels.get(&head.topic).cloned());
        let Some(current) = current else {
            let body = "{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}";
            self.say((None, reference), &head.topic, "phx_reply", body);
            return;
        };
        if join_ref != Some(current.as_str()) {
            return; // stock Phoenix drops it without a word
        }
        if self.weather == Weather::DropsReplies && self.chance(3) {
            return;
        }
        if self.chance(40) {
            let body = "{\"status\":\"error\",\"response\":\"payload_size_exceeded\"}";
            self.say((join_ref, reference), &head.topic, "phx_reply", body);
            return;
        }
        if head.event == TRIAL_EVENT {
            self.say((join_ref, reference), &head.topic, "phx_reply", OK);
            return;
        }
        self.acked.insert(String::from_utf8_lossy(&push.payload).parse().expect("a number"));
        let echo = UserBroadcast {
            origin: Origin::Server,
            head: Head { join_ref: None, reference: None, ..head.clone() },
            ..push.clone()
        };
        self.queue(&Message::User(echo));
        self.say((join_ref, reference), &head.topic, "phx_reply", OK);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Connect => {
                if self.socket.is_some() || self.connect_at.is_some() {
                    self.violations.push("a second socket".into());
                }
                self.connect_at = Some(self.now + Duration::from_millis(200));
            }
            Order::Disconnect => {
                self.socket = None;
                self.connect_at = None;
                self.link.handle(Input::Closed { code: 1006 }, self.now);
            }
        }
    }

    fn note(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Ack { push, outcome, .. } => {
                if !self.open.remove(&push.0) {
                    self.violations.push(format!("{push:?} has a second outcome"));
                }
                if outcome == Outcome::Accepted {
                    self.accepted += 1;
                    if !self.acked.contains(&push.0) {
                        self.violations.push(format!("{push:?} was never accepted"));
                    }
                }
            }
            LinkEvent::Broadcast(_) => self.received += 1,
            LinkEvent::Down { reason, .. } => {
                self.downs += 1;
                if reason == Reason::IdleClose && self.weather == Weather::Good {
                    self.violations.push("closed as idle in good weather".into());
                }
            }
            LinkEvent::TokenExpiring { .. } if !self.chance(4) => {
                self.token_exp = UNIX + (self.now - self.begin).as_secs() + 3_600;
                self.link.set_key(unsigned("service_role", self.token_exp), self.now);
            }
            _ => {}
        }
    }

    /// Pushes without an outcome: at rest there are none.
    pub(super) fn unsettled(&self) -> usize {
        self.open.len()
    }
}

const OK: &str = "{\"status\":\"ok\",\"response\":{}}";

const REFUSALS: [&str; 6] = [
    "Unauthorized: You do not have permissions to read from this Channel topic: t",
    "InitializingProjectConnection: x",
    "UnableToConnectToProject: x",
    "ConnectionRateLimitReached: Too many connected users",
    "JwtSignatureError: Failed to validate JWT signature",
    "Unknown Error on Channel",
];

fn refused(status: u16, body: &str) -> ConnectFailure {
    ConnectFailure::Refused { status, body: body.into() }
}
