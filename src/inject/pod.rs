//! A Pod as the API server sends it: what is read from it, and nothing that it lacks is invented.
//! The API server has checked the types; what has another shape than documented counts as absent.

use serde_json::Value;

use super::template::name;

/// A Pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<'a>(pub(super) &'a Value);

impl<'a> Pod<'a> {
    fn list(self, field: &str) -> &'a [Value] {
        let found = self.0.get("spec").and_then(|spec| spec.get(field)).and_then(Value::as_array);
        found.map_or(&[], Vec::as_slice)
    }

    pub(super) fn containers(self) -> &'a [Value] {
        self.list("containers")
    }

    pub(super) fn init_containers(self) -> &'a [Value] {
        self.list("initContainers")
    }

    pub(super) fn volumes(self) -> &'a [Value] {
        self.list("volumes")
    }

    /// Every container, by name.
    pub(super) fn container(self, wanted: &str) -> Option<&'a Value> {
        self.init_containers().iter().chain(self.containers()).find(|one| name(one) == Some(wanted))
    }

    /// What runs as long as the pod: its containers and its native sidecars.
    pub(super) fn lasting(self) -> impl Iterator<Item = &'a Value> {
        let sidecar = |one: &&Value| one.get("restartPolicy").and_then(Value::as_str) == Some("Always");
        self.init_containers().iter().filter(sidecar).chain(self.containers())
    }

    /// TCP ports that containers declare: container, name, number.
    pub(super) fn ports(self) -> impl Iterator<Item = (&'a str, Option<&'a str>, u64)> {
        self.lasting().flat_map(|container| {
            let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
            let tcp = ports.filter(|port| {
                port.get("protocol").and_then(Value::as_str).is_none_or(|protocol| protocol == "TCP")
            });
            tcp.filter_map(|port| {
                let number = port.get("containerPort")?.as_u64()?;
                Some((name(container)?, port.get("name").and_then(Value::as_str), number))
            })
        })
    }

    pub(super) fn label(self, key: &str) -> Option<&'a str> {
        self.0.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    /// All annotations.
    pub(super) fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.0.get("metadata").and_then(|meta| meta.get("annotations")).and_then(Value::as_object);
        all.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    pub(super) fn annotation(self, key: &str) -> Option<&'a str> {
        self.annotations().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// A field of the spec by its JSON pointer.
    pub(super) fn spec(self, pointer: &str) -> Option<&'a Value> {
        self.0.get("spec")?.pointer(pointer)
    }

    pub(super) fn spec_text(self, pointer: &str) -> Option<&'a str> {
        self.spec(pointer)?.as_str()
    }

    /// The probes of what runs: container, what is asked (`httpGet`, `tcpSocket`, `grpc`), and the question.
    pub(super) fn probes(self) -> impl Iterator<Item = (&'a Value, &'static str, &'a Value)> {
        self.lasting().flat_map(|container| {
            ["startupProbe", "readinessProbe", "livenessProbe"].into_iter().flat_map(move |probe| {
                let asked = move |kind| Some((container, kind, container.get(probe)?.get(kind)?));
                ["httpGet", "tcpSocket", "grpc"].into_iter().filter_map(asked)
            })
        })
    }
}

/// The number of a probe's port, which may be a name of its own container's.
pub(super) fn port_of(container: &Value, question: &Value) -> Option<u64> {
    let port = question.get("port")?;
    if let Some(number) = port.as_u64() {
        return Some(number);
    }
    let ports = container.get("ports")?.as_array()?;
    let named = ports.iter().find(|one| name(one).is_some() && name(one) == port.as_str())?;
    named.get("containerPort")?.as_u64()
}
