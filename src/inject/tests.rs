//! The recorded reviews against the chart's templates: snapshots, and what must hold whatever the snapshot says.
//! Patches are applied by the crate `json-patch`, which has never seen this code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::template::name;
use super::{
    LiveTemplate, Namespace, Outcome, Reason, ReviewError, Template, TemplateLook, Verdict, answer, patch,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission")
}

fn template_bytes(variant: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("templates/{variant}.json"))).unwrap()
}

fn template(variant: &str) -> Template {
    Template::read(&template_bytes(variant)).unwrap()
}

fn reviews() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .map(|path| {
            let review = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), review)
        })
        .collect()
}

/// The chart's templates and the paths that they are asked on.
const VARIANTS: [(&str, Namespace); 4] = [
    ("native", Namespace::Plain),
    ("classic", Namespace::Plain),
    ("redirect", Namespace::MayRedirect),
    ("redirect", Namespace::Plain),
];

fn operations(review: &Value) -> Vec<Value> {
    let Some(text) = review["response"]["patch"].as_str() else { return Vec::new() };
    assert_eq!(review["response"]["patchType"], "JSONPatch");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn applied(pod: &Value, operations: &[Value]) -> Value {
    let mut pod = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(json!(operations)).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

fn compare(file: &str, text: &str) {
    let path = folder().join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "tests/admission/{file} differs; BLESS=1 cargo test --lib inject rewrites it");
}

#[test]
fn recorded_reviews_are_answered_as_the_snapshots_say() {
    for (variant, namespace) in VARIANTS {
        let template = template(variant);
        let mut text = String::new();
        for (name, review) in reviews() {
            let answer = answer(review.to_string().as_bytes(), &template, namespace).unwrap();
            let response = &answer.review["response"];
            assert_eq!(response["uid"], review["request"]["uid"], "{name}");
            assert_eq!(response["allowed"], true, "{name}: no pod is kept from starting");
            writeln!(text, "{name}: {:?}", answer.outcome).unwrap();
            for warning in &answer.warnings {
                assert!(warning.len() <= 256);
                writeln!(text, "  warning {warning}").unwrap();
            }
            for op in operations(&answer.review) {
                let value = op.get("value").map(ToString::to_string).unwrap_or_default();
                writeln!(text, "  {} {} {value}", op["op"].as_str().unwrap(), op["path"].as_str().unwrap())
                    .unwrap();
            }
        }
        let path = if namespace == Namespace::Plain { "" } else { "-allowed" };
        compare(&format!("answers/{variant}{path}.txt"), &text);
    }
}

/// Takes away what the template adds; what is left must be what was sent.
fn without_ours(mut pod: Value, before: &Value, template: &Template) -> Value {
    let lists = [
        ("initContainers", [template.redirect_containers.clone(), template.init_containers.clone()].concat()),
        ("containers", template.containers.clone()),
        ("volumes", template.volumes.clone()),
    ];
    for (list, ours) in lists {
        let had = before["spec"].get(list).is_some();
        let Some(items) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        items.retain(|item| ours.iter().all(|one| name(one) != name(item)));
        if items.is_empty() && !had {
            pod["spec"].as_object_mut().unwrap().remove(list);
        }
    }
    for map in ["labels", "annotations"] {
        let had = before["metadata"].get(map).is_some();
        let Some(entries) = pod["metadata"].get_mut(map).and_then(Value::as_object_mut) else { continue };
        entries.retain(|key, _| {
            !template.labels.contains_key(key)
                && key != "crossfade.dev/injected"
                && key != "crossfade.dev/not-injected"
        });
        if entries.is_empty() && !had {
            pod["metadata"].as_object_mut().unwrap().remove(map);
        }
    }
    pod["spec"].as_object_mut().unwrap().remove("terminationGracePeriodSeconds");
    pod
}

fn holds(pod: &Value, template: &Template, namespace: Namespace) {
    let ops = match patch(pod, template, namespace) {
        Verdict::NotAsked | Verdict::Already => return,
        Verdict::Refused(_, ops) => {
            let after = applied(pod, json!(ops).as_array().unwrap());
            assert_eq!(without_ours(after.clone(), pod, template), without_ours(pod.clone(), pod, template));
            assert!(after["spec"] == pod["spec"], "a refused pod runs as it was");
            assert!(
                matches!(patch(&after, template, namespace), Verdict::Refused(_, again) if again.is_empty()),
                "said once"
            );
            return;
        }
        Verdict::Patched { ops, .. } => json!(ops),
    };
    let after = applied(pod, ops.as_array().unwrap());
    assert_eq!(without_ours(after.clone(), pod, template), without_ours(pod.clone(), pod, template));
    assert_eq!(patch(&after, template, namespace), Verdict::Already, "asked again, it changes nothing");
    let grace = |of: &Value| of["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(0);
    assert_eq!(grace(&after), grace(pod).max(template.grace_seconds));
    let privileged = after.to_string().contains("NET_ADMIN");
    assert!(
        !privileged || namespace == Namespace::MayRedirect,
        "privileges by the administrator's label alone"
    );
    let names = |list: &str| -> Vec<String> {
        let all = after["spec"].get(list).and_then(Value::as_array).into_iter().flatten();
        all.map(|one| name(one).unwrap().to_owned()).collect()
    };
    let all = [names("initContainers"), names("containers")].concat();
    assert_eq!(all.iter().filter(|name| *name == "crossfade").count(), 1);
    let ours = (namespace == Namespace::MayRedirect && !template.redirect_containers.is_empty())
        .then_some("crossfade-redirect");
    let expected = ours.into_iter().chain(template.is_native().then_some("crossfade"));
    assert!(
        names("initContainers").iter().map(String::as_str).zip(expected).all(|(is, should)| is == should)
    );
}

#[test]
fn a_patch_only_adds_and_a_second_one_changes_nothing() {
    for (variant, namespace) in VARIANTS {
        let template = template(variant);
        for review in reviews().values() {
            holds(&review["request"]["object"], &template, namespace);
        }
    }
}

#[test]
fn each_reason_has_a_recorded_pod() {
    let mut seen: Vec<&str> = Vec::new();
    for (variant, namespace) in VARIANTS {
        let template = template(variant);
        for review in reviews().values() {
            if let Verdict::Refused(refusal, _) = patch(&review["request"]["object"], &template, namespace) {
                seen.push(refusal.reason.as_str());
            }
        }
    }
    for reason in Reason::ALL {
        assert!(seen.contains(&reason.as_str()), "{reason:?}");
    }
}

fn container() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just("feed"),
        Just("b"),
        Just("crossfade"),
        Just("crossfade-redirect"),
        Just("istio-proxy")
    ];
    let port = prop_oneof![Just(3000), Just(8080), Just(9464), Just(9465), 1..65_535];
    let ports = proptest::collection::vec((port, prop_oneof![Just("ws"), Just("crossfade")]), 0..3);
    (names, ports, any::<bool>()).prop_map(|(name, ports, lasting)| {
        let ports: Vec<Value> =
            ports.into_iter().map(|(port, name)| json!({ "containerPort": port, "name": name })).collect();
        let mut made = json!({ "name": name, "image": "a", "ports": ports });
        if lasting {
            made["restartPolicy"] = "Always".into();
        }
        made
    })
}

prop_compose! {
    fn pod()(
        containers in proptest::collection::vec(container(), 1..4),
        init in proptest::option::of(proptest::collection::vec(container(), 0..3)),
        annotations in proptest::option::of(proptest::collection::btree_map(
            prop_oneof!["[a-z/~.]{1,9}", Just("crossfade.dev/service".to_owned()), Just("crossfade.dev/injected".to_owned()),
                Just("crossfade.dev/not-injected".to_owned()), Just("crossfade.dev/image".to_owned())],
            "[a-z0-9\u{e9}\n]{0,9}", 0..4)),
        upstream in prop_oneof![4 => Just(Some("3000")), 1 => Just(Some("ws")), 1 => Just(Some("0")), 1 => Just(None)],
        volumes in proptest::option::of(proptest::collection::vec(
            prop_oneof![Just(json!({"name": "a", "emptyDir": {}})), Just(json!({"name": "crossfade-spool", "emptyDir": {}}))], 0..2)),
        grace in proptest::option::of(0u64..120),
    ) -> Value {
        let mut made = json!({ "metadata": { "labels": { "crossfade.dev/inject": "enabled" } }, "spec": { "containers": containers } });
        if let Some(init) = init { made["spec"]["initContainers"] = json!(init); }
        if let Some(volumes) = volumes { made["spec"]["volumes"] = json!(volumes); }
        if let Some(grace) = grace { made["spec"]["terminationGracePeriodSeconds"] = json!(grace); }
        if let Some(annotations) = annotations { made["metadata"]["annotations"] = json!(annotations); }
        if let Some(upstream) = upstream { made["metadata"]["annotations"]["crossfade.dev/upstream-port"] = json!(upstream); }
        made
    }
}

proptest! {
    #[test]
    fn whatever_the_pod_a_patch_only_adds(pod in pod(), variant in 0..VARIANTS.len()) {
        let (variant, namespace) = VARIANTS[variant];
        holds(&pod, &template(variant), namespace);
    }
}

#[test]
fn what_is_no_question_is_refused_and_nothing_else_is() {
    let template = template("native");
    let ask = |body: &[u8]| answer(body, &template, Namespace::Plain);
    assert_eq!(ask(b"").unwrap_err(), ReviewError::Shape);
    assert_eq!(ask(b"[]").unwrap_err(), ReviewError::Shape);
    let deep = "[".repeat(100_000);
    assert_eq!(ask(deep.as_bytes()).unwrap_err(), ReviewError::Shape);
    let old = br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#;
    assert_eq!(ask(old).unwrap_err(), ReviewError::Version);
    let empty = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#;
    assert_eq!(ask(empty).unwrap_err(), ReviewError::NoRequest);
    let mut review = reviews().remove("plain").unwrap();
    review["request"]["kind"] = json!({ "group": "apps", "version": "v1", "kind": "Deployment" });
    let other = ask(review.to_string().as_bytes()).unwrap();
    assert_eq!(other.outcome, Outcome::NotAsked);
    assert!(other.review["response"].get("patch").is_none());
    for object in [json!(null), json!([]), json!({ "spec": 1 }), json!({ "metadata": { "labels": [] } })] {
        review["request"]["kind"] = json!({ "group": "", "version": "v1", "kind": "Pod" });
        review["request"]["object"] = object;
        assert_eq!(ask(review.to_string().as_bytes()).unwrap().outcome, Outcome::NotAsked);
    }
}

#[test]
fn a_template_that_cannot_be_used_says_why() {
    let good: Value = serde_json::from_slice(&template_bytes("native")).unwrap();
    let cases: [(&str, Value, &str); 9] = [
        ("/version", json!(2), "reads version 1"),
        ("/version", json!("1"), "no version"),
        ("/volumes/0/name", json!(1), "without a name"),
        ("/initContainers/0/name", json!("other"), "no container named crossfade"),
        ("/initContainers/0/restartPolicy", json!("Never"), "restartPolicy Always"),
        ("/allowedAnnotations", json!(["crossfade.dev/image"]), "sets no variable"),
        ("/labels", json!({ "a": 1 }), "is wrong"),
        ("/containers", good["initContainers"].clone(), "two containers"),
        ("/redirectContainers", json!([{ "name": "crossfade-redirect" }]), "REDIRECT_FROM"),
    ];
    for (at, value, says) in cases {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = value;
        let error = Template::read(bad.to_string().as_bytes()).expect_err(at).to_string();
        assert!(error.contains(says), "{at}: {error}");
    }
    let mut more = good;
    more["sidecars"] = json!([]);
    assert!(Template::read(more.to_string().as_bytes()).unwrap_err().to_string().contains("sidecars"));
    assert!(Template::read(b"{").unwrap_err().to_string().contains("no JSON"));
}

#[test]
fn a_template_is_used_once_it_has_settled_and_a_bad_one_never() {
    let (native, classic) = (template_bytes("native"), template_bytes("classic"));
    let (live, mut watch) = LiveTemplate::open(native.clone()).unwrap();
    let mut look =
        |read: Result<&[u8], &str>| live.look(&mut watch, read.map(<[u8]>::to_vec).map_err(str::to_owned));
    assert_eq!(look(Ok(&native)), TemplateLook::Same);
    assert_eq!(look(Ok(&classic[..100])), TemplateLook::Same, "half written");
    assert_eq!(look(Ok(&classic)), TemplateLook::Same);
    assert_eq!(look(Ok(&classic)), TemplateLook::Applied);
    assert!(!live.load().is_native());
    for bad in [Ok(&b"{}"[..]), Err("is gone")] {
        assert_eq!(look(bad), TemplateLook::Same);
        assert!(matches!(look(bad), TemplateLook::Refused(_)));
        assert_eq!(look(bad), TemplateLook::Same, "told once");
        assert!(!live.load().is_native(), "the last good one stays");
    }
    assert_eq!(look(Ok(&classic)), TemplateLook::Same);
    assert_eq!(look(Ok(&native)), TemplateLook::Same);
    assert_eq!(look(Ok(&native)), TemplateLook::Applied);
}
