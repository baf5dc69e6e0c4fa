//! The tuning file: what would be one variable too many. Read once, before a port is bound.

use std::path::Path;

use serde::Deserialize;

use crate::validator::noise::{Noise, Rule};

/// The longest file that is read, in bytes.
const BYTES_MAX: u64 = 256 << 10;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    validator: Validator,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Validator {
    noise: Vec<Rule>,
}

/// The noise rules of a file; none without one.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn noise(path: Option<&Path>) -> Result<Noise, String> {
    let Some(path) = path else { return Ok(Noise::default()) };
    let at = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|error| at(&error))?.len();
    if length > BYTES_MAX {
        return Err(at(&format_args!("{length} bytes, at most {BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| at(&error))?;
    parse(&text).map_err(|why| at(&why))
}

fn parse(text: &str) -> Result<Noise, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    Noise::new(file.validator.noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let page = include_str!("../../docs/validator.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let rules = parse(example).unwrap().uses();
        assert_eq!(rules.len(), 3, "{example}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("[validator]\nnois = []", "nois"),
            ("[[validator.noise]]\npointer = \"/a\"", "allow"),
            ("[[validator.noise]]\npointer = \"/a\"\nallow = \"forget\"", "forget"),
            ("[[validator.noise]]\npointer = \"a\"\nallow = \"ignore\"", "rule 1"),
            ("[breaker]\nx = 1", "breaker"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(noise(Some(Path::new("/nowhere/tuning.toml"))).unwrap_err().contains("/nowhere/tuning.toml"));
    }
}
