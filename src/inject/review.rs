//! `AdmissionReview` of `admission.k8s.io/v1`: question in, answer out. Every pod is let in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Namespace;
use super::patch::{Verdict, patch};
use super::template::Template;

const API: &str = "admission.k8s.io/v1";

/// The API server cuts a longer warning off.
const WARNING_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    operation: String,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    version: String,
    kind: String,
}

/// A question that cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or not of the documented shape.
    #[error("no AdmissionReview")]
    Shape,
    /// Another version or kind.
    #[error("no AdmissionReview of admission.k8s.io/v1")]
    Version,
    /// Not an answer's counterpart.
    #[error("AdmissionReview without a request")]
    NoRequest,
}

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a sidecar now.
    Injected,
    /// It had one.
    Already,
    /// It has not asked, or is no pod that is being made.
    NotAsked,
    /// It has asked and gets none.
    Refused(super::Reason),
}

/// An answer, and what the log says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The `AdmissionReview` with the response.
    pub review: Value,
    /// What became of the pod.
    pub outcome: Outcome,
    /// Its namespace.
    pub namespace: String,
    /// Its name, or what its name will begin with.
    pub name: String,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Answers a question.
///
/// # Errors
/// [`ReviewError`]: it is none.
pub fn answer(body: &[u8], template: &Template, namespace: Namespace) -> Result<Answer, ReviewError> {
    let review: Review = serde_json::from_slice(body).map_err(|_| ReviewError::Shape)?;
    if review.api_version != API || review.kind != "AdmissionReview" {
        return Err(ReviewError::Version);
    }
    let request = review.request.ok_or(ReviewError::NoRequest)?;
    let (outcome, ops, warnings) = if is_new_pod(&request) {
        match patch(&request.object, template, namespace) {
            Verdict::NotAsked => (Outcome::NotAsked, Vec::new(), Vec::new()),
            Verdict::Already => (Outcome::Already, Vec::new(), Vec::new()),
            Verdict::Patched { ops, warnings } => (Outcome::Injected, ops, warnings),
            Verdict::Refused(refusal, ops) => {
                let said = format!("crossfade: no sidecar ({}): {}", refusal.reason.as_str(), refusal.what);
                (Outcome::Refused(refusal.reason), ops, vec![said])
            }
        }
    } else {
        (Outcome::NotAsked, Vec::new(), Vec::new())
    };
    let warnings: Vec<String> = warnings.iter().map(|warning| short(warning)).collect();
    let mut response = json!({ "uid": request.uid, "allowed": true });
    if !ops.is_empty() {
        let text = serde_json::to_vec(&ops).map_err(|_| ReviewError::Shape)?;
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(text).into();
    }
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    let text = |pointer| request.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let made_up = text("/metadata/generateName").to_owned();
    Ok(Answer {
        review: json!({ "apiVersion": API, "kind": "AdmissionReview", "response": response }),
        outcome,
        namespace: request.namespace,
        name: if request.name.is_empty() { made_up } else { request.name },
        warnings,
    })
}

fn is_new_pod(request: &Request) -> bool {
    let Kind { group, version, kind } = &request.kind;
    (group.as_str(), version.as_str(), kind.as_str()) == ("", "v1", "Pod")
        && request.operation == "CREATE"
        && request.sub_resource.is_empty()
}

/// One line of a header.
fn short(text: &str) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while text.len() > WARNING_BYTES_MAX {
        text.pop();
    }
    text
}
