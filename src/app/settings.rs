//! From the environment's words to the rooms' settings. Whatever can be refused is refused here, before a port is
//! bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, BreakerMode, KeySource, RolloutLane};
use crate::mirror::classify::Classifier;
use crate::mirror::redact::Redactor;
use crate::mirror::rules::RuleSet;
use crate::proxy::native::{AnonKey, Native};
use crate::proxy::{Network, Target, Trusted};
use crate::rollout::{Flags, Identity, KeyChain, KeyHasher, Percent, RealtimeLane, Tiers};
use crate::{breaker, hot, mirror, proxy, realtime, ws};

/// A setting that a room refuses although its variable could be read.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct SettingError {
    /// The variable to change.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

fn wrong(variable: &'static str) -> impl FnOnce(&dyn std::fmt::Display) -> SettingError {
    move |problem| SettingError { variable, problem: problem.to_string() }
}

/// Reads and checks the configuration, the texts that only a room can judge included: every problem at once.
///
/// # Errors
/// Every problem of every variable.
pub fn load(strings: &config::Strings) -> Result<config::Config, config::Problems> {
    let loaded = config::Config::load(strings);
    // A file that cannot be read is among the problems already.
    let rules = strings.text_or_file("CROSSFADE_CLASSIFY").ok().flatten();
    let Err(error) = rule_set(rules.as_ref()) else { return loaded };
    let mut problems = loaded.err().unwrap_or(config::Problems(Vec::new()));
    problems.0.push(config::Problem {
        name: "CROSSFADE_CLASSIFY".to_owned(),
        what: error,
        example: "for example CROSSFADE_CLASSIFY=event=alert:critical;path=/health:low".to_owned(),
    });
    Err(problems)
}

/// The rules, in whichever form they are spelt.
fn rule_set(rules: Option<&config::TextOrFile>) -> Result<RuleSet, String> {
    match rules {
        None => Ok(RuleSet::default()),
        Some(config::TextOrFile::Text(text)) => RuleSet::parse_short(text).map_err(|e| e.to_string()),
        Some(config::TextOrFile::File(text)) => RuleSet::parse_file(text).map_err(|e| e.to_string()),
    }
}

/// The proxy's settings.
pub(super) fn proxy(config: &config::Config) -> Result<proxy::Config, SettingError> {
    let own = &config.proxy;
    let upstream = Target::service(&own.upstream.to_string()).map_err(|e| wrong("CROSSFADE_UPSTREAM")(&e))?;
    let mut settings = proxy::Config::new(upstream);
    settings.listen = own.listen;
    settings.workers = own.workers.map(usize::from);
    settings.deadlines.connect = own.connect_timeout;
    settings.deadlines.upgrade = own.upgrade_timeout;
    settings.deadlines.head = own.request_head_timeout;
    settings.limits.head_bytes = usize::try_from(own.header_bytes_max).unwrap_or(usize::MAX);
    settings.limits.head_fields = own.headers_max as usize;
    settings.lane_header = own.lane_header;
    let networks = own.trusted_proxies.iter().map(|block| {
        format!("{}/{}", block.address, block.prefix)
            .parse::<Network>()
            .map_err(|_| wrong("CROSSFADE_TRUSTED_PROXIES")(&"a block cannot be used"))
    });
    settings.trusted = Trusted::new(networks.collect::<Result<_, _>>()?);
    if let Some(supabase) = &config.supabase
        && let Some(anon) = &supabase.anon_key
    {
        let key = AnonKey::parse(anon.secret.expose()).map_err(|e| wrong("SUPABASE_ANON_KEY")(&e))?;
        settings.native =
            Some(Native::new(supabase.url.as_str(), key).map_err(|e| wrong("SUPABASE_URL")(&e))?);
    }
    Ok(settings)
}

/// The rollout's settings at the start. Only the environment's tier is wired.
pub(super) fn rollout(config: &config::Config) -> Result<(Identity, Tiers), SettingError> {
    rollout_of(&config.rollout)
}

/// The same, of the rollout's variables alone.
///
/// # Errors
/// The first setting that the rollout refuses.
pub(crate) fn rollout_of(own: &config::Rollout) -> Result<(Identity, Tiers), SettingError> {
    let words: Vec<String> = own.key.iter().map(source).collect();
    let chain: KeyChain = words.join(",").parse().map_err(|e| wrong("CROSSFADE_ROLLOUT_KEY")(&e))?;
    let percent = Percent::from_units(own.percent.thousandths())
        .ok_or_else(|| wrong("CROSSFADE_ROLLOUT_PERCENT")(&"is above 100"))?;
    let lane = match own.lane {
        RolloutLane::Hot => RealtimeLane::Hot,
        RolloutLane::Native => RealtimeLane::Native,
    };
    // The names of keys never leave the process yet, so that a secret of this process alone is enough.
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| wrong("CROSSFADE_ROLLOUT_KEY")(&e))?;
    let identity = Identity { salt: own.salt.clone(), chain, hasher: KeyHasher::new(&secret) };
    let tiers = Tiers { env: Flags { percent, lane, rules: Arc::from([]) }, ..Tiers::default() };
    Ok((identity, tiers))
}

fn source(place: &KeySource) -> String {
    match place {
        KeySource::Header(name) => format!("header:{name}"),
        KeySource::Jwt(claim) => format!("jwt:{claim}"),
        KeySource::Cookie(name) => format!("cookie:{name}"),
        KeySource::Query(name) => format!("query:{name}"),
        KeySource::Ip => "ip".to_owned(),
    }
}

/// The breaker's settings.
pub(super) fn breaker(config: &config::Config) -> breaker::Config {
    breaker::Config {
        cooldown: config.breaker.cooldown,
        confidence: config.breaker.confidence,
        slow_after: config.hot.deadline,
        ..breaker::Config::default()
    }
}

/// What a person has said about the breaker in the environment.
pub(super) const fn force(mode: BreakerMode) -> Option<breaker::Force> {
    match mode {
        BreakerMode::Auto => None,
        BreakerMode::ForcedOpen => Some(breaker::Force::Open),
        BreakerMode::ForcedClosed => Some(breaker::Force::Closed),
        BreakerMode::ObserveOnly => Some(breaker::Force::ObserveOnly),
    }
}

/// The windows of hot sessions.
pub(super) fn hot(config: &config::Config) -> hot::Config {
    hot::Config {
        waiting_bytes_max: usize::try_from(config.hot.window_session).unwrap_or(usize::MAX),
        deadline: config.hot.deadline,
        own_queue_max: config.hot.deadline / 2,
    }
}

/// How much of a session is copied.
pub(super) fn copies(config: &config::Config) -> ws::Limits {
    let message_bytes = u32::try_from(config.mirror.message_max).unwrap_or(u32::MAX);
    ws::Limits { message_bytes, ..ws::Limits::default() }
}

/// The machines of the mirror that have settings of their own.
pub(super) fn mirror(config: &config::Config) -> Result<(Classifier, Redactor), SettingError> {
    machines(&config.mirror)
}

/// The same, of the mirror's variables alone, for `explain`.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn classification(strings: &config::Strings) -> Result<(Classifier, Redactor), config::Problems> {
    let own = config::Mirror::load(strings)?;
    machines(&own).map_err(|error| {
        let SettingError { variable, problem } = error;
        let example = "see docs/rules.md".to_owned();
        config::Problems(vec![config::Problem { name: variable.to_owned(), what: problem, example }])
    })
}

fn machines(own: &config::Mirror) -> Result<(Classifier, Redactor), SettingError> {
    let set = rule_set(own.classify.as_ref()).map_err(|e| wrong("CROSSFADE_CLASSIFY")(&e))?;
    let scope = match own.redact {
        config::Redact::Up => mirror::redact::Scope::Up,
        config::Redact::Both => mirror::redact::Scope::Both,
        config::Redact::Off => mirror::redact::Scope::Off,
    };
    let redactor = Redactor::new(scope).with_rules(set.redactions);
    Ok((Classifier::new(set.rules), redactor))
}

/// The links' settings: one for publishing, one for reading back.
pub(crate) fn link(supabase: &config::Supabase) -> Result<realtime::link::Config, SettingError> {
    let endpoint =
        realtime::url::Endpoint::parse(supabase.url.as_str()).map_err(|e| wrong("SUPABASE_URL")(&e))?;
    let key = realtime::key::ApiKey::new(supabase.key.secret.expose());
    let mut link = realtime::link::Config::new(endpoint, key);
    link.vsn = match supabase.vsn {
        config::Vsn::V1 => realtime::message::Vsn::V1,
        config::Vsn::V2 => realtime::message::Vsn::V2,
    };
    Ok(link)
}

/// The private topic of this pod, without `realtime:`.
pub(crate) fn topic(config: &config::Config) -> String {
    format!("crossfade:{}:{}", config.service.name, config.service.pod)
}

/// Whether every room takes its settings; nothing is started.
///
/// # Errors
/// The first setting that a room refuses.
pub(crate) fn accepts(config: &config::Config) -> Result<(), SettingError> {
    proxy(config)?;
    rollout(config)?;
    mirror(config)?;
    config.supabase.as_ref().map(link).transpose()?;
    Ok(())
}

/// What a demo or a test sets otherwise than production would.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Replaces the breaker's numbers.
    pub breaker: Option<breaker::Config>,
    /// Longest flush of the mirror at the end.
    pub flush: Option<Duration>,
    /// Do not bind a metrics listener.
    pub quiet: bool,
}

/// Where the parts of a running process listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients connect here.
    pub proxy: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub metrics: Option<SocketAddr>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
}
