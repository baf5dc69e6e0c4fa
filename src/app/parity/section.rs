//! The section `[parity]` of the tuning file.

use std::time::Duration;

use serde::Deserialize;

use super::Settings;
use crate::mirror::rules::glob::Glob;
use crate::validator::parity;

/// As written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct Section {
    /// Where the user's token is.
    token: String,
    #[serde(default)]
    users: Option<u32>,
    #[serde(default)]
    topics: Option<u32>,
    #[serde(default)]
    probes_per_minute: Option<u32>,
    /// In seconds.
    #[serde(default)]
    window: Option<u32>,
    /// Topics, with `*` for anything.
    #[serde(default)]
    only: Vec<String>,
}

const USERS_MAX: u32 = 1_000;
const TOPICS_MAX: u32 = 1_000;
/// Five a second would be all joins that a socket makes.
const PROBES_MAX: u32 = 300;
const WINDOW_MAX: u32 = 3_600;
const ONLY_MAX: u32 = 64;

impl Section {
    /// Checks it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(in crate::app) fn check(self) -> Result<Settings, String> {
        let usual = parity::Settings::default();
        let number = |name: &str, value: Option<u32>, max: u32| match value {
            Some(value) if value == 0 || value > max => {
                Err(format!("parity.{name}: {value} is not between 1 and {max}"))
            }
            other => Ok(other),
        };
        let size = |value: Option<u32>, usual: usize| value.map_or(usual, |value| value as usize);
        if self.only.len() > ONLY_MAX as usize
            || self.only.iter().any(|text| text.is_empty() || text.len() > 256)
        {
            return Err(format!("parity.only: at most {ONLY_MAX} patterns of 1 to 256 bytes"));
        }
        let core = parity::Settings {
            users: size(number("users", self.users, USERS_MAX)?, usual.users),
            topics: size(number("topics", self.topics, TOPICS_MAX)?, usual.topics),
            probes_per_minute: number("probes_per_minute", self.probes_per_minute, PROBES_MAX)?
                .unwrap_or(usual.probes_per_minute),
            window: number("window", self.window, WINDOW_MAX)?
                .map_or(usual.window, |seconds| Duration::from_secs(seconds.into())),
            only: self.only.iter().map(|text| Glob::name(text)).collect(),
        };
        Ok(Settings { place: self.token.parse()?, core })
    }
}
