//! Tests of the link: rules one by one, recordings played to it, and hours of faults on a virtual clock.

mod playback;
mod rules;
mod soak;
mod world;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Config, Input, Join, Link, LinkEvent, Order, Push, PushError, PushRef, TopicNo};
use crate::realtime::codec;
use crate::realtime::key::{ApiKey, unsigned};
use crate::realtime::message::{Encoding, Frame, Message, Origin, Vsn};
use crate::realtime::url::Endpoint;

/// Rules that can be broken on purpose, to prove that the tests would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Never beats.
    NoHeartbeats,
    /// Takes the oldest push for any reply, and any end of a channel for the current one's.
    MatchesWithoutRefs,
    /// Joins with the same ref again.
    ReusesJoinRef,
    /// A channel that ended stays so.
    NeverRejoins,
    /// Joins again at once, whatever the reason.
    RejoinsAtOnce,
    /// Takes silence by policy for an outage.
    NeverDoubts,
}

/// `join_ref` and `ref` of a message.
pub(super) type Refs<'a> = (Option<&'a str>, Option<&'a str>);

/// A machine with a clock of its own.
pub(super) struct Bench {
    pub(super) link: Link,
    pub(super) now: Instant,
    pub(super) vsn: Vsn,
}

pub(super) const A: TopicNo = TopicNo(1);
pub(super) const B: TopicNo = TopicNo(2);

#[expect(clippy::disallowed_methods, reason = "an arbitrary point; it only ever advances by hand")]
pub(super) fn start() -> Instant {
    Instant::now()
}

pub(super) fn config(vsn: Vsn) -> Config {
    let endpoint = Endpoint::parse("https://ref.supabase.co").expect("a good URL");
    Config { vsn, ..Config::new(endpoint, unsigned("service_role", 4_000_000_000)) }
}

impl Bench {
    pub(super) fn new(config: Config) -> Self {
        let vsn = config.vsn;
        Self { link: Link::new(config, 42), now: start(), vsn }
    }

    /// A bench whose socket is open and whose channel A is joined.
    pub(super) fn joined(vsn: Vsn) -> Self {
        let mut bench = Self::new(config(vsn));
        bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
        bench.link.handle_connected(bench.now);
        bench.answer_join("ok");
        assert!(bench.link.is_joined(A));
        bench.events();
        bench.orders();
        bench
    }

    pub(super) fn events(&mut self) -> Vec<LinkEvent> {
        std::iter::from_fn(|| self.link.poll_event()).collect()
    }

    pub(super) fn orders(&mut self) -> Vec<Order> {
        std::iter::from_fn(|| self.link.poll_order()).collect()
    }

    /// What the link sends now, as a server reads it.
    pub(super) fn sent(&mut self) -> Vec<Message> {
        let frames: Vec<Frame> = std::iter::from_fn(|| self.link.poll_transmit()).collect();
        let read = |frame| codec::decode(self.vsn, Origin::Client, frame).expect("our frames are good");
        frames.iter().map(read).collect()
    }

    /// Says `text` to the link.
    pub(super) fn hear(&mut self, text: &str) {
        self.link.handle(Input::Text(Bytes::copy_from_slice(text.as_bytes())), self.now);
    }

    /// Moves the clock to the next thing that is due, at most to `until`.
    pub(super) fn step(&mut self, until: Instant) {
        self.now = self.link.poll_timeout().map_or(until, |at| at.clamp(self.now, until));
        self.link.handle_timeout(self.now);
    }

    /// Lets time pass, doing what is due when it is due; answers what was sent.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Message> {
        let until = self.now + time;
        let mut sent = Vec::new();
        while self.now < until {
            self.step(until);
            sent.extend(self.sent());
        }
        sent
    }

    /// Lets time pass until a frame with this event goes out, at most `time`.
    pub(super) fn pass_until(&mut self, event: &str, time: Duration) -> Option<Message> {
        let until = self.now + time;
        loop {
            if let Some(found) = self.sent().into_iter().find(|message| message.head().event == event) {
                return Some(found);
            }
            if self.now >= until {
                return None;
            }
            self.step(until);
        }
    }

    /// Answers the join that goes out next (within 10 min): `ok`, or the reason of a refusal. Answers its ref.
    pub(super) fn answer_join(&mut self, how: &str) -> String {
        let join = self.pass_until("phx_join", Duration::from_secs(600)).expect("a join");
        let head = join.head().clone();
        let reference = head.reference.expect("a ref");
        assert_eq!(head.join_ref.as_deref(), Some(reference.as_str()), "join_ref is the ref");
        let payload = match how {
            "ok" => "{\"status\":\"ok\",\"response\":{\"postgres_changes\":[]}}".to_owned(),
            reason => format!("{{\"status\":\"error\",\"response\":{{\"reason\":\"{reason}\"}}}}"),
        };
        self.say((Some(&reference), Some(&reference)), &head.topic, "phx_reply", &payload);
        reference
    }

    /// A server's message in the bench's version.
    pub(super) fn say(&mut self, (join_ref, reference): Refs<'_>, topic: &str, event: &str, payload: &str) {
        let quoted = |text: Option<&str>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
        let text = match self.vsn {
            Vsn::V1 => format!(
                "{{\"ref\":{},\"event\":\"{event}\",\"topic\":\"{topic}\",\"payload\":{payload}}}",
                quoted(reference)
            ),
            Vsn::V2 => {
                format!("[{},{},\"{topic}\",\"{event}\",{payload}]", quoted(join_ref), quoted(reference))
            }
        };
        self.hear(&text);
    }

    /// Pushes `body` on `topic`; answers the ref that it went out with.
    pub(super) fn push(&mut self, topic: TopicNo, id: u64, body: &str) -> Result<String, PushError> {
        let push = Push {
            id: PushRef(id),
            topic,
            event: "e".into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            encoding: Encoding::Json,
        };
        self.link.push(push, self.now)?;
        let sent = self.sent();
        Ok(sent.last().and_then(|message| message.head().reference.clone()).expect("went out with a ref"))
    }
}

pub(super) fn key(text: &str) -> ApiKey {
    ApiKey::new(text)
}
