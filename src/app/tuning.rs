//! The tuning file: what would be one variable too many. Read once, before a port is bound.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::cold::fine::Section as Cold;
use super::otlp;
use super::parity;
use crate::breaker;
use crate::config::Config;
use crate::drill::{PERMILLE_MAX, Rules};
use crate::notice;
use crate::realtime::url::Endpoint;
use crate::validator::noise::{Noise, Rule};

/// The longest file that is read, in bytes.
const BYTES_MAX: u64 = 256 << 10;
/// Drills are not held more often.
const EVERY_MIN: Duration = Duration::from_secs(5 * 60);
/// What comes less often is forgotten.
const EVERY_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The whole file. A section here is a section of `docs/tuning.schema.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    breaker: breaker::tuning::Section,
    cold: Cold,
    drill: Drill,
    flags: Flags,
    mirror: super::shares::Text,
    otlp: Option<otlp::Section>,
    notices: Option<notice::Section>,
    parity: Option<parity::Section>,
    rollout: super::open::Text,
    table: Table,
    validator: Validator,
}

/// What the file says, checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Fine {
    /// What may differ between two deliveries.
    pub noise: Noise,
    /// The validator's reports become rows of `crossfade_reports`.
    pub reports_table: bool,
    /// The sink for rows.
    pub table: Table,
    /// The cold lane.
    pub cold: Cold,
    /// The breaker's numbers, apart from those with a variable.
    pub breaker: breaker::Config,
    /// When and on how many drills are held.
    pub drill: Rules,
    /// Whether the table `crossfade_flags` is a tier.
    pub flags_table: bool,
    /// Where spans go.
    pub otlp: Option<otlp::Settings>,
    /// Whether and how authorization is compared.
    pub parity: Option<parity::Settings>,
    /// What open sessions do when the rollout changes.
    pub rollout: super::open::Rollout,
    /// Who is told what.
    pub notices: Option<notice::Settings>,
    /// What is mirrored.
    pub shares: super::shares::Shares,
}

/// The sink for rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    /// Rows that this pod adds in a second, at most.
    pub rate: u32,
    /// File for rows that the table refuses, payload included.
    pub quarantine: Option<PathBuf>,
}

impl Default for Table {
    fn default() -> Self {
        Self { rate: 100, quarantine: None }
    }
}

/// `[drill]`: docs/drills.md.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Drill {
    every: Option<String>,
    percent: Option<f64>,
}

impl Drill {
    fn checked(&self) -> Result<Rules, String> {
        let mut rules = Rules::default();
        if let Some(every) = &self.every {
            let wrong = "[drill] every: is not a time from 5m to 90d, for example every = \"24h\"";
            let span =
                humantime::parse_duration(every).ok().filter(|span| (EVERY_MIN..=EVERY_MAX).contains(span));
            rules.every = Some(span.ok_or(wrong)?);
        }
        if let Some(percent) = self.percent {
            let permille = (percent * 10.0).round();
            if !(1.0..=f64::from(PERMILLE_MAX)).contains(&permille) {
                let most = f64::from(PERMILLE_MAX) / 10.0;
                return Err(format!(
                    "[drill] percent: {percent} is not from 0.1 to {most}, for example percent = 1"
                ));
            }
            rules.permille = permille as u16;
        }
        Ok(rules)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Flags {
    table: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Validator {
    noise: Vec<Rule>,
    reports_table: bool,
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

/// What is wrong with a file, for this configuration where that could be read.
pub(super) fn problem(path: &Path, config: Option<&Config>) -> Option<String> {
    let fine = match fine(Some(path)) {
        Ok(fine) => fine,
        Err(why) => return Some(why),
    };
    if config.is_some_and(|config| fine.flags_table && !has_tables(config)) {
        return Some(format!("{}: {NO_TABLES}", path.display()));
    }
    let files = fine.notices.as_ref().and_then(super::notices::problem);
    files.map(|why| format!("{}: {why}", path.display()))
}

/// What `flags.table` needs.
pub(super) const NO_TABLES: &str = "[flags] table = true needs SUPABASE_KEY and a SUPABASE_URL with PostgREST behind it, \
    such as https://REF.supabase.co";

/// Whether PostgREST can be asked for rows.
fn has_tables(config: &Config) -> bool {
    let url = config.supabase.as_ref().map(|supabase| supabase.url.as_str());
    url.and_then(|url| Endpoint::parse(url).ok()).is_some_and(|endpoint| endpoint.rows("any").is_some())
}

fn parse(text: &str) -> Result<Fine, String> {
    // What is wrong comes with its line, and the line may have a webhook's URL.
    let file: File =
        toml::from_str(text).map_err(|error| notice::without_urls(error.to_string().trim_end()))?;
    let parity = file.parity.map(parity::Section::check).transpose()?;
    let breaker = breaker::tuning::tuned(breaker::Config::default(), &file.breaker)?;
    if file.table.rate == 0 {
        return Err("table.rate is 0: no row would ever be stored".to_owned());
    }
    file.cold.check()?;
    Ok(Fine {
        noise: Noise::new(file.validator.noise)?,
        reports_table: file.validator.reports_table,
        table: file.table,
        cold: file.cold,
        flags_table: file.flags.table,
        notices: file.notices.map(notice::Section::check).transpose()?,
        breaker,
        otlp: file.otlp.map(otlp::Section::check).transpose()?,
        parity,
        drill: file.drill.checked()?,
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
        let page = include_str!("../../docs/rollout.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert!(parse(example).unwrap().flags_table, "{example}");
        assert!(!parse("").unwrap().flags_table);
    }

    #[test]
    fn the_example_of_the_breakers_page_is_read_and_its_table_is_true() {
        let page = include_str!("../../docs/breaker.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let fine = parse(example).unwrap().breaker;
        assert_eq!((fine.error_ratio, fine.latch_trips, fine.pace.len()), (0.02, 2, 3), "{example}");
        for (name, default) in breaker::tuning::numbers(&breaker::Config::default()) {
            let row = format!("| `{name}` | {default} |");
            let elsewhere = ["pace", "cooldown", "confidence"].contains(&name);
            assert!(elsewhere || page.contains(&row), "the page lacks: {row}");
        }
    }

    #[test]
    fn the_example_of_tracing_is_read_and_its_defaults_are_true() {
        let page = include_str!("../../docs/tracing.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert!(parse(example).unwrap().otlp.is_some(), "{example}");
        assert!(parse("").unwrap().otlp.is_none());
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../docs/tuning.schema.json")).unwrap();
        let otlp = parse("[otlp]\nendpoint = \"http://a\"").unwrap().otlp.unwrap();
        for (name, default) in otlp.numbers() {
            assert_eq!(
                schema["properties"]["otlp"]["properties"][name]["default"].as_f64(),
                Some(default),
                "{name}"
            );
            assert!(page.contains(&format!("| `{name}` | {default} |")), "{name}: {default}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("[validator]\nnois = []", "nois"),
            ("[[validator.noise]]\npointer = \"/a\"", "allow"),
            ("[[validator.noise]]\npointer = \"/a\"\nallow = \"forget\"", "forget"),
            ("[[validator.noise]]\npointer = \"a\"\nallow = \"ignore\"", "rule 1"),
            ("[validator]\nreports_table = 1", "reports_table"),
            ("[table]\nrate = 0", "table.rate"),
            ("[cold]\nsessions_max = 0", "cold.sessions_max"),
            ("[braker]\nx = 1", "braker"),
            ("[drill]\nevery = \"1s\"", "every"),
            ("[drill]\nevery = \"often\"", "24h"),
            ("[drill]\npercent = 21", "from 0.1 to 20"),
            ("[drill]\npercent = 0.01", "percent"),
            ("[drill]\nsometimes = true", "sometimes"),
            ("[flags]\ntable = 1", "boolean"),
            ("[otlp]\nbatch = 3", "endpoint"),
            ("[otlp]\nendpoint = \"grpc://a:4317\"", "http://127.0.0.1:4318"),
            ("[otlp]\nendpoint = \"https://user:secret@a\"", "no user, query or fragment"),
            ("[otlp]\nendpoint = \"http://a\"\nsample_ratio = 1.5", "sample_ratio"),
            ("[otlp]\nendpoint = \"http://a\"\nsample_ratio = nan", "sample_ratio"),
            ("[otlp]\nendpoint = \"http://a\"\nqueue = 0", "otlp.queue"),
            ("[otlp]\nendpoint = \"http://a\"\nheaders = \"authorization: x\"", "headers_file"),
            ("[otlp]\nendpoint = \"http://a\"\n[otlp.resource]\n\"\" = \"x\"", "otlp.resource"),
            ("[parity]\nusers = 3", "token"),
            ("[parity]\ntoken = \"jwt:sub\"", "cookie:NAME"),
            ("[parity]\ntoken = \"cookie:sb\"\nusers = 1001", "parity.users"),
            ("[parity]\ntoken = \"cookie:sb\"\nwindow = 0", "parity.window"),
            ("[parity]\ntoken = \"cookie:sb\"\nprobes = 3", "probes"),
            ("[parity]\ntoken = \"cookie:sb\"\nonly = [\"\"]", "parity.only"),
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
    fn drills_have_their_rules() {
        let rules = parse("[drill]\nevery = \"24h\"\npercent = 2.5").unwrap().drill;
        assert_eq!(rules, Rules { every: Some(Duration::from_secs(86_400)), permille: 25 });
        assert_eq!(parse("").unwrap().drill, Rules { every: None, permille: 10 });
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
