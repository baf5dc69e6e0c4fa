//! The events' thread: a queue from the side thread, one connection to Realtime's HTTP broadcast, the sink's machine
//! between them, and the [ear](super::ear) that hears what arrives. An event waits at most until it is stale, also here.

use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::Full;
use tokio::sync::mpsc;

use super::ear::{Attention, Ear, Noticed};
use super::event_topics::{Guard, TopicReadings};
use super::line::{Line, secret_header};
use crate::budget::Budget;
use crate::mirror::events::{Event, EventCounts, QUEUE_BYTES_MAX};
use crate::proxy::Target;
use crate::realtime::http::{Next, Outgoing, Post};
use crate::realtime::key::ApiKey;
use crate::realtime::link;
use crate::sinks::Reply;
use crate::sinks::broadcast::{BroadcastSink, Counts, Limits, Parcel};

/// Events that may wait between the threads; their bytes are bounded besides.
const QUEUE_EVENTS: usize = 4096;
/// Apart from its payload, what an event costs while it waits.
const EVENT_OVERHEAD: usize = 512;
/// The governor decides how fast events go; this only keeps a burst from becoming one request after the other.
const EVENTS_PER_SECOND: u32 = 10_000;
/// A request is never waited for longer than this, even when events live longer.
const ANSWER_WITHIN_MAX: Duration = Duration::from_secs(30);

/// Figures for the metrics.
#[derive(Debug, Default)]
pub(crate) struct EventFigures {
    made: Mutex<EventCounts>,
    sink: Mutex<Counts>,
    full: AtomicU64,
    waiting: AtomicU64,
    pub(super) topics: TopicReadings,
}

impl EventFigures {
    pub(crate) fn note(&self, made: EventCounts) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = made;
    }

    /// Every way that an event can end, and the bytes that wait.
    pub(crate) fn read(&self) -> crate::admin::EventReadings {
        let made = *self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let sink = *self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = vec![
            ("confirmed", sink.confirmed),
            ("unconfirmed", sink.unconfirmed),
            ("accepted", sink.acked_only),
            ("stale", made.stale + sink.stale),
            ("diverted", made.diverted),
            ("repeated", made.repeated),
            ("full", made.queue_full + self.full.load(Ordering::Relaxed)),
            ("clash", made.clash),
            ("refused", sink.refused),
            ("abandoned", sink.abandoned),
            ("topic_stopped", self.topics.withheld()),
        ];
        crate::admin::EventReadings {
            outcomes,
            requests: sink.requests,
            waiting_bytes: self.waiting.load(Ordering::Relaxed),
            topics_stopped: self.topics.stopped(),
            topic_stops: self.topics.stops(),
        }
    }
}

/// The side thread's end.
pub(crate) struct EventOffer {
    sender: mpsc::Sender<Parcel>,
    budget: Arc<Budget>,
    max_age: Duration,
    reads_back: bool,
    figures: Arc<EventFigures>,
}

impl EventOffer {
    /// Whether each event is delivered to us, too.
    pub(crate) const fn reads_back(&self) -> bool {
        self.reads_back
    }

    /// Hands an event over, if there is room. Never waits.
    pub(crate) fn offer(&self, event: Event) {
        let size = u32::try_from(event.payload.len() + EVENT_OVERHEAD).ok();
        let Some(lease) = size.and_then(|size| self.budget.try_take(size)) else {
            self.figures.full.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let until = event.at + self.max_age;
        let message = Outgoing {
            topic: event.topic.to_string(),
            event: event.event.to_string(),
            payload: event.payload,
            private: true,
            id: Some(event.id),
        };
        if self.sender.try_send(Parcel::new(message, None, true, lease).until(until)).is_err() {
            self.figures.full.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn figures(&self) -> &EventFigures {
        &self.figures
    }
}

/// What the thread is built from.
pub(crate) struct Plan {
    /// Where Realtime is, and with which key.
    pub(crate) link: link::Config,
    /// Whether events are read back, and on which topics for certain.
    pub(crate) readback: Option<Vec<String>>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) max_age: Duration,
    pub(crate) limit_bytes: u32,
    pub(crate) flush: Duration,
    pub(crate) seed: u64,
    pub(crate) figures: Arc<EventFigures>,
}

/// Starts the thread. It ends, after a last flush, when the offer is dropped.
pub(crate) fn start(plan: Plan) -> std::io::Result<(EventOffer, JoinHandle<()>)> {
    let (sender, inbox) = mpsc::channel(QUEUE_EVENTS);
    let budget = Budget::new(QUEUE_BYTES_MAX as u64);
    let figures = Arc::clone(&plan.figures);
    let (max_age, reads_back) = (plan.max_age, plan.readback.is_some());
    let offer = EventOffer { sender, budget: Arc::clone(&budget), max_age, reads_back, figures };
    let target = Target::with_path(&plan.link.endpoint.broadcast()).map_err(std::io::Error::other)?;
    let host = target.host_field();
    let line = Line::new(target, plan.max_age.min(ANSWER_WITHIN_MAX)).map_err(std::io::Error::other)?;
    let runtime = super::behind::runtime()?;
    let life = move || {
        let local = tokio::task::LocalSet::new();
        let life = Some(plan.max_age);
        let limits = Limits { rate: EVENTS_PER_SECOND, bytes: plan.limit_bytes as usize, life };
        let (endpoint, key) = (plan.link.endpoint.clone(), plan.link.key.clone());
        let machine = BroadcastSink::new(endpoint, key, limits, plan.seed, clock());
        local.block_on(&runtime, async move {
            let ear = plan
                .readback
                .is_some()
                .then(|| Ear::start(plan.link.clone(), plan.key_file.clone(), plan.max_age));
            let held = VecDeque::new();
            let mut thread =
                Thread { machine, inbox, budget, ear, held, plan, open: true, guard: Guard::default() };
            thread.listen();
            thread.run(Poster { line, host }).await;
        });
    };
    Ok((offer, std::thread::Builder::new().name("events".to_owned()).spawn(life)?))
}

struct Thread {
    machine: BroadcastSink,
    inbox: mpsc::Receiver<Parcel>,
    budget: Arc<Budget>,
    /// Hears what arrives, where events are read back.
    ear: Option<Ear>,
    /// Events whose topic is not joined yet, and since when.
    held: VecDeque<(Parcel, Instant)>,
    plan: Plan,
    open: bool,
    guard: Guard,
}

type Asked = Pin<Box<dyn Future<Output = (Poster, Reply)>>>;

impl Thread {
    async fn run(mut self, poster: Poster) {
        let (mut idle, mut asked, mut deadline) = (Some(poster), None::<Asked>, None);
        loop {
            let now = clock();
            self.guard.hear(&mut self.machine, &self.plan.figures.topics, now);
            let waits = self.release(now);
            self.machine.handle_timeout(now);
            if let Some(mut poster) = idle.take() {
                match self.machine.poll_transmit(now) {
                    None => idle = Some(poster),
                    Some(post) => {
                        asked = Some(Box::pin(async move {
                            let reply = poster.post(post).await;
                            (poster, reply)
                        }));
                    }
                }
            }
            if deadline.is_some_and(|at| at <= now || (self.machine.is_empty() && self.held.is_empty())) {
                self.held.drain(..).for_each(|(parcel, _)| self.machine.push(parcel));
                self.machine.abandon();
                return self.note();
            }
            self.note();
            let wake = [self.machine.poll_timeout(), waits, deadline].into_iter().flatten().min();
            let wake = wake.unwrap_or(now + Duration::from_secs(60));
            tokio::select! {
                parcel = self.inbox.recv(), if self.open => match parcel {
                    Some(parcel) => self.take(parcel),
                    None => {
                        self.open = false;
                        deadline = Some(clock() + self.plan.flush);
                    }
                },
                (poster, reply) = answered(&mut asked), if asked.is_some() => {
                    asked = None;
                    self.heard(&reply);
                    idle = Some(poster);
                }
                noticed = next(&mut self.ear), if self.ear.is_some() => self.notice(noticed),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn take(&mut self, parcel: Parcel) {
        let now = clock();
        self.held.push_back((parcel, now));
        while let Ok(parcel) = self.inbox.try_recv() {
            self.held.push_back((parcel, now));
        }
    }

    /// Topics that are known beforehand are joined before their first event.
    fn listen(&mut self) {
        let Some(ear) = &mut self.ear else { return };
        let now = clock();
        for topic in self.plan.readback.iter().flatten() {
            ear.attend(topic, now, now);
        }
    }

    /// Hands events to the sink, but for those whose topic is being joined: when to look again for them.
    fn release(&mut self, now: Instant) -> Option<Instant> {
        let mut wake: Option<Instant> = None;
        for (parcel, since) in std::mem::take(&mut self.held) {
            let topic = &parcel.message.topic;
            let attention = self.ear.as_mut().map_or(Attention::Deaf, |ear| ear.attend(topic, since, now));
            let parcel = match attention {
                Attention::Until(at) => {
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                    self.held.push_back((parcel, since));
                    continue;
                }
                Attention::Hears => parcel,
                Attention::Deaf => parcel.unheard(),
                Attention::Blind => parcel.blind(),
            };
            self.guard.push(parcel, &mut self.machine, &self.plan.figures.topics, now);
        }
        wake
    }

    fn notice(&mut self, noticed: Option<Noticed>) {
        match noticed {
            Some(Noticed::Heard { topic, id, payload }) => {
                self.machine.handle_readback(&topic, &id, &payload);
            }
            Some(Noticed::Deaf(topics)) => topics.iter().for_each(|topic| self.machine.handle_deaf(topic)),
            Some(Noticed::Changed) => {}
            // The link has ended; it told before that nothing is heard.
            None => self.ear = None,
        }
    }

    fn heard(&mut self, reply: &Reply) {
        let refused = self.machine.handle_reply(reply, clock());
        if matches!(reply, Reply::Answer { status: 401, .. }) {
            self.renew_key();
        }
        if let Some(refused) = refused {
            let why = refused.reason.as_str();
            if refused.next == Next::SlowDown {
                tracing::warn!(why, "Realtime takes no events now");
            } else {
                tracing::error!(why, "Realtime takes no events");
            }
        }
    }

    /// Reads the key's file again, where it came from one.
    fn renew_key(&mut self) {
        let Some(path) = &self.plan.key_file else { return };
        match crate::config::read_secret_file(path) {
            Ok(secret) => self.machine.renew_key(ApiKey::new(secret.expose())),
            Err(error) => tracing::error!(%error, "the key's file cannot be read again"),
        }
    }

    fn note(&self) {
        *self.plan.figures.sink.lock().unwrap_or_else(PoisonError::into_inner) = self.machine.counts();
        self.plan.figures.waiting.store(self.budget.used(), Ordering::Relaxed);
    }
}

async fn next(ear: &mut Option<Ear>) -> Option<Noticed> {
    match ear {
        Some(ear) => ear.next().await,
        None => std::future::pending().await,
    }
}

async fn answered(asked: &mut Option<Asked>) -> (Poster, Reply) {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

struct Poster {
    line: Line,
    host: HeaderValue,
}

impl Poster {
    async fn post(&mut self, post: Post) -> Reply {
        let Ok(url) = url::Url::parse(&post.url) else { return Reply::Unknown };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut request = Request::post(format!("{}{query}", url.path()));
        if !post.headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(HOST, &self.host);
        }
        for (name, value) in post.headers.iter().filter_map(|(name, value)| secret_header(name, value)) {
            request = request.header(name, value);
        }
        match request.body(Full::new(post.body)) {
            Ok(request) => self.line.ask(request).await,
            Err(_) => Reply::Unknown,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the events' thread is a shell: its clock is the real one")]
fn clock() -> Instant {
    Instant::now()
}
