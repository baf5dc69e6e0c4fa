//! The patch function: a Pod and the template in, a verdict out. JSON Patch (RFC 6902), of `add`, `replace` and
//! `remove` alone, made to be applied to exactly this Pod.

use serde::Serialize;
use serde_json::{Value, json};

use super::Namespace;
use super::pod::Pod;
use super::refuse::{INJECTED, NOT_INJECTED, Reason, Refusal, judge, settings};
use super::template::{SIDECAR, Template, name};

/// The label by which a pod asks for a sidecar.
const OPT_IN: (&str, &str) = ("crossfade.dev/inject", "enabled");

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Op {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

fn add(path: impl Into<String>, value: Value) -> Op {
    Op { op: "add", path: path.into(), value: Some(value) }
}

/// What is done to a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It has not asked.
    NotAsked,
    /// It has a sidecar already.
    Already,
    /// It gets none; the operations say why on the pod, where that is possible.
    Refused(Refusal, Vec<Op>),
    /// It gets one.
    Patched {
        /// In this order.
        ops: Vec<Op>,
        /// What the author of the pod should know.
        warnings: Vec<String>,
    },
}

/// Judges a pod. The same pod and template give the same verdict; a pod that was patched is [`Verdict::Already`].
#[must_use]
pub fn patch(pod: &Value, template: &Template, namespace: Namespace) -> Verdict {
    let pod = Pod(pod);
    if pod.label(OPT_IN.0) != Some(OPT_IN.1) {
        return Verdict::NotAsked;
    }
    if pod.container(SIDECAR).is_some() && pod.annotation(INJECTED).is_some() {
        return Verdict::Already;
    }
    let settings = judge(pod, template, namespace).and_then(|()| settings(pod, template));
    match settings {
        Ok(settings) => Verdict::Patched {
            ops: ops(pod, template, namespace, &settings),
            warnings: warnings(template, namespace),
        },
        Err(refusal) => {
            let ops = refusal_ops(pod, &refusal);
            Verdict::Refused(refusal, ops)
        }
    }
}

type Settings = [(&'static str, String)];

fn ops(pod: Pod<'_>, template: &Template, namespace: Namespace, settings: &Settings) -> Vec<Op> {
    let redirect = match namespace {
        Namespace::MayRedirect => template.redirect_containers.as_slice(),
        Namespace::Plain => &[],
    };
    let set = |containers: &[Value]| -> Vec<Value> {
        containers.iter().map(|one| with_settings(one, settings)).collect()
    };
    let mut first = redirect.to_vec();
    first.extend(set(&template.init_containers));
    let new_volumes: Vec<Value> = template
        .volumes
        .iter()
        .filter(|ours| pod.volumes().iter().all(|theirs| name(theirs) != name(ours)))
        .cloned()
        .collect();
    let mut ops = Vec::new();
    for (key, value) in &template.labels {
        ops.extend(entry(pod, "labels", key, value));
    }
    ops.extend(entry(pod, "annotations", INJECTED, if redirect.is_empty() { "sidecar" } else { "redirect" }));
    if pod.annotation(NOT_INJECTED).is_some() {
        let path = format!("/metadata/annotations/{}", escaped(NOT_INJECTED));
        ops.push(Op { op: "remove", path, value: None });
    }
    ops.extend(in_front("/spec/initContainers", first, pod.init_containers().is_empty()));
    ops.extend(behind("/spec/containers", set(&template.containers), pod.containers().is_empty()));
    ops.extend(behind("/spec/volumes", new_volumes, pod.volumes().is_empty()));
    let grace = pod.spec("/terminationGracePeriodSeconds").and_then(Value::as_u64);
    if grace.is_none_or(|seconds| seconds < template.grace_seconds) {
        // `add` replaces what is there.
        ops.push(add("/spec/terminationGracePeriodSeconds", json!(template.grace_seconds)));
    }
    ops
}

/// A key of the labels or the annotations, which may be missing as a whole.
fn entry(pod: Pod<'_>, map: &str, key: &str, value: &str) -> Option<Op> {
    let there = pod.0.pointer(&format!("/metadata/{map}")).and_then(Value::as_object);
    match there {
        Some(entries) if entries.get(key).and_then(Value::as_str) == Some(value) => None,
        Some(_) => Some(add(format!("/metadata/{map}/{}", escaped(key)), json!(value))),
        None => Some(add(format!("/metadata/{map}"), json!({ key: value }))),
    }
}

/// RFC 6901, section 3.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn in_front(path: &str, items: Vec<Value>, empty: bool) -> Vec<Op> {
    if empty {
        return behind(path, items, true);
    }
    items.into_iter().enumerate().map(|(at, item)| add(format!("{path}/{at}"), item)).collect()
}

fn behind(path: &str, items: Vec<Value>, empty: bool) -> Vec<Op> {
    match (items.is_empty(), empty) {
        (true, _) => Vec::new(),
        (false, true) => vec![add(path, Value::Array(items))],
        (false, false) => items.into_iter().map(|item| add(format!("{path}/-"), item)).collect(),
    }
}

/// The sidecar with what the pod's annotations say.
fn with_settings(container: &Value, settings: &Settings) -> Value {
    let mut container = container.clone();
    if name(&container) != Some(SIDECAR) {
        return container;
    }
    let Some(fields) = container.as_object_mut() else { return container };
    let env = fields.entry("env").or_insert_with(|| json!([]));
    let Some(env) = env.as_array_mut() else { return container };
    for (variable, value) in settings {
        env.retain(|one| name(one) != Some(variable));
        env.push(json!({ "name": variable, "value": value }));
    }
    container
}

fn warnings(template: &Template, namespace: Namespace) -> Vec<String> {
    let mut warnings = Vec::new();
    if namespace == Namespace::Plain && !template.redirect_containers.is_empty() {
        warnings.push(
            "crossfade: no redirect, since the namespace is not labelled crossfade.dev/redirect=allowed; \
             clients reach the sidecar only where a Service points to its port `crossfade`"
                .to_owned(),
        );
    }
    warnings
}

/// Warnings reach only whoever creates a pod by hand; an annotation is there to be found.
fn refusal_ops(pod: Pod<'_>, refusal: &Refusal) -> Vec<Op> {
    if refusal.reason == Reason::MirrorPod {
        return Vec::new();
    }
    let text = format!("{}: {}", refusal.reason.as_str(), refusal.what);
    entry(pod, "annotations", NOT_INJECTED, &text).into_iter().collect()
}
