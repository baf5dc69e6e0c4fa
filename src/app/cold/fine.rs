//! The section `[cold]` of the tuning file, and with the variables the whole of the lane's settings.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::app::SettingError;
use crate::app::settings::link;
use crate::cold::Limits;
use crate::cold::admit::{Auth, Origins, Place, Rules, Source};
use crate::cold::token::Keys;
use crate::config::{ColdAuth, Config, read_secret_file};
use crate::realtime;
use crate::realtime::key::ApiKey;

/// Entries of a list.
const ENTRIES_MAX: usize = 64;

/// The section as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct Section {
    jwt_secret_file: Option<PathBuf>,
    jwks_file: Option<PathBuf>,
    tokens: Vec<String>,
    origins: Vec<String>,
    private: bool,
    echo: bool,
    column: Option<String>,
    filter: Option<String>,
    order: String,
    sessions_max: usize,
    topics_max: usize,
    join_timeout_ms: u64,
    outbox_bytes: usize,
    message_bytes: usize,
    unacknowledged: usize,
    log_messages: usize,
    log_bytes: usize,
    log_age_s: u64,
    snapshot: usize,
    closes_per_s: u32,
}

impl Default for Section {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            jwt_secret_file: None,
            jwks_file: None,
            tokens: ["header:authorization", "query:access_token", "query:token"].map(str::to_owned).to_vec(),
            origins: Vec::new(),
            private: true,
            echo: false,
            column: None,
            filter: None,
            order: "timestamp".to_owned(),
            sessions_max: limits.sessions_max,
            topics_max: limits.topics_max,
            join_timeout_ms: u64::try_from(limits.join_timeout.as_millis()).unwrap_or(u64::MAX),
            outbox_bytes: limits.outbox_bytes,
            message_bytes: limits.message_bytes,
            unacknowledged: limits.unacknowledged,
            log_messages: limits.log_messages,
            log_bytes: limits.log_bytes,
            log_age_s: limits.log_age.as_secs(),
            snapshot: limits.snapshot,
            closes_per_s: limits.closes_per_s,
        }
    }
}

impl Section {
    /// What is wrong with it by itself.
    pub(in crate::app) fn check(&self) -> Result<(), String> {
        let ranges = [
            ("sessions_max", self.sessions_max, 1, 1_000_000),
            ("topics_max", self.topics_max, 1, 100_000),
            ("join_timeout_ms", usize::try_from(self.join_timeout_ms).unwrap_or(usize::MAX), 1, 30_000),
            ("outbox_bytes", self.outbox_bytes, 1 << 10, 64 << 20),
            ("message_bytes", self.message_bytes, 1, 16 << 20),
            ("unacknowledged", self.unacknowledged, 1, 1_000),
            ("log_messages", self.log_messages, 0, 100_000),
            ("log_bytes", self.log_bytes, 0, 64 << 20),
            ("log_age_s", usize::try_from(self.log_age_s).unwrap_or(usize::MAX), 0, 3_600),
            ("snapshot", self.snapshot, 0, 1_000),
            ("closes_per_s", self.closes_per_s as usize, 1, 100_000),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("cold.{name} is {value}, and must be from {least} to {most}"));
            }
        }
        if self.tokens.len() > ENTRIES_MAX || self.origins.len() > ENTRIES_MAX {
            return Err(format!("a list in [cold] has more than {ENTRIES_MAX} entries"));
        }
        self.places()?;
        self.origins().map(drop)
    }

    fn places(&self) -> Result<Vec<Place>, String> {
        self.tokens
            .iter()
            .map(|text| Place::parse(text).map_err(|why| format!("cold.tokens: {why}")))
            .collect()
    }

    fn origins(&self) -> Result<Origins, String> {
        if self.origins.is_empty() {
            return Ok(Origins::Same);
        }
        if self.origins.iter().any(|origin| origin == "*") {
            return Ok(Origins::Any);
        }
        let whole = |origin: &&String| {
            url::Url::parse(origin)
                .is_ok_and(|url| url.origin().ascii_serialization() == origin.to_ascii_lowercase())
        };
        match self.origins.iter().find(|origin| !whole(origin)) {
            None => Ok(Origins::Listed(self.origins.clone())),
            Some(wrong) => {
                Err(format!("cold.origins: {wrong:?} is no origin, such as https://app.example, nor *"))
            }
        }
    }

    const fn limits(&self) -> Limits {
        Limits {
            sessions_max: self.sessions_max,
            topics_max: self.topics_max,
            join_timeout: Duration::from_millis(self.join_timeout_ms),
            outbox_bytes: self.outbox_bytes,
            message_bytes: self.message_bytes,
            unacknowledged: self.unacknowledged,
            log_messages: self.log_messages,
            log_bytes: self.log_bytes,
            log_age: Duration::from_secs(self.log_age_s),
            snapshot: self.snapshot,
            closes_per_s: self.closes_per_s,
        }
    }

    /// The keys that tokens are verified with.
    fn keys(&self) -> Result<Keys, String> {
        let read = |path: &PathBuf| {
            read_secret_file(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
        };
        let mut keys = Keys::default();
        if let Some(path) = &self.jwt_secret_file {
            keys = keys.and(Keys::secret(read(path)?.expose())?);
        }
        if let Some(path) = &self.jwks_file {
            keys = keys.and(Keys::set(read(path)?.expose())?);
        }
        if keys.is_empty() {
            return Err("[cold] names neither jwt_secret_file nor jwks_file, and jwt needs one".to_owned());
        }
        Ok(keys)
    }
}

/// Everything that the lane needs to start.
#[derive(Clone, Debug)]
pub(in crate::app) struct Plan {
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    /// With the anon key.
    pub(super) link: realtime::link::Config,
    /// Channels are private: policies decide.
    pub(super) private: bool,
    /// A client is given its own messages, too.
    pub(super) echo: bool,
    /// What of a row is given.
    pub(super) column: Option<String>,
    /// Which rows.
    pub(super) filter: Option<String>,
    /// The column by which the last rows are known.
    pub(super) order: String,
}

/// Puts both together; `None` where there is no cold lane.
///
/// # Errors
/// The first setting that cannot be used.
pub(in crate::app) fn plan(config: &Config) -> Result<Option<Plan>, SettingError> {
    let (Some(own), Some(supabase)) = (&config.cold, &config.supabase) else { return Ok(None) };
    let wrong = |variable: &'static str| move |problem: String| SettingError { variable, problem };
    let section =
        crate::app::tuning::fine(config.ops.tuning.as_deref()).map_err(wrong("CROSSFADE_TUNING"))?.cold;
    let source = Source::parse(&own.source).map_err(wrong("CROSSFADE_COLD_SOURCE"))?;
    let auth = match own.auth {
        ColdAuth::Jwt => Auth::Jwt(section.keys().map_err(wrong("CROSSFADE_TUNING"))?),
        ColdAuth::Upstream => Auth::Upstream,
        ColdAuth::Public => Auth::Public,
    };
    if source.needs_token() && own.auth != ColdAuth::Jwt {
        let problem = "has {sub} in it, which only CROSSFADE_COLD_AUTH=jwt knows".to_owned();
        return Err(wrong("CROSSFADE_COLD_SOURCE")(problem));
    }
    let mut link = link(supabase)?;
    let anon = supabase.anon_key.as_ref().map(|key| ApiKey::new(key.secret.expose()));
    link.key =
        anon.ok_or_else(|| wrong("SUPABASE_ANON_KEY")("is required with CROSSFADE_COLD_AUTH".to_owned()))?;
    if link.key.is_privileged() {
        return Err(wrong("SUPABASE_ANON_KEY")("carries more rights than anon".to_owned()));
    }
    let rules = Rules {
        auth,
        origins: section.origins().map_err(wrong("CROSSFADE_TUNING"))?,
        places: section.places().map_err(wrong("CROSSFADE_TUNING"))?,
        source,
    };
    Ok(Some(Plan {
        rules,
        limits: section.limits(),
        link,
        private: section.private,
        echo: section.echo,
        column: section.column,
        filter: section.filter,
        order: section.order,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        let check = |text: &str| toml::from_str::<Section>(text).unwrap().check();
        assert_eq!(check(""), Ok(()));
        for (text, word) in [
            ("sessions_max = 0", "sessions_max"),
            ("join_timeout_ms = 60000", "join_timeout_ms"),
            ("outbox_bytes = 1", "outbox_bytes"),
            ("tokens = [\"body:x\"]", "tokens"),
            ("origins = [\"app.example\"]", "origins"),
            ("origins = [\"https://app.example/\"]", "origins"),
        ] {
            assert!(check(text).unwrap_err().contains(word), "{text}");
        }
        assert_eq!(check("origins = [\"https://app.example\", \"http://localhost:3000\"]"), Ok(()));
        assert!(toml::from_str::<Section>("sesions_max = 1").is_err());
        assert!(Section::default().keys().unwrap_err().contains("jwt_secret_file"));
    }
}
