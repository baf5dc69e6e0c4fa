//! What may differ between two deliveries of the same event without meaning anything: rules, how two JSON texts are
//! held against each other under them, and whether each rule has ever been of use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rules of one file.
pub const RULES_MAX: usize = 64;
/// Larger bodies are compared byte by byte only.
pub const BODY_MAX: usize = 256 << 10;
/// Differences that are named in one comparison.
pub const DIFFERENCES_MAX: usize = 8;

/// What a rule does with the place that it names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allow {
    /// Whatever is there.
    Ignore,
    /// Numbers so far apart, absolutely.
    Tolerance(f64),
    /// The elements of an array in any order.
    Unordered,
}

/// One rule: a JSON pointer (RFC 6901; a part `*` stands for any key or index), perhaps only for one event type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Where.
    pub pointer: String,
    /// What is allowed there.
    pub allow: Allow,
    /// Only for events of this type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// The rules in force, and how often each has met a live sample.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    rules: Vec<(Rule, Vec<String>)>,
    /// By rule: live samples whose body has the place, and differences that it has excused.
    uses: Vec<Use>,
    /// Live samples that the rules were tried on.
    tried: u64,
}

/// What a rule has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Live samples that have the place it names.
    pub met: u64,
    /// Differences that it has excused.
    pub excused: u64,
}

/// A rule with its use, for reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleUse {
    /// The rule.
    pub rule: Rule,
    /// What it has done since the start.
    #[serde(rename = "use")]
    pub used: Use,
    /// Tried often, and never met the place it names: it protects nothing.
    pub dead: bool,
}

/// A rule that has not met its place in so many live samples is dead.
pub const DEAD_AFTER: u64 = 1_000;

/// What a comparison says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The same, if keys are sorted and the rules are heard.
    Same,
    /// Not the same: the first places that differ.
    Differs(Vec<String>),
    /// At least one of them is no JSON, or too large.
    Opaque,
}

impl Noise {
    /// Takes rules.
    ///
    /// # Errors
    /// A sentence that names the first rule that cannot be used.
    pub fn new(rules: Vec<Rule>) -> Result<Self, String> {
        if rules.len() > RULES_MAX {
            return Err(format!("{} noise rules, at most {RULES_MAX}", rules.len()));
        }
        let mut parsed = Vec::with_capacity(rules.len());
        for (place, rule) in rules.into_iter().enumerate() {
            let parts = parts(&rule.pointer).map_err(|why| {
                format!("noise rule {}: pointer {why}, for example \"/data/ts\"", place + 1)
            })?;
            if let Allow::Tolerance(width) = rule.allow
                && !(width > 0.0 && width.is_finite())
            {
                return Err(format!("noise rule {}: tolerance must be above 0, for example 0.5", place + 1));
            }
            parsed.push((rule, parts));
        }
        let uses = vec![Use::default(); parsed.len()];
        Ok(Self { rules: parsed, uses, tried: 0 })
    }

    /// Whether there is any.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The same rules without a past.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self { rules: self.rules.clone(), uses: vec![Use::default(); self.rules.len()], tried: 0 }
    }

    /// Tries every rule on a live sample, whether or not it has come back the same.
    pub fn try_on(&mut self, kind: &str, body: &[u8]) {
        if self.rules.is_empty() || body.len() > BODY_MAX {
            return;
        }
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
        self.tried += 1;
        for ((rule, parts), used) in self.rules.iter().zip(&mut self.uses) {
            let applies = rule.kind.as_deref().is_none_or(|own| own == kind);
            used.met += u64::from(applies && exists(&value, parts));
        }
    }

    /// Holds two bodies of one event against each other.
    pub fn judge(&mut self, kind: &str, sent: &[u8], got: &[u8]) -> Judged {
        if sent.len().max(got.len()) > BODY_MAX {
            return Judged::Opaque;
        }
        let (Ok(sent), Ok(got)) =
            (serde_json::from_slice::<Value>(sent), serde_json::from_slice::<Value>(got))
        else {
            return Judged::Opaque;
        };
        let mut walk = Walk { noise: self, kind, path: Vec::new(), found: Vec::new() };
        walk.compare(&sent, &got);
        if walk.found.is_empty() { Judged::Same } else { Judged::Differs(walk.found) }
    }

    /// What the rules have done.
    #[must_use]
    pub fn uses(&self) -> Vec<RuleUse> {
        let one = |((rule, _), used): (&(Rule, Vec<String>), &Use)| RuleUse {
            rule: rule.clone(),
            used: *used,
            dead: used.met == 0 && self.tried >= DEAD_AFTER,
        };
        self.rules.iter().zip(&self.uses).map(one).collect()
    }

    /// The first rule for this place.
    fn rule(&self, kind: &str, path: &[String]) -> Option<(usize, Allow)> {
        let fits = |(rule, parts): &(Rule, Vec<String>)| {
            rule.kind.as_deref().is_none_or(|own| own == kind)
                && parts.len() == path.len()
                && parts.iter().zip(path).all(|(part, at)| part == "*" || part == at)
        };
        let place = self.rules.iter().position(fits)?;
        Some((place, self.rules.get(place)?.0.allow))
    }

    fn excuse(&mut self, place: usize) {
        if let Some(used) = self.uses.get_mut(place) {
            used.excused += 1;
        }
    }
}

struct Walk<'a> {
    noise: &'a mut Noise,
    kind: &'a str,
    path: Vec<String>,
    found: Vec<String>,
}

impl Walk<'_> {
    fn compare(&mut self, sent: &Value, got: &Value) {
        if self.found.len() >= DIFFERENCES_MAX || sent == got {
            return;
        }
        match (self.noise.rule(self.kind, &self.path), sent, got) {
            (Some((place, Allow::Ignore)), ..) => self.noise.excuse(place),
            (Some((place, Allow::Tolerance(width))), Value::Number(a), Value::Number(b))
                if a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= width) =>
            {
                self.noise.excuse(place);
            }
            (Some((place, Allow::Unordered)), Value::Array(a), Value::Array(b))
                if a.len() == b.len() && self.same_set(a, b) =>
            {
                self.noise.excuse(place);
            }
            (_, Value::Object(a), Value::Object(b)) => {
                let keys: BTreeMap<&String, ()> = a.keys().chain(b.keys()).map(|key| (key, ())).collect();
                for key in keys.into_keys() {
                    self.path.push(key.clone());
                    match (a.get(key), b.get(key)) {
                        (Some(a), Some(b)) => self.compare(a, b),
                        _ => self.absent(),
                    }
                    self.path.pop();
                }
            }
            (_, Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (at, (a, b)) in a.iter().zip(b).enumerate() {
                    self.inside(at.to_string(), a, b);
                }
            }
            // The same number, written otherwise.
            (_, Value::Number(a), Value::Number(b))
                if a.as_f64() == b.as_f64() && a.as_f64().is_some_and(exact) => {}
            _ => self.found.push(pointer(&self.path)),
        }
    }

    fn inside(&mut self, part: String, sent: &Value, got: &Value) {
        self.path.push(part);
        self.compare(sent, got);
        self.path.pop();
    }

    /// Each element of one finds a partner of its own in the other.
    fn same_set(&mut self, a: &[Value], b: &[Value]) -> bool {
        let mut free: Vec<&Value> = b.iter().collect();
        let found = std::mem::take(&mut self.found);
        let all = a.iter().all(|one| {
            let partner = free.iter().position(|other| {
                self.inside("*".to_owned(), one, other);
                std::mem::take(&mut self.found).is_empty()
            });
            partner.map(|at| free.swap_remove(at)).is_some()
        });
        self.found = found;
        all
    }

    /// One side has the place and the other has not.
    fn absent(&mut self) {
        match self.noise.rule(self.kind, &self.path) {
            Some((place, Allow::Ignore)) => self.noise.excuse(place),
            _ => self.found.push(pointer(&self.path)),
        }
    }
}

fn exact(number: f64) -> bool {
    number.abs() < 9_007_199_254_740_992.0
}

/// The parts of a JSON pointer.
fn parts(pointer: &str) -> Result<Vec<String>, &'static str> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return Err(if pointer.is_empty() {
            "is empty: it would hide everything"
        } else {
            "does not begin with /"
        });
    };
    Ok(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn pointer(path: &[String]) -> String {
    let parts = path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")));
    parts.collect()
}

fn exists(value: &Value, parts: &[String]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return true };
    match value {
        Value::Object(map) if part == "*" => map.values().any(|one| exists(one, rest)),
        Value::Object(map) => map.get(part).is_some_and(|one| exists(one, rest)),
        Value::Array(list) if part == "*" => list.iter().any(|one| exists(one, rest)),
        Value::Array(list) => {
            part.parse().ok().and_then(|at: usize| list.get(at)).is_some_and(|one| exists(one, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(rules: &[(&str, Allow, Option<&str>)]) -> Noise {
        let rule = |(pointer, allow, kind): &(&str, Allow, Option<&str>)| Rule {
            pointer: (*pointer).to_owned(),
            allow: *allow,
            kind: kind.map(str::to_owned),
        };
        Noise::new(rules.iter().map(rule).collect()).unwrap()
    }

    #[track_caller]
    fn check(rules: &[(&str, Allow, Option<&str>)], sent: &str, got: &str, differs: &[&str]) {
        let judged = noise(rules).judge("tick", sent.as_bytes(), got.as_bytes());
        let expected = if differs.is_empty() {
            Judged::Same
        } else {
            Judged::Differs(differs.iter().map(|at| (*at).to_owned()).collect())
        };
        assert_eq!(judged, expected, "{sent} {got}");
    }

    #[test]
    fn the_order_of_keys_and_the_form_of_numbers_mean_nothing() {
        check(&[], r#"{"a":1,"b":[2,{"c":3}]}"#, r#"{ "b":[2.0,{"c":3e0}],"a":1}"#, &[]);
        check(&[], r#"{"a":1}"#, r#"{"a":"1"}"#, &["/a"]);
        check(&[], r#"{"a":null}"#, "{}", &["/a"]);
        check(&[], r#"{"a":""}"#, "{}", &["/a"]);
        check(&[("/a", Allow::Ignore, None)], r#"{"a":1}"#, "{}", &[]);
        check(&[], "[1,2]", "[2,1]", &["/0", "/1"]);
        check(&[], r#"{"a/b":{"~":1}}"#, r#"{"a/b":{"~":2}}"#, &["/a~1b/~0"]);
        check(&[], "9007199254740993", "9007199254740992.0", &[""]);
    }

    #[test]
    fn each_rule_allows_its_own_place_and_nothing_else() {
        use Allow::{Ignore, Tolerance, Unordered};
        let (sent, got) = (r#"{"ts":1,"v":10.0,"l":[1,{"n":2}]}"#, r#"{"ts":2,"v":10.4,"l":[{"n":2},1]}"#);
        check(&[("/ts", Ignore, None)], sent, got, &["/l/0", "/l/1", "/v"]);
        check(&[("/v", Tolerance(0.5), None)], sent, got, &["/l/0", "/l/1", "/ts"]);
        check(&[("/v", Tolerance(0.3), None)], sent, got, &["/l/0", "/l/1", "/ts", "/v"]);
        check(&[("/l", Unordered, None)], sent, got, &["/ts", "/v"]);
        let all = [("/ts", Ignore, None), ("/v", Tolerance(0.5), None), ("/l", Unordered, None)];
        check(&all, sent, got, &[]);
        check(&[("/*/id", Ignore, None)], r#"[{"id":1},{"id":2}]"#, r#"[{"id":3},{"id":4}]"#, &[]);
        check(&[("/ts", Ignore, Some("tock"))], r#"{"ts":1}"#, r#"{"ts":2}"#, &["/ts"]);
        check(&[("/l", Unordered, None)], r#"{"l":[1,1,2]}"#, r#"{"l":[1,2,2]}"#, &["/l/1"]);
        check(
            &[("/l", Unordered, None), ("/l/*/at", Ignore, None)],
            r#"{"l":[{"id":1,"at":5},{"id":2,"at":6}]}"#,
            r#"{"l":[{"id":2,"at":7},{"id":1,"at":8}]}"#,
            &[],
        );
    }

    #[test]
    fn what_is_no_json_is_not_guessed_at() {
        for (sent, got) in [(&b"a"[..], &b"b"[..]), (b"{}", b"\xff"), (b"", b"{}")] {
            assert_eq!(Noise::default().judge("x", sent, got), Judged::Opaque);
        }
    }

    #[test]
    fn a_rule_that_never_met_its_place_is_dead() {
        let mut noise = noise(&[("/ts", Allow::Ignore, None), ("/tsx", Allow::Ignore, None)]);
        for n in 0..DEAD_AFTER {
            assert!(noise.uses().iter().all(|used| !used.dead), "{n} samples are too few to say so");
            noise.try_on("tick", br#"{"ts":1}"#);
        }
        let uses = noise.uses();
        assert_eq!(uses.iter().map(|used| used.dead).collect::<Vec<_>>(), [false, true]);
        assert_eq!((uses[0].used.met, uses[0].used.excused), (DEAD_AFTER, 0));
        assert!(noise.fresh().uses().iter().all(|used| used.used == Use::default()));
    }

    #[test]
    fn rules_that_cannot_be_used_are_refused() {
        for (pointer, allow, word) in [
            ("", Allow::Ignore, "hide everything"),
            ("ts", Allow::Ignore, "begin"),
            ("/v", Allow::Tolerance(-1.0), "tolerance"),
            ("/v", Allow::Tolerance(f64::NAN), "tolerance"),
        ] {
            let rule = Rule { pointer: pointer.to_owned(), allow, kind: None };
            let error = Noise::new(vec![rule]).unwrap_err();
            assert!(error.contains(word) && error.contains("rule 1"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_number_is_found_whatever_else_is_there(
            numbers in prop::collection::vec(-1_000_i64..1_000, 1..20),
            at: prop::sample::Index,
        ) {
            let sent = serde_json::json!({ "list": numbers, "ts": 1 });
            let mut changed = numbers.clone();
            *at.get_mut(&mut changed) += 1;
            let got = serde_json::json!({ "ts": 2, "list": changed });
            let rules = [("/ts", Allow::Ignore, None)];
            let judged = noise(&rules).judge("x", sent.to_string().as_bytes(), got.to_string().as_bytes());
            let place = format!("/list/{}", at.index(numbers.len()));
            prop_assert_eq!(judged, Judged::Differs(vec![place]));
        }
    }
}
