//! `crossfade reconcile`: what should be rows of the table and is not.
//!
//! **Problem.** A message that waits on the disk may never have become a row, and a row that was confirmed may be gone:
//! deleted, restored from an older copy, dropped with its partition. Nobody notices either by looking at the table.
//!
//! **Decision.** Two lists are held against it. The messages of the spool, or of an export of it, are asked for by id,
//! and posted when they are not there. Then the account of confirmed rows ([`ledger`]) is compared by process and
//! minute. It may be repeated, and run beside the living process.
//!
//! **Limits.** The account holds no message: a row that is gone and not in the spool any more is told, never brought
//! back (record 0034). [`NAMED_MAX`] of each are named, all are counted.

mod ledger;

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;

use super::drain::clock;
use super::progress::Progress;
use super::{Exit, Streams};
use crate::app;
use crate::config::{Config, Strings};
use crate::envelope::Class;
use crate::session::{Key, Seq, SessionNo};
use crate::sinks::Wanted;
use crate::sinks::account::Ledger;
use crate::sinks::reconcile::{Chunk, moment};
use crate::sinks::row::{COLUMNS, Row};
use crate::spool::disk::inspect;
use crate::spool::export::{self, Line};
use crate::spool::record::open;
use crate::spool::seal::Seal;

/// For each request.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is younger may still be on its way into the table.
const YOUNG_MS: u64 = 60_000;
/// So many messages are named when they are missing; the count goes on.
const NAMED_MAX: u64 = 1_000;
/// So many messages between two looks at the clock.
const PROGRESS_EVERY: u64 = 100;

/// Arguments of `reconcile`.
#[derive(Clone, Debug, Args)]
pub struct ReconcileArgs {
    /// JSON Lines as `crossfade spool export` writes them, instead of CROSSFADE_SPOOL_DIR
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only what was seen since then: a time (2026-11-21T08:00:00Z) or a duration (90m ago)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was seen until then; what is younger than a minute may still be on its way
    #[arg(long, alias = "to", value_name = "TIME", default_value = "1m")]
    until: String,
    /// Every class, instead of those that CROSSFADE_TABLE names
    #[arg(long)]
    all_classes: bool,
    /// Say what is missing and post nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Why it ends early.
enum Stop {
    Config(String),
    Unavailable(String),
}

#[derive(Debug, Default, serde::Serialize)]
struct Account {
    examined: u64,
    left_out: u64,
    present: u64,
    missing: u64,
    posted: u64,
    unreadable: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_messages: Vec<String>,
    /// What the table had confirmed; absent without an account of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<ledger::Compared>,
}

pub(super) fn run(args: &ReconcileArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let config = match app::load(strings) {
        Ok(config) => config,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    match reconcile(args, &config, streams) {
        Ok(account) => answer(args, &account, streams),
        Err(Stop::Config(why)) => streams.refuse(Exit::Config, &why),
        Err(Stop::Unavailable(why)) => streams.refuse(Exit::Unavailable, &why),
    }
}

fn reconcile(args: &ReconcileArgs, config: &Config, streams: &mut Streams<'_>) -> Result<Account, Stop> {
    let now_ms = unix_ms();
    let read = |name: &str, text: &str| {
        moment(text, now_ms).map_err(|why| Stop::Config(format!("{name} `{text}` {why}")))
    };
    let since = args.since.as_deref().map(|text| read("--since", text)).transpose()?.unwrap_or(0);
    let until = read("--until", &args.until)?;
    if until + YOUNG_MS > now_ms + 1_000 && !args.dry_run {
        return Err(Stop::Config(
            "--until is younger than a minute: such messages may still be on their way".to_owned(),
        ));
    }
    let table = Table::new(config)?;
    let wanted = if args.all_classes { Wanted::All } else { app::wanted(config) };
    if wanted == Wanted::Off {
        return Err(Stop::Config(
            "CROSSFADE_TABLE is off: no row is expected; give --all-classes to post them all".to_owned(),
        ));
    }
    let mut work = Work {
        table,
        source: config.service.name.as_str().into(),
        wanted,
        range: (since, until),
        dry_run: args.dry_run,
        chunk: Chunk::default(),
        account: Account::default(),
        line: Progress::new(streams.err_look),
        began: clock(),
    };
    let kept = kept(config)?;
    match (&args.from, &config.spool) {
        (Some(file), _) => work.file(file, streams)?,
        (None, None) if kept.is_some() => {}
        (None, _) => work.spool(config, streams)?,
    }
    work.flush(streams)?;
    work.line.end(streams.err);
    // After what the spool had is back: what is gone now is gone.
    if let Some(kept) = kept {
        work.account.ledger = Some(ledger::compare(&kept, work.range, &work.table, streams)?);
    }
    Ok(work.account)
}

/// The account of confirmed rows, where one is kept.
fn kept(config: &Config) -> Result<Option<Ledger>, Stop> {
    let Some(state) = &config.ops.state_dir else { return Ok(None) };
    app::table_account::read(state)
        .map_err(|error| Stop::Unavailable(format!("{}: {error}", state.display())))
}

fn answer(args: &ReconcileArgs, account: &Account, streams: &mut Streams<'_>) -> Exit {
    let answered = if args.json {
        streams.answer(&(serde_json::to_string_pretty(account).unwrap_or_default() + "\n"))
    } else {
        let mut text: String =
            account.missing_messages.iter().map(|name| format!("missing {name}\n")).collect();
        text.push_str(&format!(
            "{} messages examined, {} in the table, {} missing, {} posted, {} left out, {} unreadable\n",
            account.examined,
            account.present,
            account.missing,
            account.posted,
            account.left_out,
            account.unreadable
        ));
        if let Some(kept) = &account.ledger {
            text.extend(kept.gone_minutes.iter().map(|minute| format!("gone {minute}\n")));
            text.push_str(&(kept.sentence() + "\n"));
        }
        streams.answer(&text)
    };
    let open = if args.dry_run { 0 } else { account.missing - account.posted };
    let gone = account.ledger.as_ref().is_some_and(|kept| kept.gone > 0);
    if open > 0 || gone || account.unreadable > 0 { Exit::Unavailable } else { answered }
}

struct Work {
    table: Table,
    source: std::sync::Arc<str>,
    wanted: Wanted,
    range: (u64, u64),
    dry_run: bool,
    chunk: Chunk,
    account: Account,
    line: Progress,
    began: std::time::Instant,
}

impl Work {
    fn file(&mut self, file: &Path, streams: &mut Streams<'_>) -> Result<(), Stop> {
        let at = |why: &dyn std::fmt::Display| Stop::Config(format!("{}: {why}", file.display()));
        let reader = std::io::BufReader::new(std::fs::File::open(file).map_err(|error| at(&error))?);
        for (number, text) in reader.lines().enumerate() {
            let text = text.map_err(|error| at(&error))?;
            if text.trim().is_empty() {
                continue;
            }
            let line = serde_json::from_str(&text)
                .map_err(|error| at(&format_args!("line {}: {error}", number + 1)))?;
            self.line(line, streams)?;
        }
        Ok(())
    }

    fn spool(&mut self, config: &Config, streams: &mut Streams<'_>) -> Result<(), Stop> {
        let Some(own) = &config.spool else {
            let why = "no source; set CROSSFADE_SPOOL_DIR or CROSSFADE_STATE_DIR, or give --from FILE, written by `crossfade spool export`";
            return Err(Stop::Config(why.to_owned()));
        };
        let at = |error: &std::io::Error| Stop::Unavailable(format!("{}: {error}", own.dir.display()));
        let key = own.key.as_ref().and_then(|key| Seal::parse(key.secret.expose()));
        for facts in &inspect(&own.dir).map_err(|error| at(&error))?.segments {
            let mut stop = None;
            facts
                .each_open(|header, stored| {
                    let body = open(&header, stored, key.as_ref()).ok();
                    let Some(lines) = body.and_then(|body| export::lines(&body).ok()) else {
                        self.account.unreadable += 1;
                        return Ok(());
                    };
                    for line in lines {
                        if let Err(why) = self.line(line, streams) {
                            stop = Some(why);
                            return Err(std::io::Error::other("stopped"));
                        }
                    }
                    Ok(())
                })
                .map_err(|error| stop.take().unwrap_or_else(|| at(&error)))?;
        }
        Ok(())
    }

    fn line(&mut self, line: Line, streams: &mut Streams<'_>) -> Result<(), Stop> {
        self.account.examined += 1;
        if self.account.examined.is_multiple_of(PROGRESS_EVERY) {
            let Account { examined, missing, posted, .. } = self.account;
            self.line.say(self.began.elapsed(), streams.err, || {
                format!("{examined} messages examined, {missing} missing, {posted} posted")
            });
        }
        let in_range = (self.range.0..=self.range.1).contains(&line.at);
        let Some(row) = self.row(line).filter(|row| in_range && self.wanted.wants(row.class)) else {
            self.account.left_out += 1;
            return Ok(());
        };
        if self.chunk.push(row) { self.flush(streams) } else { Ok(()) }
    }

    /// A piece of a split message is no row.
    fn row(&self, line: Line) -> Option<Row> {
        let body = line.bytes().filter(|_| line.part.is_none())?;
        Some(Row {
            key: Key { session: SessionNo(line.session), dir: line.dir, seq: Seq(line.seq) },
            session_id: None,
            source: std::sync::Arc::clone(&self.source),
            instance: line.src.as_str().into(),
            at_ms: line.at,
            kind: line.kind,
            class: line.class,
            op: line.op,
            path: line.path.as_str().into(),
            body: Bytes::from(body),
            redacted: line.redacted,
            replay: true,
        })
    }

    fn flush(&mut self, _streams: &mut Streams<'_>) -> Result<(), Stop> {
        let chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() {
            return Ok(());
        }
        let all = chunk.len() as u64;
        let missing = self.table.missing(chunk)?;
        self.account.present += all - missing.len() as u64;
        self.account.missing += missing.len() as u64;
        for row in missing.rows().take(
            usize::try_from(NAMED_MAX.saturating_sub(self.account.missing_messages.len() as u64))
                .unwrap_or(0),
        ) {
            let Key { session, dir, seq } = row.key;
            let name = format!(
                "{} session {} {} seq {} ({})",
                row.instance,
                session.0,
                dir.as_str(),
                seq.0,
                Class::as_str(row.class)
            );
            self.account.missing_messages.push(name);
        }
        if self.dry_run || missing.is_empty() {
            return Ok(());
        }
        let wanted = missing.len() as u64;
        self.table.post(&missing)?;
        // Only what can be read again is there.
        self.account.posted += wanted - self.table.missing(missing)?.len() as u64;
        Ok(())
    }
}

/// The table behind PostgREST.
struct Table {
    url: String,
    headers: Vec<(&'static str, String)>,
    runtime: tokio::runtime::Runtime,
}

impl Table {
    fn new(config: &Config) -> Result<Self, Stop> {
        let Some(supabase) = &config.supabase else {
            return Err(Stop::Config("needs SUPABASE_URL and SUPABASE_KEY".to_owned()));
        };
        let link = app::link(supabase).map_err(|error| Stop::Config(error.to_string()))?;
        let Some(url) = link.endpoint.rows("monitoring_events") else {
            let why = "SUPABASE_URL is a bare Realtime; rows need PostgREST behind it, such as https://REF.supabase.co";
            return Err(Stop::Config(why.to_owned()));
        };
        let headers = link.endpoint.http_headers(&link.key);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stop::Unavailable(error.to_string()))?;
        Ok(Self { url: url.to_string(), headers, runtime })
    }

    fn missing(&self, chunk: Chunk) -> Result<Chunk, Stop> {
        let url = format!("{}?{}", self.url, chunk.query());
        let answer = self.ask("GET", &url, Vec::new(), Bytes::new())?;
        chunk
            .missing(&answer)
            .map_err(|_| Stop::Unavailable("the table's answer is no list of ids".to_owned()))
    }

    /// Rows as this query chooses them.
    fn read<T: serde::de::DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, Stop> {
        let answer = self.ask("GET", &format!("{}?{query}", self.url), Vec::new(), Bytes::new())?;
        serde_json::from_str(&answer)
            .map_err(|_| Stop::Unavailable("the table's answer is no list of rows".to_owned()))
    }

    fn post(&self, chunk: &Chunk) -> Result<(), Stop> {
        let url = format!("{}?on_conflict=id,timestamp&columns={COLUMNS}", self.url);
        let more = vec![
            ("content-type", "application/json".to_owned()),
            ("prefer", "return=minimal,resolution=ignore-duplicates".to_owned()),
        ];
        self.ask("POST", &url, more, Bytes::from(chunk.body())).map(drop)
    }

    fn ask(
        &self,
        method: &str,
        url: &str,
        more: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> Result<String, Stop> {
        let headers = self.headers.iter().cloned().chain(more).collect();
        let asked = crate::doctor::request_once((method, url), headers, body, PATIENCE);
        match self.runtime.block_on(asked) {
            Some((200..=299, body)) => Ok(body),
            Some((status, _)) => Err(Stop::Unavailable(format!(
                "the table answers {status}; `crossfade check --table monitoring_events` says why"
            ))),
            None => {
                Err(Stop::Unavailable("the table cannot be reached; `crossfade check` says why".to_owned()))
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command is a shell: its clock is the real one")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
