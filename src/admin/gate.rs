//! `/gate`: may the rollout go on? One answer for programs that drive other rollouts (Flagger, Argo Rollouts).
//!
//! 200 when every gate passes, 503 when one fails or has no data: to whoever reads the status alone, no data holds.
//! `?gate=match,breaker` asks these alone; `?hold=200` says 200 in any case, for readers of the body. Flagger asks by
//! POST; nothing is changed by either.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Answers with `{"pass":…,"fail":…,"gates":[{"name":…,"verdict":…},…],…}`. Handed in by the wiring.
#[derive(Clone)]
pub struct Gate(pub Arc<dyn Fn() -> Value + Send + Sync>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub(super) fn answer(&self, query: &[(String, String)]) -> Response {
        let (status, body) = judged((self.0)(), query);
        (status, Json(body)).into_response()
    }
}

/// The gates that were asked for, and whether they pass.
fn judged(mut report: Value, query: &[(String, String)]) -> (StatusCode, Value) {
    let refuse = |what: String| (StatusCode::BAD_REQUEST, json!({ "pass": false, "error": what }));
    let values =
        |wanted: &'static str| query.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value);
    if let Some((unknown, _)) = query.iter().find(|(name, _)| !matches!(name.as_str(), "gate" | "hold")) {
        return refuse(format!("{unknown:?} means nothing here: use gate=NAME[,NAME] and hold=200"));
    }
    let hold = match values("hold").next_back().map(String::as_str) {
        None | Some("503") => StatusCode::SERVICE_UNAVAILABLE,
        Some("200") => StatusCode::OK,
        Some(_) => return refuse("hold is 503 (the default) or 200".to_owned()),
    };
    let wanted: Vec<&str> = values("gate").flat_map(|names| names.split(',')).map(str::trim).collect();
    if !wanted.is_empty() {
        let all = report["gates"].as_array().cloned().unwrap_or_default();
        let named = |name: &str| all.iter().find(|gate| gate["name"] == name).cloned();
        let mut chosen = Vec::new();
        for name in wanted {
            let Some(gate) = named(name) else {
                let known: Vec<_> = all.iter().filter_map(|gate| gate["name"].as_str()).collect();
                return refuse(format!("there is no gate {name:?}; there are {}", known.join(", ")));
            };
            chosen.push(gate);
        }
        report["pass"] = chosen.iter().all(|gate| gate["verdict"] == "pass").into();
        report["fail"] = chosen.iter().any(|gate| gate["verdict"] == "fail").into();
        report["gates"] = chosen.into();
    }
    let passes = report["pass"] == true;
    (if passes { StatusCode::OK } else { hold }, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &[(&str, &str)]) -> (u16, Value) {
        let gate = |name: &str, verdict: &str| json!({ "name": name, "verdict": verdict });
        let gates = [gate("match", "no_data"), gate("breaker", "pass"), gate("quota", "fail")];
        let report = json!({ "pass": false, "fail": true, "gates": gates });
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let query: Vec<_> = query.iter().map(owned).collect();
        let (status, body) = judged(report, &query);
        (status.as_u16(), body)
    }

    #[test]
    fn only_a_pass_of_everything_asked_is_200() {
        assert_eq!(asked(&[]).0, 503);
        let (status, body) = asked(&[("gate", "breaker")]);
        assert_eq!((status, &body["pass"], &body["fail"]), (200, &json!(true), &json!(false)));
        assert_eq!(body["gates"].as_array().unwrap().len(), 1);
        let (status, body) = asked(&[("gate", "breaker, match")]);
        assert_eq!(
            (status, &body["pass"], &body["fail"]),
            (503, &json!(false), &json!(false)),
            "no data holds"
        );
        let (status, body) = asked(&[("gate", "quota"), ("gate", "breaker")]);
        assert_eq!((status, body["gates"].as_array().unwrap().len()), (503, 2), "no question is forgotten");
        let (status, body) = asked(&[("gate", "quota"), ("hold", "200")]);
        assert_eq!((status, &body["pass"], &body["fail"]), (200, &json!(false), &json!(true)));
    }

    #[test]
    fn a_question_that_is_misspelt_is_no_pass() {
        for query in [("gate", "breakr"), ("gates", "breaker"), ("hold", "201"), ("gate", "")] {
            let (status, body) = asked(&[query]);
            assert_eq!((status, &body["pass"]), (400, &json!(false)), "{query:?}");
        }
        assert!(asked(&[("gate", "breakr")]).1["error"].as_str().unwrap().contains("match, breaker, quota"));
    }
}
