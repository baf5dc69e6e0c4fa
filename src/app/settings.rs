//! From the environment's words to the rooms' settings. Whatever can be refused is refused here, before a port is
//! bound.

use std::sync::Arc;
use std::time::Duration;

use super::tls;
use crate::config::{self, BreakerMode, KeySource, RolloutLane};
use crate::mirror::classify::Classifier;
use crate::mirror::governor::{Plan, Terms};
use crate::mirror::redact::Redactor;
use crate::mirror::rules::RuleSet;
use crate::mirror::shard::{Sampling, Shard};
use crate::proxy::native::{AnonKey, Native};
use crate::proxy::{Network, Target, Trusted};
use crate::rollout::{Flags, Identity, KeyChain, KeyHasher, Percent, RealtimeLane, Tiers};
use crate::{breaker, hot, mirror, proxy, realtime, sinks, spool, validator, ws};

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
    let files = loaded.as_ref().ok().and_then(|config| tls::open(config).err()).unwrap_or_default();
    let mut more: Vec<_> = files.into_iter().map(unusable).collect();
    if let Err(error) = rule_set(rules.as_ref()) {
        more.push(config::Problem {
            name: "CROSSFADE_CLASSIFY".to_owned(),
            what: error,
            example: "for example CROSSFADE_CLASSIFY=event=alert:critical;path=/health:low".to_owned(),
        });
    }
    if let Some(what) = strings.text("CROSSFADE_TUNING").and_then(|path| noise_of(path.as_ref()).err()) {
        let example = "for example CROSSFADE_TUNING=/etc/crossfade/tuning.toml".to_owned();
        more.push(config::Problem { name: "CROSSFADE_TUNING".to_owned(), what, example });
    }
    if more.is_empty() {
        return loaded;
    }
    let mut problems = loaded.err().unwrap_or(config::Problems(Vec::new()));
    problems.0.extend(more);
    Err(problems)
}

fn unusable(problem: proxy::tls::TlsProblem) -> config::Problem {
    config::Problem {
        name: problem.variable.to_owned(),
        what: problem.sentence(),
        example: "for example a certificate that begins with -----BEGIN CERTIFICATE-----".to_owned(),
    }
}

/// The rules, in whichever form they are spelt.
fn rule_set(rules: Option<&config::TextOrFile>) -> Result<RuleSet, String> {
    match rules {
        None => Ok(RuleSet::default()),
        Some(config::TextOrFile::Text(text)) => RuleSet::parse_short(text).map_err(|e| e.to_string()),
        Some(config::TextOrFile::File(text)) => RuleSet::parse_file(text).map_err(|e| e.to_string()),
    }
}

fn noise_of(path: &std::path::Path) -> Result<validator::noise::Noise, String> {
    super::tuning::fine(Some(path)).map(|fine| fine.noise)
}

/// What the tuning file says.
pub(super) fn fine(config: &config::Config) -> Result<super::tuning::Fine, SettingError> {
    super::tuning::fine(config.ops.tuning.as_deref()).map_err(|e| wrong("CROSSFADE_TUNING")(&e))
}

/// The proxy's settings.
pub(crate) fn proxy(config: &config::Config) -> Result<proxy::Config, SettingError> {
    let own = &config.proxy;
    let upstream = Target::service(&own.upstream.to_string()).map_err(|e| wrong("CROSSFADE_UPSTREAM")(&e))?;
    let mut settings = proxy::Config::new(upstream);
    settings.listen = own.listen;
    settings.workers = own.workers.map(usize::from);
    settings.deadlines.connect = own.connect_timeout;
    settings.deadlines.upgrade = own.upgrade_timeout;
    settings.deadlines.head = own.request_head_timeout;
    settings.deadlines.response = own.response_head_timeout;
    settings.deadlines.idle = own.idle_timeout;
    settings.limits.connections_per_address = own.connections_per_address;
    settings.limits.upgrades_per_second = own.upgrades_per_second;
    settings.limits.head_bytes = usize::try_from(own.header_bytes_max).unwrap_or(usize::MAX);
    settings.limits.head_fields = own.headers_max as usize;
    settings.lane_header = own.lane_header;
    settings.lane_endpoint = own.lane_endpoint;
    let sides = tls::open(config).map_err(|problems| {
        let first = problems.first();
        wrong(first.map_or("CROSSFADE_TLS_CERT", |problem| problem.variable))(
            &problems.iter().map(proxy::tls::TlsProblem::sentence).collect::<Vec<_>>().join("; "),
        )
    })?;
    settings.tls = sides.clients;
    settings.upstream_tls = sides.upstream;
    settings.upstream_name = config.tls.upstream_name.clone();
    settings.proxy_protocol = config.tls.proxy_protocol == config::ProxyProtocol::Accept;
    settings.http2 = config.tls.http2;
    settings.intercept = config.tls.intercept == config::Intercept::Redirect;
    settings.announce = match config.tls.upstream_proxy_protocol {
        config::UpstreamProxyProtocol::Off => None,
        config::UpstreamProxyProtocol::V1 => Some(proxy::proxy_protocol::Version::V1),
        config::UpstreamProxyProtocol::V2 => Some(proxy::proxy_protocol::Version::V2),
    };
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

/// The rollout's settings as the environment has them; the stores come on top.
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
    let hasher = match &own.key_hash_secret {
        Some(secret) => KeyHasher::new(secret.secret.expose().as_bytes()),
        None => {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|e| wrong("CROSSFADE_KEY_HASH_SECRET")(&e))?;
            KeyHasher::new(&secret)
        }
    };
    if let Some(url) = &own.redis_url {
        // The crate's words quote nothing of the URL, but the kind alone says enough.
        redis::Client::open(url.secret.expose()).map_err(|_| {
            wrong("CROSSFADE_REDIS_URL")(&"is no redis:// or rediss:// URL, for example redis://redis:6379/0")
        })?;
    }
    let identity = Identity { salt: own.salt.clone(), chain, hasher };
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

/// The spool's settings.
pub(super) fn spool(
    config: &config::Config,
    instance: &str,
) -> Result<Option<spool::disk::Settings>, SettingError> {
    let Some(own) = &config.spool else { return Ok(None) };
    let seal = own.key.as_ref().map(|key| {
        let seal = spool::seal::Seal::parse(key.secret.expose());
        seal.ok_or_else(|| wrong("CROSSFADE_SPOOL_KEY")(&"is not a key of 64 hex digits"))
    });
    Ok(Some(spool::disk::Settings {
        dir: own.dir.clone(),
        limits: spool::index::Limits::of(own.max),
        seal: seal.transpose()?,
        instance: instance.to_owned(),
    }))
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

/// The private topic of this pod that is read back, without `realtime:`.
pub(crate) fn topic(config: &config::Config) -> String {
    Shard::ReadBack.topic(&config.service.name, &config.service.pod)
}

/// What is read back besides what hot sessions await.
pub(super) const fn sampling(config: &config::Config) -> Sampling {
    match config.mirror.readback {
        config::Readback::All => Sampling::All,
        config::Readback::Hot => Sampling::Hot,
        config::Readback::Sample(share) => Sampling::Sessions(share.thousandths()),
    }
}

/// What the governor's budget follows from.
pub(super) fn terms(supabase: &config::Supabase) -> Terms {
    let plan = match supabase.plan {
        config::Plan::Free => Plan::FREE,
        config::Plan::Pro => Plan::PRO,
        config::Plan::ProNoCap => Plan::PRO_NO_CAP,
        config::Plan::Team => Plan::TEAM,
        config::Plan::Custom(own) => Plan {
            messages_per_second: own.messages,
            joins_per_second: own.joins.unwrap_or(Plan::CUSTOM.joins_per_second),
            channels_per_connection: own.channels.unwrap_or(Plan::CUSTOM.channels_per_connection),
            payload_bytes: own.payload.unwrap_or(Plan::CUSTOM.payload_bytes),
            included_per_month: own.included.unwrap_or(Plan::CUSTOM.included_per_month),
            cents_per_million: own.cents.or(Plan::CUSTOM.cents_per_million),
            ..Plan::CUSTOM
        },
    };
    Terms { plan, pods: supabase.pods, readers: supabase.readers }
}

/// The largest batch, in bytes. Version 1.0.0 measures what it has parsed, which is up to twice as large as the text.
pub(super) fn batch_bytes(supabase: &config::Supabase) -> u32 {
    let payload = terms(supabase).plan.payload_bytes;
    let carried = if supabase.vsn == config::Vsn::V1 { payload / 2 } else { payload };
    carried.min(mirror::batch::BATCH_BYTES_MAX)
}

/// Which classes also go into the table.
pub(crate) const fn wanted(config: &config::Config) -> sinks::Wanted {
    match config.mirror.table {
        config::Table::Off => sinks::Wanted::Off,
        config::Table::Critical => sinks::Wanted::Critical,
        config::Table::High => sinks::Wanted::High,
        config::Table::All => sinks::Wanted::All,
    }
}

/// Where rows are posted; `None` while there is no table.
pub(crate) fn rows(
    config: &config::Config,
    link: &realtime::link::Config,
) -> Result<Option<url::Url>, SettingError> {
    if wanted(config) == sinks::Wanted::Off {
        return Ok(None);
    }
    let rows = link.endpoint.rows("monitoring_events");
    let bare = "needs a SUPABASE_URL with PostgREST behind it, such as https://REF.supabase.co";
    rows.map(Some).ok_or_else(|| wrong("CROSSFADE_TABLE")(&bare))
}

/// Whether every room takes its settings; nothing is started.
///
/// # Errors
/// The first setting that a room refuses.
pub(crate) fn accepts(config: &config::Config) -> Result<(), SettingError> {
    proxy(config)?;
    rollout(config)?;
    mirror(config)?;
    if let Some(link) = config.supabase.as_ref().map(link).transpose()? {
        rows(config, &link)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn supabase(more: &[(&str, &str)]) -> config::Supabase {
        let base = [
            ("CROSSFADE_UPSTREAM", "ws://legacy:80"),
            ("SUPABASE_URL", "http://project.example"),
            ("SUPABASE_KEY", "sb_secret_x"),
        ];
        let strings = config::Strings::of(base.into_iter().chain(more.iter().copied()));
        load(&strings).expect("a good configuration").supabase.expect("a project")
    }

    #[test]
    fn the_plan_decides_budget_and_batch() {
        let free = supabase(&[("CROSSFADE_PODS", "3"), ("CROSSFADE_READERS", "2")]);
        let expected = Terms { plan: Plan::FREE, pods: 3, readers: 2 };
        assert_eq!((terms(&free), batch_bytes(&free)), (expected, 256_000));
        let old = supabase(&[("CROSSFADE_REALTIME_VSN", "1.0.0")]);
        assert_eq!(batch_bytes(&old), 128_000, "the parsed term is larger than the text");
        let team = supabase(&[("CROSSFADE_PLAN", "team")]);
        assert_eq!((terms(&team).plan, batch_bytes(&team)), (Plan::TEAM, 1 << 20));
        let own = supabase(&[("CROSSFADE_PLAN", "custom:900,payload=64KiB,price=1.25")]);
        let plan = terms(&own).plan;
        assert_eq!((plan.messages_per_second, plan.cents_per_million), (900, Some(125)));
        assert_eq!((plan.included_per_month, batch_bytes(&own)), (Plan::TEAM.included_per_month, 65_536));
    }
}
