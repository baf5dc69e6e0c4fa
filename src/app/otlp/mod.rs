//! The export of spans: a queue from the data threads, the machine of [`spans`](crate::spans), one connection to the
//! collector, on a thread of its own.
//!
//! **Problem.** A collector is somebody else's: it hangs, it is restarted, its name does not resolve. Sessions, the
//! breaker and the end of the process must not notice.
//!
//! **Decision.** A data thread puts a finished span into a bounded queue and never waits; a full queue costs the span.
//! The thread behind it sends one batch at a time and retries within bounds. At the end of the process it is told
//! until when it may flush, and ends by then whatever the collector does. Without `[otlp]` there is no thread, no
//! queue, and nothing in any session.
//!
//! **Limits.** The queue and one batch wait ([`Settings`]); five tries, at most 30 s apart; a request has its time.
//! What is lost is counted in `crossfade_otlp_spans_total`. The file of fields is read at the start, and again when the
//! collector says 401 or 403.

mod section;

use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use tokio::sync::{mpsc, watch};

pub(super) use section::{Section, Settings};

use super::line::Line;
use super::settings::SettingError;
use super::{StartError, runtime, seed};
use crate::config::Config;
use crate::proxy;
use crate::sinks::Reply;
use crate::spans::{self, Epoch, Exporter, Figures, Heard, Outcome, Span};

/// An export under way.
pub(super) struct Running {
    /// For the proxy.
    pub(super) spans: proxy::Spans,
    pub(super) figures: Arc<Figures>,
    /// Until when the last flush may take; dropped, it ends at once.
    stop: watch::Sender<Option<Instant>>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Nothing more will come: what waits is sent within this time. The thread ends by then.
    pub(super) fn stop(self, flush: Duration) -> JoinHandle<()> {
        self.stop.send_replace(Some(clock() + flush));
        self.thread
    }
}

/// Starts the export where it is asked for.
///
/// # Errors
/// The file of fields cannot be used, or there is no thread.
pub(super) fn start(config: &Config, settings: Option<&Settings>) -> Result<Option<Running>, StartError> {
    let Some(settings) = settings else { return Ok(None) };
    let wrong = |problem| SettingError { variable: "CROSSFADE_TUNING", problem };
    let line = Line::new(settings.target.clone(), settings.timeout).map_err(wrong)?;
    let (sender, inbox) = mpsc::channel(settings.queue);
    let (stop, stopped) = watch::channel(None);
    let figures = Arc::<Figures>::default();
    let thread = Thread {
        inbox,
        stop: stopped,
        machine: Exporter::new(settings.limits),
        resource: settings.resource(&config.service.name, &config.service.pod),
        line,
        fields: settings.fields().map_err(wrong)?,
        settings: settings.clone(),
        figures: Arc::clone(&figures),
    };
    let runtime = runtime().map_err(StartError::Thread)?;
    let life = move || {
        tokio::task::LocalSet::new().block_on(&runtime, thread.run());
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
    };
    let thread =
        std::thread::Builder::new().name("otlp".to_owned()).spawn(life).map_err(StartError::Thread)?;
    let counted = Arc::clone(&figures);
    let give = move |span: Span| {
        if sender.try_send(span).is_err() {
            counted.add(Outcome::Dropped, 1);
        }
    };
    Ok(Some(Running { spans: proxy::Spans::new(settings.sampler(), give), figures, stop, thread }))
}

impl Settings {
    fn fields(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        self.headers_file.as_deref().map_or_else(|| Ok(Vec::new()), section::fields)
    }
}

struct Thread {
    inbox: mpsc::Receiver<Span>,
    stop: watch::Receiver<Option<Instant>>,
    machine: Exporter,
    resource: Vec<(String, String)>,
    line: Line,
    fields: Vec<(HeaderName, HeaderValue)>,
    settings: Settings,
    figures: Arc<Figures>,
}

impl Thread {
    async fn run(mut self) {
        let mut over = pin!(over(self.stop.clone()));
        loop {
            let last = self.stop.borrow_and_update().is_some();
            if last {
                self.inbox.close();
            }
            while self.machine.has_room()
                && let Ok(span) = self.inbox.try_recv()
            {
                self.machine.push(span, clock());
            }
            if let Some(request) = self.request(last) {
                let reply = tokio::select! {
                    biased;
                    () = &mut over => break,
                    reply = self.line.ask(request) => reply,
                };
                self.heard(&reply);
                continue;
            }
            let wake = self.machine.poll_timeout();
            if last && wake.is_none() {
                break;
            }
            tokio::select! {
                biased;
                () = &mut over => break,
                // An error is the end, which `over` sees, too.
                _ = self.stop.changed(), if !last => {}
                span = self.inbox.recv(), if !last && self.machine.has_room() => match span {
                    Some(span) => self.machine.push(span, clock()),
                    None => break,
                },
                () = asleep(wake) => {}
            }
        }
        let mut lost = self.machine.clear();
        while self.inbox.try_recv().is_ok() {
            lost += 1;
        }
        if lost > 0 {
            self.figures.add(Outcome::Dropped, lost);
            tracing::warn!(spans = lost, "spans could not be exported before the end");
        }
    }

    /// What is to be sent now.
    fn request(&self, last: bool) -> Option<Request<Full<Bytes>>> {
        let spans = self.machine.poll_transmit(clock(), last)?;
        let body = spans::body(&self.resource, spans, epoch()).unwrap_or_default();
        let mut request = Request::post(&self.settings.path)
            .header(HOST, self.settings.target.host_field())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from(body)))
            .unwrap_or_default();
        request.headers_mut().extend(self.fields.iter().cloned());
        Some(request)
    }

    fn heard(&mut self, reply: &Reply) {
        let (heard, status) = match reply {
            Reply::Unknown => (Heard::Nothing, 0),
            Reply::Answer { status, retry_after, body } => {
                (Heard::Answer { status: *status, retry_after: *retry_after, body }, *status)
            }
        };
        let settled = self.machine.handle_answer(heard, clock(), seed());
        self.figures.add(Outcome::Exported, settled.exported);
        self.figures.add(Outcome::Rejected, settled.rejected);
        self.figures.add(Outcome::Dropped, settled.dropped);
        if settled.rejected > 0 || settled.dropped > 0 {
            let (rejected, dropped) = (settled.rejected, settled.dropped);
            tracing::warn!(status, rejected, dropped, "the collector did not take spans");
        }
        if matches!(status, 401 | 403) {
            match self.settings.fields() {
                Ok(fields) => self.fields = fields,
                Err(error) => tracing::error!(error, "the collector's fields cannot be read again"),
            }
        }
    }
}

/// The time for the last flush has passed, or nobody waits for one.
async fn over(mut stop: watch::Receiver<Option<Instant>>) {
    let until = stop.wait_for(Option::is_some).await.ok().and_then(|until| *until);
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
    }
}

async fn asleep(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the export is a shell: its clock is the real one")]
fn clock() -> Instant {
    Instant::now()
}

/// Both clocks now: taken for each batch, as the system's may be set meanwhile.
#[expect(clippy::disallowed_methods, reason = "the export is a shell: its clocks are the real ones")]
fn epoch() -> Epoch {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Epoch { at: Instant::now(), unix_nanos: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
}
