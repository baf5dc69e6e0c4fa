//! The mirror's way in small: one link publishes, another reads back, both on the same private topic.
//! The first thing that goes wrong ends it; a link's own retries are for the proxy.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::doctor::finding::Check;
use crate::realtime::client::{self, Handle};
use crate::realtime::link::{Changes, Config, Join, LinkEvent, Outcome, Push, PushRef, TopicNo};
use crate::realtime::message::Encoding;
use crate::realtime::reason::Reason;

const TOPIC: TopicNo = TopicNo(1);
const PUSH: PushRef = PushRef(1);
const EVENT: &str = "check";

/// How far it came.
#[derive(Debug, Default)]
pub(super) struct Ended {
    connected: bool,
    joined: bool,
    /// From publishing to the read-back.
    pub(super) took: Option<Duration>,
    /// Why it went no further; `None` if nothing came in time.
    pub(super) why: Option<Reason>,
}

impl Ended {
    pub(super) const fn reached(&self, check: Check) -> bool {
        match check {
            Check::Connect => self.connected,
            Check::Join => self.joined,
            _ => self.took.is_some(),
        }
    }
}

/// Goes the whole way, each step within `patience`.
pub(super) async fn examine(config: Config, topic: &str, patience: Duration) -> Ended {
    let (mut publish, publisher) = client::start(client::Config::new(config.clone(), seed()));
    let (mut read, reader) = client::start(client::Config::new(config, seed()));
    let mut ended = Ended::default();
    let joins = [(&publish, Join::new(topic, true)), (&read, Join { ack: false, ..Join::new(topic, true) })];
    for (handle, join) in joins {
        if handle.commands().try_join(TOPIC, join).is_err() {
            return ended; // a fresh link takes a command; if it does not, nothing was reached
        }
    }
    // The links' shells run as long as the steps do, and end with them.
    let why = tokio::select! {
        why = steps((&mut publish, &mut read), patience, &mut ended) => why.err().flatten(),
        ((), ()) = async { tokio::join!(publisher, reader) } => None,
    };
    Ended { why, ..ended }
}

/// Subscribes to the changes of a table, on a private channel, and hears what the server says of it.
pub(super) async fn subscribe(
    config: Config,
    topic: &str,
    table: &str,
    patience: Duration,
) -> Option<Result<(), Reason>> {
    let (mut handle, shell) = client::start(client::Config::new(config, seed()));
    let changes =
        Changes { event: "*".to_owned(), schema: "public".to_owned(), table: table.to_owned(), filter: None };
    let join = Join { changes: vec![changes], ..Join::new(topic, true) };
    handle.commands().try_join(TOPIC, join).ok()?;
    let ready = |event: &LinkEvent| matches!(event, LinkEvent::System { extension, reason: None, .. } if extension == "postgres_changes");
    let said = tokio::select! {
        said = until(&mut handle, patience, ready) => said,
        () = shell => Err(None),
    };
    match said {
        Ok(()) => Some(Ok(())),
        Err(reason) => reason.map(Err),
    }
}

/// `Err(None)` when nothing comes in time.
async fn steps(
    (publish, read): (&mut Handle, &mut Handle),
    patience: Duration,
    ended: &mut Ended,
) -> Result<(), Option<Reason>> {
    until(publish, patience, |event| matches!(event, LinkEvent::Up)).await?;
    until(read, patience, |event| matches!(event, LinkEvent::Up)).await?;
    ended.connected = true;
    until(publish, patience, |event| matches!(event, LinkEvent::Joined { .. })).await?;
    until(read, patience, |event| matches!(event, LinkEvent::Joined { .. })).await?;
    ended.joined = true;
    // A mark of its own, so that another check at the same moment is not taken for this one.
    let body = Bytes::from(format!("{{\"mark\":\"{:016x}\"}}", seed()));
    let push = Push {
        id: PUSH,
        topic: TOPIC,
        event: EVENT.to_owned(),
        body: body.clone(),
        encoding: Encoding::Json,
    };
    let sent = clock();
    publish.try_push(push.clone()).map_err(|_| None)?;
    let back = |event: &LinkEvent| match event {
        LinkEvent::Broadcast(broadcast) => {
            broadcast.event == EVENT && mark_of(&broadcast.payload) == mark_of(&body)
        }
        _ => false,
    };
    tokio::select! {
        came = until(read, patience, back) => came?,
        // Its acknowledgement alone proves nothing; its refusal does.
        failed = publishes(publish, push, patience) => failed?,
    }
    ended.took = Some(clock().saturating_duration_since(sent));
    Ok(())
}

/// Ends when the push is refused for good. While the link doubts a silent channel it joins anew, and the push is sent
/// again: a missing policy swallows the first one.
async fn publishes(publish: &mut Handle, push: Push, patience: Duration) -> Result<(), Option<Reason>> {
    loop {
        match until(publish, patience, |event| matches!(event, LinkEvent::Joined { .. })).await {
            Ok(()) => publish.try_push(push.clone()).map_err(|_| None)?,
            Err(Some(Reason::WriteSilent)) => {}
            Err(why) => return Err(why),
        }
    }
}

/// A server of version 1.0.0 writes JSON anew, so that values are compared and not bytes.
fn mark_of(payload: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(payload).ok()
}

async fn until(
    handle: &mut Handle,
    patience: Duration,
    wanted: impl Fn(&LinkEvent) -> bool,
) -> Result<(), Option<Reason>> {
    let search = async {
        while let Some(event) = handle.next_event().await {
            if wanted(&event) {
                return Ok(());
            }
            if let Some(reason) = failure(&event) {
                return Err(Some(reason));
            }
        }
        Err(None)
    };
    tokio::time::timeout(patience, search).await.unwrap_or(Err(None))
}

/// The reason, if the event ends the examination.
const fn failure(event: &LinkEvent) -> Option<Reason> {
    match event {
        LinkEvent::Down { reason, .. }
        | LinkEvent::Left { reason, .. }
        | LinkEvent::GiveUp { reason, .. } => Some(*reason),
        LinkEvent::System { reason, .. } => *reason,
        LinkEvent::Ack { outcome: Outcome::Refused(reason) | Outcome::Lost(reason), .. } => Some(*reason),
        LinkEvent::Ack { outcome: Outcome::TimedOut, .. } => Some(Reason::AckTimeout),
        _ => None,
    }
}

/// Marks and jitter only need to differ.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_or(0, |()| u64::from_ne_bytes(bytes))
}

#[expect(clippy::disallowed_methods, reason = "the round trip is measured")]
fn clock() -> Instant {
    Instant::now()
}
