"""Renders the chart with every value set for two Kubernetes versions, with and without the operator, and judges it.

Usage: chart.py HELM KUBERNETES-VALIDATE CRDS-DIRECTORY CROSSFADE OUTPUT-DIRECTORY HELM3
"""

import copy
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

import manifests

CHART = pathlib.Path("charts/crossfade")
VERSIONS = ["1.28", "1.34"]
OPERATOR = "monitoring.coreos.com/v1"
# Variables that follow from other values, so that nobody sets them under `config`.
PLACES = {"CROSSFADE_SPOOL_DIR", "CROSSFADE_STATE_DIR", "CROSSFADE_FLAGS_FILE", "CROSSFADE_TUNING"}
SET_BY_THE_CHART = {*PLACES, "CROSSFADE_INJECT_LISTEN", "CROSSFADE_INJECT_TLS_DIR", "CROSSFADE_INJECT_TEMPLATE"}
HANG = 60
helm, validate, crds, binary, out, helm3 = sys.argv[1:7]
seen_count = 0


def seen(text):
    global seen_count
    seen_count += 1
    print(f"ok  {text}", flush=True)


def fail(text):
    raise SystemExit(f"BROKEN  {text}")


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def template(chart, version, operator, *more):
    command = [helm, "template", "rel", str(chart), "--namespace", "chat", "--kube-version", f"{version}.0", *more]
    return run(*command, *(["-a", OPERATOR] if operator else []))


def load(text):
    return [doc for doc in yaml.safe_load_all(text) if doc]


def schemas(docs, version, label):
    """kubernetes-validate for the API's kinds, the operator's schemas for its own."""
    known = [d for d in docs if "coreos" not in d["apiVersion"] and "cert-manager" not in d["apiVersion"]]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(known, file)
        file.flush()
        got = run(validate, "-k", version, "--strict", file.name)
    if got.returncode != 0 or "Couldn't find schema" in got.stdout + got.stderr:
        fail(f"{label}: {got.stdout}{got.stderr}")
    operated = [d for d in docs if d["apiVersion"] == OPERATOR]
    if operated:
        got = run("node", os.path.abspath("tests/artefacts/crds.mjs"), crds, input=json.dumps(operated))
        if got.returncode != 0:
            fail(f"{label}: {got.stdout}{got.stderr}")


def variables():
    return {row["name"]: row for row in json.loads(run(binary, "config", "--json").stdout)}


def binary_accepts(docs, label):
    """The program itself reads the environment that the chart gives it."""
    known = variables()
    for where, _, spec in manifests.pods(docs):
        for container, _ in manifests.containers(spec):
            if container["name"] == "crossfade":
                accept(container, known, f"{label} {where}")


def secret_for(variable):
    if "REDIS" in variable:
        return "redis://redis:6379/0"
    return "sb_publishable_x" if "ANON" in variable else "sb_secret_0123456789abcdef"


def accept(container, known, label):
    with tempfile.TemporaryDirectory() as folder:
        environment = {}
        for variable in container["env"]:
            name, value = variable["name"], variable.get("value", "pod-0")
            if name.endswith("_FILE") and name not in known:
                value = os.path.join(folder, name)
                pathlib.Path(value).write_text(secret_for(name))
            environment[name] = value
        environment.setdefault("CROSSFADE_ADMIN_TOKEN", "x") if "CROSSFADE_ADMIN_TOKEN_FILE" not in environment else None
        # Reads the whole configuration, then finds nobody on port 1.
        got = run(binary, "drain", "--admin", "127.0.0.1:1", env=environment)
        if got.returncode != 69:
            fail(f"{label}: the program refuses this environment ({got.returncode}): {got.stderr}")


def judge(docs, version, label):
    schemas(docs, version, label)
    found = manifests.problems(docs)
    if found:
        fail(f"{label}:\n  " + "\n  ".join(found))


def injected(docs):
    """The injector's template as a Deployment, so that the same rules judge it."""
    for doc in docs:
        if doc["kind"] == "ConfigMap" and "sidecar.json" in doc["data"]:
            side = json.loads(doc["data"]["sidecar.json"])
            labels = {"app": "x", **side["labels"]}
            app = {"name": "app", "image": "app:1", "ports": [{"containerPort": 3000}]}
            spec = {
                "terminationGracePeriodSeconds": side["terminationGracePeriodSeconds"],
                "initContainers": side["redirectContainers"] + side["initContainers"],
                "containers": [app, *side["containers"]],
                "volumes": side["volumes"],
            }
            for container in spec["initContainers"] + spec["containers"]:
                if container["name"] == "crossfade":
                    container["env"].append({"name": "CROSSFADE_UPSTREAM", "value": "ws://127.0.0.1:3000"})
            yield {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "injected"},
                "spec": {
                    "selector": {"matchLabels": {"app": "x"}},
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            }


def matrix():
    rendered = {}
    for values in sorted(CHART.glob("ci/*-values.yaml")):
        got = run(helm, "lint", "--strict", str(CHART), "--values", str(values))
        if got.returncode != 0:
            fail(f"lint {values.name}: {got.stdout}{got.stderr}")
        for version, operator in itertools.product(VERSIONS, [False, True]):
            label = f"{values.stem} on {version}{' with the operator' if operator else ''}"
            got = template(CHART, version, operator, "--values", str(values))
            if got.returncode != 0:
                fail(f"{label}: {got.stderr}")
            docs = load(got.stdout)
            docs += [made for made in injected(docs)]
            judge(docs, version, label)
            binary_accepts(docs, label)
            kinds = {doc["kind"] for doc in docs if doc["apiVersion"] == OPERATOR}
            if bool(kinds) != operator:
                fail(f"{label}: {kinds or 'nothing'} of the operator")
            rendered[values.stem, version, operator] = docs
            pathlib.Path(out, f"{values.stem}-{version}-{int(operator)}.yaml").write_text(got.stdout)
        seen(f"{values.name}: lint, {len(VERSIONS)} versions, with and without the operator, read by the program")
    return rendered


def the_right_sidecar(rendered):
    for version, native in [("1.28", False), ("1.34", True)]:
        (pod,) = [spec for where, _, spec in manifests.pods(rendered["injector-values", version, False]) if where.endswith("injected")]
        where = "initContainers" if native else "containers"
        (container,) = [c for c in pod[where] if c["name"] == "crossfade"]
        if (container.get("restartPolicy") == "Always") != native or ("lifecycle" in container) != native:
            fail(f"{version}: {container}")
    seen("native sidecar with preStop on 1.34, an ordinary container on 1.28")


def example_chart():
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder, "chat")
        shutil.copytree("deploy/examples/chart", chart)
        shutil.copytree(CHART, chart / "charts" / "crossfade")
        for version, operator in itertools.product(VERSIONS, [False, True]):
            got = template(chart, version, operator)
            if got.returncode != 0:
                fail(f"example chart on {version}: {got.stderr}")
            docs = load(got.stdout)
            judge(docs, version, f"example chart on {version}")
            binary_accepts(docs, "example chart")
            pathlib.Path(out, f"example-{version}-{int(operator)}.yaml").write_text(got.stdout)
    seen("a team's own chart with the library templates")


def refused():
    cases = yaml.safe_load(pathlib.Path("tests/artefacts/refused.yaml").read_text())
    for case in cases:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(case["values"], file)
            file.flush()
            got = template(CHART, case.get("version", "1.34"), False, "--values", file.name)
        if got.returncode == 0:
            fail(f"accepted: {case['values']}")
        for word in case["says"]:
            if word not in got.stderr:
                fail(f"{case['values']}: the refusal does not say {word!r}: {got.stderr}")
    seen(f"{len(cases)} wrong value sets are refused, each by name")


def set_at(docs, kind, change):
    docs = copy.deepcopy(docs)
    change(next(doc for doc in docs if doc["kind"] == kind))
    return docs


def sabotages(rendered):
    """Each rule finds what it is for."""
    gateway = rendered["gateway-full-values", "1.34", True]
    injector = rendered["injector-values", "1.34", True]
    spec = lambda doc: doc["spec"]["template"]["spec"]  # noqa: E731
    box = lambda doc: spec(doc)["containers"][0]  # noqa: E731
    side = lambda doc: spec(doc)["initContainers"][0]  # noqa: E731
    made = [doc for doc in injector if doc["metadata"]["name"] == "injected"]
    cases = [
        (gateway, "Deployment", lambda d: box(d).update(imagePullPolicy="Sometimes"), "imagePullPolicy"),
        (gateway, "Deployment", lambda d: box(d).update(restartPolicy="Always"), "restartPolicy"),
        (made, "Deployment", lambda d: side(d).update(restartPolicy="Sometimes"), "restartPolicy"),
        (gateway, "Deployment", lambda d: box(d)["ports"][0].update(protocol="HTTP"), "protocol"),
        (gateway, "Deployment", lambda d: d["spec"]["selector"]["matchLabels"].update(a="b"), "its own pods"),
        (gateway, "Service", lambda d: d["spec"]["selector"].update(a="b"), "selects no pod"),
        (gateway, "Service", lambda d: d["spec"]["ports"][0].update(targetPort="web"), "no container has a port"),
        (gateway, "NetworkPolicy", lambda d: d["spec"]["podSelector"]["matchLabels"].update(a="b"), "selects no pod"),
        (gateway, "NetworkPolicy", lambda d: d["spec"]["ingress"][0]["ports"][0].update(port="web"), "has a port"),
        (gateway, "PodDisruptionBudget", lambda d: d["spec"]["selector"]["matchLabels"].update(a="b"), "no pod"),
        (gateway, "HorizontalPodAutoscaler", lambda d: d["spec"]["scaleTargetRef"].update(name="x"), "not there"),
        (gateway, "HorizontalPodAutoscaler", lambda d: d["spec"].update(minReplicas=99), "over maxReplicas"),
        (gateway, "ServiceMonitor", lambda d: d["spec"]["selector"]["matchLabels"].update(a="b"), "selects 0"),
        (injector, "PodMonitor", lambda d: d["spec"].pop("namespaceSelector") and d["spec"]["selector"]["matchLabels"].update(a="b"), "scrapes no pod"),
        (gateway, "ServiceMonitor", lambda d: d["spec"]["endpoints"][0].update(intervall="1s"), "unknown endpoint"),
        (gateway, "PrometheusRule", lambda d: d["spec"].update(group=[]), "unknown spec.group"),
        (gateway, "PrometheusRule", lambda d: d["spec"]["groups"][0]["rules"][0].update(four="5m"), "rule key"),
        (gateway, "Deployment", lambda d: spec(d)["containers"].append(copy.deepcopy(box(d))), "twice"),
        (gateway, "Deployment", lambda d: box(d)["readinessProbe"]["httpGet"].update(port="web"), "which it has not"),
        (gateway, "Deployment", lambda d: box(d)["volumeMounts"][0].update(name="x"), "no volume"),
        (gateway, "Deployment", lambda d: box(d)["env"].append({"name": "A", "value": 1}), "not a text"),
        (gateway, "Deployment", lambda d: box(d)["env"].append(box(d)["env"][1]), "a variable twice"),
        (gateway, "Deployment", lambda d: box(d)["env"].append({"name": "SUPABASE_KEY", "value": "x"}), "a secret"),
        (gateway, "Deployment", lambda d: box(d)["securityContext"].update(runAsNonRoot=False), "runAsNonRoot"),
        (gateway, "Deployment", lambda d: box(d)["securityContext"].pop("seccompProfile"), "seccompProfile"),
        (gateway, "Deployment", lambda d: box(d)["securityContext"].pop("capabilities"), "capabilities"),
        (gateway, "Deployment", lambda d: box(d)["securityContext"].pop("readOnlyRootFilesystem"), "readOnlyRoot"),
        (gateway, "Deployment", lambda d: box(d)["resources"].pop("limits"), "no memory limit"),
        (gateway, "Deployment", lambda d: spec(d).update(terminationGracePeriodSeconds=95), "grace is shorter"),
        (made, "Deployment", lambda d: side(d).pop("restartPolicy"), "no sidecar"),
        (made, "Deployment", lambda d: side(d)["startupProbe"]["httpGet"].update(path="/readyz"), "startupProbe"),
        (made, "Deployment", lambda d: side(d)["livenessProbe"]["httpGet"].update(path="/readyz"), "livenessProbe"),
        (made, "Deployment", lambda d: side(d).pop("lifecycle"), "preStop"),
        (made, "Deployment", lambda d: box(d)["ports"].append({"containerPort": 8080}), "twice in the pod"),
        (made, "Deployment", lambda d: side(d)["volumeMounts"].pop(), "where nothing is mounted"),
        (made, "Deployment", lambda d: side(d)["env"].remove(named(side(d)["env"], "CROSSFADE_TUNING")), "no variable names it"),
        (made, "Deployment", lambda d: named(side(d)["volumeMounts"], "crossfade-state").update(readOnly=True), "contradict"),
        (made, "Deployment", lambda d: named(side(d)["volumeMounts"], "crossfade-flags").pop("readOnly"), "contradict"),
        (made, "Deployment", lambda d: named(side(d)["volumeMounts"], "crossfade-flags").update(subPath="a"), "never changes"),
        (made, "Deployment", lambda d: spec(d).update(enableServiceLinks=False), "service's own to decide"),
        (gateway, "Deployment", lambda d: spec(d).pop("enableServiceLinks"), "must be false"),
        (injector, "MutatingWebhookConfiguration", lambda d: d["webhooks"][0].update(failurePolicy="Maybe"), "failurePolicy"),
        (injector, "MutatingWebhookConfiguration", lambda d: d["webhooks"][0].update(sideEffects="Some"), "sideEffects"),
        (injector, "MutatingWebhookConfiguration", lambda d: d["webhooks"][0]["clientConfig"]["service"].update(name="x"), "not there"),
        (injector, "MutatingWebhookConfiguration", lambda d: d["webhooks"][0]["clientConfig"]["service"].update(path="/a?b=c"), "refuses the path"),
        (injector, "MutatingWebhookConfiguration", lambda d: d["webhooks"][0]["clientConfig"].pop("caBundle"), "vouches"),
        (injector, "MutatingWebhookConfiguration", lambda d: d["webhooks"][0]["namespaceSelector"].update(matchExpressions=[]), "opt-in"),
    ]
    for docs, kind, change, word in cases:
        found = manifests.problems(set_at(docs, kind, change))
        if not any(word in problem for problem in found):
            fail(f"a sabotage of {kind} ({word}) goes unseen: {found}")
    seen(f"{len(cases)} sabotages are each found by the rule meant for it")


def named(rows, name):
    return next(row for row in rows if row["name"] == name)


def gateway_of(*sets):
    """The rendered gateway: its pod, and its network policy's ports outwards."""
    options = [part for one in ("config.CROSSFADE_UPSTREAM=ws://127.0.0.1:1", *sets) for part in ("--set", one)]
    got = template(CHART, "1.34", False, *options)
    if got.returncode != 0:
        fail(f"{sets}: {got.stderr}")
    docs = load(got.stdout)
    judge(docs, "1.34", str(sets))
    (spec,) = [spec for _, _, spec in manifests.pods(docs)]
    (policy,) = [doc["spec"]["egress"] for doc in docs if doc["kind"] == "NetworkPolicy"]
    return spec, {port["port"] for rule in policy for port in rule["ports"]}


def variable(spec, name):
    (container,) = spec["containers"]
    return next((row.get("value") for row in container["env"] if row["name"] == name), None)


def stores_are_mounted(rendered):
    """Flags, tuning, state and Redis arrive where the program is told to look, in all three modes."""
    for stem, tuning, flags, state in [
        ("gateway-full-values", "fine.toml", "flags.json", {"emptyDir": {"sizeLimit": "64Mi"}}),
        ("injector-values", "tuning.toml", "chat.json", {"persistentVolumeClaim": {"claimName": "crossfade-state"}}),
    ]:
        (spec,) = [s for where, _, s in manifests.pods(rendered[stem, "1.34", False]) if stem[0] == "g" or where.endswith("injected")]
        both = [*spec.get("initContainers", []), *spec["containers"]]
        environment = {row["name"]: row.get("value") for row in named(both, "crossfade")["env"]}
        wanted = {
            "CROSSFADE_FLAGS_FILE": f"/etc/crossfade/flags/{flags}", "CROSSFADE_TUNING": f"/etc/crossfade/tuning/{tuning}",
            "CROSSFADE_STATE_DIR": "/var/lib/crossfade", "CROSSFADE_REDIS_URL_FILE": "/run/secrets/crossfade/CROSSFADE_REDIS_URL",
        }
        if not wanted.items() <= environment.items():
            fail(f"{stem}: {environment}")
        volumes = {volume.pop("name"): volume for volume in copy.deepcopy(spec["volumes"])}
        item = lambda key: [{"key": key, "path": key}]  # noqa: E731
        if volumes["crossfade-flags"] != {"configMap": {"name": "crossfade-flags", "optional": True, "items": item(flags)}}:
            fail(f"{stem}: {volumes['crossfade-flags']}")
        if volumes["crossfade-tuning"] != {"configMap": {"name": "crossfade-tuning", "items": item(tuning)}}:
            fail(f"{stem}: {volumes['crossfade-tuning']}")
        if volumes["crossfade-state"] != state:
            fail(f"{stem}: {volumes['crossfade-state']}")
        url = {"secret": {"name": "redis", "items": [{"key": "url", "path": "CROSSFADE_REDIS_URL"}]}}
        if url not in volumes["crossfade-secrets"]["projected"]["sources"]:
            fail(f"{stem}: {volumes['crossfade-secrets']}")
        if ("CROSSFADE_PODS" in environment) != (stem[0] == "g"):
            fail(f"{stem}: CROSSFADE_PODS beside a service, whose replicas nobody here knows")
    seen("flags, tuning, state and the URL of Redis arrive where the program looks, gateway and injector")


def the_webhook_is_watched(rendered):
    for stem, kinds in [("injector-values", {"PodMonitor"}), ("injector-redirect-values", {"PodMonitor", "ServiceMonitor"})]:
        docs = rendered[stem, "1.34", True]
        (pod,) = [labels for where, labels, _ in manifests.pods(docs) if "injected" not in where]
        found = {doc["kind"] for doc in docs if doc["kind"] in ("PodMonitor", "ServiceMonitor")
                 and doc["spec"]["selector"]["matchLabels"].items() <= {**pod, "crossfade.dev/metrics": "true"}.items()}
        sidecars = [doc for doc in docs if doc["kind"] == "PodMonitor" and doc["spec"].get("namespaceSelector") == {"any": True}]
        if found != kinds or len(sidecars) != 1:
            fail(f"{stem}: the webhook is watched by {found}, the sidecars everywhere by {len(sidecars)}")
    seen("the webhook's pods are scraped, and the sidecars in all namespaces")


def pods_and_ports():
    scaled = ("autoscaling.enabled=true", "autoscaling.minReplicas=3", "autoscaling.maxReplicas=9")
    redis = ("redis.url.name=redis", "redis.url.key=url")
    for sets, pods in [
        ((), "2"), (("replicas=5",), "5"), (("replicas=0",), "1"), (("replicas=5", "config.CROSSFADE_PODS=7"), "7"),
        (scaled, "9"), ((*scaled, *redis), "3"), ((*redis, "replicas=4"), "4"),
    ]:
        spec, _ = gateway_of(*sets)
        if variable(spec, "CROSSFADE_PODS") != pods:
            fail(f"{sets}: CROSSFADE_PODS is {variable(spec, 'CROSSFADE_PODS')}, not {pods}")
    given = ("secrets.CROSSFADE_REDIS_URL.name=redis", "secrets.CROSSFADE_REDIS_URL.key=url")
    for sets, port in [((), None), (redis, 6379), (given, 6379), ((*redis, "redis.port=6390"), 6390)]:
        _, ports = gateway_of(*sets)
        if ports - {53, 443, 1} != ({port} - {None}):
            fail(f"{sets}: the network policy lets out {ports}")
    seen("CROSSFADE_PODS follows replicas and autoscaling unless it is given; the way to Redis is open where there is one")


def stores_take_effect():
    """The program itself, with the gateway's environment and what its volumes would hold."""
    spec, _ = gateway_of("flags.configMap=f", "tuning.configMap=t", "state.type=emptyDir")
    (container,) = spec["containers"]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for mount in container["volumeMounts"]:
            pathlib.Path(folder + mount["mountPath"]).mkdir(parents=True)
        environment = {row["name"]: row.get("value", "pod-0") for row in container["env"]}
        for name in PLACES & set(environment):
            environment[name] = folder + environment[name]
        environment.update({f"CROSSFADE_{name}_LISTEN": "127.0.0.1:0" for name in ("METRICS", "ADMIN")}, CROSSFADE_LISTEN="127.0.0.1:0")
        flags, tuning = (pathlib.Path(environment[f"CROSSFADE_{name}"]) for name in ("FLAGS_FILE", "TUNING"))
        tuning.write_text("[nothing]\n")
        got = run(binary, env=environment, timeout=HANG)
        if got.returncode != 64 or "CROSSFADE_TUNING" not in got.stderr:
            fail(f"a tuning file that is wrong goes unread: {got.returncode} {got.stderr}")
        tuning.write_text("")
        flags.write_text('{"schema":1,"version":1,"percent":"12.5"}')
        log = root / "log"
        process = subprocess.Popen([binary], env=environment, stderr=log.open("w"), stdin=subprocess.DEVNULL)
        try:
            until("listening", lambda: address(log, "metrics"))
            until("the file's share", lambda: "crossfade_rollout_percent 12.5" in scraped(address(log, "metrics")))
            until("the saved flags", lambda: any("12.5" in saved.read_text() for saved in (root / "var/lib/crossfade").rglob("*") if saved.is_file()))
        finally:
            process.terminate()
            process.wait(timeout=HANG)
    seen("the program takes share and fine settings from these files, and keeps the share in the state directory")


def address(log, listener):
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return next((line["addr"] for line in lines if line.get("listener") == listener), None)


def scraped(where):
    with urllib.request.urlopen(f"http://{where}/metrics", timeout=HANG) as answer:
        return answer.read().decode()


def until(what, holds):
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.05)
    fail(f"{what} did not happen within {HANG} s")


def one_source():
    """Schema, documentation and program name the same variables; secrets stay out of `config`."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    known = variables()
    config, secrets = (set(schema[part]["properties"]) for part in ("config", "secrets"))
    wanted = {name for name, row in known.items() if not row["secret"]} - SET_BY_THE_CHART
    if config != wanted or secrets != {name for name, row in known.items() if row["secret"]}:
        fail(f"schema and program differ: {config ^ wanted} {secrets}")
    page = pathlib.Path("docs/configuration.md").read_text()
    for name in known:
        if f"| `{name}` |" not in page:
            fail(f"docs/configuration.md lacks {name}")
    readme = (CHART / "README.md").read_text()
    for key in yaml.safe_load((CHART / "values.yaml").read_text()):
        if f"`{key}" not in readme:
            fail(f"the chart's README.md lacks {key}")
    seen(f"{len(known)} variables: the same in program, documentation and schema")


def without_certificates(docs):
    """Made anew at each rendering."""
    docs = [doc for doc in copy.deepcopy(docs) if doc["kind"] != "Secret"]
    for doc in docs:
        for hook in doc.get("webhooks", []):
            hook["clientConfig"].pop("caBundle", None)
    return sorted(docs, key=manifests.path)


def helm_3_agrees(rendered):
    global helm
    helm_4, helm = helm, helm3
    for (stem, version, operator), docs in rendered.items():
        if version != VERSIONS[-1]:
            continue
        got = template(CHART, version, operator, "--values", str(CHART / f"ci/{stem}.yaml"))
        theirs = load(got.stdout)
        if got.returncode != 0 or without_certificates(theirs + [*injected(theirs)]) != without_certificates(docs):
            fail(f"{stem}: Helm 3 renders something else: {got.stderr}")
    refused()
    helm = helm_4
    seen("Helm 3 renders the same and refuses the same")


def redirect_is_one_script():
    got = template(CHART, "1.34", False, "--values", str(CHART / "ci/injector-redirect-values.yaml"))
    (side,) = [json.loads(d["data"]["sidecar.json"]) for d in load(got.stdout) if "sidecar.json" in d.get("data", {})]
    (container,) = side["redirectContainers"]
    if container["args"] != [(CHART / "files/redirect.sh").read_text()]:
        fail("the redirect container does not run files/redirect.sh")
    pathlib.Path(out, "redirect.env").write_text("".join(f"{v['name']}={v['value']}\n" for v in container["env"]))
    seen("the redirect container runs the script that is tested")


def main():
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    one_source()
    rendered = matrix()
    the_right_sidecar(rendered)
    stores_are_mounted(rendered)
    the_webhook_is_watched(rendered)
    pods_and_ports()
    stores_take_effect()
    sabotages(rendered)
    refused()
    example_chart()
    helm_3_agrees(rendered)
    redirect_is_one_script()
    print(f"{seen_count} checks of the chart")


main()
