//! Which part of the sessions is mirrored, by path and by class: `[mirror]` of the tuning file. Pure.
//!
//! `CROSSFADE_MIRROR_PERCENT` is the share of everything. A path can have its own in its place; a class can have one
//! below both. All of them look at the same bucket of the same key (salt `mirror`), so that a session that is in a
//! small share is in every larger one, and a user's messages do not come and go.

use serde::Deserialize;

use crate::envelope::Class;
use crate::rollout::Percent;

/// The most paths with a share of their own: each upgrade looks at them in order.
const PATHS_MAX: usize = 64;

/// `[mirror]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Text {
    classes: Classes,
    paths: Vec<PathShare>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Classes {
    critical: Option<Percent>,
    high: Option<Percent>,
    medium: Option<Percent>,
    low: Option<Percent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathShare {
    path: String,
    percent: Percent,
}

/// The same, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    paths: Vec<PathShare>,
    classes: [Option<Percent>; Class::ALL.len()],
}

impl Text {
    /// # Errors
    /// What is wrong.
    pub(super) fn check(self) -> Result<Shares, String> {
        if self.paths.len() > PATHS_MAX {
            return Err(format!("[mirror] paths: {} entries, at most {PATHS_MAX}", self.paths.len()));
        }
        if let Some(wrong) = self.paths.iter().find(|share| !share.path.starts_with('/')) {
            return Err(format!("[mirror] paths: {:?} does not begin with /", wrong.path));
        }
        let own = self.classes;
        let of = |class| match class {
            Class::Critical => own.critical,
            Class::High => own.high,
            Class::Medium => own.medium,
            Class::Low => own.low,
        };
        Ok(Shares { paths: self.paths, classes: Class::ALL.map(of) })
    }
}

impl Shares {
    /// The share of the sessions of a path: of the first entry that covers it, else the general one.
    pub(super) fn of_path(&self, path: &str, general: Percent) -> Percent {
        let covers = |prefix: &str| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
        };
        self.paths.iter().find(|share| covers(&share.path)).map_or(general, |share| share.percent)
    }

    /// The shares of the classes, in units of 0.001 %; `None` while no class has one.
    pub(super) fn by_class(&self) -> Option<[u32; Class::ALL.len()]> {
        let units = |share: Option<Percent>| share.unwrap_or(Percent::FULL).units();
        self.classes.iter().any(Option::is_some).then(|| self.classes.map(units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Shares, String> {
        toml::from_str::<Text>(text).map_err(|error| error.to_string())?.check()
    }

    fn percent(units: u32) -> Percent {
        Percent::from_units(units).unwrap()
    }

    #[test]
    fn the_first_path_that_covers_decides_and_the_general_share_for_the_others() {
        let shares = read(
            "[[paths]]\npath = \"/feed/health\"\npercent = \"0\"\n[[paths]]\npath = \"/feed\"\npercent = 5",
        )
        .unwrap();
        let of = |path| shares.of_path(path, percent(70_000)).units();
        let found = ["/feed/health", "/feed/health/1", "/feed", "/feed/x", "/feeder", "/"].map(of);
        assert_eq!(found, [0, 0, 5_000, 5_000, 70_000, 70_000]);
        assert_eq!(shares.by_class(), None, "nothing to look at for each message");
    }

    #[test]
    fn classes_without_a_share_are_whole() {
        let shares = read("[classes]\nlow = \"10\"\ncritical = 100").unwrap();
        let units = shares.by_class().unwrap();
        assert_eq!(Class::ALL.map(|class| units[class as usize]), [100_000, 100_000, 100_000, 10_000]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("[[paths]]\npath = \"feed\"\npercent = 5", "begin with /"),
            ("[[paths]]\npath = \"/feed\"\npercent = 101", "above 100"),
            ("[classes]\nlowest = 5", "lowest"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
