"""Runs every command of docs/deploy.md, with the stand-ins that the page lists for what needs a cluster. A command
that nobody here knows fails. Usage: deploy_page.py HELM KUBECTL KUBERNETES-VALIDATE CROSSFADE
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

import yaml

import manifests

helm, kubectl, validate, binary = sys.argv[1:5]
PAGE = pathlib.Path("docs/deploy.md")
# Also in the page's own table.
NOT_RUN = ("docker push", "kubectl rollout", "kubectl port-forward")
OTHER_GROUP = {"docker build": "image", "docker compose": "stack"}
sets = {}


def fail(text):
    raise SystemExit(f"BROKEN  {text}")


def run(*command, **more):
    got = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if got.returncode != 0:
        fail(f"{' '.join(command)}: {got.stdout}{got.stderr}")
    return got.stdout


def commands():
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        yield from (line.removesuffix(" &") for line in block.splitlines() if line)


def valid(text):
    docs = [doc for doc in yaml.safe_load_all(text) if doc]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        run(validate, "-k", "1.34", "--strict", file.name)
    found = manifests.problems(docs)
    if found:
        fail(str(found))
    return docs


def helm_upgrade(words):
    """`helm template` with what this and the earlier commands set."""
    words = [word for word in words[2:] if word != "--install"]
    reuse = "--reuse-values" in words
    words = [word for word in words if word != "--reuse-values"]
    given = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    rest = [w for i, w in enumerate(words) if w != "--set" and (i == 0 or words[i - 1] != "--set")]
    name = rest[0]
    sets[name] = (sets.get(name, []) if reuse else []) + given
    options = [part for one in sets[name] for part in ("--set", one)]
    docs = valid(run(helm, "template", *rest, *options))
    (deployment,) = [doc for doc in docs if doc["kind"] == "Deployment"]
    return deployment


def environment(deployment):
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def kubectl_patch(words):
    """The same with --local, on a manifest of that kind."""
    kind, name = words[2:4]
    if kind == "deployment":
        return opted_in(words, yaml.safe_load(pathlib.Path("deploy/examples/node/kubernetes.yaml").read_text().split("---")[0]))
    if kind == "ingress":
        backend = {"service": {"name": "feed", "port": {"number": 80}}}
        rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        doc = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": {"rules": [rule]}}
    else:
        spec = {"selector": {"app": name}, "ports": [{"name": "ws", "port": 80, "targetPort": "ws"}]}
        doc = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(doc, file)
        file.flush()
        rest = [word for i, word in enumerate(words[4:], 4) if word != "--namespace" and words[i - 1] != "--namespace"]
        got = yaml.safe_load(run(kubectl, "patch", "--local", "-f", file.name, *rest, "-o", "yaml"))
    if kind == "ingress":
        target = got["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
        if target != "crossfade":
            fail(f"the ingress leads to {target}")
    elif got["spec"]["ports"][0]["targetPort"] != "crossfade":
        fail("the Service leads elsewhere")


def local(words, doc):
    """The same kubectl command with --local, on this manifest."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(doc, file)
        file.flush()
        rest = [word for i, word in enumerate(words[4:], 4) if word != "--namespace" and words[i - 1] != "--namespace"]
        return yaml.safe_load(run(kubectl, words[1], "--local", "-f", file.name, *rest, "-o", "yaml"))


def opted_in(words, deployment):
    """What the webhook's configuration and the webhook look for."""
    if (deployment["kind"], deployment["metadata"]["name"]) != ("Deployment", words[3]):
        fail(f"the examples' Deployment is {deployment['metadata']['name']}")
    made = local(words, deployment)["spec"]["template"]
    ports = [str(port["containerPort"]) for port in made["spec"]["containers"][0]["ports"]]
    if made["metadata"]["labels"].get("crossfade.dev/inject") != "enabled":
        fail("the Deployment does not opt in")
    if made["metadata"]["annotations"].get("crossfade.dev/upstream-port") not in ports:
        fail(f"the service has the ports {ports}")
    if len(made["spec"]["containers"]) != len(deployment["spec"]["template"]["spec"]["containers"]):
        fail("the patch changes the containers")


def exercise(line, folder):
    words = [word for word in shlex.split(line) if not word.startswith("REDIS_URL=")]
    two = " ".join(words[:2])
    if two in NOT_RUN:
        return "not run"
    if two in OTHER_GROUP:
        files = [word for word in words if word.endswith(".yaml")] or ["Dockerfile"]
        if not all(pathlib.Path(name).exists() for name in files):
            fail(f"{line}: no such file")
        return f"group {OTHER_GROUP[two]}"
    if two == "helm upgrade":
        deployment = helm_upgrade(words)
        if "mode=injector" in words:
            if deployment["spec"]["template"]["spec"]["containers"][0]["args"] != ["inject"]:
                fail(f"{line}: renders no webhook")
            return "run"
        share = environment(deployment).get("CROSSFADE_ROLLOUT_PERCENT")
        if share != ("1" if "--reuse-values" in words else None):
            fail(f"{line}: the share is {share}")
        if deployment["metadata"]["name"] != "crossfade":
            fail("the page's commands name the Deployment crossfade")
    elif two == "kubectl create":
        run(kubectl, *words[1:], "--dry-run=client", "-o", "yaml", cwd=folder)
    elif two == "kubectl exec":
        inside = words[words.index("--") + 1 :]
        if inside[0] != "/crossfade":
            fail(f"{line}: the image has only /crossfade")
        run(binary, *inside[1:], "--help")
    elif two == "kubectl patch":
        kubectl_patch(words)
    elif two == "kubectl label":
        labels = local(words, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": words[3]}})["metadata"]["labels"]
        if labels != {"crossfade.dev/inject": "enabled"}:
            fail(f"{line}: {labels}")
    elif two == "kubectl apply" and words[2] == "-k":
        valid(run(kubectl, "kustomize", words[3]))
    elif words[0] == "sh":
        if words[words.index("|") :] != ["|", "kubectl", "apply", "-f", "-"]:
            fail(f"{line}: what it prints goes nowhere")
        script, *rest = words[1 : words.index("|")]
        made = run("sh", os.path.abspath(script), *rest, cwd=folder, env={**os.environ, "KUBECTL": kubectl})
        if {doc["metadata"].get("namespace") for doc in valid(made)} != {rest[-1]}:
            fail(f"{line}: another namespace")
    elif words[0] == "curl":
        scrape(words)
    else:
        fail(f"docs/deploy.md: nobody runs {line!r}")
    return "run"


def scrape(words):
    """A process on the page's port, or the next free one."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"CROSSFADE_UPSTREAM": "http://127.0.0.1:1", "CROSSFADE_LISTEN": "127.0.0.1:0", "CROSSFADE_METRICS_LISTEN": f"127.0.0.1:{port}"}
    process = subprocess.Popen([binary], env=settings, stderr=subprocess.DEVNULL)
    try:
        command = [word.replace(":9464", f":{port}") for word in words]
        said = run(*command, "--retry", "100", "--retry-connrefused", "--retry-delay", "1")
        table = re.findall(r"^\| `(crossfade_[a-z_]+)` \|", PAGE.read_text(), re.M)
        missing = [name for name in table if f"# TYPE {name} " not in said]
        if missing or not table:
            fail(f"docs/deploy.md names metrics that are not there: {missing}")
    finally:
        process.terminate()
        process.wait(timeout=60)


def main():
    table = PAGE.read_text().split("## What the tests ran")[1]
    count = {}
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "supabase-key").write_text("sb_secret_0123456789abcdef")
        all_began = time.monotonic()
        for line in commands():
            began = time.monotonic()
            how = exercise(line, folder)
            count[how] = count.get(how, 0) + 1
            print(f"ok  {time.monotonic() - began:5.1f} s  {how}: {line[:100]}", flush=True)
            if how == "not run" and " ".join(line.split()[:2]) not in table:
                fail(f"the page does not say that {line!r} is not run")
    if count.get("run", 0) < 8:
        fail(f"the page's commands are not found: {count}")
    # For the reader of the log; the page's ten minutes are a person's, with an image build and a cluster's waits.
    print(f"ok  all {sum(count.values())} commands of the page: {time.monotonic() - all_began:.1f} s")


main()
