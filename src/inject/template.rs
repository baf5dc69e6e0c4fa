//! `sidecar.json`: what is added to a pod, as the chart renders it, read strictly.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::vars;

/// The only version there is.
const VERSION: u32 = 1;

/// The container that every template adds.
pub(super) const SIDECAR: &str = "crossfade";

/// Where a pod's annotation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Annotation {
    /// The service's port, by number or by name.
    UpstreamPort,
    /// Its name in topics.
    Service,
    /// The share of its users.
    RolloutPercent,
}

impl Annotation {
    const ALL: [Self; 3] = [Self::UpstreamPort, Self::Service, Self::RolloutPercent];

    /// The annotation's name.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::UpstreamPort => "crossfade.dev/upstream-port",
            Self::Service => "crossfade.dev/service",
            Self::RolloutPercent => "crossfade.dev/rollout-percent",
        }
    }

    /// The variable that it sets.
    pub(super) const fn variable(self) -> &'static crate::config::About {
        match self {
            Self::UpstreamPort => &vars::UPSTREAM.about,
            Self::Service => &vars::SERVICE.about,
            Self::RolloutPercent => &vars::ROLLOUT_PERCENT.about,
        }
    }

    /// The annotation of this name.
    pub(super) fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.key() == key)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text {
    version: u32,
    redirect_containers: Vec<Value>,
    init_containers: Vec<Value>,
    containers: Vec<Value>,
    volumes: Vec<Value>,
    labels: BTreeMap<String, String>,
    termination_grace_period_seconds: u64,
    allowed_annotations: Vec<String>,
}

/// What is added to a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pub(super) redirect_containers: Vec<Value>,
    pub(super) init_containers: Vec<Value>,
    pub(super) containers: Vec<Value>,
    pub(super) volumes: Vec<Value>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) grace_seconds: u64,
    pub(super) allowed: Vec<Annotation>,
    /// The ports that the sidecar will listen on.
    pub(super) ports: Vec<u64>,
    /// The ports that the redirect takes over.
    pub(super) redirected: Vec<u64>,
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

fn wrong<T>(what: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(what.into()))
}

impl Template {
    /// Reads and checks it.
    ///
    /// # Errors
    /// The first thing that is wrong, without the content.
    pub fn read(bytes: &[u8]) -> Result<Self, TemplateError> {
        // The version first: another one may well have other fields.
        let raw: Value = serde_json::from_slice(bytes)
            .map_err(|error| TemplateError(format!("is no JSON (line {})", error.line())))?;
        match raw.get("version") {
            Some(version) if version.as_u64() == Some(VERSION.into()) => {}
            Some(version) if version.is_u64() => {
                return wrong(format!("has version {version}, this crossfade reads version {VERSION}"));
            }
            _ => return wrong(format!("has no version, for example \"version\": {VERSION}")),
        }
        let text: Text =
            serde_json::from_value(raw).map_err(|error| TemplateError(format!("is wrong: {error}")))?;
        debug_assert_eq!(text.version, VERSION);
        Self::check(text)
    }

    fn check(text: Text) -> Result<Self, TemplateError> {
        let all = || text.redirect_containers.iter().chain(&text.init_containers).chain(&text.containers);
        let mut names: Vec<&str> = all().filter_map(name).collect();
        if names.len() != all().count() || text.volumes.iter().any(|volume| name(volume).is_none()) {
            return wrong("has a container or a volume without a name");
        }
        names.sort_unstable();
        if names.windows(2).any(|two| two.first() == two.last()) {
            return wrong("has two containers of one name");
        }
        let ours = |list: &[Value]| list.iter().find(|one| name(one) == Some(SIDECAR)).cloned();
        let sidecar = match (ours(&text.init_containers), ours(&text.containers)) {
            // Without it the pod would wait for ever for an init container that never ends.
            (Some(native), None) if native.get("restartPolicy").and_then(Value::as_str) != Some("Always") => {
                return wrong("has crossfade among initContainers without restartPolicy Always");
            }
            (Some(sidecar), None) | (None, Some(sidecar)) => sidecar,
            _ => return wrong("has no container named crossfade in initContainers or containers"),
        };
        let known = |key: &String| {
            Annotation::of(key)
                .ok_or_else(|| TemplateError(format!("allows the annotation {key}, which sets no variable")))
        };
        let allowed = text.allowed_annotations.iter().map(known).collect::<Result<_, _>>()?;
        let redirected = redirected(&text.redirect_containers)?;
        Ok(Self {
            ports: ports(&sidecar),
            redirected,
            allowed,
            redirect_containers: text.redirect_containers,
            init_containers: text.init_containers,
            containers: text.containers,
            volumes: text.volumes,
            labels: text.labels,
            grace_seconds: text.termination_grace_period_seconds,
        })
    }

    /// Whether the sidecar is an init container that goes on running.
    pub(super) fn is_native(&self) -> bool {
        self.containers.iter().all(|one| name(one) != Some(SIDECAR))
    }

    /// Whether the sidecar knows where the service is without being told by the pod.
    pub(super) fn has_upstream(&self) -> bool {
        let mut all = self.init_containers.iter().chain(&self.containers);
        let sidecar = all.find(|one| name(one) == Some(SIDECAR));
        sidecar.is_some_and(|one| variable(one, vars::UPSTREAM.about.name).is_some())
    }
}

/// The name of a container or a volume.
pub(super) fn name(of: &Value) -> Option<&str> {
    of.get("name")?.as_str()
}

/// The plain value of an environment variable.
pub(super) fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let all = container.get("env")?.as_array()?;
    let one = all.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name))?;
    one.get("value")?.as_str()
}

/// What the sidecar listens on: the ports that it declares and the admin listener, which it does not.
fn ports(sidecar: &Value) -> Vec<u64> {
    let declared = sidecar.get("ports").and_then(Value::as_array).into_iter().flatten();
    let mut ports: Vec<u64> =
        declared.filter_map(|port| port.get("containerPort").and_then(Value::as_u64)).collect();
    let about = &vars::ADMIN_LISTEN.about;
    let admin = variable(sidecar, about.name).or(about.default).unwrap_or_default();
    ports.extend(admin.rsplit_once(':').and_then(|(_, port)| port.parse::<u64>().ok()));
    ports
}

fn redirected(containers: &[Value]) -> Result<Vec<u64>, TemplateError> {
    let mut ports = Vec::new();
    for container in containers {
        let text = variable(container, "REDIRECT_FROM").unwrap_or_default();
        let read: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
        match read {
            Ok(more) => ports.extend(more),
            Err(_) => return wrong("has a redirect container whose REDIRECT_FROM is no list of ports"),
        }
    }
    Ok(ports)
}
