//! The `[breaker]` section of the tuning file: one table of names, bounds and places. It reads, checks and shows the
//! numbers, so that no number can be set that is not checked and shown. The bounds keep a breaker a breaker: whatever
//! the file says, an outage still opens it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::config::{Config, Step};

/// The section as it was read; [`tuned`] gives it a meaning.
pub type Section = BTreeMap<String, Value>;

/// Steps of a return, at most.
const STEPS_MAX: usize = 8;
/// The first step lets no more than this part of the cohort in, in percent: a return begins small.
const FIRST_SHARE_MAX: f64 = 50.0;

/// Where a number lives, and what it may be.
enum Place {
    /// A plain number.
    Real(fn(&mut Config) -> &mut f64, f64, f64),
    /// A duration, in the file as text such as `"5m"`.
    Span(fn(&mut Config) -> &mut Duration, Duration, Duration),
    /// A count.
    Count(fn(&mut Config, Option<u64>) -> u64, u64, u64),
}

/// Every number that a file may set.
static ROWS: [(&str, Place); 26] = [
    (
        "error_window",
        Place::Span(|c| &mut c.error_window, Duration::from_secs(30), Duration::from_secs(3600)),
    ),
    ("error_ratio", Place::Real(|c| &mut c.error_ratio, 0.001, 0.25)),
    ("error_samples_min", Place::Count(|c, new| count(&mut c.error_samples_min, new), 5, 1_000)),
    ("burn_window", Place::Span(|c| &mut c.burn_window, Duration::from_secs(5), Duration::from_secs(300))),
    ("burn_ratio", Place::Real(|c| &mut c.burn_ratio, 0.05, 0.9)),
    ("burn_samples_min", Place::Count(|c, new| count(&mut c.burn_samples_min, new), 5, 1_000)),
    ("stall_after", Place::Span(|c| &mut c.stall_after, Duration::from_millis(500), Duration::from_secs(30))),
    ("stall_batches_min", Place::Count(|c, new| count(&mut c.stall_batches_min, new), 1, 16)),
    (
        "latency_window",
        Place::Span(|c| &mut c.latency_window, Duration::from_secs(60), Duration::from_secs(3600)),
    ),
    ("latency_factor", Place::Real(|c| &mut c.latency_factor, 1.1, 10.0)),
    (
        "latency_excess",
        Place::Span(|c| &mut c.latency_excess, Duration::from_millis(5), Duration::from_secs(1)),
    ),
    ("latency_samples_min", Place::Count(|c, new| count(&mut c.latency_samples_min, new), 20, 10_000)),
    ("baseline_max", Place::Span(|c| &mut c.baseline_max, Duration::from_millis(10), Duration::from_secs(2))),
    ("connect_failures", Place::Count(|c, new| count(&mut c.connect_failures, new), 1, 20)),
    ("connect_span", Place::Span(|c| &mut c.connect_span, Duration::from_secs(1), Duration::from_secs(120))),
    (
        "match_window",
        Place::Span(|c| &mut c.match_window, Duration::from_secs(300), Duration::from_secs(3600)),
    ),
    ("match_gate", Place::Real(|c| &mut c.match_gate, 0.9, 1.0)),
    ("match_samples_min", Place::Count(|c, new| count(&mut c.match_samples_min, new), 100, 1_000_000)),
    (
        "cooldown_max",
        Place::Span(|c| &mut c.cooldown_max, Duration::from_secs(60), Duration::from_secs(86400)),
    ),
    ("jitter", Place::Real(|c| &mut c.jitter, 0.0, 0.5)),
    ("probes", Place::Count(|c, new| count(&mut c.probes, new), 3, 100)),
    (
        "probe_interval",
        Place::Span(|c| &mut c.probe_interval, Duration::from_millis(100), Duration::from_secs(60)),
    ),
    (
        "probe_deadline",
        Place::Span(|c| &mut c.probe_deadline, Duration::from_millis(500), Duration::from_secs(60)),
    ),
    (
        "half_open_max",
        Place::Span(|c| &mut c.half_open_max, Duration::from_secs(60), Duration::from_secs(7200)),
    ),
    ("latch_trips", Place::Count(|c, new| count(&mut c.latch_trips, new), 1, 10)),
    (
        "latch_window",
        Place::Span(|c| &mut c.latch_window, Duration::from_secs(3600), Duration::from_secs(604800)),
    ),
];

/// Numbers with a variable of their own: two places for one number would contradict each other.
const ELSEWHERE: [(&str, &str); 2] =
    [("cooldown", "CROSSFADE_BREAKER_COOLDOWN"), ("confidence", "CROSSFADE_BREAKER_CONFIDENCE")];

/// Sets a count where one is given, and says what it is then.
fn count<T: Copy + TryFrom<u64> + TryInto<u64>>(place: &mut T, new: Option<u64>) -> u64 {
    if let Some(new) = new.and_then(|new| T::try_from(new).ok()) {
        *place = new;
    }
    (*place).try_into().unwrap_or(u64::MAX)
}

/// The numbers with what the section says of them.
///
/// # Errors
/// Everything that is wrong with the section, in one text.
pub fn tuned(mut config: Config, section: &Section) -> Result<Config, String> {
    let mut wrong = Vec::new();
    for (name, value) in section {
        let set = match ROWS.iter().find(|(known, _)| known == name) {
            Some((_, place)) => place.set(&mut config, value),
            None if name == "pace" => steps(value).map(|pace| config.pace = pace),
            None => Err(unknown(name)),
        };
        if let Err(why) = set {
            wrong.push(format!("breaker.{name} {why}"));
        }
    }
    if wrong.is_empty() {
        let shortest = config.probe_interval.saturating_mul(config.probes);
        if shortest >= config.half_open_max {
            wrong.push(format!(
                "breaker.half_open_max is {}, but {} probes take {} at least: it would never close",
                text(config.half_open_max),
                config.probes,
                text(shortest)
            ));
        }
        wrong.extend(config.problems().into_iter().map(|why| format!("breaker: {why}")));
    }
    if wrong.is_empty() { Ok(config) } else { Err(wrong.join("; ")) }
}

fn unknown(name: &str) -> String {
    if let Some((_, variable)) = ELSEWHERE.iter().find(|(known, _)| *known == name) {
        return format!("has a variable of its own: {variable}");
    }
    let known: Vec<&str> = ROWS.iter().map(|(name, _)| *name).chain(["pace"]).collect();
    format!("is no field of this section; it has {}", known.join(", "))
}

/// Every number that holds, by name and as it would be written, those with a variable included.
#[must_use]
pub fn numbers(config: &Config) -> Vec<(&'static str, String)> {
    let mut config = config.clone();
    let mut all: Vec<(&'static str, String)> =
        ROWS.iter().map(|(name, place)| (*name, place.shown(&mut config))).collect();
    let steps = config.pace.iter();
    let pace: Vec<String> = steps
        .map(|step| format!("{} % for {}", f64::from(step.share_permille) / 10.0, text(step.hold)))
        .collect();
    all.push(("pace", pace.join(", ")));
    all.push(("cooldown", text(config.cooldown)));
    all.push(("confidence", config.confidence.map_or_else(|| "off".to_owned(), |bound| bound.to_string())));
    all
}

impl Place {
    fn set(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        match self {
            Self::Real(of, min, max) => {
                let new = value.as_f64().ok_or_else(|| format!("is {value}, but must be a number"))?;
                within(&new, min, max, f64::to_string)?;
                *of(config) = new;
            }
            Self::Span(of, min, max) => {
                let new = span(value)?;
                within(&new, min, max, |span| text(*span))?;
                *of(config) = new;
            }
            Self::Count(of, min, max) => {
                let new = value.as_u64().ok_or_else(|| format!("is {value}, but must be a whole number"))?;
                within(&new, min, max, u64::to_string)?;
                of(config, Some(new));
            }
        }
        Ok(())
    }

    fn shown(&self, config: &mut Config) -> String {
        match self {
            Self::Real(of, ..) => of(config).to_string(),
            Self::Span(of, ..) => text(*of(config)),
            Self::Count(of, ..) => of(config, None).to_string(),
        }
    }
}

/// Refuses what lies outside; what is not a number lies outside of everything.
fn within<T: PartialOrd>(new: &T, min: &T, max: &T, show: impl Fn(&T) -> String) -> Result<(), String> {
    if *min <= *new && *new <= *max {
        return Ok(());
    }
    Err(format!("is {}, but must be between {} and {}", show(new), show(min), show(max)))
}

fn span(value: &Value) -> Result<Duration, String> {
    let parsed = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    parsed.ok_or_else(|| format!("is {value}, but must be a duration such as \"5m\" or \"500ms\""))
}

fn text(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

/// The steps of the return: `[{ share_percent = 1, hold = "10m" }, …]`.
fn steps(value: &Value) -> Result<Vec<Step>, String> {
    let example = "must be a list such as [{ share_percent = 1, hold = \"10m\" }]";
    let list = value.as_array().filter(|list| (1..=STEPS_MAX).contains(&list.len()));
    let list = list.ok_or_else(|| format!("{example}, of 1 to {STEPS_MAX} steps"))?;
    let mut steps = Vec::new();
    for one in list {
        let one = one.as_object().filter(|one| one.len() == 2).ok_or(example)?;
        let percent = one.get("share_percent").and_then(Value::as_f64).ok_or(example)?;
        let hold = span(one.get("hold").ok_or(example)?)?;
        within(&percent, &0.1, &100.0, f64::to_string)
            .map_err(|why| format!("has a share_percent that {why}"))?;
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        within(&hold, &second, &day, |span| text(*span)).map_err(|why| format!("has a hold that {why}"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1,000")]
        steps.push(Step { share_permille: (percent * 10.0).round() as u16, hold });
    }
    let first = steps.first().map_or(0.0, |step| f64::from(step.share_permille) / 10.0);
    if first > FIRST_SHARE_MAX {
        return Err(format!("begins with {first} %, but a return begins with {FIRST_SHARE_MAX} % at most"));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section(value: Value) -> Section {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_default_lies_within_its_bounds_and_reads_back_as_it_is_shown() {
        let defaults = Config::default();
        let mut whole = Section::new();
        for (name, shown) in numbers(&defaults) {
            if ROWS.iter().any(|(known, _)| *known == name) {
                let number = serde_json::from_str(&shown).unwrap_or_else(|_| json!(shown));
                whole.insert(name.to_owned(), number);
            }
        }
        let steps = defaults.pace.iter().map(
            |step| json!({ "share_percent": f64::from(step.share_permille) / 10.0, "hold": text(step.hold) }),
        );
        whole.insert("pace".to_owned(), steps.collect());
        assert_eq!(whole.len(), ROWS.len() + 1);
        let other = Config { error_ratio: 0.2, probes: 3, pace: Vec::new(), ..Config::default() };
        assert_eq!(tuned(other, &whole).unwrap(), defaults);
    }

    #[test]
    fn both_bounds_are_taken_and_what_is_beyond_them_is_refused_by_name() {
        for (name, place) in &ROWS {
            let (low, high, under, over) = match place {
                Place::Real(_, min, max) => (json!(min), json!(max), json!(min - 0.001), json!(max + 0.001)),
                Place::Span(_, min, max) => {
                    let ms = Duration::from_millis(1);
                    (json!(text(*min)), json!(text(*max)), json!(text(*min - ms)), json!(text(*max + ms)))
                }
                Place::Count(_, min, max) => (json!(min), json!(max), json!(min - 1), json!(max + 1)),
            };
            for fine in [low, high] {
                let long = Config { half_open_max: Duration::from_secs(7_200), ..Config::default() };
                let taken = tuned(long, &section(json!({ *name: fine })));
                assert!(taken.is_ok(), "{name} = {fine}: {taken:?}");
            }
            for wrong in [under, over, json!("soon"), json!(null), json!([1])] {
                let error = tuned(Config::default(), &section(json!({ *name: wrong }))).unwrap_err();
                assert!(error.contains(&format!("breaker.{name} is ")), "{error}");
            }
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_variables_are_named() {
        let all = json!({ "eror_ratio": 1, "cooldown": "1m", "confidence": 0.9, "probes": 0, "pace": [] });
        let error = tuned(Config::default(), &section(all)).unwrap_err();
        for word in [
            "breaker.eror_ratio is no field of this section; it has error_window, error_ratio",
            "CROSSFADE_BREAKER_COOLDOWN",
            "CROSSFADE_BREAKER_CONFIDENCE",
            "breaker.probes is 0, but must be between 3 and 100",
            "breaker.pace must be a list",
        ] {
            assert!(error.contains(word), "{word} is missing from: {error}");
        }
    }

    #[test]
    fn a_return_that_is_no_return_is_refused() {
        let pace = |steps: Value| tuned(Config::default(), &section(json!({ "pace": steps })));
        let step = |share: f64, hold: &str| json!({ "share_percent": share, "hold": hold });
        let fine = pace(json!([step(0.5, "2m"), step(100.0, "30s")])).unwrap();
        assert_eq!(fine.pace[0], Step { share_permille: 5, hold: Duration::from_secs(120) });
        for (steps, word) in [
            (json!([step(60.0, "1m")]), "begins with 60"),
            (json!([step(0.0, "1m")]), "share_percent that is 0"),
            (json!([step(1.0, "0s")]), "hold that is 0s"),
            (json!([step(50.0, "1m"), step(25.0, "1m")]), "must not fall"),
            (json!([{ "share_percent": 1, "hold": "1m", "more": 1 }]), "must be a list"),
            (json!(vec![step(1.0, "1m"); 9]), "1 to 8 steps"),
        ] {
            let error = pace(steps).unwrap_err();
            assert!(error.contains(word), "{word}: {error}");
        }
        let slow = json!({ "probes": 100, "probe_interval": "10s" });
        assert!(tuned(Config::default(), &section(slow)).unwrap_err().contains("it would never close"));
    }

    /// The schema has the same fields, and for plain numbers the same bounds.
    #[test]
    fn the_schema_knows_every_number_and_its_bounds() {
        let schema: Value = serde_json::from_str(include_str!("../../docs/tuning.schema.json")).unwrap();
        let fields = schema["properties"]["breaker"]["properties"].as_object().unwrap();
        let mut known: Vec<&str> = ROWS.iter().map(|(name, _)| *name).chain(["pace"]).collect();
        known.sort_unstable();
        let mut told: Vec<&str> = fields.keys().map(String::as_str).collect();
        told.sort_unstable();
        assert_eq!(told, known);
        for (name, place) in &ROWS {
            let told = &fields[*name];
            let expected = match place {
                Place::Real(_, min, max) => json!([min, max]),
                Place::Count(_, min, max) => json!([min, max]),
                Place::Span(_, min, max) => {
                    let words = told["description"].as_str().unwrap();
                    let bounds = format!("{} to {}", text(*min), text(*max));
                    assert!(words.contains(&bounds), "{name}: {words:?} does not say {bounds:?}");
                    continue;
                }
            };
            let found = json!([told["minimum"], told["maximum"]]);
            assert_eq!(
                (found[0].as_f64(), found[1].as_f64()),
                (expected[0].as_f64(), expected[1].as_f64()),
                "{name}"
            );
        }
    }
}
