//! Plays a recorded server to the link. What the recorded client did, the link is made to do by its own calls; refs in
//! the server's frames are translated from the recorded client's to ours. Refs of things that the link would never
//! send stay strange to it, and must change nothing.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use super::super::{ConnectFailure, Input, Join, LinkEvent, Order, Outcome, TopicNo};
use super::{Bench, config, key};
use crate::realtime::codec;
use crate::realtime::message::{Frame, Message, Origin, Vsn};
use crate::realtime::reason::Reason;
use crate::realtime::recording::{self, Line, Said};

/// What came of a recording.
#[derive(Debug, Default)]
struct Played {
    joined: usize,
    left: Vec<Reason>,
    accepted: usize,
    refused: Vec<Reason>,
    lost: usize,
    broadcasts: usize,
    systems: Vec<Option<Reason>>,
    down: Vec<Reason>,
}

struct Player {
    bench: Bench,
    refs: HashMap<String, String>,
    topics: HashMap<String, TopicNo>,
    /// The recorded client's latest join_ref of each topic.
    join_refs: HashMap<String, Option<String>>,
    /// Joins that ours sent by itself before the recorded client did.
    early_joins: HashMap<String, String>,
    were_joined: HashSet<TopicNo>,
    pushes: u64,
    played: Played,
}

/// Plays one connection of a recording, from its `nth` upgrade on.
fn play(prefix: &str, conn: &str, nth: usize) -> Played {
    let mut lines = recording::lines(prefix).into_iter().filter(|line| line.conn == conn).peekable();
    for _ in 0..=nth {
        while lines.next_if(|line| !matches!(line.said, Said::Http(101, _))).is_some() {}
        lines.next();
    }
    let vsn = lines.peek().map_or(Vsn::V1, |line| line.vsn);
    let mut player = Player {
        bench: Bench::new(config(vsn)),
        refs: HashMap::new(),
        topics: HashMap::new(),
        join_refs: HashMap::new(),
        early_joins: HashMap::new(),
        were_joined: HashSet::new(),
        pushes: 0,
        played: Played::default(),
    };
    for line in lines {
        match &line.said {
            Said::Http(..) => break,
            Said::Close(code) if line.from_server => {
                player.bench.link.handle(Input::Closed { code: *code }, player.bench.now);
                player.note();
                break;
            }
            Said::Close(_) => break,
            Said::Frame(frame) if line.from_server => player.server(frame),
            Said::Frame(frame) => player.client(&line, frame),
        }
        player.note();
    }
    player.played
}

impl Player {
    /// Makes the link do what the recorded client did, if the link ever would.
    fn client(&mut self, line: &Line, frame: &Frame) {
        let Ok(message) = codec::decode(line.vsn, Origin::Client, frame) else { return };
        let head = message.head().clone();
        if head.topic == "realtime:burst" {
            return; // join, leave and join in one go: ours waits for each answer
        }
        let topic = self.topics.get(&head.topic).copied();
        match (&message, head.event.as_str()) {
            (Message::Text(_, payload), "phx_join") => {
                self.join(&head.topic, payload);
                self.join_refs.insert(head.topic.clone(), head.join_ref.clone());
                let Some(ours) = self.sent_for("phx_join", &head.topic) else { return };
                self.map(head.reference, ours);
            }
            (Message::Text(..), "heartbeat") => {
                if let Some(ours) = self.sent_for("heartbeat", "phoenix") {
                    self.map(head.reference, ours);
                }
            }
            (Message::Text(..), "phx_leave") => {
                let Some(topic) = topic else { return };
                if self.join_refs.get(&head.topic) != Some(&head.join_ref) {
                    return; // under an old join_ref, to see that the server ignores it
                }
                self.bench.link.leave(topic, self.bench.now);
                self.topics.remove(&head.topic);
                let ours = self.bench.sent().into_iter().find(|sent| sent.head().event == "phx_leave");
                if let Some(ours) = ours.and_then(|ours| ours.head().reference.clone()) {
                    self.map(head.reference, ours);
                }
            }
            (Message::Text(_, payload), "access_token") => {
                let payload: Value = serde_json::from_slice(payload).expect("JSON");
                if let Some(token) = payload["access_token"].as_str() {
                    self.bench.link.set_token(Some(key(token)), self.bench.now);
                }
            }
            (Message::Text(..), "broadcast") | (Message::User(_), _) => {
                let Some(topic) = topic else { return };
                self.pushes += 1;
                if let Ok(ours) = self.bench.push(topic, self.pushes, "{\"n\":1}") {
                    self.map(head.reference, ours);
                }
            }
            _ => {}
        }
    }

    /// Joins as recorded; a topic that the link holds already it joins anew by itself, or is made to.
    fn join(&mut self, topic: &str, payload: &[u8]) {
        let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
        let broadcast = &payload["config"]["broadcast"];
        let now = self.bench.now;
        if let Some(&held) = self.topics.get(topic) {
            if self.bench.link.is_joined(held) {
                self.bench.link.lose_channel(held, Reason::AckTimeout, now);
            }
            return;
        }
        let Some(name) = topic.strip_prefix("realtime:") else { return };
        let number = TopicNo(self.topics.len() as u32 + 100 * self.played.joined as u32);
        let join = Join {
            ack: broadcast["ack"] == true,
            receive_own: broadcast["self"] == true,
            ..Join::new(name, payload["config"]["private"] == true)
        };
        if self.bench.link.join(number, join, now).is_ok() {
            self.topics.insert(topic.to_owned(), number);
        }
        if self.bench.orders().contains(&Order::Connect) {
            self.bench.link.handle_connected(now);
        }
    }

    /// Waits for our own frame of that kind and answers its ref.
    fn sent_for(&mut self, event: &str, topic: &str) -> Option<String> {
        if event == "phx_join" && !self.topics.contains_key(topic) {
            return None;
        }
        // None: not connected, as ours is not without a channel.
        self.bench.link.poll_timeout()?;
        if let Some(early) = self.early_joins.remove(topic).filter(|_| event == "phx_join") {
            return Some(early);
        }
        let until = self.bench.now + Duration::from_secs(600);
        while self.bench.now < until {
            for message in self.bench.sent() {
                let head = message.head();
                if head.event == event && head.topic == topic {
                    return head.reference.clone();
                }
                if head.event == "phx_join" {
                    self.early_joins.insert(head.topic.clone(), head.reference.clone().expect("a ref"));
                }
                if head.event == "heartbeat" {
                    let reference = head.reference.as_deref();
                    self.bench.say((None, reference), "phoenix", "phx_reply", "{\"status\":\"ok\"}");
                }
            }
            self.bench.step(until);
        }
        panic!("no {event} for {topic} of ours");
    }

    fn map(&mut self, recorded: Option<String>, ours: String) {
        if let Some(recorded) = recorded {
            self.refs.insert(recorded, ours);
        }
    }

    /// Hands a recorded server frame in, with our refs.
    fn server(&mut self, frame: &Frame) {
        let translated = match frame {
            Frame::Text(text) => match serde_json::from_slice::<Value>(text) {
                Ok(mut value) => {
                    let places: &[&str] = if value.is_array() { &["/0", "/1"] } else { &["/ref"] };
                    for place in places {
                        let Some(place) = value.pointer_mut(place) else { continue };
                        if let Some(recorded) = place.as_str() {
                            let strange = format!("9000{recorded}");
                            *place = self.refs.get(recorded).cloned().unwrap_or(strange).into();
                        }
                    }
                    Input::Text(value.to_string().into())
                }
                Err(_) => Input::Text(text.clone()),
            },
            Frame::Binary(bytes) => Input::Binary(bytes.clone()),
        };
        self.bench.link.handle(translated, self.bench.now);
    }

    fn note(&mut self) {
        for event in self.bench.events() {
            match event {
                LinkEvent::Joined { topic } => {
                    self.played.joined += 1;
                    self.were_joined.insert(topic);
                }
                LinkEvent::Left { topic, reason, .. } => {
                    self.played.left.push(reason);
                    // The recorded client does not try a refused join again, and ours should not meanwhile.
                    let refused = reason != Reason::Left && !self.were_joined.contains(&topic);
                    if refused && self.played.down.is_empty() {
                        self.topics.retain(|_, held| *held != topic);
                        self.bench.link.leave(topic, self.bench.now);
                    }
                }
                LinkEvent::Ack { outcome: Outcome::Accepted, .. } => self.played.accepted += 1,
                LinkEvent::Ack { outcome: Outcome::Refused(reason), .. } => self.played.refused.push(reason),
                LinkEvent::Ack { .. } => self.played.lost += 1,
                LinkEvent::Broadcast(_) => self.played.broadcasts += 1,
                LinkEvent::System { reason, .. } => self.played.systems.push(reason),
                LinkEvent::Down { reason, .. } => self.played.down.push(reason),
                _ => {}
            }
        }
        self.played.left.retain(|reason| *reason != Reason::Left);
    }
}

#[test]
fn recording_01_joins_leaves_and_system_messages() {
    let played = play("01-", "a", 0);
    assert_eq!(played.joined, 10, "{played:?}");
    assert!(played.left.is_empty(), "{played:?}");
    assert_eq!(played.systems, [Some(Reason::ChangesRefused), None], "{played:?}");
}

#[test]
fn recording_02_every_push_is_answered_in_order_and_echoes_arrive() {
    let sender = play("02-", "a", 0);
    assert_eq!(sender.joined, 4, "{sender:?}");
    assert!(sender.accepted >= 20 && sender.refused.is_empty(), "{sender:?}");
    let listener = play("02-", "b", 0);
    assert!(listener.joined == 3 && listener.broadcasts >= 25, "{listener:?}");
}

#[test]
fn recording_03_broadcasts_arrive_in_every_form() {
    let sender = play("03-", "a", 0);
    assert!(sender.accepted >= 12, "{sender:?}");
    let (v2, v1) = (play("03-", "b", 0), play("03-", "c", 0));
    assert!(v2.broadcasts >= 13, "{v2:?}");
    assert!(v1.broadcasts >= 8 && v1.broadcasts < v2.broadcasts, "{v1:?} {v2:?}");
    assert!(v2.left.is_empty() && v1.left.is_empty());
}

#[test]
fn recording_06_tokens_that_are_refused_expire_or_are_bad() {
    let played = play("06-", "a", 0);
    let expected =
        [Reason::TokenExpired, Reason::TokenSignature, Reason::TokenMalformed, Reason::TokenClaims];
    assert!(played.left.starts_with(&expected[..1]), "{played:?}");
    for reason in expected {
        assert!(played.left.contains(&reason), "{reason:?} {played:?}");
    }
    let expiring = play("06-", "b", 0);
    assert!(expiring.left.contains(&Reason::TokenExpired), "{expiring:?}");
    let refreshed = play("06-", "c", 0);
    assert!(refreshed.left.is_empty() && refreshed.accepted == 1, "{refreshed:?}");
    let mut bench = Bench::new(config(Vsn::V1));
    for line in recording::lines("06-").iter().filter(|line| line.conn == "x") {
        let Said::Http(status, body) = &line.said else { continue };
        if *status == 101 {
            continue;
        }
        bench.link.join(super::A, Join::new("a", false), bench.now).expect("free");
        bench.events();
        let refused = ConnectFailure::Refused { status: *status, body: body.clone() };
        bench.link.handle(Input::Failed(refused), bench.now);
        let told = bench.events();
        let down = told.iter().find_map(|event| match event {
            LinkEvent::Down { reason, .. } => Some(*reason),
            _ => None,
        });
        assert!(down.is_some_and(|reason| reason != Reason::OtherRefusal), "{status} {body} {told:?}");
        bench.link.leave(super::A, bench.now);
    }
}

#[test]
fn recording_10_what_was_never_ours_changes_nothing() {
    let played = play("10-", "a", 0);
    assert!(!played.left.contains(&Reason::ChannelClosed), "the older join's close: {played:?}");
    assert_eq!(played.left.iter().filter(|reason| **reason == Reason::AckTimeout).count(), 1, "{played:?}");
    assert!(played.accepted >= 4 && played.down.is_empty(), "{played:?}");
    let big = play("10-", "b", 0);
    assert_eq!(big.joined, 1, "{big:?}");
    assert_eq!(big.down, [Reason::FrameTooLarge], "{big:?}");
}

#[test]
fn recording_11_a_restart_ends_in_a_new_socket() {
    for (conn, nth, reason) in [
        ("a", 0, Reason::ServerRestart),
        ("b", 0, Reason::ServerRestart),
        ("a", 1, Reason::ConnectionLost),
        ("b", 1, Reason::ConnectionLost),
    ] {
        let played = play("11-", conn, nth);
        assert_eq!(played.down, [reason], "{conn} {nth} {played:?}");
        assert_eq!(played.left, [reason], "{conn} {nth} {played:?}");
        assert_eq!(played.lost, usize::from(conn == "a" && nth == 0), "the push in flight: {played:?}");
    }
}
