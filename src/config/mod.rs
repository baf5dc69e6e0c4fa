//! Configuration: environment variables in, one typed [`Config`] out, or every problem at once.
//!
//! **Problem.** A sidecar is configured by somebody who edits a manifest, rolls it out and reads one log line.
//! Stopping at the first bad variable costs them a rollout per typo; accepting an unknown name costs them a night.
//!
//! **Decision.** Each variable is declared once, as one value in `vars.rs` ([`Var`]): name, type, default, unit,
//! doc, example, secret or not. Reading, the error texts, `crossfade config` and `docs/configuration.md` all come
//! from that value. The environment is read once into [`Strings`]; every variable and every rule between
//! variables (`checks.rs`) is then judged on its own, and all [`Problems`] are reported together, before a port is
//! bound. A value that a rule needs and that is itself wrong switches off that rule only.
//!
//! **Names.** A `CROSSFADE_*` name that is not ours is an error with a did-you-mean, because a misspelt variable
//! is a setting that silently does not apply. The names that Kubernetes injects for a Service called `crossfade*`
//! are exempt, and no variable of ours has such a shape. An empty value counts as not set.
//!
//! **Secrets.** A secret comes from its variable or from the file that `NAME_FILE` names, never both. The path is
//! kept ([`Credential::file`]), so that a rotated file can be read again. Secrets have no readable `Debug`, and an
//! error never quotes one, not even when it was pasted into the wrong variable.
//!
//! **Limits.** At most [`VARIABLES_MAX`] variables; a secret file of at most 64 KiB. Nothing here connects to
//! anything: whether the key works is for the link to find out.

use std::fmt;
use std::time::Duration;

mod checks;
mod choices;
mod lists;
mod numbers;
mod places;
mod reader;
mod secret;
mod strings;
pub mod table;
mod var;
pub mod vars;

#[cfg(test)]
mod tests;

pub use choices::{BreakerMode, LogFilter, LogFormat, Name, Plan, Readback, Redact, RolloutLane, Text, Vsn};
pub use lists::{Cidr, Cidrs, KeyChain, KeySource};
pub use numbers::{CloseCode, Count, Percent, Ratio, Size, Timeout, Workers};
pub use places::{ProjectUrl, Upstream};
pub use reader::{Problem, Problems};
pub use secret::{Credential, PublicKey, Secret};
pub use strings::{Strings, read_secret_file};
pub use var::{About, Group, Value, Var};

use reader::Reader;

/// The most variables that this program will ever have; what is finer belongs in a tuning file.
pub const VARIABLES_MAX: usize = 80;

/// Everything that the environment says, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this process is in topics and reports.
    pub service: Service,
    /// The way of the bytes.
    pub proxy: Proxy,
    /// Where Realtime is; `None` makes this a pure, observable proxy.
    pub supabase: Option<Supabase>,
    /// Who is fed by Realtime.
    pub rollout: Rollout,
    /// What is copied to Realtime, and how.
    pub mirror: Mirror,
    /// The windows of hot sessions.
    pub hot: Hot,
    /// When Realtime may not be used.
    pub breaker: Breaker,
    /// How the process stops.
    pub drain: Drain,
    /// Listeners for operators.
    pub ops: Ops,
    /// What is logged, and how.
    pub log: Log,
}

/// Names of this process.
#[derive(Clone, Debug)]
pub struct Service {
    /// The service in topic names.
    pub name: String,
    /// This pod in topic names.
    pub pod: String,
}

/// Settings of the proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where clients connect.
    pub listen: std::net::SocketAddr,
    /// The legacy service.
    pub upstream: Upstream,
    /// Data threads; `None` means as many as the CPUs that the cgroup grants.
    pub workers: Option<u16>,
    /// Longest wait for a connection to the service.
    pub connect_timeout: Duration,
    /// Longest wait for the service's answer to an upgrade.
    pub upgrade_timeout: Duration,
    /// Longest wait for a client's request head.
    pub request_head_timeout: Duration,
    /// Largest request head, in bytes.
    pub header_bytes_max: u64,
    /// Most header fields of one request.
    pub headers_max: u32,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether the 101 names the lane.
    pub lane_header: bool,
}

/// The Realtime project.
#[derive(Clone, Debug)]
pub struct Supabase {
    /// The project.
    pub url: url::Url,
    /// The sidecar's own key, never given to a client.
    pub key: Credential,
    /// The key that native sessions are given.
    pub anon_key: Option<Credential>,
    /// The Phoenix serializer version of our link.
    pub vsn: Vsn,
    /// The plan's message limit.
    pub plan: Plan,
    /// Pods that share the project.
    pub pods: u32,
}

/// Settings of the rollout.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// Share of the users on the Realtime side.
    pub percent: Percent,
    /// The lane that the cohort gets.
    pub lane: RolloutLane,
    /// Where the key of a user is found, in order.
    pub key: Vec<KeySource>,
    /// The salt of the bucket function.
    pub salt: String,
}

/// Settings of the mirror.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Share of the sessions that are mirrored.
    pub percent: Percent,
    /// What is read back.
    pub readback: Readback,
    /// Which directions lose well-known secrets before they leave the process.
    pub redact: Redact,
    /// Classification rules, as the mirror reads them.
    pub classify: String,
    /// Bytes that wait for Realtime, at most.
    pub buffer: u64,
    /// The largest mirrored message, in bytes.
    pub message_max: u64,
}

/// Settings of the hot lane.
#[derive(Clone, Debug)]
pub struct Hot {
    /// A message that has not come back by then is released from memory.
    pub deadline: Duration,
    /// Window of one session, in bytes.
    pub window_session: u64,
    /// All windows of the process, in bytes.
    pub window_pod: u64,
}

/// Settings of the breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// Automatic, or held by a person.
    pub mode: BreakerMode,
    /// First time that it stays open.
    pub cooldown: Duration,
    /// Confidence of the Wilson lower bound; `None` compares the plain ratio.
    pub confidence: Option<f64>,
}

/// Settings of the drain.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Time from the signal to the exit, at most.
    pub grace: Duration,
    /// Time between "not ready" and the end of accepting.
    pub settle: Duration,
    /// The close code that open sessions get.
    pub code: u16,
}

/// Listeners for operators.
#[derive(Clone, Debug)]
pub struct Ops {
    /// `/metrics`, `/healthz`, `/readyz`.
    pub metrics_listen: std::net::SocketAddr,
    /// API and dashboard.
    pub admin_listen: std::net::SocketAddr,
    /// What changes must present; `None` makes the API read-only.
    pub admin_token: Option<Credential>,
}

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Which events are written.
    pub filter: String,
    /// How they are written.
    pub format: LogFormat,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every problem of every variable at once.
    pub fn load(strings: &Strings) -> Result<Self, Problems> {
        let reader = Reader::new(strings);
        let mut problems = reader.problems();
        problems.extend(checks::ALL.iter().filter_map(|check| check(&reader)));
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        build(&reader).map_err(|problem| Problems(vec![problem]))
    }

    /// What the operator should know although it is no error, one sentence each.
    #[must_use]
    pub fn notices(&self) -> Vec<&'static str> {
        let Some(supabase) = &self.supabase else {
            return vec!["no Supabase settings: a pure, observable proxy; nothing is mirrored"];
        };
        let mut notices = Vec::new();
        if supabase.key.secret.is_public() {
            notices.push("SUPABASE_KEY is a public key: private topics will refuse it");
        }
        if self.mirror.percent == Percent::ZERO && self.rollout.percent == Percent::ZERO {
            notices.push("CROSSFADE_MIRROR_PERCENT and CROSSFADE_ROLLOUT_PERCENT are 0: nothing is mirrored");
        }
        notices
    }
}

fn build(r: &Reader<'_>) -> Result<Config, Problem> {
    let pod = match r.optional(&vars::POD)? {
        Some(name) => name.0,
        None => Name::of_host(r.host_name()),
    };
    Ok(Config {
        service: Service { name: r.value(&vars::SERVICE)?.0, pod },
        proxy: proxy(r)?,
        supabase: supabase(r)?,
        rollout: rollout(r)?,
        mirror: mirror(r)?,
        hot: Hot {
            deadline: r.value(&vars::HOT_DEADLINE)?.0,
            window_session: r.value(&vars::WINDOW_SESSION)?.0,
            window_pod: r.value(&vars::WINDOW_POD)?.0,
        },
        breaker: Breaker {
            mode: r.value(&vars::BREAKER)?,
            cooldown: r.value(&vars::BREAKER_COOLDOWN)?.0,
            confidence: r.optional(&vars::BREAKER_CONFIDENCE)?.map(|ratio| ratio.0),
        },
        drain: Drain {
            grace: r.value(&vars::DRAIN_GRACE)?.0,
            settle: r.value(&vars::DRAIN_SETTLE)?,
            code: r.value(&vars::DRAIN_CODE)?.0,
        },
        ops: Ops {
            metrics_listen: r.value(&vars::METRICS_LISTEN)?,
            admin_listen: r.value(&vars::ADMIN_LISTEN)?,
            admin_token: r.credential(&vars::ADMIN_TOKEN)?,
        },
        log: log_settings(r)?,
    })
}

fn proxy(r: &Reader<'_>) -> Result<Proxy, Problem> {
    Ok(Proxy {
        listen: r.value(&vars::LISTEN)?,
        upstream: r.value(&vars::UPSTREAM)?,
        workers: r.value(&vars::WORKERS)?.0,
        connect_timeout: r.value(&vars::CONNECT_TIMEOUT)?.0,
        upgrade_timeout: r.value(&vars::UPGRADE_TIMEOUT)?.0,
        request_head_timeout: r.value(&vars::REQUEST_HEAD_TIMEOUT)?.0,
        header_bytes_max: r.value(&vars::HEADER_BYTES_MAX)?.0,
        headers_max: r.value(&vars::HEADERS_MAX)?.0,
        trusted_proxies: r.optional(&vars::TRUSTED_PROXIES)?.map(|list| list.0).unwrap_or_default(),
        lane_header: r.value(&vars::LANE_HEADER)?,
    })
}

fn rollout(r: &Reader<'_>) -> Result<Rollout, Problem> {
    Ok(Rollout {
        percent: r.value(&vars::ROLLOUT_PERCENT)?,
        lane: r.value(&vars::ROLLOUT_LANE)?,
        key: r.value(&vars::ROLLOUT_KEY)?.0,
        salt: r.value(&vars::ROLLOUT_SALT)?.0,
    })
}

fn mirror(r: &Reader<'_>) -> Result<Mirror, Problem> {
    Ok(Mirror {
        percent: r.value(&vars::MIRROR_PERCENT)?,
        readback: r.value(&vars::READBACK)?,
        redact: r.value(&vars::REDACT)?,
        classify: r.optional(&vars::CLASSIFY)?.map(|text| text.0).unwrap_or_default(),
        buffer: r.value(&vars::BUFFER)?.0,
        message_max: r.value(&vars::MESSAGE_MAX)?.0,
    })
}

fn supabase(r: &Reader<'_>) -> Result<Option<Supabase>, Problem> {
    let key = match r.credential(&vars::SUPABASE_KEY)? {
        None => r.credential(&vars::SUPABASE_SERVICE_ROLE_KEY)?,
        key => key,
    };
    let (Some(url), Some(key)) = (r.optional(&vars::SUPABASE_URL)?, key) else { return Ok(None) };
    Ok(Some(Supabase {
        url: url.0,
        key,
        anon_key: r.credential(&vars::SUPABASE_ANON_KEY)?,
        vsn: r.value(&vars::REALTIME_VSN)?,
        plan: r.value(&vars::PLAN)?,
        pods: r.value(&vars::PODS)?.0,
    }))
}

fn log_settings(r: &Reader<'_>) -> Result<Log, Problem> {
    Ok(Log { filter: r.value(&vars::LOG)?.0, format: r.value(&vars::LOG_FORMAT)? })
}

impl Rollout {
    /// The rollout alone, for questions that need nothing else.
    ///
    /// # Errors
    /// The first wrong variable of the rollout.
    pub fn load(strings: &Strings) -> Result<Self, Problems> {
        rollout(&Reader::new(strings)).map_err(|problem| Problems(vec![problem]))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.pod)
    }
}
