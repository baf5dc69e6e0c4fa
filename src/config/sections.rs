//! The configuration's parts, one for each room, and how each is read.

use std::fmt;
use std::time::Duration;

use super::choices::{
    BreakerMode, ColdAuth, LogFormat, MirrorFormat, Readback, Redact, RolloutLane, Table, Vsn,
};
use super::lists::{Cidr, KeySource};
use super::numbers::Percent;
use super::places::Upstream;
use super::plan::Plan;
use super::reader::{Problem, Problems, Reader};
use super::secret::Credential;
use super::strings::{Strings, TextOrFile};
use super::vars;

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
    /// Longest wait for the answer to a plain request; `None`: for ever.
    pub response_head_timeout: Option<Duration>,
    /// How long nothing may pass; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// Connections of one address.
    pub connections_per_address: Option<u32>,
    /// Upgrades in one second.
    pub upgrades_per_second: Option<u32>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether the 101 names the lane.
    pub lane_header: bool,
    /// See [`vars::LANE_ENDPOINT`].
    pub lane_endpoint: bool,
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
    /// The plan: its limits and prices.
    pub plan: Plan,
    /// Pods that share the project.
    pub pods: u32,
    /// Subscribers of each pod's topics besides its own read-back.
    pub readers: u32,
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
    /// While this file exists, everybody is on legacy.
    pub emergency_file: Option<std::path::PathBuf>,
    /// The file tier.
    pub flags_file: Option<std::path::PathBuf>,
    /// The Redis tier.
    pub redis_url: Option<Credential>,
    /// Between polls of Redis and the table.
    pub flags_poll: Duration,
    /// The secret of key hashes.
    pub key_hash_secret: Option<Credential>,
}

/// Settings of the cold lane.
#[derive(Clone, Debug)]
pub struct Cold {
    /// Who lets clients in.
    pub auth: ColdAuth,
    /// What feeds them, as the lane reads it.
    pub source: String,
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
    pub classify: Option<TextOrFile>,
    /// Bytes that wait for Realtime, at most.
    pub buffer: u64,
    /// The largest mirrored message, in bytes.
    pub message_max: u64,
    /// Bytes that decompressors and their windows may hold.
    pub inflate_buffer: u64,
    /// Whether messages also become events.
    pub format: MirrorFormat,
    /// Older events are not sent.
    pub events_max_age: Duration,
    /// Classes that also go into the table.
    pub table: Table,
}

/// Settings of the spool.
#[derive(Clone, Debug)]
pub struct Spool {
    /// Its directory.
    pub dir: std::path::PathBuf,
    /// Bytes on disk, at most.
    pub max: u64,
    /// Key for encryption at rest.
    pub key: Option<Credential>,
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
    /// The file with the fine settings.
    pub tuning: Option<std::path::PathBuf>,
    /// What views must present; `None` lets loopback view without.
    pub admin_view_token: Option<Credential>,
    /// Where things are kept that outlive the process.
    pub state_dir: Option<std::path::PathBuf>,
}

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Which events are written.
    pub filter: String,
    /// How they are written.
    pub format: LogFormat,
}

pub(super) fn proxy(r: &Reader<'_>) -> Result<Proxy, Problem> {
    Ok(Proxy {
        listen: r.value(&vars::LISTEN)?,
        upstream: r.value(&vars::UPSTREAM)?,
        workers: r.value(&vars::WORKERS)?.0,
        connect_timeout: r.value(&vars::CONNECT_TIMEOUT)?.0,
        upgrade_timeout: r.value(&vars::UPGRADE_TIMEOUT)?.0,
        request_head_timeout: r.value(&vars::REQUEST_HEAD_TIMEOUT)?.0,
        header_bytes_max: r.value(&vars::HEADER_BYTES_MAX)?.0,
        headers_max: r.value(&vars::HEADERS_MAX)?.0,
        response_head_timeout: r.optional(&vars::RESPONSE_HEAD_TIMEOUT)?.map(|limit| limit.0),
        idle_timeout: r.optional(&vars::IDLE_TIMEOUT)?.map(|limit| limit.0),
        connections_per_address: r.optional(&vars::CONNECTIONS_PER_ADDRESS)?.map(|limit| limit.0),
        upgrades_per_second: r.optional(&vars::UPGRADES_PER_SECOND)?.map(|limit| limit.0),
        trusted_proxies: r.optional(&vars::TRUSTED_PROXIES)?.map(|list| list.0).unwrap_or_default(),
        lane_header: r.value(&vars::LANE_HEADER)?,
        lane_endpoint: r.value(&vars::LANE_ENDPOINT)?,
    })
}

pub(super) fn rollout(r: &Reader<'_>) -> Result<Rollout, Problem> {
    Ok(Rollout {
        percent: r.value(&vars::ROLLOUT_PERCENT)?,
        lane: r.value(&vars::ROLLOUT_LANE)?,
        key: r.value(&vars::ROLLOUT_KEY)?.0,
        salt: r.value(&vars::ROLLOUT_SALT)?.0,
        emergency_file: r.optional(&vars::EMERGENCY_FILE)?.map(|text| text.0.into()),
        flags_file: r.optional(&vars::FLAGS_FILE)?.map(|text| text.0.into()),
        redis_url: r.credential(&vars::REDIS_URL)?,
        flags_poll: r.value(&vars::FLAGS_POLL)?.0,
        key_hash_secret: r.credential(&vars::KEY_HASH_SECRET)?,
    })
}

pub(super) fn cold(r: &Reader<'_>) -> Result<Option<Cold>, Problem> {
    let Some(auth) = r.optional(&vars::COLD_AUTH)? else { return Ok(None) };
    Ok(Some(Cold { auth, source: r.value(&vars::COLD_SOURCE)?.0 }))
}

pub(super) fn mirror(r: &Reader<'_>) -> Result<Mirror, Problem> {
    Ok(Mirror {
        percent: r.value(&vars::MIRROR_PERCENT)?,
        readback: r.value(&vars::READBACK)?,
        redact: r.value(&vars::REDACT)?,
        classify: r.text_or_file(&vars::CLASSIFY)?,
        buffer: r.value(&vars::BUFFER)?.0,
        message_max: r.value(&vars::MESSAGE_MAX)?.0,
        inflate_buffer: r.value(&vars::INFLATE_BUFFER)?.0,
        format: r.value(&vars::MIRROR_FORMAT)?,
        events_max_age: r.value(&vars::EVENTS_MAX_AGE)?.0,
        table: r.value(&vars::TABLE)?,
    })
}

pub(super) fn spool(r: &Reader<'_>) -> Result<Option<Spool>, Problem> {
    let Some(dir) = r.optional(&vars::SPOOL_DIR)? else { return Ok(None) };
    let key = r.credential(&vars::SPOOL_KEY)?;
    Ok(Some(Spool { dir: dir.0.into(), max: r.value(&vars::SPOOL_MAX)?.0, key }))
}

impl Spool {
    /// The spool alone, for commands that look at it.
    ///
    /// # Errors
    /// The first wrong variable of the spool.
    pub fn load(strings: &Strings) -> Result<Option<Self>, Problems> {
        spool(&Reader::new(strings)).map_err(|problem| Problems(vec![problem]))
    }
}

pub(super) fn supabase(r: &Reader<'_>) -> Result<Option<Supabase>, Problem> {
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
        readers: r.value(&vars::READERS)?.0,
    }))
}

impl Supabase {
    /// The project alone, for commands that need nothing else; nothing where it is not configured.
    ///
    /// # Errors
    /// The first wrong variable of the project.
    pub fn load(strings: &Strings) -> Result<Option<Self>, Problems> {
        supabase(&Reader::new(strings)).map_err(|problem| Problems(vec![problem]))
    }
}

pub(super) fn log_settings(r: &Reader<'_>) -> Result<Log, Problem> {
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

impl Ops {
    /// The metrics listener alone, for questions that need nothing else.
    ///
    /// # Errors
    /// A wrong address.
    pub fn metrics_listen(strings: &Strings) -> Result<std::net::SocketAddr, Problems> {
        let address = Reader::new(strings).value(&vars::METRICS_LISTEN);
        address.map_err(|problem| Problems(vec![problem]))
    }

    /// The admin listener and a token that may look, for questions that need nothing else.
    ///
    /// # Errors
    /// A wrong address, or a token's file that cannot be read.
    pub fn admin(strings: &Strings) -> Result<(std::net::SocketAddr, Option<Credential>), Problems> {
        let reader = Reader::new(strings);
        let read = || {
            let view = reader.credential(&vars::ADMIN_VIEW_TOKEN)?;
            let token = if view.is_some() { view } else { reader.credential(&vars::ADMIN_TOKEN)? };
            Ok((reader.value(&vars::ADMIN_LISTEN)?, token))
        };
        read().map_err(|problem| Problems(vec![problem]))
    }

    /// Where the admin API of the process listens, and the token that may change things.
    ///
    /// # Errors
    /// A wrong address, or a token's file that cannot be read.
    pub fn operate(strings: &Strings) -> Result<(std::net::SocketAddr, Option<Credential>), Problems> {
        let reader = Reader::new(strings);
        let read = || Ok((reader.value(&vars::ADMIN_LISTEN)?, reader.credential(&vars::ADMIN_TOKEN)?));
        read().map_err(|problem| Problems(vec![problem]))
    }
}

impl Mirror {
    /// The mirror alone, for questions that need nothing else.
    ///
    /// # Errors
    /// The first wrong variable of the mirror.
    pub fn load(strings: &Strings) -> Result<Self, Problems> {
        mirror(&Reader::new(strings)).map_err(|problem| Problems(vec![problem]))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.pod)
    }
}
