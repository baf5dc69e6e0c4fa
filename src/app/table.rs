//! The table sink's thread: a queue from the side thread, one connection to PostgREST, the machine between them.
//! It has a thread of its own so that neither encoding nor a slow database costs a hot message a microsecond.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http_body_util::Full;
use tokio::sync::mpsc;

use super::line::{Line, secret_header};
use super::table_account::Keeper;
use crate::budget::{Budget, Payload};
use crate::envelope::Class;
use crate::ledger::Entry;
use crate::mirror::flight::Epoch;
use crate::mirror::record::Facts;
use crate::proxy::Target;
use crate::realtime::key::ApiKey;
use crate::realtime::url::Endpoint;
use crate::sinks::answer::Verdict;
use crate::sinks::row::{COLUMNS, Row};
use crate::sinks::table::{Counts, Item, Quarantined, ROW_OVERHEAD, TableSink};
use crate::sinks::{Reply, Wanted};

/// Bytes that may wait for the table, apart from the mirror's.
const QUEUE_BYTES: u64 = 8 << 20;
/// As many rows as that can be, so that the queue itself is never what is full.
const QUEUE_ROWS: usize = 16 << 10;
/// From dialling to the end of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The quarantine file is not written to beyond this.
const QUARANTINE_BYTES_MAX: u64 = 16 << 20;

/// Figures for the metrics.
#[derive(Debug, Default)]
pub(crate) struct TableFigures {
    counts: Mutex<Counts>,
    waiting: AtomicU64,
    full: AtomicU64,
}

/// The figures of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableSnapshot {
    /// Rows by outcome.
    pub(crate) rows: [(&'static str, u64); 5],
    /// Requests by result.
    pub(crate) requests: [(&'static str, u64); 2],
    /// Bytes that wait.
    pub(crate) waiting: u64,
}

impl TableFigures {
    pub(crate) fn read(&self) -> TableSnapshot {
        let counts = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = self.full.load(Ordering::Relaxed);
        let rows = [
            ("stored", counts.stored - counts.plain),
            ("stored_without_data", counts.plain),
            ("quarantined", counts.quarantined),
            ("full", full),
            ("abandoned", counts.abandoned),
        ];
        let requests = [("ok", counts.requests.saturating_sub(counts.failures)), ("failed", counts.failures)];
        TableSnapshot { rows, requests, waiting: self.waiting.load(Ordering::Relaxed) }
    }
}

/// The side thread's end.
pub(crate) struct TableOffer {
    sender: mpsc::Sender<Item>,
    wanted: Wanted,
    budget: Arc<Budget>,
    source: Arc<str>,
    instance: Arc<str>,
    epoch: Epoch,
    figures: Arc<TableFigures>,
}

impl TableOffer {
    /// Sends a copy of the message to the table, if its rule or else its class wants it there and there is room.
    /// Never waits.
    pub(crate) fn offer(
        &self,
        payload: &Payload,
        facts: &Facts,
        entry: &mut Entry,
        session_id: Option<&str>,
    ) {
        if !facts.marks.table.unwrap_or_else(|| self.wanted.wants(facts.class)) {
            return;
        }
        let size = payload.len() + ROW_OVERHEAD;
        let room = self.budget.limit() / 100 * share(facts.class);
        let lease = u32::try_from(size).ok().filter(|_| self.budget.used() + size as u64 <= room);
        let Some(lease) = lease.and_then(|size| self.budget.try_take(size)) else {
            self.figures.full.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let row = Row {
            key: entry.key(),
            session_id: session_id.map(str::to_owned),
            source: Arc::clone(&self.source),
            instance: Arc::clone(&self.instance),
            at_ms: self.epoch.unix_ms(facts.at),
            kind: facts.kind.to_string(),
            class: facts.class,
            op: facts.op,
            path: Arc::clone(&facts.path),
            body: Bytes::copy_from_slice(payload),
            redacted: facts.redacted,
            replay: false,
        };
        // Refused, it is dropped here, and with it the token's second way.
        if self.sender.try_send(Item::new(row, lease, Some(entry.second()))).is_err() {
            self.figures.full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The part of the queue that a class may fill, in percent: the duller, the sooner it is refused.
const fn share(class: Class) -> u64 {
    match class {
        Class::Critical => 100,
        Class::High => 90,
        Class::Medium => 75,
        Class::Low => 50,
    }
}

/// What the thread is built from.
pub(crate) struct Plan {
    pub(crate) url: url::Url,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: ApiKey,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) wanted: Wanted,
    pub(crate) rate: u32,
    pub(crate) quarantine: Option<PathBuf>,
    /// Where the account of confirmed rows is kept.
    pub(crate) state: Option<PathBuf>,
    pub(crate) source: String,
    pub(crate) instance: String,
    pub(crate) epoch: Epoch,
    pub(crate) flush: Duration,
    pub(crate) seed: u64,
    pub(crate) figures: Arc<TableFigures>,
}

/// Starts the thread. It ends, after a last flush, when the offer is dropped.
pub(crate) fn start(plan: Plan) -> std::io::Result<(TableOffer, JoinHandle<()>)> {
    let (sender, inbox) = mpsc::channel(QUEUE_ROWS);
    let budget = Budget::new(QUEUE_BYTES);
    let offer = TableOffer {
        sender,
        wanted: plan.wanted,
        budget: Arc::clone(&budget),
        source: plan.source.as_str().into(),
        instance: plan.instance.as_str().into(),
        epoch: plan.epoch,
        figures: Arc::clone(&plan.figures),
    };
    let query = format!("on_conflict=id,timestamp&columns={COLUMNS}");
    let poster =
        Poster::new((&plan.url, &query), (&plan.endpoint, &plan.key)).map_err(std::io::Error::other)?;
    let runtime = super::behind::runtime()?;
    let life = move || {
        let local = tokio::task::LocalSet::new();
        let machine = TableSink::new(plan.rate, plan.seed, clock());
        let keeper = plan.state.as_deref().map(|state| Keeper::new(state, clock()));
        let table = Table { machine, inbox, budget, plan, open: true, keeper };
        local.block_on(&runtime, table.run(poster));
    };
    Ok((offer, std::thread::Builder::new().name("table".to_owned()).spawn(life)?))
}

struct Table {
    machine: TableSink,
    inbox: mpsc::Receiver<Item>,
    budget: Arc<Budget>,
    plan: Plan,
    open: bool,
    keeper: Option<Keeper>,
}

type Asked = Pin<Box<dyn Future<Output = (Poster, Reply)>>>;

impl Table {
    async fn run(mut self, poster: Poster) {
        let (mut idle, mut asked, mut deadline) = (Some(poster), None::<Asked>, None);
        loop {
            let now = clock();
            if let Some(mut poster) = idle.take() {
                match self.machine.poll_transmit(now) {
                    None => idle = Some(poster),
                    Some(body) => {
                        asked = Some(Box::pin(async move {
                            let reply = poster.post(body).await;
                            (poster, reply)
                        }));
                    }
                }
            }
            self.note();
            if deadline.is_some_and(|at| at <= now || self.machine.is_empty()) {
                self.machine.abandon();
                self.keep(true);
                return self.note();
            }
            self.keep(false);
            let kept = self.keeper.as_ref().map(Keeper::next);
            let wake = [self.machine.poll_timeout(), deadline, kept].into_iter().flatten().min();
            let wake = wake.unwrap_or(now + Duration::from_secs(60));
            tokio::select! {
                item = self.inbox.recv(), if self.open => match item {
                    Some(item) => self.take(item),
                    None => {
                        self.open = false;
                        deadline = Some(clock() + self.plan.flush);
                    }
                },
                (mut poster, reply) = answered(&mut asked), if asked.is_some() => {
                    asked = None;
                    self.heard(&mut poster, &reply);
                    idle = Some(poster);
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn take(&mut self, item: Item) {
        self.machine.push(item);
        // All that waits, so that a request carries as much as it can.
        while let Ok(item) = self.inbox.try_recv() {
            self.machine.push(item);
        }
    }

    fn heard(&mut self, poster: &mut Poster, reply: &Reply) {
        if matches!(reply, Reply::Answer { status: 401, .. }) {
            self.renew_key(poster);
        }
        match self.machine.handle_reply(reply, clock()) {
            None => {}
            Some(verdict @ (Verdict::Key | Verdict::Setup)) => {
                tracing::error!(why = verdict.as_str(), advice = verdict.advice(), "the table takes no rows");
            }
            Some(verdict) => tracing::warn!(why = verdict.as_str(), "the table takes no rows now"),
        }
        while let Some(bad) = self.machine.poll_quarantined() {
            let kept = self.quarantine(&bad);
            tracing::warn!(
                id = bad.row.id(),
                status = bad.status,
                code = bad.code,
                kept,
                "the table refuses a row"
            );
        }
    }

    /// Reads the key's file again, where it came from one.
    fn renew_key(&self, poster: &mut Poster) {
        let Some(path) = &self.plan.key_file else { return };
        match crate::config::read_secret_file(path) {
            Ok(secret) => poster.set_key(&self.plan.endpoint, &ApiKey::new(secret.expose())),
            Err(error) => tracing::error!(%error, "the key's file cannot be read again"),
        }
    }

    /// Writes the row where a person finds it; whether it is there.
    fn quarantine(&self, bad: &Quarantined) -> bool {
        let Some(path) = &self.plan.quarantine else { return false };
        let mut line = format!("{{\"status\":{},\"code\":\"{}\",\"row\":", bad.status, bad.code).into_bytes();
        bad.row.write(true, &mut line);
        line.extend_from_slice(b"}\n");
        let written =
            OpenOptions::new().create(true).append(true).mode(0o600).open(path).and_then(|mut file| {
                if file.metadata()?.len() + line.len() as u64 > QUARANTINE_BYTES_MAX {
                    return Err(std::io::Error::other("the quarantine is full"));
                }
                file.write_all(&line)
            });
        if let Err(error) = &written {
            tracing::error!(%error, "a refused row could not be kept");
        }
        written.is_ok()
    }

    /// Writes the account of confirmed rows, now and then; without a place for it, it is forgotten.
    fn keep(&mut self, is_last: bool) {
        match &mut self.keeper {
            Some(keeper) => keeper.turn(self.machine.account(), clock(), is_last),
            None => self.machine.account().written(),
        }
    }

    fn note(&self) {
        *self.plan.figures.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.machine.counts();
        self.plan.figures.waiting.store(self.budget.used(), Ordering::Relaxed);
    }
}

async fn answered(asked: &mut Option<Asked>) -> (Poster, Reply) {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

/// Where rows go, and with which key.
pub(super) struct Poster {
    line: Line,
    path: String,
    host: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Poster {
    /// Posts to this table; nothing is connected yet.
    pub(super) fn new(
        (url, query): (&url::Url, &str),
        (endpoint, key): (&Endpoint, &ApiKey),
    ) -> Result<Self, String> {
        let target = Target::with_path(url.as_str()).map_err(|error| error.to_string())?;
        let path = format!("{}?{query}", target.path());
        let host = target.host_field();
        let line = Line::new(target, ANSWER_WITHIN)?;
        let mut poster = Self { line, path, host, headers: Vec::new() };
        poster.set_key(endpoint, key);
        Ok(poster)
    }

    pub(super) fn set_key(&mut self, endpoint: &Endpoint, key: &ApiKey) {
        let headers = endpoint.http_headers(key).into_iter().filter(|(name, _)| *name != "host");
        self.headers = headers.filter_map(|(name, value)| secret_header(name, &value)).collect();
    }

    pub(super) async fn post(&mut self, body: Bytes) -> Reply {
        let mut request = Request::post(self.path.as_str())
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .header("prefer", "return=minimal,resolution=ignore-duplicates");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match request.body(Full::new(body)) {
            Ok(request) => self.line.ask(request).await,
            Err(_) => Reply::Unknown,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the table's thread is a shell: its clock is the real one")]
fn clock() -> Instant {
    Instant::now()
}
