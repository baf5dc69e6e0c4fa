//! The thread that posts the validator's reports as rows of `crossfade_reports`, for those who ask for it
//! (`[validator] reports_table`). A database may be away for hours: nobody waits for it, and what finds no room is
//! lost and counted, like a report that finds no disk.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::reports::ProofFigures;
use super::table::Poster;
use crate::realtime::key::ApiKey;
use crate::realtime::url::Endpoint;
use crate::sinks::Reply;
use crate::sinks::answer::Verdict;
use crate::sinks::reports::ReportSink;
use crate::validator::report::Report;

/// Reports that the side thread may leave before this one has looked.
const INBOX_MAX: usize = 8;
/// The row's key; a repetition is passed over.
const QUERY: &str = "on_conflict=service,instance,kind,period_start";

/// What the thread is built from.
pub(super) struct Plan {
    pub(super) url: url::Url,
    pub(super) endpoint: Endpoint,
    pub(super) key: ApiKey,
    pub(super) key_file: Option<PathBuf>,
    pub(super) instance: String,
    /// How long the last reports may take, once the side thread has gone.
    pub(super) flush: Duration,
    pub(super) seed: u64,
    pub(super) figures: Arc<ProofFigures>,
}

/// Starts the thread. It ends, after a last flush, when the sender is dropped.
pub(super) fn start(plan: Plan) -> std::io::Result<(mpsc::Sender<Arc<Report>>, JoinHandle<()>)> {
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    let poster =
        Poster::new((&plan.url, QUERY), (&plan.endpoint, &plan.key)).map_err(std::io::Error::other)?;
    let runtime = super::behind::runtime()?;
    let life = move || {
        let local = tokio::task::LocalSet::new();
        let sink = ReportSink::new(plan.seed);
        local.block_on(&runtime, Rows { sink, inbox, plan, told: 0 }.run(poster));
    };
    Ok((sender, std::thread::Builder::new().name("report-rows".to_owned()).spawn(life)?))
}

type Asked = Pin<Box<dyn Future<Output = (Poster, Reply)>>>;

async fn answered(asked: &mut Option<Asked>) -> (Poster, Reply) {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

struct Rows {
    sink: ReportSink,
    inbox: mpsc::Receiver<Arc<Report>>,
    plan: Plan,
    /// Losses that were counted.
    told: u64,
}

impl Rows {
    async fn run(mut self, poster: Poster) {
        let (mut idle, mut asked, mut deadline) = (Some(poster), None::<Asked>, None);
        loop {
            let now = clock();
            if let Some(mut poster) = idle.take() {
                match self.sink.poll_transmit(now) {
                    None => idle = Some(poster),
                    Some(body) => {
                        asked = Some(Box::pin(async move {
                            let reply = poster.post(body).await;
                            (poster, reply)
                        }));
                    }
                }
            }
            if deadline.is_some_and(|at| at <= now || self.sink.is_empty()) {
                self.sink.abandon();
                return self.note();
            }
            let wake = [self.sink.poll_timeout(), deadline].into_iter().flatten().min();
            let wake = wake.unwrap_or(now + Duration::from_secs(60));
            tokio::select! {
                report = self.inbox.recv(), if deadline.is_none() => match report {
                    Some(report) => self.take(&report),
                    None => deadline = Some(clock() + self.plan.flush),
                },
                (mut poster, reply) = answered(&mut asked), if asked.is_some() => {
                    asked = None;
                    let verdict = self.sink.handle_reply(&reply, clock());
                    self.heard(verdict, &mut poster);
                    idle = Some(poster);
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn take(&mut self, report: &Report) {
        match report.row(&self.plan.instance) {
            Ok(row) => self.sink.push(Bytes::from(row)),
            Err(error) => {
                self.plan.figures.report_lost();
                tracing::error!(id = report.id, %error, "a report cannot be written as a row");
            }
        }
        self.note();
    }

    fn heard(&mut self, verdict: Option<Verdict>, poster: &mut Poster) {
        self.note();
        let Some(verdict) = verdict else { return };
        let why = verdict.as_str();
        if verdict == Verdict::Key {
            self.renew_key(poster);
        }
        tracing::warn!(why, "crossfade_reports takes no report; look at its migration and grants");
    }

    /// Reads the key's file again, where it came from one.
    fn renew_key(&self, poster: &mut Poster) {
        let Some(path) = &self.plan.key_file else { return };
        match crate::config::read_secret_file(path) {
            Ok(secret) => poster.set_key(&self.plan.endpoint, &ApiKey::new(secret.expose())),
            Err(error) => tracing::error!(%error, "the key's file cannot be read again"),
        }
    }

    fn note(&mut self) {
        let (_, lost) = self.sink.counts();
        for _ in self.told..lost {
            self.plan.figures.report_lost();
        }
        self.told = lost;
    }
}

#[expect(clippy::disallowed_methods, reason = "this thread is a shell: its clock is the real one")]
fn clock() -> Instant {
    Instant::now()
}
