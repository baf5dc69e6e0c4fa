//! Gates: what must be true before the fader moves on. No data is not a pass.

use serde::{Deserialize, Serialize};

/// The gates of a plan. One that is left out is not asked; a plan without any gets all of them at their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Both sides carry the same messages.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<MatchGate>,
    /// The breaker is closed in every pod.
    #[serde(default)]
    pub breaker: bool,
    /// p95 of publish to read-back, in milliseconds, stays below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// Used part of the plan's messages per second stays below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<f64>,
}

/// The gate on the match figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchGate {
    /// At least this part of the pairs matches.
    pub ratio: f64,
    /// Fewer pairs say nothing.
    pub pairs: u64,
}

impl Default for Gates {
    /// 99.9 % of at least 2,995 pairs (95 % confidence), breaker closed, p95 < 500 ms, quota < 80 %.
    fn default() -> Self {
        Self {
            matching: Some(MatchGate { ratio: 0.999, pairs: 2_995 }),
            breaker: true,
            p95_ms: Some(500.0),
            quota: Some(0.8),
        }
    }
}

impl Gates {
    pub(super) fn check(&self) -> Result<(), (&'static str, f64)> {
        let part = |value: f64| value > 0.0 && value <= 1.0;
        if let Some(gate) = self.matching.filter(|gate| !part(gate.ratio)) {
            return Err(("match", gate.ratio));
        }
        if let Some(limit) = self.quota.filter(|limit| !part(*limit)) {
            return Err(("quota", limit));
        }
        match self.p95_ms.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
            Some(limit) => Err(("p95_ms", limit)),
            None => Ok(()),
        }
    }
}

/// What is known about the whole fleet. `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The validator's figure.
    pub matching: Option<Match>,
    /// Whether the breaker is closed in every live pod.
    pub breaker_closed: Option<bool>,
    /// p95 of publish to read-back, in milliseconds.
    pub p95_ms: Option<f64>,
    /// Used part of the plan's messages per second.
    pub quota: Option<f64>,
}

/// Pairs that the validator has compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// All of them.
    pub pairs: u64,
    /// Those that match.
    pub matched: u64,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Goes on.
    Pass,
    /// Starts the step's bake anew.
    Fail,
    /// Holds.
    NoData,
}

/// One gate's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// Which.
    pub name: &'static str,
    /// What was measured; `None` without data.
    pub value: Option<f64>,
    /// What it is compared with.
    pub limit: f64,
    /// What it says.
    pub verdict: Verdict,
    /// In words.
    pub why: String,
}

/// Every gate's answer, in `GET /api/v1/plan` and `GET /gate`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateReport {
    /// Whether all of them pass.
    pub pass: bool,
    /// Whether one of them fails, in contrast to having no data.
    pub fail: bool,
    /// In the order of the plan's file.
    pub gates: Vec<Gate>,
}

/// Asks every gate that the plan names.
#[must_use]
pub fn judge(gates: &Gates, evidence: &Evidence) -> GateReport {
    let mut asked = Vec::new();
    if let Some(gate) = gates.matching {
        asked.push(matching(gate, evidence.matching));
    }
    if gates.breaker {
        let closed = evidence.breaker_closed;
        let why = match closed {
            Some(true) => "closed in every pod",
            Some(false) => "not closed in every pod",
            None => "a pod has not reported, or its emergency switch is on",
        };
        let value = closed.map(|closed| f64::from(u8::from(closed)));
        asked.push(Gate {
            name: "breaker",
            value,
            limit: 1.0,
            verdict: verdict(closed),
            why: why.to_owned(),
        });
    }
    asked.extend(gates.p95_ms.map(|limit| below("p95_ms", evidence.p95_ms, limit)));
    asked.extend(gates.quota.map(|limit| below("quota", evidence.quota, limit)));
    GateReport {
        pass: asked.iter().all(|gate| gate.verdict == Verdict::Pass),
        fail: asked.iter().any(|gate| gate.verdict == Verdict::Fail),
        gates: asked,
    }
}

fn verdict(passes: Option<bool>) -> Verdict {
    match passes {
        Some(true) => Verdict::Pass,
        Some(false) => Verdict::Fail,
        None => Verdict::NoData,
    }
}

fn below(name: &'static str, value: Option<f64>, limit: f64) -> Gate {
    // What is not a number is no evidence.
    let value = value.filter(|value| value.is_finite());
    let why = match value {
        Some(value) if value < limit => format!("{value:.3} is below {limit}"),
        Some(value) => format!("{value:.3} is not below {limit}"),
        None if name == "p95_ms" => "too few round trips were measured in the last ten minutes".to_owned(),
        None => "a pod has not reported how much of the plan it uses".to_owned(),
    };
    Gate { name, value, limit, verdict: verdict(value.map(|value| value < limit)), why }
}

fn matching(gate: MatchGate, found: Option<Match>) -> Gate {
    let limit = gate.ratio;
    let Some(Match { pairs, matched }) = found.filter(|found| found.pairs > 0) else {
        let why = "the validator has compared nothing since the share changed".to_owned();
        return Gate { name: "match", value: None, limit, verdict: Verdict::NoData, why };
    };
    let ratio = matched.min(pairs) as f64 / pairs as f64;
    let enough = pairs >= gate.pairs;
    // Too few pairs cannot pass, and a bad ratio among few may be chance.
    let verdict = verdict(enough.then_some(ratio >= limit));
    let why = if enough {
        format!("{matched} of {pairs} pairs match")
    } else {
        format!("{pairs} pairs, {} are needed", gate.pairs)
    };
    Gate { name: "match", value: Some(ratio), limit, verdict, why }
}
