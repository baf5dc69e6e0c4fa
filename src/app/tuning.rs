//! The tuning file: what would be one variable too many. Read once, before a port is bound.

use std::path::Path;

use serde::Deserialize;

use crate::validator::noise::{Noise, Rule};

/// The longest file that is read, in bytes.
const BYTES_MAX: u64 = 256 << 10;

/// The whole file. A section here is a section of `docs/tuning.schema.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    mirror: super::shares::Text,
    rollout: super::open::Text,
    validator: Validator,
}

/// What the file says, checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Fine {
    /// What may differ between two deliveries.
    pub noise: Noise,
    /// What open sessions do when the rollout changes.
    pub rollout: super::open::Rollout,
    /// What is mirrored.
    pub shares: super::shares::Shares,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Validator {
    noise: Vec<Rule>,
}

/// The settings of a file; the defaults without one.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn fine(path: Option<&Path>) -> Result<Fine, String> {
    let Some(path) = path else { return Ok(Fine::default()) };
    let at = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|error| at(&error))?.len();
    if length > BYTES_MAX {
        return Err(at(&format_args!("{length} bytes, at most {BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| at(&error))?;
    parse(&text).map_err(|why| at(&why))
}

fn parse(text: &str) -> Result<Fine, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    Ok(Fine {
        noise: Noise::new(file.validator.noise)?,
        rollout: file.rollout.check()?,
        shares: file.mirror.check()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let page = include_str!("../../docs/validator.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let rules = parse(example).unwrap().noise.uses();
        assert_eq!(rules.len(), 3, "{example}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("[validator]\nnois = []", "nois"),
            ("[[validator.noise]]\npointer = \"/a\"", "allow"),
            ("[[validator.noise]]\npointer = \"/a\"\nallow = \"forget\"", "forget"),
            ("[[validator.noise]]\npointer = \"a\"\nallow = \"ignore\"", "rule 1"),
            ("[braker]\nx = 1", "braker"),
            ("[rollout]\nopen_sessions = \"stay\"", "stay"),
            ("[rollout]\nmoves_per_second = 0", "moves_per_second"),
            ("[[mirror.paths]]\npath = \"feed\"\npercent = 5", "begin with /"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(fine(Some(Path::new("/nowhere/tuning.toml"))).unwrap_err().contains("/nowhere/tuning.toml"));
    }

    #[test]
    fn the_example_of_the_rollout_is_read() {
        let page = include_str!("../../docs/rollout.md");
        let examples = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let example = examples.into_iter().find(|one| one.contains("open_sessions")).unwrap();
        let fine = parse(example).unwrap();
        assert_eq!(fine.rollout.moves_per_second.map(std::num::NonZeroU32::get), Some(50), "{example}");
        assert_ne!(fine.shares, super::super::shares::Shares::default(), "{example}");
    }

    /// The schema knows the same sections as the file that is read: what refuses a name lists those it knows.
    #[test]
    fn the_schema_has_every_section() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../docs/tuning.schema.json")).unwrap();
        let told: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let refusal = parse("no_such_section = 1").unwrap_err();
        let (_, known) = refusal.split_once("expected ").unwrap();
        let mut known: Vec<_> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        known.sort();
        assert_eq!(told, known, "{refusal}");
    }
}
