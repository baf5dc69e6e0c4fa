"""What the API schemas do not say about our manifests. Each rule yields the problems that it finds."""

import re

MONITORING = {
    "PodMonitor": {"selector", "podMetricsEndpoints", "namespaceSelector"},
    "ServiceMonitor": {"selector", "endpoints", "namespaceSelector"},
    "PrometheusRule": {"groups"},
    "Certificate": {"secretName", "dnsNames", "privateKey", "issuerRef"},
    "Issuer": {"selfSigned"},
}
ENDPOINT = {"port", "path", "interval"}


def path(doc):
    return f"{doc['kind']}/{doc['metadata']['name']}"


def pods(docs):
    """(where, labels, pod spec) of everything that makes pods."""
    for doc in docs:
        if doc["kind"] in ("Deployment", "StatefulSet"):
            template = doc["spec"]["template"]
            yield path(doc), template["metadata"].get("labels", {}), template["spec"]


def containers(spec):
    """(container, whether it is an init container)."""
    for container in spec.get("initContainers") or []:
        yield container, True
    for container in spec.get("containers") or []:
        yield container, False


def enums(docs):
    for where, _, spec in pods(docs):
        for container, init in containers(spec):
            name = f"{where} {container['name']}"
            if container.get("imagePullPolicy", "Always") not in ("Always", "IfNotPresent", "Never"):
                yield f"{name}: imagePullPolicy {container['imagePullPolicy']}"
            if "restartPolicy" in container and (not init or container["restartPolicy"] != "Always"):
                yield f"{name}: restartPolicy {container['restartPolicy']}"
            for port in container.get("ports", []):
                if port.get("protocol", "TCP") not in ("TCP", "UDP"):
                    yield f"{name}: protocol {port['protocol']}"
    for doc in docs:
        for port in doc.get("spec", {}).get("ports", []) if doc["kind"] == "Service" else []:
            if port.get("protocol", "TCP") not in ("TCP", "UDP"):
                yield f"{path(doc)}: protocol {port['protocol']}"


def selectors(docs):
    made = [(labels, spec) for _, labels, spec in pods(docs)]

    def chosen(wanted):
        return [spec for labels, spec in made if wanted.items() <= labels.items()]

    for doc in docs:
        kind, spec = doc["kind"], doc.get("spec", {})
        if kind in ("Deployment", "StatefulSet"):
            wanted = spec["selector"]["matchLabels"]
            if not wanted.items() <= spec["template"]["metadata"]["labels"].items():
                yield f"{path(doc)}: its selector does not match its own pods"
        elif kind == "Service" and spec.get("selector"):
            found = chosen(spec["selector"])
            if not found:
                yield f"{path(doc)}: selects no pod"
            for port in spec["ports"]:
                names = {p.get("name") for s in found for c, _ in containers(s) for p in c.get("ports", [])}
                if isinstance(port["targetPort"], str) and found and port["targetPort"] not in names:
                    yield f"{path(doc)}: no container has a port {port['targetPort']}"
        elif kind == "PodDisruptionBudget" and not chosen(spec["selector"]["matchLabels"]):
            yield f"{path(doc)}: selects no pod"
        elif kind == "NetworkPolicy" and spec["podSelector"].get("matchLabels"):
            found = chosen(spec["podSelector"]["matchLabels"])
            if not found:
                yield f"{path(doc)}: selects no pod"
            names = {p.get("name") for s in found for c, _ in containers(s) for p in c.get("ports", [])}
            for rule in spec.get("ingress", []):
                for port in rule.get("ports", []):
                    if isinstance(port["port"], str) and found and port["port"] not in names:
                        yield f"{path(doc)}: no container has a port {port['port']}"
        elif kind == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            if f"{target['kind']}/{target['name']}" not in {path(d) for d in docs}:
                yield f"{path(doc)}: scales {target['name']}, which is not there"
            if spec["minReplicas"] > spec["maxReplicas"]:
                yield f"{path(doc)}: minReplicas over maxReplicas"


def pod_shape(docs):
    claims = {d["metadata"]["name"] for d in docs if d["kind"] == "PersistentVolumeClaim"}
    for where, _, spec in pods(docs):
        names, ports = set(), set()
        volumes = {volume["name"] for volume in spec.get("volumes") or []}
        if len(volumes) != len(spec.get("volumes") or []):
            yield f"{where}: two volumes of one name"
        for container, init in containers(spec):
            name = f"{where} {container['name']}"
            if container["name"] in names:
                yield f"{name}: twice"
            names.add(container["name"])
            sidecar = container.get("restartPolicy") == "Always"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
                if init and not sidecar and probe in container:
                    yield f"{name}: {probe} in an init container that is no sidecar"
            own = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
            for port in own.values():
                if port in ports:
                    yield f"{name}: port {port} twice in the pod"
                ports.add(port)
            for port_name in own:
                if port_name and not re.fullmatch(r"[a-z0-9-]{1,15}", port_name):
                    yield f"{name}: {port_name} is no port name"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if isinstance(port, str) and port not in own:
                    yield f"{name}: {probe} asks port {port}, which it has not"
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{name}: mounts {mount['name']}, which is no volume"
            variables = [variable["name"] for variable in container.get("env", [])]
            if len(variables) != len(set(variables)):
                yield f"{name}: a variable twice"
            for variable in container.get("env", []):
                if "value" in variable and not isinstance(variable["value"], str):
                    yield f"{name}: {variable['name']} is not a text"
        for volume in spec.get("volumes") or []:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claims and claim and claim not in claims:
                yield f"{where}: claim {claim} is not there"


def ours(docs):
    """What a container of ours owes to the pod."""
    for where, _, spec in pods(docs):
        for container, init in containers(spec):
            if container["name"] not in ("crossfade", "inject"):
                continue
            name = f"{where} {container['name']}"
            yield from restricted(name, container)
            if container["name"] != "crossfade":
                continue
            if container.get("startupProbe", {}).get("httpGet", {}).get("path") != "/healthz":
                yield f"{name}: startupProbe must ask /healthz: ready waits for a service that waits for the start"
            if container.get("livenessProbe", {}).get("httpGet", {}).get("path") != "/healthz":
                yield f"{name}: livenessProbe must ask /healthz: no restart brings the service back"
            if container.get("readinessProbe", {}).get("httpGet", {}).get("path") != "/readyz":
                yield f"{name}: readinessProbe must ask /readyz"
            environment = {v["name"]: v.get("value", "") for v in container.get("env", [])}
            for variable, value in environment.items():
                if re.search(r"(_KEY|_TOKEN)$", variable) and value:
                    yield f"{name}: {variable} holds a secret"
            yield from places(name, container, environment)
            grace = seconds(environment.get("CROSSFADE_DRAIN_GRACE", "25s"))
            if spec.get("terminationGracePeriodSeconds", 30) < grace + 10:
                yield f"{name}: the pod's grace is shorter than the drain's {grace:g} s + 10 s"
            if init and container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command") != ["/crossfade", "drain"]:
                yield f"{name}: a native sidecar needs preStop /crossfade drain"
            if container.get("lifecycle") and "CROSSFADE_ADMIN_TOKEN_FILE" not in environment:
                yield f"{name}: preStop without CROSSFADE_ADMIN_TOKEN"


def places(name, container, environment):
    """Each file and folder that a variable names is mounted, folders that are written to writable; nothing else is."""
    used = set()
    for variable, value in environment.items():
        if not re.search(r"_(FILE|DIR)$|_TUNING$", variable):
            continue
        folders = [mount for mount in container.get("volumeMounts", []) if f"{value}/".startswith(mount["mountPath"] + "/")]
        if not folders:
            yield f"{name}: {variable} is {value}, where nothing is mounted"
        for mount in folders:
            used.add(mount["name"])
            if "subPath" in mount:
                yield f"{name}: {mount['name']} by subPath never changes"
            if variable.endswith("_DIR") == mount.get("readOnly", False):
                yield f"{name}: {variable} and readOnly of {mount['name']} contradict each other"
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in used:
            yield f"{name}: {mount['name']} is mounted, and no variable names it"


def restricted(name, container):
    """The Pod Security Standard `restricted`, and a read-only root."""
    context = container.get("securityContext", {})
    wanted = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
    for key, value in wanted.items():
        if context.get(key) is not value:
            yield f"{name}: securityContext.{key} must be {value}"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name}: capabilities must be dropped"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccompProfile missing"
    if "limits" not in container.get("resources", {}) or "memory" not in container["resources"]["limits"]:
        yield f"{name}: no memory limit"


def seconds(text):
    units = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+) *(ms|sec|s|min|m|h)", text))


def custom_kinds(docs):
    """Unknown keys, which the schemas of these kinds let pass."""
    for doc in docs:
        if doc["kind"] in MONITORING and "coreos" in doc["apiVersion"] + "coreos":
            for key in set(doc["spec"]) - MONITORING[doc["kind"]]:
                yield f"{path(doc)}: unknown spec.{key}"
            for endpoint in doc["spec"].get("endpoints", []) + doc["spec"].get("podMetricsEndpoints", []):
                for key in set(endpoint) - ENDPOINT:
                    yield f"{path(doc)}: unknown endpoint key {key}"
            for group in doc["spec"].get("groups", []):
                for rule in group["rules"]:
                    for key in set(rule) - {"alert", "record", "expr", "for", "labels", "annotations"}:
                        yield f"{path(doc)}: unknown rule key {key}"
        if doc["kind"] == "PodMonitor":
            names = {p.get("name") for _, _, s in pods(docs) for c, _ in containers(s) for p in c.get("ports", [])}
            for endpoint in doc["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in names | {"cf-metrics"}:
                    yield f"{path(doc)}: no container has a port {endpoint['port']}"
        if doc["kind"] == "PodMonitor" and "namespaceSelector" not in doc["spec"]:
            wanted = doc["spec"]["selector"]["matchLabels"].items()
            made = [labels for _, labels, _ in pods(docs)]
            if made and not any(wanted <= labels.items() for labels in made):
                yield f"{path(doc)}: scrapes no pod"
        if doc["kind"] == "ServiceMonitor":
            wanted = doc["spec"]["selector"]["matchLabels"].items()
            found = [d for d in docs if d["kind"] == "Service" and wanted <= d["metadata"]["labels"].items()]
            if len(found) != 1:
                yield f"{path(doc)}: selects {len(found)} services instead of one"


def webhooks(docs):
    services = {d["metadata"]["name"]: d for d in docs if d["kind"] == "Service"}
    for doc in docs:
        if doc["kind"] != "MutatingWebhookConfiguration":
            continue
        for hook in doc["webhooks"]:
            client = hook["clientConfig"]["service"]
            if client["name"] not in services:
                yield f"{path(doc)}: calls {client['name']}, which is not there"
            for step in client["path"].lstrip("/").split("/"):
                if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", step):
                    yield f"{path(doc)}: the API server refuses the path {client['path']}"
            if hook.get("failurePolicy") not in ("Ignore", "Fail"):
                yield f"{path(doc)}: failurePolicy {hook.get('failurePolicy')}"
            if hook.get("sideEffects") != "None":
                yield f"{path(doc)}: sideEffects {hook.get('sideEffects')}"
            if not any(e["key"] == "crossfade.dev/inject" for e in hook["namespaceSelector"]["matchExpressions"]):
                yield f"{path(doc)}: without opt-in of the namespace"
            by_cert_manager = "cert-manager.io/inject-ca-from" in doc["metadata"].get("annotations", {})
            if not by_cert_manager and not hook["clientConfig"].get("caBundle"):
                yield f"{path(doc)}: nobody vouches for its certificate"


def service_links(docs):
    """Switched off in pods that hold nothing but us; a service may read those variables."""
    for where, _, spec in pods(docs):
        names = {container["name"] for container, _ in containers(spec)}
        whole = names <= {"crossfade", "inject"}
        if whole and spec.get("enableServiceLinks") is not False:
            yield f"{where}: enableServiceLinks must be false in a pod of ours"
        if not whole and spec.get("enableServiceLinks") is False:
            yield f"{where}: enableServiceLinks is the service's own to decide"


RULES = [enums, selectors, pod_shape, ours, custom_kinds, webhooks, service_links]


def problems(docs):
    return [problem for rule in RULES for problem in rule(docs)]
