//! `crossfade explain`: what becomes of this message, or which lane this upgrade would get, and why.
//! Answers from the environment alone, as the running proxy would (`--types` asks that one); of the message it never
//! shows a byte.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::{Exit, Streams, types};
use crate::app::settings;
use crate::config::{Rollout, Strings};
use crate::mirror::classify::{Classified, Classifier, Fate, Sample};
use crate::mirror::redact::{REPLACEMENT, Redactor};
use crate::rollout::{self, Request};
use crate::session::{Direction, Opcode, SessionNo};

/// The largest message that is read, in bytes: the largest that is ever mirrored by default is a quarter of it.
const MESSAGE_BYTES_MAX: u64 = 4 << 20;

/// Arguments of `explain`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["message", "request", "types"]))]
pub struct ExplainArgs {
    /// A file with one message as it travels, without its WebSocket frame; - for standard input
    #[arg(long, value_name = "FILE")]
    pub message: Option<PathBuf>,
    /// The path and query of an upgrade
    #[arg(long, value_name = "PATH")]
    pub request: Option<String>,
    /// The event types that the running process has seen, their classes, and what is proposed
    #[arg(long)]
    pub types: bool,
    /// Print the proposed rule file, for CROSSFADE_CLASSIFY=@/path after you have read it
    #[arg(long, requires = "types")]
    pub rules: bool,
    /// The running process's admin listener, instead of CROSSFADE_ADMIN_LISTEN
    #[arg(long, value_name = "ADDR:PORT", requires = "types")]
    pub admin: Option<SocketAddr>,
    /// The path of the message's session
    #[arg(long, default_value = "/", conflicts_with = "request")]
    pub path: String,
    /// The subprotocol that the service has chosen
    #[arg(long, conflicts_with = "request")]
    pub subprotocol: Option<String>,
    /// Which way the message goes: up (client to service) or down
    #[arg(long, default_value = "down", value_parser = direction, conflicts_with = "request")]
    pub direction: Direction,
    /// The message is a binary one
    #[arg(long, conflicts_with = "request")]
    pub binary: bool,
    /// A header of the upgrade, such as 'x-user-id: 42' (repeatable)
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header, conflicts_with = "message")]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", conflicts_with = "message")]
    pub peer: IpAddr,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

fn direction(text: &str) -> Result<Direction, String> {
    let found = Direction::ALL.into_iter().find(|dir| dir.as_str() == text);
    found.ok_or_else(|| "expected up or down".to_owned())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "not the name of a header")?;
    Ok((name, HeaderValue::from_str(value.trim()).map_err(|_| "not the value of a header")?))
}

pub(super) fn run(args: &ExplainArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    match (&args.message, &args.request) {
        _ if args.types => types::run(args, strings, streams),
        (Some(file), _) => match read(file) {
            Ok(bytes) => message(args, &bytes, strings, streams),
            Err(error) => streams.refuse(Exit::Unavailable, &format!("{}: {error}", file.display())),
        },
        (None, Some(target)) => request(args, target, strings, streams),
        (None, None) => streams.refuse(Exit::Config, &"give --message, --request or --types"),
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(MESSAGE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(MESSAGE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MESSAGE_BYTES_MAX {
        return Err(std::io::Error::other("larger than 4 MiB"));
    }
    Ok(bytes)
}

/// What becomes of a message.
#[derive(Debug, Serialize)]
struct MessageAnswer {
    r#type: String,
    /// The name that its protocol gives it, which rules match.
    event: String,
    format: &'static str,
    mirrored: bool,
    class: Option<&'static str>,
    /// `rule` or `frequency`.
    why: &'static str,
    rule: Option<usize>,
    rule_name: Option<String>,
    shared: bool,
    topic: Option<String>,
    event_id: Option<String>,
    table: Option<bool>,
    redacted: bool,
    values_taken_out: usize,
    bytes: usize,
    bytes_carried: usize,
}

fn message(args: &ExplainArgs, bytes: &[u8], strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let (mut classifier, redactor) = match settings::classification(strings) {
        Ok(machines) => machines,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let sample = Sample {
        path: &args.path,
        subprotocol: args.subprotocol.as_deref(),
        dir: args.direction,
        op: if args.binary { Opcode::Binary } else { Opcode::Text },
        payload: bytes,
    };
    let classified = classifier.classify(&sample, clock());
    let answer = describe(&sample, &classified, &classifier, &redactor);
    if args.json { as_json(&answer, streams) } else { streams.answer(&answer.text()) }
}

fn describe(
    sample: &Sample<'_>,
    classified: &Classified,
    classifier: &Classifier,
    redactor: &Redactor,
) -> MessageAnswer {
    let reading = sample.read();
    let carried = redactor.redact_message(&sample.subject(&reading), sample.payload);
    let marks = classifier.marks(classified, &Sample { payload: &carried, ..*sample });
    let (class, shared) = match classified.fate {
        Fate::Mirror { class, shared } => (Some(class.as_str()), shared),
        Fate::Skip => (None, false),
    };
    let redacted = matches!(carried, std::borrow::Cow::Owned(_));
    let rule = classifier.rule(classified);
    let by_rule = rule.is_some_and(|rule| rule.action.skip || rule.action.class.is_some());
    let count = |bytes: &[u8]| bytes.windows(MARK.len()).filter(|window| *window == MARK).count();
    MessageAnswer {
        r#type: classified.kind.as_str().to_owned(),
        event: reading.name.clone().into_owned(),
        format: reading.format.as_str(),
        mirrored: class.is_some(),
        class,
        why: if by_rule { "rule" } else { "frequency" },
        rule: classified.rule,
        rule_name: rule.and_then(|rule| rule.name.as_deref()).map(str::to_owned),
        shared,
        topic: marks.topic.map(|topic| topic.to_string()),
        event_id: marks.event_id.map(|id| id.to_string()),
        table: marks.table,
        redacted,
        values_taken_out: if redacted { count(&carried).saturating_sub(count(sample.payload)) } else { 0 },
        bytes: sample.payload.len(),
        bytes_carried: carried.len(),
    }
}

/// The replacement without its quotes, which may be escaped in packed JSON.
const MARK: &[u8] = match REPLACEMENT {
    [b'"', inner @ .., b'"'] => inner,
    whole => whole,
};

impl MessageAnswer {
    fn text(&self) -> String {
        let rule = match (self.rule, &self.rule_name) {
            (Some(number), Some(name)) => format!("rule {number} ({name})"),
            (Some(number), None) => format!("rule {number}"),
            (None, _) => "none matches".to_owned(),
        };
        let class = match self.class {
            Some(class) if self.why == "frequency" => format!("{class} (by frequency; of a first message)"),
            Some(class) => class.to_owned(),
            None => "none".to_owned(),
        };
        let redaction = match self.values_taken_out {
            _ if !self.redacted => "nothing taken out".to_owned(),
            count => {
                format!("{count} values taken out, {} of {} bytes carried", self.bytes_carried, self.bytes)
            }
        };
        let none = || "none".to_owned();
        let table = match self.table {
            Some(true) => "yes",
            Some(false) => "no",
            None => "as its class",
        };
        let rows = [
            ("type", self.r#type.clone()),
            ("read as", format!("{} ({})", self.event, self.format)),
            ("rule", rule),
            ("mirrored", if self.mirrored { "yes" } else { "no: skipped by the rule" }.to_owned()),
            ("class", class),
            ("shared", if self.shared { "yes" } else { "no" }.to_owned()),
            ("topic", self.topic.clone().unwrap_or_else(none)),
            ("event id", self.event_id.clone().unwrap_or_else(|| "hash of type and bytes".to_owned())),
            ("table", table.to_owned()),
            ("redaction", redaction),
        ];
        rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
    }
}

/// Which lane an upgrade would get.
#[derive(Debug, Serialize)]
struct RequestAnswer {
    /// Where the user's key was found; never the key.
    key: Option<String>,
    bucket: Option<u32>,
    percent: String,
    in_cohort: bool,
    lane: &'static str,
    reason: &'static str,
    rule: Option<String>,
    tier: &'static str,
    mirror_bucket: u32,
}

fn request(args: &ExplainArgs, target: &str, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let own = match Rollout::load(strings) {
        Ok(own) => own,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let settings = match settings::rollout_of(&own) {
        Ok((identity, tiers)) => tiers.settings(&std::sync::Arc::new(identity)),
        Err(error) => return streams.refuse(Exit::Config, &error),
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut headers = HeaderMap::new();
    for (name, value) in &args.headers {
        headers.append(name, value.clone());
    }
    let request = Request { headers: &headers, path, query, peer: args.peer, session: SessionNo(0) };
    let decision = rollout::decide(&settings, &request);
    let answer = RequestAnswer {
        key: settings.identity.chain.place(&request),
        bucket: decision.subject.bucket.map(rollout::Bucket::number),
        percent: decision.percent.to_string(),
        in_cohort: decision.lane.is_some(),
        lane: decision.lane.map_or("legacy", rollout::RealtimeLane::as_str),
        reason: decision.reason.as_str(),
        rule: decision.rule.as_deref().map(str::to_owned),
        tier: decision.tier.as_str(),
        mirror_bucket: decision.subject.mirror_bucket.number(),
    };
    if args.json { as_json(&answer, streams) } else { streams.answer(&answer.text()) }
}

impl RequestAnswer {
    fn text(&self) -> String {
        let none = || "none".to_owned();
        let rows = [
            ("lane", self.lane.to_owned()),
            ("reason", self.reason.to_owned()),
            ("key", self.key.clone().unwrap_or_else(none)),
            ("bucket", self.bucket.map_or_else(none, |bucket| bucket.to_string())),
            ("percent", self.percent.clone()),
            ("rule", self.rule.clone().unwrap_or_else(none)),
            ("tier", self.tier.to_owned()),
        ];
        let text: String = rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
        text + "What the environment says; a running process may hold the session back (breaker, Realtime, quota).\n"
    }
}

fn as_json(answer: &impl Serialize, streams: &mut Streams<'_>) -> Exit {
    match serde_json::to_string_pretty(answer) {
        Ok(text) => streams.answer(&(text + "\n")),
        Err(error) => streams.refuse(Exit::Bug, &error),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command is a shell: the frequency of one message needs a now"
)]
fn clock() -> Instant {
    Instant::now()
}
