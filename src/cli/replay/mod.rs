//! `crossfade replay`: plays exported sessions again, scaled in time: the clients' half against a test service, or all of
//! it into a topic of a Supabase project.
//!
//! **Problem.** A recording is worth most when it can be heard again: by a new version of the service, by a consumer
//! that is being written. But a replay executes what users once did, and whoever listens takes the past for the present.
//!
//! **Decision.** What is not this machine is refused unless the flag that says so is there; a mirror's own topics and
//! Realtime's are refused always. A session against a service is one socket that says what its client said
//! ([`service`]); a topic gets envelopes marked as replay, under a source of their own ([`topic`]).
//!
//! **Limits.** [`SESSIONS_MAX`] sessions at once. Pieces of a message that are not all there are left out and counted. The
//! file is read whole.

mod read;
mod service;
mod topic;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::progress::Progress as Line;
use super::{Exit, Streams};
use crate::config::Strings;

/// Sessions that are open at once.
const SESSIONS_MAX: usize = 5_000;
/// How often somebody looks how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["to", "to_topic"]))]
pub struct ReplayArgs {
    /// JSON Lines, as `crossfade spool export` writes them
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The service, ws:// or wss://; the recorded path is added where the URL has none
    #[arg(long, value_name = "URL")]
    pub to: Option<url::Url>,
    /// A private topic of the project that SUPABASE_URL and SUPABASE_KEY name
    #[arg(long, value_name = "TOPIC")]
    pub to_topic: Option<String>,
    /// Who vouches for the service's certificate, as PEM, instead of the system's roots
    #[arg(long, value_name = "FILE", requires = "to")]
    pub ca: Option<PathBuf>,
    /// How much faster than recorded
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub speed: f64,
    /// The service is not this machine, and executing these messages there once more is wanted
    #[arg(long, requires = "to")]
    pub yes_execute_these_messages_again: bool,
    /// The project is not this machine, and whoever listens to the topic is to hear these messages once more
    #[arg(long, requires = "to_topic")]
    pub yes_publish_these_messages_again: bool,
    /// Print the account as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Why nothing was played.
enum Stop {
    Config(String),
    Unavailable(String),
}

/// Counted while it plays.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    answered: AtomicU64,
    ended: AtomicU64,
    failures: Mutex<BTreeMap<String, u64>>,
}

impl Progress {
    fn failed(&self, why: String) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Account {
    /// `service` or `topic`.
    to: &'static str,
    sessions: u64,
    messages: u64,
    sent: u64,
    /// Messages that the service said, or broadcasts that Realtime acknowledged, which proves no delivery.
    answered: u64,
    /// Pieces of messages that are not all there.
    left_out: u64,
    /// Sessions, or broadcasts, by what went wrong.
    failures: BTreeMap<String, u64>,
    took_ms: u64,
}

pub(super) fn run(args: &ReplayArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    match replay(args, strings, streams) {
        Ok(account) => account.answer(args.json, streams),
        Err(Stop::Config(why)) => streams.refuse(Exit::Config, &why),
        Err(Stop::Unavailable(why)) => streams.refuse(Exit::Unavailable, &why),
    }
}

fn replay(args: &ReplayArgs, strings: &Strings, streams: &mut Streams<'_>) -> Result<Account, Stop> {
    if !(args.speed > 0.0 && args.speed <= 1_000_000.0) {
        return Err(Stop::Config("--speed is not above 0, for example --speed 10".to_owned()));
    }
    let unreadable = |why: String| Stop::Config(format!("{}: {why}", args.file.display()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Unavailable(error.to_string()))?;
    let progress = Progress::default();
    let (mut line, began) = (Line::new(streams.err_look), Instant::now());
    let mut say = |text: String| line.say(began.elapsed(), streams.err, || text);
    let (to, sessions, messages, left_out) = if let Some(name) = &args.to_topic {
        let place = topic::Place::new(name, args.yes_publish_these_messages_again, strings)?;
        let lines = read::lines(&args.file).map_err(unreadable)?;
        let (sessions, messages) = read::count(&lines);
        let broadcasts = topic::broadcasts(&lines, args.speed, topic::seed());
        drop(lines);
        let play = topic::play(place, broadcasts, &progress);
        runtime.block_on(tokio::task::LocalSet::new().run_until(beside(play, &progress, messages, &mut say)));
        ("topic", sessions, messages, 0)
    } else {
        let place = service::Place::new(args)?;
        let (sessions, left_out) = read::sessions(&args.file).map_err(unreadable)?;
        let count = sessions.len() as u64;
        let messages = sessions.iter().map(|session| session.says.len() as u64).sum();
        let play = service::play(place, sessions, args.speed, &progress);
        runtime.block_on(beside(play, &progress, messages, &mut say));
        ("service", count, messages, left_out)
    };
    line.end(streams.err);
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (sent, answered) = (progress.sent.into_inner(), progress.answered.into_inner());
    let failures = progress.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Account { to, sessions, messages, sent, answered, left_out, failures, took_ms })
}

/// Says how far it is, now and then, until it is over.
async fn beside(play: impl Future<Output = ()>, progress: &Progress, all: u64, say: &mut dyn FnMut(String)) {
    let mut play = std::pin::pin!(play);
    let mut tick = tokio::time::interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
    loop {
        tokio::select! {
            () = &mut play => return,
            _ = tick.tick() => {
                let [sent, ended] = [&progress.sent, &progress.ended].map(|count| count.load(Ordering::Relaxed));
                // Progress that nobody reads is no reason to stop.
                say(format!("{sent} of {all} messages sent, {ended} sessions ended"));
            }
        }
    }
}

impl Account {
    fn answer(&self, json: bool, streams: &mut Streams<'_>) -> Exit {
        let failed: u64 = self.failures.values().sum();
        let text = if json {
            serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
        } else {
            let answered = if self.to == "topic" { "broadcasts acknowledged" } else { "heard" };
            let mut text = format!(
                "{} of {} messages sent in {} sessions, {} {answered}, {failed} failed\n",
                self.sent, self.messages, self.sessions, self.answered
            );
            for (why, count) in &self.failures {
                text.push_str(&format!("{count} × {why}\n"));
            }
            if self.left_out > 0 {
                text.push_str(&format!("{} pieces of split messages are left out\n", self.left_out));
            }
            text
        };
        let answered = streams.answer(&text);
        if failed > 0 { Exit::Unavailable } else { answered }
    }
}

/// Whether this is this machine and nothing else.
fn is_here(url: &url::Url, name: &str) -> Result<bool, Stop> {
    let addresses: Vec<SocketAddr> =
        url.socket_addrs(|| None).map_err(|error| Stop::Unavailable(format!("{name}: {error}")))?;
    Ok(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()))
}
