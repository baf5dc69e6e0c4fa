//! Which pods get no sidecar, and why: each would be worse off with one.

use crate::config::{About, vars};

use super::Namespace;
use super::pod::{Pod, port_of};
use super::template::{Annotation, Template, name};

/// What begins the names of our annotations and labels.
const OURS: &str = "crossfade.dev/";

/// Annotations that this webhook writes.
pub(super) const INJECTED: &str = "crossfade.dev/injected";
pub(super) const NOT_INJECTED: &str = "crossfade.dev/not-injected";

/// Why a pod gets no sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It shares the node's network: the sidecar's ports, and worse the redirect, would be the node's.
    HostNetwork,
    /// The image is for Linux.
    Windows,
    /// The kubelet owns it; the API server does not let it be changed.
    MirrorPod,
    /// It is meant to end, and a sidecar that is an ordinary container never does.
    EndsByItself,
    /// Another container has a name of ours.
    ContainerName,
    /// Another volume has a name of ours.
    VolumeName,
    /// A label of ours has another value; to change it could take the pod from its controller.
    Label,
    /// Another container declares a port of ours, or a name of ours for one.
    Port,
    /// An annotation that is not on the list, or whose value is wrong.
    Annotation,
    /// Nobody says where the service is.
    Upstream,
    /// The redirect would let crossfade answer a probe that is the service's to answer.
    Probe,
    /// A mesh redirects the same connections.
    Mesh,
}

impl Reason {
    /// Each of them.
    pub const ALL: [Self; 12] = [
        Self::HostNetwork,
        Self::Windows,
        Self::MirrorPod,
        Self::EndsByItself,
        Self::ContainerName,
        Self::VolumeName,
        Self::Label,
        Self::Port,
        Self::Annotation,
        Self::Upstream,
        Self::Probe,
        Self::Mesh,
    ];

    /// The word of log, warning and annotation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostNetwork => "host-network",
            Self::Windows => "windows",
            Self::MirrorPod => "mirror-pod",
            Self::EndsByItself => "ends-by-itself",
            Self::ContainerName => "container-name",
            Self::VolumeName => "volume-name",
            Self::Label => "label",
            Self::Port => "port",
            Self::Annotation => "annotation",
            Self::Upstream => "upstream",
            Self::Probe => "probe",
            Self::Mesh => "mesh",
        }
    }
}

/// A pod that gets no sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule.
    pub reason: Reason,
    /// What in this pod, and what to do.
    pub what: String,
}

fn refuse(reason: Reason, what: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal { reason, what: what.into() })
}

/// Whether this pod can have a sidecar at all.
pub(super) fn judge(pod: Pod<'_>, template: &Template, namespace: Namespace) -> Result<(), Refusal> {
    shape(pod, template)?;
    names(pod, template, namespace)?;
    ports(pod, template)?;
    annotations(pod, template)?;
    if namespace == Namespace::MayRedirect && !template.redirect_containers.is_empty() {
        redirect(pod, template)?;
    }
    Ok(())
}

fn shape(pod: Pod<'_>, template: &Template) -> Result<(), Refusal> {
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        return refuse(Reason::MirrorPod, "the kubelet owns it");
    }
    if pod.spec("/hostNetwork").and_then(serde_json::Value::as_bool) == Some(true) {
        return refuse(Reason::HostNetwork, "it shares the node's network; use the gateway");
    }
    let selected = pod.spec("/nodeSelector").and_then(|labels| labels.get("kubernetes.io/os"));
    if pod.spec_text("/os/name") == Some("windows")
        || selected.and_then(serde_json::Value::as_str) == Some("windows")
    {
        return refuse(Reason::Windows, "crossfade runs on Linux; use the gateway");
    }
    let forever = pod.spec_text("/restartPolicy").is_none_or(|policy| policy == "Always");
    if !forever && !template.is_native() {
        return refuse(
            Reason::EndsByItself,
            "its restartPolicy lets it end, which needs a native sidecar (Kubernetes 1.29)",
        );
    }
    Ok(())
}

fn names(pod: Pod<'_>, template: &Template, namespace: Namespace) -> Result<(), Refusal> {
    let redirect = (namespace == Namespace::MayRedirect).then_some(&template.redirect_containers);
    let all = redirect.into_iter().flatten().chain(&template.init_containers).chain(&template.containers);
    if let Some(taken) = all.filter_map(name).find(|ours| pod.container(ours).is_some()) {
        return refuse(Reason::ContainerName, format!("it has a container {taken} of its own"));
    }
    for ours in &template.volumes {
        let same = pod.volumes().iter().find(|theirs| name(theirs) == name(ours));
        if same.is_some_and(|theirs| theirs != ours) {
            let taken = name(ours).unwrap_or_default();
            return refuse(Reason::VolumeName, format!("it has another volume {taken}"));
        }
    }
    for (key, value) in &template.labels {
        if pod.label(key).is_some_and(|theirs| theirs != value) {
            return refuse(Reason::Label, format!("its label {key} is not {value}; take it away"));
        }
    }
    Ok(())
}

fn ports(pod: Pod<'_>, template: &Template) -> Result<(), Refusal> {
    let ours = template.init_containers.iter().chain(&template.containers);
    let named: Vec<&str> = ours
        .flat_map(|one| one.get("ports").and_then(serde_json::Value::as_array).into_iter().flatten())
        .filter_map(name)
        .collect();
    for (container, port_name, port) in pod.ports() {
        if template.ports.contains(&port) {
            return refuse(
                Reason::Port,
                format!("container {container} has port {port}, which is the sidecar's; change either"),
            );
        }
        if let Some(taken) = port_name.filter(|one| named.contains(one)) {
            return refuse(Reason::Port, format!("container {container} calls a port {taken}, as we do"));
        }
    }
    Ok(())
}

fn annotations(pod: Pod<'_>, template: &Template) -> Result<(), Refusal> {
    for (key, value) in pod.annotations().filter(|(key, _)| key.starts_with(OURS)) {
        if [INJECTED, NOT_INJECTED].contains(&key) {
            continue;
        }
        let Some(known) = Annotation::of(key).filter(|one| template.allowed.contains(one)) else {
            return refuse(Reason::Annotation, format!("{key} is not allowed here"));
        };
        if known == Annotation::UpstreamPort {
            continue; // judged with the address
        }
        let about: &About = known.variable();
        if let Err(why) = (about.check)(value.trim()) {
            return refuse(Reason::Annotation, format!("{key} {why}, for example {}", about.example));
        }
    }
    upstream(pod, template).map(drop)
}

/// Where the service is, if the pod says so.
pub(super) fn upstream(pod: Pod<'_>, template: &Template) -> Result<Option<u64>, Refusal> {
    let key = Annotation::UpstreamPort.key();
    let wrong = |reason, what| Err(Refusal { reason, what });
    let Some(text) = pod.annotation(key).map(str::trim) else {
        if template.has_upstream() {
            return Ok(None);
        }
        return wrong(
            Reason::Upstream,
            format!("nobody says where the service is; set the annotation {key}, for example \"3000\""),
        );
    };
    let port = match text.parse::<u16>() {
        Ok(number) => Some(u64::from(number)),
        Err(_) => pod.ports().find(|(_, name, _)| *name == Some(text)).map(|(_, _, number)| number),
    };
    match port {
        Some(port) if template.ports.contains(&port) => {
            wrong(Reason::Upstream, format!("{key} is {port}, the sidecar's own port"))
        }
        Some(port) if port > 0 => Ok(Some(port)),
        _ => wrong(
            Reason::Annotation,
            format!("{key} is neither a port nor the name of one, for example \"3000\""),
        ),
    }
}

/// What the redirect would change for others than the clients.
fn redirect(pod: Pod<'_>, template: &Template) -> Result<(), Refusal> {
    for mesh in ["istio-proxy", "linkerd-proxy"] {
        if pod.container(mesh).is_some() {
            return refuse(
                Reason::Mesh,
                format!("{mesh} redirects the same connections; use sidecar.intercept: targetPort"),
            );
        }
    }
    for (container, kind, question) in pod.probes() {
        let Some(port) = port_of(container, question).filter(|port| template.redirected.contains(port))
        else {
            continue;
        };
        let secure = question.get("scheme").and_then(serde_json::Value::as_str) == Some("HTTPS");
        // Plain HTTP passes through, so the service answers it.
        if kind != "httpGet" || secure {
            let name = name(container).unwrap_or_default();
            return refuse(
                Reason::Probe,
                format!("a probe of {name} asks port {port}, where crossfade would answer; use httpGet"),
            );
        }
    }
    Ok(())
}

/// A variable of the sidecar that a pod sets by annotation.
pub(super) fn settings(pod: Pod<'_>, template: &Template) -> Result<Vec<(&'static str, String)>, Refusal> {
    let mut set = Vec::new();
    if let Some(port) = upstream(pod, template)? {
        set.push((vars::UPSTREAM.about.name, format!("ws://127.0.0.1:{port}")));
    }
    for one in [Annotation::Service, Annotation::RolloutPercent] {
        if let Some(value) = pod.annotation(one.key()) {
            set.push((one.variable().name, value.trim().to_owned()));
        }
    }
    Ok(set)
}
