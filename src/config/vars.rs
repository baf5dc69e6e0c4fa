//! Every variable, declared once. The table in `docs/configuration.md` is this file in another form; a test
//! compares them.

use std::net::SocketAddr;
use std::time::Duration;

use super::choices::{
    BreakerMode, LogFilter, LogFormat, Name, Plan, Readback, Redact, RolloutLane, Text, Vsn,
};
use super::lists::{Cidrs, KeyChain};
use super::numbers::{CloseCode, Count, Percent, Ratio, Size, Timeout, Workers};
use super::places::{ProjectUrl, Upstream};
use super::secret::{PublicKey, Secret};
use super::var::{About, Group, Var};

use Group::{Breaker, Drain, Hot, Mirror, Operations, Protection, Rollout, Service, Supabase};

/// The legacy service.
pub static UPSTREAM: Var<Upstream> = Var::new(
    Service,
    "CROSSFADE_UPSTREAM",
    "The legacy service. Only scheme, host and port: each request keeps its own path.",
)
.example("ws://127.0.0.1:3000")
.required();

/// Where clients connect.
pub static LISTEN: Var<SocketAddr> =
    Var::new(Service, "CROSSFADE_LISTEN", "Where clients connect.").default("0.0.0.0:8080");

/// The service in topic names.
pub static SERVICE: Var<Name> = Var::new(
    Service,
    "CROSSFADE_SERVICE",
    "Name of the service in topic names: `crossfade:{service}:{pod}`.",
)
.default("app");

/// The pod in topic names.
pub static POD: Var<Name> =
    Var::new(Service, "CROSSFADE_POD", "Name of this pod in topic names; unique among the service's pods.")
        .unset("the host name")
        .example("app-7d9f-x2");

/// Data threads.
pub static WORKERS: Var<Workers> = Var::new(
    Service,
    "CROSSFADE_WORKERS",
    "Data threads. `auto`: as many as the CPUs that the cgroup grants.",
)
.unit("threads")
.default("auto");

/// The project.
pub static SUPABASE_URL: Var<ProjectUrl> = Var::new(
    Supabase,
    "SUPABASE_URL",
    "The Supabase project. Without it and a key, crossfade is a pure, observable proxy.",
)
.example("https://abcdefgh.supabase.co");

/// The sidecar's own key.
pub static SUPABASE_KEY: Var<Secret> = Var::new(
    Supabase,
    "SUPABASE_KEY",
    "The sidecar's own key (service_role or secret), for its private topics. Never given to a client.",
)
.example("sb_secret_...")
.secret();

/// Another name of the sidecar's own key.
pub static SUPABASE_SERVICE_ROLE_KEY: Var<Secret> =
    Var::new(Supabase, "SUPABASE_SERVICE_ROLE_KEY", "Read when SUPABASE_KEY is not set.")
        .example("sb_secret_...")
        .secret();

/// The key of native sessions.
pub static SUPABASE_ANON_KEY: Var<PublicKey> = Var::new(
    Supabase,
    "SUPABASE_ANON_KEY",
    "The public key that native sessions are given. A service_role or secret key is refused here.",
)
.example("sb_publishable_...")
.secret();

/// The serializer version.
pub static REALTIME_VSN: Var<Vsn> =
    Var::new(Supabase, "CROSSFADE_REALTIME_VSN", "Version of the Realtime protocol that the sidecar speaks.")
        .default("2.0.0");

/// The plan.
pub static PLAN: Var<Plan> = Var::new(
    Supabase,
    "CROSSFADE_PLAN",
    "The plan's message budget: 100, 500, 2500, 2500 messages/s. Not in effect yet: there is no governor.",
)
.default("free");

/// Pods that share the budget.
pub static PODS: Var<Count> = Var::new(
    Supabase,
    "CROSSFADE_PODS",
    "How many pods share the plan's message budget. Not in effect yet: there is no governor.",
)
.unit("pods")
.default("1");

/// The cohort's share.
pub static ROLLOUT_PERCENT: Var<Percent> = Var::new(
    Rollout,
    "CROSSFADE_ROLLOUT_PERCENT",
    "Share of the users on the Realtime side, in steps of 0.001. Raising it never moves anyone out.",
)
.default("0")
.example("12.5");

/// The cohort's lane.
pub static ROLLOUT_LANE: Var<RolloutLane> = Var::new(
    Rollout,
    "CROSSFADE_ROLLOUT_LANE",
    "The lane of the cohort: `hot` rehearses on open legacy sockets, `native` goes to Supabase itself.",
)
.default("hot");

/// The key chain.
pub static ROLLOUT_KEY: Var<KeyChain> = Var::new(
    Rollout,
    "CROSSFADE_ROLLOUT_KEY",
    "Where the key of a user is found; the first that exists counts. No key: legacy.",
)
.default("header:x-user-id,jwt:sub");

/// The salt.
pub static ROLLOUT_SALT: Var<Text> = Var::new(
    Rollout,
    "CROSSFADE_ROLLOUT_SALT",
    "Salt of the bucket function. Changing it deals all users anew.",
)
.default("crossfade");

/// Whether the 101 names the lane.
pub static LANE_HEADER: Var<bool> =
    Var::new(Rollout, "CROSSFADE_LANE_HEADER", "Adds `X-Crossfade-Lane` to the 101.").default("off");

/// The mirrored share.
pub static MIRROR_PERCENT: Var<Percent> = Var::new(
    Mirror,
    "CROSSFADE_MIRROR_PERCENT",
    "Share of the sessions that are mirrored. Hot sessions always are.",
)
.default("100");

/// What is read back.
pub static READBACK: Var<Readback> = Var::new(
    Mirror,
    "CROSSFADE_READBACK",
    "What the sidecar reads back to prove delivery. Not in effect yet: everything is read back.",
)
.default("all")
.example("sample:10");

/// Redaction.
pub static REDACT: Var<Redact> = Var::new(
    Mirror,
    "CROSSFADE_REDACT",
    "Directions in which well-known secrets are blanked before a message leaves the process.",
)
.default("up");

/// Classification rules.
pub static CLASSIFY: Var<Text> = Var::new(
    Mirror,
    "CROSSFADE_CLASSIFY",
    "Classification rules. None: the class follows the measured rate.",
)
.unset("no rules")
.example("event=alert:critical;path=/health:low");

/// The mirror's buffer.
pub static BUFFER: Var<Size> = Var::new(
    Mirror,
    "CROSSFADE_BUFFER",
    "Bytes that may wait for Realtime. Beyond it messages are shed and counted.",
)
.default("32MiB");

/// The largest mirrored message.
pub static MESSAGE_MAX: Var<Size> = Var::new(
    Mirror,
    "CROSSFADE_MESSAGE_MAX",
    "The largest message that is mirrored. Larger ones pass and are counted.",
)
.default("1MiB");

/// The deadline of a hot message.
pub static HOT_DEADLINE: Var<Timeout> = Var::new(
    Hot,
    "CROSSFADE_HOT_DEADLINE",
    "A message that Realtime has not delivered back by then is released from memory.",
)
.default("500ms");

/// One session's window.
pub static WINDOW_SESSION: Var<Size> =
    Var::new(Hot, "CROSSFADE_WINDOW_SESSION", "Window of one hot session. Full: the session goes to legacy.")
        .default("256KiB");

/// All windows.
pub static WINDOW_POD: Var<Size> =
    Var::new(Hot, "CROSSFADE_WINDOW_POD", "All windows of the pod together.").default("64MiB");

/// The breaker's mode.
pub static BREAKER: Var<BreakerMode> =
    Var::new(Breaker, "CROSSFADE_BREAKER", "Automatic, or held by a person.").default("auto");

/// The breaker's first open time.
pub static BREAKER_COOLDOWN: Var<Timeout> = Var::new(
    Breaker,
    "CROSSFADE_BREAKER_COOLDOWN",
    "How long the breaker first stays open; doubled at each further trip, up to 30 min.",
)
.default("60s");

/// The breaker's confidence.
pub static BREAKER_CONFIDENCE: Var<Ratio> = Var::new(
    Breaker,
    "CROSSFADE_BREAKER_CONFIDENCE",
    "Trips on the error ratio only when the Wilson lower bound at this confidence is over the limit.",
)
.unset("the plain ratio decides")
.example("0.95");

/// The connect deadline.
pub static CONNECT_TIMEOUT: Var<Timeout> = Var::new(
    Protection,
    "CROSSFADE_CONNECT_TIMEOUT",
    "Longest wait for a connection to the service; then 502.",
)
.default("2s");

/// The upgrade deadline.
pub static UPGRADE_TIMEOUT: Var<Timeout> = Var::new(
    Protection,
    "CROSSFADE_UPGRADE_TIMEOUT",
    "Longest wait for the service's answer to an upgrade; then 504.",
)
.default("30s");

/// The request head deadline.
pub static REQUEST_HEAD_TIMEOUT: Var<Timeout> =
    Var::new(Protection, "CROSSFADE_REQUEST_HEAD_TIMEOUT", "Longest wait for a request head; then 408.")
        .default("10s");

/// The request head's size.
pub static HEADER_BYTES_MAX: Var<Size> =
    Var::new(Protection, "CROSSFADE_HEADER_BYTES_MAX", "Largest request head; beyond it 431.")
        .default("64KiB");

/// The request head's fields.
pub static HEADERS_MAX: Var<Count> =
    Var::new(Protection, "CROSSFADE_HEADERS_MAX", "Most header fields of one request; beyond it 431.")
        .unit("fields")
        .default("100");

/// Trusted peers.
pub static TRUSTED_PROXIES: Var<Cidrs> = Var::new(
    Protection,
    "CROSSFADE_TRUSTED_PROXIES",
    "Peers whose `X-Forwarded-*` headers are believed. They are appended to in any case.",
)
.unset("nobody")
.example("10.0.0.0/8,fd00::/8");

/// The drain's end.
pub static DRAIN_GRACE: Var<Timeout> = Var::new(
    Drain,
    "CROSSFADE_DRAIN_GRACE",
    "From SIGTERM to the exit, at most. Keep it below terminationGracePeriodSeconds.",
)
.default("25s");

/// The drain's start.
pub static DRAIN_SETTLE: Var<Duration> = Var::new(
    Drain,
    "CROSSFADE_DRAIN_SETTLE",
    "From \"not ready\" to the end of accepting, so that load balancers notice first.",
)
.default("2s");

/// The drain's close code.
pub static DRAIN_CODE: Var<CloseCode> =
    Var::new(Drain, "CROSSFADE_DRAIN_CODE", "Close code that open sessions get (RFC 6455 section 7.4).")
        .default("1012");

/// The metrics listener.
pub static METRICS_LISTEN: Var<SocketAddr> = Var::new(
    Operations,
    "CROSSFADE_METRICS_LISTEN",
    "Listener of `/metrics`, `/healthz`, `/readyz`, nothing else.",
)
.default("0.0.0.0:9464");

/// The admin listener.
pub static ADMIN_LISTEN: Var<SocketAddr> = Var::new(
    Operations,
    "CROSSFADE_ADMIN_LISTEN",
    "Listener of the admin API: today `POST /drain` alone, and only with a token.",
)
.default("127.0.0.1:9465");

/// The admin token.
pub static ADMIN_TOKEN: Var<Secret> =
    Var::new(Operations, "CROSSFADE_ADMIN_TOKEN", "What a request that changes something must present.")
        .unset("there is no admin listener")
        .example("a long random text")
        .secret();

/// The log filter.
pub static LOG: Var<LogFilter> =
    Var::new(Operations, "CROSSFADE_LOG", "Which events are logged: a level, or `target=level` pairs.")
        .default("info")
        .example("info,crossfade::proxy=debug");

/// The log format.
pub static LOG_FORMAT: Var<LogFormat> =
    Var::new(Operations, "CROSSFADE_LOG_FORMAT", "How events are written to standard error.").default("json");

/// Every variable, in the order of the tables.
pub static ALL: [&About; 43] = [
    &UPSTREAM.about,
    &LISTEN.about,
    &SERVICE.about,
    &POD.about,
    &WORKERS.about,
    &SUPABASE_URL.about,
    &SUPABASE_KEY.about,
    &SUPABASE_SERVICE_ROLE_KEY.about,
    &SUPABASE_ANON_KEY.about,
    &REALTIME_VSN.about,
    &PLAN.about,
    &PODS.about,
    &ROLLOUT_PERCENT.about,
    &ROLLOUT_LANE.about,
    &ROLLOUT_KEY.about,
    &ROLLOUT_SALT.about,
    &LANE_HEADER.about,
    &MIRROR_PERCENT.about,
    &READBACK.about,
    &REDACT.about,
    &CLASSIFY.about,
    &BUFFER.about,
    &MESSAGE_MAX.about,
    &HOT_DEADLINE.about,
    &WINDOW_SESSION.about,
    &WINDOW_POD.about,
    &BREAKER.about,
    &BREAKER_COOLDOWN.about,
    &BREAKER_CONFIDENCE.about,
    &CONNECT_TIMEOUT.about,
    &UPGRADE_TIMEOUT.about,
    &REQUEST_HEAD_TIMEOUT.about,
    &HEADER_BYTES_MAX.about,
    &HEADERS_MAX.about,
    &TRUSTED_PROXIES.about,
    &DRAIN_GRACE.about,
    &DRAIN_SETTLE.about,
    &DRAIN_CODE.about,
    &METRICS_LISTEN.about,
    &ADMIN_LISTEN.about,
    &ADMIN_TOKEN.about,
    &LOG.about,
    &LOG_FORMAT.about,
];
