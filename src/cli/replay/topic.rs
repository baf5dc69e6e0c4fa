//! Messages into a topic of a project: envelopes as the mirror writes them, marked as replay, under a source that no
//! living process has, so that readers do not take them for repetitions of what they know.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Progress, Stop, is_here};
use crate::app;
use crate::config::{Strings, Supabase};
use crate::envelope::{
    ENVELOPE_OVERHEAD, EVENT, Header, MESSAGE_OVERHEAD, Message, To, Writer, carried_len, crc32,
    recipient_len,
};
use crate::mirror::batch_id::BatchIds;
use crate::realtime::client::{self, Handle};
use crate::realtime::link::{Config, Join, LinkEvent, Outcome, Push, PushRef, TopicNo};
use crate::realtime::message::Encoding;
use crate::realtime::reason::Reason;
use crate::session::{Direction, Seq, SessionNo};
use crate::spool::export::Line;

const TOPIC: TopicNo = TopicNo(1);
/// Topics that belong to mirrors and to Realtime.
const RESERVED: [&str; 2] = ["crossfade:", "realtime:"];
/// Messages of this span, in the replay's time, travel together.
const WINDOW_MS: u64 = 50;
/// A broadcast is closed at this size, in bytes, below the smallest plan's limit; a message alone may be larger.
const BROADCAST_BYTES: usize = 200 << 10;
/// Broadcasts without their acknowledgement.
const FLIGHTS_MAX: usize = 4;
/// For the join, and for each acknowledgement.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of the recorded source, in bytes; the envelope takes 255.
const SOURCE_BYTES: usize = 200;

/// Which topic of which project.
pub(super) struct Place {
    link: Config,
    topic: String,
}

/// One broadcast to be.
pub(super) struct Broadcast {
    /// Milliseconds since the begin, in the replay's time.
    due_ms: u64,
    body: Bytes,
    messages: u64,
}

/// Lines that stand for one message to several sessions.
struct Carried<'a> {
    line: &'a Line,
    to: Vec<To>,
    body: Vec<u8>,
}

impl Place {
    pub(super) fn new(topic: &str, wanted: bool, strings: &Strings) -> Result<Self, Stop> {
        if topic.is_empty() || topic.len() > 255 || RESERVED.iter().any(|own| topic.starts_with(own)) {
            let why = "--to-topic is not a topic of your own: crossfade: and realtime: are taken, for example --to-topic replay:test";
            return Err(Stop::Config(why.to_owned()));
        }
        let supabase = Supabase::load(strings).map_err(|problems| Stop::Config(problems.to_string()))?;
        let missing = || Stop::Config("--to-topic needs SUPABASE_URL and SUPABASE_KEY (or _FILE)".to_owned());
        let supabase = supabase.ok_or_else(missing)?;
        let link = app::link(&supabase).map_err(|error| Stop::Config(error.to_string()))?;
        if !wanted && !is_here(&supabase.url, "SUPABASE_URL")? {
            let why = "SUPABASE_URL is not this machine. Whoever listens to the topic hears the past once more, and the \
                       project's plan pays for it. If that is wanted, add --yes-publish-these-messages-again";
            return Err(Stop::Config(why.to_owned()));
        }
        Ok(Self { link, topic: topic.to_owned() })
    }
}

/// What is to be published and when, in the order of time.
pub(super) fn broadcasts(lines: &[Line], speed: f64, seed: u64) -> Vec<Broadcast> {
    let begin = lines.iter().map(|line| line.at).min().unwrap_or(0);
    let due = |line: &Line| (line.at.saturating_sub(begin) as f64 / speed) as u64;
    let mut all = carried(lines);
    // Stable: what was seen at one moment keeps the order of the file, which is that of its session and class.
    all.sort_by_key(|carried| carried.line.at);
    let mut ids = BatchIds::new(seed);
    let (mut out, mut open): (Vec<Broadcast>, Vec<Carried<'_>>) = Default::default();
    let mut size = ENVELOPE_OVERHEAD;
    for next in all {
        let room = size + next.len() <= BROADCAST_BYTES;
        let together = open.first().is_some_and(|first| {
            first.line.src == next.line.src && due(next.line) - due(first.line) < WINDOW_MS && room
        });
        if !together {
            out.extend(close(std::mem::take(&mut open), due, (&mut ids, seed)));
            size = ENVELOPE_OVERHEAD;
        }
        size += next.len();
        open.push(next);
    }
    out.extend(close(open, due, (&mut ids, seed)));
    out
}

fn close(
    open: Vec<Carried<'_>>,
    due: impl Fn(&Line) -> u64,
    (ids, seed): (&mut BatchIds, u64),
) -> Option<Broadcast> {
    let last = open.last()?.line;
    let src: String = last.src.chars().filter(char::is_ascii).take(SOURCE_BYTES).collect();
    let header = Header {
        src: format!("replay-{:08x}-{src}", seed & 0xFFFF_FFFF).into(),
        batch: ids.next(last.at),
        at_ms: last.at,
        replay: true,
    };
    let mut writer = Writer::new(Vec::new(), &header);
    open.iter().for_each(|carried| carried.write(&mut writer));
    let messages = open.iter().map(|carried| carried.to.len() as u64).sum();
    Some(Broadcast { due_ms: due(last), body: writer.finish().into(), messages })
}

/// Lines that follow each other with the same content are what was one message to several sessions.
fn carried(lines: &[Line]) -> Vec<Carried<'_>> {
    let mut out: Vec<Carried<'_>> = Vec::new();
    for line in lines {
        let to = To(SessionNo(line.session), Seq(line.seq));
        match out.last_mut().filter(|last| same(last.line, line)) {
            Some(last) => last.to.push(to),
            None => {
                // Bytes that are no base64 are nobody's message.
                let Some(body) = line.bytes() else { continue };
                out.push(Carried { line, to: vec![to], body });
            }
        }
    }
    out
}

fn same(a: &Line, b: &Line) -> bool {
    let facts = |line: &Line| (line.at, line.dir, line.op, line.class, line.part, line.redacted);
    facts(a) == facts(b) && a.src == b.src && a.path == b.path && a.kind == b.kind && a.data == b.data
}

impl Carried<'_> {
    fn len(&self) -> usize {
        let to: usize = self.to.iter().map(|to| recipient_len(*to)).sum();
        let names = self.line.kind.len() * 6 + self.line.path.len() * 6;
        MESSAGE_OVERHEAD + to + names + carried_len(self.line.op, &self.body)
    }

    fn write(&self, writer: &mut Writer) {
        let Self { line, to, body } = self;
        let Some(To(session, seq)) = to.first() else { return };
        let dir = if line.dir == Direction::Up { 'u' } else { 'd' };
        // Pieces of one message have the same recipients, and so the same id.
        let id = format!("{:08x}-{}{dir}{}", crc32(line.src.as_bytes()), session.0, seq.0);
        writer.message(&Message {
            to: to.into(),
            dir: line.dir,
            op: line.op,
            kind: line.kind.as_str().into(),
            class: line.class,
            path: line.path.as_str().into(),
            at_ms: line.at,
            id: id.into(),
            body: body.into(),
            crc: crc32(body),
            part: line.part,
            redacted: line.redacted,
        });
    }
}

/// Publishes them; the first thing that goes wrong ends it. To be called on a `LocalSet`.
pub(super) async fn play(place: Place, broadcasts: Vec<Broadcast>, progress: &Progress) {
    let (mut handle, shell) = client::start(client::Config::new(place.link, seed()));
    let join = Join { ack: true, ..Join::new(&place.topic, true) };
    if handle.commands().try_join(TOPIC, join).is_err() {
        return progress.failed("a fresh link takes no command (a bug)".to_owned());
    }
    tokio::task::spawn_local(shell);
    if let Err(why) = publish(&mut handle, broadcasts, progress).await {
        progress.failed(why);
    }
}

async fn publish(handle: &mut Handle, broadcasts: Vec<Broadcast>, progress: &Progress) -> Result<(), String> {
    heard(handle, |event| matches!(event, LinkEvent::Joined { .. })).await?;
    let (begin, mut flying) = (Instant::now(), 0);
    let acknowledged = |event: &LinkEvent| matches!(event, LinkEvent::Ack { outcome: Outcome::Accepted, .. });
    for (number, broadcast) in (0..).zip(broadcasts) {
        let due = begin + Duration::from_millis(broadcast.due_ms);
        loop {
            // Answers are taken in while it is not time yet.
            tokio::select! {
                biased;
                said = heard(handle, acknowledged), if flying > 0 => {
                    said?;
                    flying -= 1;
                    progress.answered.fetch_add(1, Ordering::Relaxed);
                }
                () = tokio::time::sleep_until(due), if flying < FLIGHTS_MAX => break,
            }
        }
        let (event, encoding) = (EVENT.to_owned(), Encoding::Json);
        let push = Push { id: PushRef(number), topic: TOPIC, event, body: broadcast.body, encoding };
        handle.try_push(push).map_err(|_| "the link takes no broadcast (a bug)".to_owned())?;
        progress.sent.fetch_add(broadcast.messages, Ordering::Relaxed);
        flying += 1;
    }
    for _ in 0..flying {
        heard(handle, acknowledged).await?;
        progress.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Waits for an event; what is bad news instead ends it.
async fn heard(handle: &mut Handle, wanted: impl Fn(&LinkEvent) -> bool) -> Result<(), String> {
    let search = async {
        while let Some(event) = handle.next_event().await {
            if wanted(&event) {
                return Ok(());
            }
            if let LinkEvent::Ack { outcome: Outcome::NotSent(why), .. } = &event {
                return Err(format!("a broadcast was not sent: {why}"));
            }
            if let Some(reason) = failure(&event) {
                return Err(format!("{}: {}", reason.as_str(), reason.advice()));
            }
        }
        Err("the link has ended (a bug)".to_owned())
    };
    let late = || Err("Realtime does not answer".to_owned());
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| late())
}

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

/// Names and jitter only need to differ.
pub(super) fn seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_or(0, |()| u64::from_ne_bytes(bytes))
}
