//! `crossfade replay`: plays the clients' half of exported sessions against a test service, scaled in time.
//! It executes what users once did, so it refuses everything but this machine unless told otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::{Exit, Streams};
use crate::session::{Direction, Opcode};
use crate::spool::export::Line;

/// Sessions that are open at once.
const SESSIONS_MAX: usize = 5_000;
/// The service's time to answer our close.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// JSON Lines, as `crossfade spool export` writes them
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The service; the recorded path is added where the URL has none
    #[arg(long, value_name = "URL")]
    pub to: url::Url,
    /// How much faster than recorded
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub speed: f64,
    /// The target is not this machine, and executing these messages there once more is wanted
    #[arg(long)]
    pub yes_execute_these_messages_again: bool,
}

/// One session's half: what its client said.
#[derive(Debug)]
struct Session {
    path: String,
    /// Milliseconds since the first message of all, and the message.
    says: Vec<(u64, Message)>,
}

#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    heard: AtomicU64,
    failed: AtomicU64,
    ended: AtomicU64,
}

pub(super) fn run(args: &ReplayArgs, streams: &mut Streams<'_>) -> Exit {
    if args.to.scheme() != "ws" || args.to.host_str().is_none() {
        return streams
            .refuse(Exit::Config, &"--to is not a ws:// URL, for example --to ws://127.0.0.1:8080");
    }
    if !(args.speed > 0.0 && args.speed <= 1_000_000.0) {
        return streams.refuse(Exit::Config, &"--speed is not above 0, for example --speed 10");
    }
    let addresses = match args.to.socket_addrs(|| None) {
        Ok(addresses) => addresses,
        Err(error) => return streams.refuse(Exit::Unavailable, &format!("--to {}: {error}", args.to)),
    };
    let here = !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback());
    if !here && !args.yes_execute_these_messages_again {
        let why = "--to is not this machine. A replay executes what users once did: orders are placed, messages are \
                   sent, once more. If that is a test service and it is wanted, add \
                   --yes-execute-these-messages-again";
        return streams.refuse(Exit::Config, &why);
    }
    let (sessions, left_out) = match read(&args.file) {
        Ok(read) => read,
        Err(why) => return streams.refuse(Exit::Config, &format!("{}: {why}", args.file.display())),
    };
    if left_out > 0 && writeln!(streams.err, "{left_out} pieces of split messages are left out").is_err() {
        return Exit::Unavailable;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return streams.refuse(Exit::Unavailable, &error),
    };
    let progress = Arc::new(Progress::default());
    let count = sessions.len() as u64;
    let all: u64 = sessions.iter().map(|session| session.says.len() as u64).sum();
    runtime.block_on(play(args, sessions, &progress, &mut |text| {
        // Progress that nobody reads is no reason to stop.
        writeln!(streams.err, "{text}").unwrap_or(());
    }));
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, failed) = (read(&progress.sent), read(&progress.failed));
    let end = format!(
        "{sent} of {all} messages sent in {count} sessions, {} heard, {failed} sessions failed\n",
        read(&progress.heard)
    );
    let answered = streams.answer(&end);
    if failed > 0 { Exit::Unavailable } else { answered }
}

/// The sessions in a file and how many pieces of split messages were left out.
fn read(file: &PathBuf) -> Result<(Vec<Session>, u64), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(|error| {
            format!("line {}: {error}; write it with `crossfade spool export`", number + 1)
        })?;
        lines.push(line);
    }
    let begin = lines.iter().map(|line| line.at).min().unwrap_or(0);
    let mut sessions: BTreeMap<(String, u32), BTreeMap<u64, Line>> = BTreeMap::new();
    let mut left_out = 0;
    for line in lines.into_iter().filter(|line| line.dir == Direction::Up) {
        if line.part.is_some() {
            left_out += 1;
            continue;
        }
        // A batch that lies there twice carries the same message under the same number.
        sessions.entry((line.src.clone(), line.session)).or_default().insert(line.seq, line);
    }
    if sessions.len() > SESSIONS_MAX {
        return Err(format!("{} sessions, at most {SESSIONS_MAX} are played at once", sessions.len()));
    }
    let session = |lines: BTreeMap<u64, Line>| {
        let path = lines.values().next().map(|line| line.path.clone()).unwrap_or_default();
        let says = lines.into_values().filter_map(|line| {
            let bytes = line.bytes()?;
            let message = match (line.op, String::from_utf8(bytes)) {
                (Opcode::Text, Ok(text)) => Message::text(text),
                (_, Ok(text)) => Message::binary(text.into_bytes()),
                (_, Err(error)) => Message::binary(error.into_bytes()),
            };
            Some((line.at.saturating_sub(begin), message))
        });
        Session { path, says: says.collect() }
    };
    Ok((sessions.into_values().map(session).collect(), left_out))
}

async fn play(
    args: &ReplayArgs,
    sessions: Vec<Session>,
    progress: &Arc<Progress>,
    say: &mut dyn FnMut(String),
) {
    let begin = Instant::now();
    let count = sessions.len() as u64;
    let all: u64 = sessions.iter().map(|session| session.says.len() as u64).sum();
    let mut tasks = tokio::task::JoinSet::new();
    for session in sessions {
        let (to, speed, progress) = (args.to.clone(), args.speed, Arc::clone(progress));
        tasks.spawn(async move {
            if one(to, session, (begin, speed), &progress).await.is_err() {
                progress.failed.fetch_add(1, Ordering::Relaxed);
            }
            progress.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            ended = tasks.join_next() => if ended.is_none() { return },
            _ = tick.tick() => say(format!(
                "{} of {all} messages sent, {} of {count} sessions ended",
                progress.sent.load(Ordering::Relaxed),
                progress.ended.load(Ordering::Relaxed)
            )),
        }
    }
}

/// Plays one session; the error says nothing that the counters do not.
async fn one(
    mut to: url::Url,
    session: Session,
    (begin, speed): (Instant, f64),
    progress: &Progress,
) -> Result<(), ()> {
    if to.path() == "/" {
        to.set_path(&session.path);
    }
    let due = |ms: u64| begin + Duration::from_secs_f64(ms as f64 / 1000.0 / speed);
    tokio::time::sleep_until(due(session.says.first().map_or(0, |(at, _)| *at))).await;
    let addresses = to.socket_addrs(|| None).map_err(drop)?;
    let stream = TcpStream::connect(&addresses[..]).await.map_err(drop)?;
    let (socket, _) = tokio_tungstenite::client_async(to.as_str(), stream).await.map_err(drop)?;
    let (mut write, mut read) = socket.split();
    let listen = async {
        while let Some(Ok(message)) = read.next().await {
            progress.heard.fetch_add(u64::from(message.is_text() || message.is_binary()), Ordering::Relaxed);
        }
    };
    let talk = async {
        for (at, message) in session.says {
            tokio::time::sleep_until(due(at)).await;
            write.send(message).await.map_err(drop)?;
            progress.sent.fetch_add(1, Ordering::Relaxed);
        }
        write.send(Message::Close(None)).await.map_err(drop)
    };
    let mut listen = std::pin::pin!(listen);
    tokio::select! {
        said = talk => said?,
        () = &mut listen => return Err(()), // the service ended it early
    }
    // What it still says after our close; a service that does not answer it is no failure of the replay.
    tokio::time::timeout(CLOSE_WAIT, listen).await.or(Ok(()))
}
