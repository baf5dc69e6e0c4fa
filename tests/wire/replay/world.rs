//! The virtual world: an emulator, its clock, the connections by name, and everything it said.

use super::super::emulator::{
    Admission, Claims, Clock, Config, ConnId, DatabaseBroadcast, Emulator, Frame, HttpAnswer, HttpRequest,
    Limits, Out, OutFrame, Policy, Secret, Table, UpgradeRequest,
};
use super::manifest::{Action, Deed, Entry, LimitChange};
use super::recording::Line;
use base64::Engine as _;
use bytes::Bytes;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The plain HTTP answers stand under this name.
pub const HTTP: &str = "(http)";

const SECRET: &str = "a secret that signs only test tokens";
const UNIX_MS: i64 = 1_795_226_400_000;

/// Something the emulator said.
#[derive(Debug, Clone)]
pub struct Heard {
    pub conn: String,
    pub at_ms: f64,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Text(String),
    Binary(Vec<u8>),
    Close(u16),
    Upgraded,
    Http(HttpAnswer),
}

pub struct World {
    pub emulator: Emulator,
    pub heard: Vec<Heard>,
    base: Instant,
    clock: Clock,
    frame_bytes: usize,
    names: HashMap<ConnId, String>,
    conns: HashMap<String, ConnId>,
}

/// One thing to put in, in order of time.
enum Step<'a> {
    Line(&'a Line),
    Action(&'a Action, usize),
}

impl World {
    pub fn new(entry: &Entry) -> World {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock; nothing compares it to the real one"
        )]
        let base = Instant::now() + Duration::from_secs(3_600);
        let unix_ms = entry.config.unix_ms.unwrap_or(UNIX_MS);
        let before = entry.config.started_before_ms;
        let clock = Clock { at: base - Duration::from_millis(before), unix_ms: unix_ms - before as i64 };
        let config = config(entry);
        let frame_bytes = config.limits.frame_bytes;
        World {
            emulator: Emulator::new(config, 7, clock),
            heard: Vec::new(),
            base,
            clock,
            frame_bytes,
            names: HashMap::new(),
            conns: HashMap::new(),
        }
    }

    pub fn play(&mut self, entry: &Entry, lines: &[Line]) {
        let played = |line: &&Line| line.from == "client" && !entry.skips(line.number);
        let mut steps: Vec<(f64, Step<'_>)> =
            lines.iter().filter(played).map(|line| (line.t_ms, Step::Line(line))).collect();
        for action in &entry.action {
            let mut at = action.at_ms;
            let mut nth = 0;
            steps.push((at, Step::Action(action, nth)));
            while action.every_ms > 0.0 && at + action.every_ms <= action.until_ms {
                at += action.every_ms;
                nth += 1;
                steps.push((at, Step::Action(action, nth)));
            }
        }
        steps.sort_by(|left, right| left.0.total_cmp(&right.0));
        for (at, step) in steps {
            self.advance(at);
            match step {
                Step::Line(line) => self.line(entry, line, at),
                Step::Action(action, nth) if action.run == Deed::Request => self.again(action, nth, at),
                Step::Action(action, _) => self.action(action, at),
            }
            self.listen(at);
        }
        let last = lines.last().map_or(0.0, |line| line.t_ms);
        self.advance(last + entry.tolerance_ms);
    }

    fn at(&self, ms: f64) -> Instant {
        self.base + Duration::from_secs_f64(ms / 1_000.0)
    }

    /// Lets time pass, waking the machine exactly when it asked for it.
    fn advance(&mut self, to_ms: f64) {
        let to = self.at(to_ms);
        while let Some(due) = self.emulator.poll_timeout().filter(|due| *due <= to) {
            self.emulator.handle_timeout(due);
            let ms = due.saturating_duration_since(self.base).as_secs_f64() * 1_000.0;
            self.listen(ms);
        }
    }

    fn listen(&mut self, at_ms: f64) {
        while let Some((id, out)) = self.emulator.poll_transmit() {
            let what = match out {
                Out::Frame(OutFrame::Text(bytes)) => {
                    What::Text(String::from_utf8(bytes.to_vec()).expect("text is UTF-8"))
                }
                Out::Frame(OutFrame::Binary(bytes)) => What::Binary(bytes.to_vec()),
                Out::Close { code } => What::Close(code),
                Out::Reset | Out::Cut(_) => What::Close(1006),
                Out::Http(answer) => What::Http(answer),
            };
            let conn = self.names.get(&id).cloned().unwrap_or_default();
            self.heard.push(Heard { conn, at_ms, what });
        }
    }

    fn line(&mut self, entry: &Entry, line: &Line, at_ms: f64) {
        let now = self.at(at_ms);
        match line.kind.as_str() {
            "http" if line.upgrade() => {
                self.connect(
                    &line.conn,
                    line.path.as_deref().unwrap_or_default(),
                    self.headers(line, now),
                    at_ms,
                );
            }
            "http" => self.request(entry, line, at_ms),
            "text" => {
                let text = self.tokens(&line.whole(), now);
                let frame = if text.len() > self.frame_bytes { Frame::TooBig } else { Frame::Text(text) };
                self.frame(&line.conn, frame, now);
            }
            "binary" => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(line.base64.as_deref().unwrap_or_default());
                self.frame(&line.conn, Frame::Binary(Bytes::from(bytes.expect("base64"))), now);
            }
            "close" => {
                self.frame(&line.conn, Frame::Close { code: line.code.unwrap_or(1005) }, now);
                self.listen(at_ms);
                if !entry.answers_to_close
                    && matches!(self.heard.last(), Some(Heard { what: What::Close(_), .. }))
                {
                    self.heard.pop();
                }
            }
            other => panic!("a client line of kind {other}"),
        }
    }

    fn frame(&mut self, conn: &str, frame: Frame, now: Instant) {
        if let Some(id) = self.conns.get(conn) {
            self.emulator.handle(*id, frame, now);
        }
    }

    fn connect(&mut self, conn: &str, path: &str, headers: Vec<(String, String)>, at_ms: f64) {
        let now = self.at(at_ms);
        let id = ConnId(self.names.len() as u64 + 1);
        let path = self.tokens(path, now);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let request = UpgradeRequest { path: path.to_owned(), query: query.to_owned(), headers };
        self.names.insert(id, conn.to_owned());
        self.conns.insert(conn.to_owned(), id);
        if self.emulator.connect(id, &request, now) == Admission::Accepted {
            self.heard.push(Heard { conn: conn.to_owned(), at_ms, what: What::Upgraded });
        }
    }

    fn request(&mut self, entry: &Entry, line: &Line, at_ms: f64) {
        let now = self.at(at_ms);
        let path = self.tokens(line.path.as_deref().unwrap_or_default(), now);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        // The recorder wrote bodies as text: what was not UTF-8 came out as U+FFFD, and it only ever sent 0xFF.
        let restored = entry
            .restore
            .iter()
            .find(|restore| restore.line == line.number)
            .map(|restore| restore.body(line));
        let body: Vec<u8> = restored
            .unwrap_or_else(|| line.whole())
            .chars()
            .flat_map(|letter| match letter {
                '\u{fffd}' => vec![0xff],
                other => other.to_string().into_bytes(),
            })
            .collect();
        let request = HttpRequest {
            method: line.method.clone().unwrap_or_default(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: self.headers(line, now),
            body: Bytes::from(body),
        };
        let answer = self.emulator.http(&request, now);
        self.heard.push(Heard { conn: HTTP.to_owned(), at_ms, what: What::Http(answer) });
    }

    fn headers(&self, line: &Line, now: Instant) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = line
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), self.tokens(value.as_deref()?, now))))
            .collect();
        if !headers.iter().any(|(name, _)| name == "host") {
            headers.push(("host".to_owned(), "realtime-dev.localhost".to_owned()));
        }
        headers
    }

    fn action(&mut self, action: &Action, at_ms: f64) {
        let now = self.at(at_ms);
        match action.run {
            Deed::Terminate => self.emulator.terminate(now),
            Deed::Kill => self.emulator.kill(now),
            Deed::Start => self.emulator.start(now),
            Deed::Suspend => self.emulator.suspend(action.on, now),
            Deed::Reload => self.emulator.reload(now),
            Deed::PrivateOnly => self.emulator.set_private_only(action.on),
            Deed::Limits => self.emulator.set_limits(changed(&action.limits), now),
            Deed::Text => self.frame(&action.conn, Frame::Text(action.text.clone()), now),
            Deed::Ping => self.frame(&action.conn, Frame::Ping, now),
            Deed::Connect => {
                // The recorder did not write this upgrade down, so neither is its answer compared.
                let host = vec![("host".to_owned(), "realtime-dev.localhost:4000".to_owned())];
                self.connect(&action.conn, &action.text, host, at_ms);
                self.heard.pop();
            }
            Deed::Rows => self.rows(action, now),
            Deed::Request => {}
            Deed::SqlSend | Deed::SqlSendBinary => {
                let sent = DatabaseBroadcast {
                    topic: action.topic.clone(),
                    event: "reading".to_owned(),
                    private: action.private,
                    id: Some(action.id.clone()),
                    json: action.run == Deed::SqlSend,
                    payload: match action.run {
                        Deed::SqlSend => Bytes::from(action.text.clone()),
                        _ => Bytes::from_static(&[0, 1, 0xff]),
                    },
                };
                self.emulator.database_broadcast(sent, now);
            }
        }
    }

    /// Changes rows as the database's owner; what subscribers hear of it is the emulator's own doing.
    fn rows(&mut self, action: &Action, now: Instant) {
        let (method, path) = action.request.split_once(' ').expect("a method and a path");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = HttpRequest {
            method: method.to_owned(),
            path: format!("/rest/v1/{path}"),
            query: query.to_owned(),
            headers: vec![("apikey".to_owned(), self.tokens("<jwt:service_role>", now))],
            body: Bytes::from(action.rows()),
        };
        let answer = self.emulator.http(&request, now);
        assert!((200..300).contains(&answer.status), "{}: {}", action.request, answer.body);
    }

    /// The same request again; its answer is heard when the recorder wrote that one down.
    fn again(&mut self, action: &Action, nth: usize, at_ms: f64) {
        let now = self.at(at_ms);
        let (method, path) = action.request.split_once(' ').expect("a method and a path");
        let header = |name: &str, value: String| (name.to_owned(), value);
        let request = HttpRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: vec![
                header("host", "realtime-dev.localhost".to_owned()),
                header("apikey", self.tokens("<jwt:anon>", now)),
                header("content-type", "application/json".to_owned()),
            ],
            body: Bytes::from(action.text.clone()),
        };
        let answer = self.emulator.http(&request, now);
        assert_eq!(answer.status, action.status, "request {nth} at {at_ms} ms: {}", answer.body);
        if nth < action.shown {
            self.heard.push(Heard { conn: HTTP.to_owned(), at_ms, what: What::Http(answer) });
        }
    }

    /// Puts a token minted now where the recorder put `<jwt:NAME>`.
    fn tokens(&self, text: &str, now: Instant) -> String {
        let Some((before, rest)) = text.split_once("<jwt:") else { return text.to_owned() };
        let (name, after) = rest.split_once('>').expect("a token ends");
        format!("{before}{}{}", token(name, self.clock.unix(now)), self.tokens(after, now))
    }
}

fn token(name: &str, unix: i64) -> String {
    let far = UNIX_MS / 1_000 + 10_000_000;
    let secret = Secret::new(SECRET);
    let number = |prefix: &str| {
        name.strip_prefix(prefix).and_then(|rest| rest.trim_end_matches('s').parse::<i64>().ok())
    };
    let anon = |exp: Option<i64>| Claims { role: Some("anon".to_owned()), exp, sub: None };
    let seconds = number("expires-in-");
    match name {
        "anon" | "authenticated" | "service_role" => secret.mint(&Claims::of(name, far)),
        "authenticated-2" => {
            secret.mint(&Claims { sub: Some("other".to_owned()), ..Claims::of("authenticated", far) })
        }
        "expired" => secret.mint(&anon(Some(unix - 100))),
        "no-exp" => secret.mint(&anon(None)),
        "alg-none" => {
            let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            let (header, body) =
                (engine.encode(r#"{"alg":"none","typ":"JWT"}"#), engine.encode(r#"{"role":"anon","exp":9}"#));
            format!("{header}.{body}.")
        }
        _ if name.starts_with("no-role") => secret.mint(&Claims { role: None, exp: Some(far), sub: None }),
        _ if name.starts_with("wrong-signature") => Secret::new("another").mint(&Claims::of("anon", far)),
        _ if seconds.is_some() => secret.mint(&anon(seconds.map(|seconds| unix + seconds))),
        _ => secret.mint(&anon(Some(unix - number("expired-").expect("a token name the harness knows")))),
    }
}

fn config(entry: &Entry) -> Config {
    let setup = &entry.config;
    let mut config = Config::new(Secret::new(SECRET));
    config.tenant = Some("realtime-dev".to_owned());
    // The recorder's tenant had its rates out of the way; each section lowers one.
    config.limits =
        changed(&LimitChange { events_per_second: setup.events_per_second, ..LimitChange::default() });
    config.policies = setup.policies.iter().map(|line| Policy::parse(line).expect("a policy")).collect();
    config.tables = setup.tables.iter().map(|line| Table::parse(line).expect("a table")).collect();
    // The recorded tables had no row-level security.
    config.table_policies = ["anon", "authenticated"]
        .map(|role| Policy::parse(&format!("{role}:*:rw")).expect("a policy"))
        .to_vec();
    config.first_subscription = Duration::from_millis(setup.first_subscription_ms.unwrap_or(5));
    config
}

fn changed(change: &LimitChange) -> Limits {
    let usual =
        Limits { events_per_second: 20_000, joins_per_second: 20_000, users: 20_000, ..Limits::default() };
    Limits {
        events_per_second: change.events_per_second.unwrap_or(usual.events_per_second),
        joins_per_second: change.joins_per_second.unwrap_or(usual.joins_per_second),
        channels_per_socket: change.channels_per_socket.unwrap_or(usual.channels_per_socket),
        users: change.users.unwrap_or(usual.users),
        payload_kb: change.payload_kb.unwrap_or(usual.payload_kb),
        presence_per_second: change.presence_per_second.unwrap_or(usual.presence_per_second),
        ..usual
    }
}
