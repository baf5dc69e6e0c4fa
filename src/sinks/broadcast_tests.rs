//! The broadcast sink against the emulator's own HTTP endpoint, on a virtual clock; the network between them is the
//! test's and may lose, refuse and drop.

#![expect(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Reply;
use super::broadcast::{ATTEMPTS_MAX, BroadcastSink, Limits, Parcel};
use crate::budget::Budget;
use crate::emulator::{self, Claims, Clock, Config, Emulator, HttpRequest, Secret};
use crate::ledger::{Ledger, Shed};
use crate::realtime::http::{Next, Outgoing, Post};
use crate::realtime::key::ApiKey;
use crate::realtime::url::Endpoint;
use crate::session::{Direction, Key, Seq, SessionNo};

struct World {
    sink: BroadcastSink,
    emulator: Emulator,
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    now: Instant,
    posts: Vec<Post>,
}

impl World {
    fn new() -> Self {
        Self::with(&good_key())
    }

    fn with(key: &str) -> Self {
        let now = Instant::now();
        let config = Config { limits: emulator::Limits::generous(), ..Config::new(Secret::new("s")) };
        let endpoint = Endpoint::parse("http://realtime-dev.localhost:4000").expect("a URL");
        let limits = Limits { rate: 1_000, bytes: 1 << 20, life: None };
        Self {
            sink: BroadcastSink::new(endpoint, ApiKey::new(key), limits, 7, now),
            emulator: Emulator::new(config, 1, Clock { at: now, unix_ms: 1_000_000_000_000 }),
            ledger: Ledger::new(),
            budget: Budget::new(1 << 20),
            now,
            posts: Vec::new(),
        }
    }

    fn push(&mut self, seq: u64, payload: &'static [u8], readback: bool) {
        let key = Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) };
        let message = Outgoing {
            topic: format!("user:{seq}"),
            event: "e".to_owned(),
            payload: Bytes::from_static(payload),
            private: true,
            id: Some(seq.to_string()),
        };
        let lease = self.budget.try_take(100).expect("room");
        self.sink.push(Parcel::new(message, Some(self.ledger.open(key)), readback, lease));
    }

    fn ask(&mut self, post: &Post) -> Reply {
        let rest = post.url.split_once("://").expect("a URL").1;
        let (path, query) = rest[rest.find('/').expect("a path")..]
            .split_once('?')
            .unwrap_or((&rest[rest.find('/').expect("a path")..], ""));
        let host = rest.split('/').next().expect("a host").to_owned();
        let headers = post.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let request = HttpRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.chain([("host".to_owned(), host)]).collect(),
            body: post.body.clone(),
        };
        let answer = self.emulator.http(&request, self.now);
        Reply::Answer { status: answer.status, retry_after: None, body: answer.body }
    }

    /// Lets the emulator answer until the sink has nothing to say or to wait for; `fate` may answer in its stead.
    fn run(&mut self, mut fate: impl FnMut(usize) -> Option<Reply>) -> Vec<Next> {
        let mut heard = Vec::new();
        for _ in 0..1_000 {
            self.sink.handle_timeout(self.now);
            if let Some(post) = self.sink.poll_transmit(self.now) {
                self.posts.push(post.clone());
                let reply = fate(self.posts.len()).unwrap_or_else(|| self.ask(&post));
                heard.extend(self.sink.handle_reply(&reply, self.now).map(|refused| refused.next));
            } else if let Some(at) = self.sink.poll_timeout() {
                assert!(at > self.now, "it asked for time that has passed, and sent nothing");
                self.now = at;
            } else {
                assert!(self.sink.is_empty());
                let account = self.ledger.account();
                assert_eq!((account.in_flight, account.internal(), account.imbalance()), (0, 0, 0));
                assert_eq!(self.budget.used(), 0);
                return heard;
            }
        }
        panic!("it does not come to rest");
    }
}

fn good_key() -> String {
    Secret::new("s").mint(&Claims::of("service_role", 4_000_000_000))
}

fn answer(status: u16, body: &str) -> Reply {
    Reply::Answer { status, retry_after: None, body: body.to_owned() }
}

#[test]
fn objects_travel_together_and_the_rest_alone() {
    let mut world = World::new();
    for (seq, payload) in (1..).zip([&b"{\"n\":1}"[..], b"{}", b"[1]", b"\x00\xff", b" {\"n\":2}", b"{"]) {
        world.push(seq, payload, false);
    }
    world.run(|_| None);
    assert_eq!(world.sink.counts().acked_only, 6, "{:?}", world.sink.counts());
    assert_eq!(world.ledger.account().acked_only, 6, "accepted is not delivered");
    let single = world.posts.iter().filter(|post| post.url.contains("/events/e")).count();
    assert_eq!(
        (world.posts.len(), single),
        (5, 4),
        "one batch of two; four alone, one of them a private object"
    );
}

#[test]
fn accepted_and_never_heard_is_unconfirmed_after_four_transmissions() {
    let mut world = World::new();
    world.push(1, b"{}", true);
    // The emulator accepts; nobody ever hears it.
    world.run(|_| None);
    assert_eq!(world.posts.len(), usize::from(ATTEMPTS_MAX));
    assert_eq!((world.sink.counts().unconfirmed, world.ledger.account().shed(Shed::Unconfirmed)), (1, 1));
}

#[test]
fn a_read_back_confirms_only_what_was_sent() {
    let mut world = World::new();
    world.push(1, br#"{"a":1,"b":2}"#, true);
    assert!(!world.sink.handle_readback("user:1", "1", br#"{"a":1,"b":2}"#), "nothing was sent yet");
    let post = world.sink.poll_transmit(world.now).expect("a request");
    let reply = world.ask(&post);
    world.sink.handle_reply(&reply, world.now);
    assert!(!world.sink.handle_readback("user:2", "1", br#"{"a":1,"b":2}"#), "another topic");
    assert!(!world.sink.handle_readback("user:1", "2", br#"{"a":1,"b":2}"#), "another message");
    assert!(!world.sink.handle_readback("user:1", "1", br#"{"a":1,"b":3}"#), "altered");
    assert_eq!(world.ledger.account().in_flight, 1);
    assert!(world.sink.handle_readback("user:1", "1", br#"{"b":2,"a":1}"#), "keys may change places");
    assert_eq!((world.ledger.account().confirmed, world.sink.counts().confirmed), (1, 1));
    world.run(|_| None);
}

#[test]
fn what_is_heard_before_the_answer_is_confirmed_whatever_the_answer() {
    let refusals = [Reply::Unknown, answer(500, ""), answer(401, ""), answer(422, ""), answer(202, "")];
    for reply in refusals {
        let mut world = World::new();
        world.push(1, b"{}", true);
        world.sink.poll_transmit(world.now).expect("a request");
        assert!(world.sink.handle_readback("user:1", "1", b"{}"));
        world.sink.handle_reply(&reply, world.now);
        world.run(|_| None);
        assert_eq!((world.posts.len(), world.sink.counts().confirmed), (0, 1), "not sent again: {reply:?}");
        assert_eq!(world.ledger.account().confirmed, 1);
    }
}

#[test]
fn what_waits_for_another_transmission_and_is_heard_is_not_sent_again() {
    let mut world = World::new();
    world.push(1, b"{}", true);
    world.sink.poll_transmit(world.now).expect("a request");
    world.sink.handle_reply(&Reply::Unknown, world.now);
    assert!(world.sink.handle_readback("user:1", "1", b"{}"), "late, and no less there");
    world.run(|_| None);
    assert_eq!((world.posts.len(), world.sink.counts().confirmed), (0, 1));
}

/// The world with one message that lives for so long, accepted by the server.
fn taken(life: Duration, change: impl FnOnce(Parcel) -> Parcel) -> World {
    let mut world = World::new();
    let limits = Limits { rate: 1_000, bytes: 1 << 20, life: Some(life) };
    let endpoint = Endpoint::parse("http://realtime-dev.localhost:4000").expect("a URL");
    world.sink = BroadcastSink::new(endpoint, ApiKey::new(&good_key()), limits, 7, world.now);
    let (topic, event) = ("user:1".to_owned(), "e".to_owned());
    let id = Some("1".to_owned());
    let message = Outgoing { topic, event, payload: Bytes::from_static(b"{}"), private: true, id };
    let lease = world.budget.try_take(100).expect("room");
    world.sink.push(change(Parcel::new(message, None, true, lease).until(world.now + life)));
    world
}

#[test]
fn what_was_taken_and_is_too_old_to_repeat_is_unconfirmed_and_not_stale() {
    let mut world = taken(Duration::from_secs(10), |parcel| parcel);
    world.run(|_| None);
    let counts = world.sink.counts();
    assert_eq!((world.posts.len(), counts.unconfirmed, counts.stale), (4, 1, 0), "all within its life");
    let mut brief = taken(Duration::from_secs(1), |parcel| parcel);
    brief.run(|_| None);
    assert_eq!((brief.posts.len(), brief.sink.counts().unconfirmed, brief.sink.counts().stale), (2, 1, 0));
    let mut never = taken(Duration::from_secs(1), |parcel| parcel);
    never.run(|_| Some(Reply::Unknown));
    assert_eq!((never.sink.counts().unconfirmed, never.sink.counts().stale), (0, 1), "nobody took it");
}

#[test]
fn where_we_may_not_listen_nothing_is_confirmed_and_where_we_went_deaf_it_was_taken() {
    let mut blind = taken(Duration::from_secs(10), Parcel::blind);
    blind.run(|_| None);
    assert_eq!((blind.posts.len(), blind.sink.counts().unconfirmed), (1, 1));
    let mut deaf = taken(Duration::from_secs(10), |parcel| parcel);
    let post = deaf.sink.poll_transmit(deaf.now).expect("a request");
    let reply = deaf.ask(&post);
    deaf.sink.handle_reply(&reply, deaf.now);
    deaf.sink.handle_deaf("another");
    assert_eq!(deaf.sink.counts().acked_only, 0);
    deaf.sink.handle_deaf("user:1");
    deaf.run(|_| None);
    assert_eq!((deaf.posts.len(), deaf.sink.counts().acked_only), (0, 1), "taken, and nobody listened");
}

#[test]
fn one_bad_message_refuses_a_batch_and_is_found() {
    let mut world = World::new();
    for seq in 1..=16 {
        // An object by its first byte and by JSON, but not what a batch may hold is the test's to say.
        world.push(seq, if seq == 11 { br#"{"bad":1}"# } else { b"{}" }, false);
    }
    for _ in 0..100 {
        let Some(post) = world.sink.poll_transmit(world.now) else { break };
        let bad = post.body.windows(5).any(|five| five == b"\"bad\"");
        let reply =
            if bad { answer(422, r#"{"errors":{"messages":["is invalid"]}}"#) } else { world.ask(&post) };
        world.sink.handle_reply(&reply, world.now);
    }
    assert_eq!((world.sink.counts().acked_only, world.sink.counts().refused), (15, 1));
    assert_eq!(world.ledger.account().shed(Shed::Refused), 1);
    world.run(|_| None);
}

#[test]
fn too_large_is_split_and_what_is_too_large_alone_is_given_up() {
    let mut world = World::new();
    for seq in 1..=4 {
        world.push(seq, b"{}", false);
    }
    world.run(|_| Some(answer(413, "Request Entity Too Large")));
    assert_eq!((world.sink.counts().refused, world.ledger.account().shed(Shed::TooLarge)), (4, 4));
}

#[test]
fn refusals_that_last_are_told_once_and_nothing_is_lost_meanwhile() {
    let mut world = World::new();
    world.push(1, b"{}", false);
    world.push(2, b"{}", false);
    let start = world.now;
    let heard = world.run(|turn| match turn {
        1 | 2 => Some(answer(401, r#"{"message":"Unauthorized"}"#)),
        3 => Some(answer(429, r#"{"message":"You have exceeded your rate limit"}"#)),
        4 => Some(Reply::Unknown),
        5 => Some(answer(500, "\"Internal Server Error\"")),
        _ => None,
    });
    assert_eq!(heard, [Next::Refresh, Next::SlowDown]);
    assert!(world.now - start >= Duration::from_secs(5), "a rate limit is given time");
    assert_eq!((world.sink.counts().acked_only, world.sink.counts().requests), (2, 6));
}

#[test]
fn an_old_server_without_the_single_form_gets_batches() {
    let mut world = World::new();
    world.push(1, b"{}", false);
    world.push(2, b"[]", false);
    world.run(|turn| (turn == 1).then(|| answer(404, "Not Found")));
    assert_eq!(
        (world.sink.counts().acked_only, world.sink.counts().refused),
        (1, 1),
        "a batch takes no list"
    );
    assert!(!world.posts.last().expect("a post").url.contains("/events/"));
}

#[test]
fn a_wrong_key_is_the_emulators_to_refuse_and_a_new_one_goes_on() {
    let mut world = World::with(&Secret::new("another").mint(&Claims::of("service_role", 4_000_000_000)));
    world.push(1, b"{}", false);
    let post = world.sink.poll_transmit(world.now).expect("a request");
    let reply = world.ask(&post);
    let heard = world.sink.handle_reply(&reply, world.now).expect("a person hears of it");
    assert_eq!(heard.next, Next::Refresh);
    world.sink.renew_key(ApiKey::new(&good_key()));
    assert!(world.run(|_| None).is_empty());
    assert_eq!(world.sink.counts().acked_only, 1);
}

/// When the events in this request were born, in seconds.
fn births(post: &Post) -> Vec<u64> {
    let body = String::from_utf8_lossy(&post.body).into_owned();
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    body.split("\"born\":").skip(1).map(|rest| digits(rest).parse().expect("a number")).collect()
}

#[test]
fn after_ten_minutes_of_outage_nothing_old_reaches_a_live_topic() {
    let (life, outage, begin) = (Duration::from_secs(30), 60..660, Instant::now());
    let mut world = taken(life, |parcel| parcel);
    world.now = begin;
    let (mut arrived, mut refused) = (Vec::new(), 0_u64);
    for second in 0..720 {
        let (id, now) = (Some(second.to_string()), begin + Duration::from_secs(second));
        let payload = Bytes::from(format!("{{\"born\":{second}}}"));
        let message =
            Outgoing { topic: "user:1".to_owned(), event: "e".to_owned(), payload, private: true, id };
        let lease = world.budget.try_take(100).expect("what is too old gives its bytes back");
        world.sink.push(Parcel::new(message, None, false, lease).until(now + life));
        world.now = now;
        while world.now < now + Duration::from_secs(1) {
            world.sink.handle_timeout(world.now);
            if let Some(post) = world.sink.poll_transmit(world.now) {
                let reply = if outage.contains(&second) { Reply::Unknown } else { world.ask(&post) };
                if outage.contains(&second) {
                    refused += 1;
                } else {
                    arrived.extend(births(&post).into_iter().map(|born| (born, second)));
                }
                world.sink.handle_reply(&reply, world.now);
            } else {
                let soon = world.now + Duration::from_millis(1);
                world.now = world.sink.poll_timeout().unwrap_or(now + Duration::from_secs(1)).max(soon);
            }
        }
    }
    let late = arrived.iter().filter(|(born, second)| second - born > life.as_secs());
    assert_eq!(late.collect::<Vec<_>>(), Vec::<&(u64, u64)>::new(), "born, and sent at");
    assert!(refused > 10, "it was tried");
    let live = arrived.iter().filter(|(born, _)| !(60..660).contains(born)).count();
    assert_eq!(live, 120, "what was born before and after it arrives, and once");
    assert!(world.sink.counts().stale > 500, "{:?}", world.sink.counts());
}
