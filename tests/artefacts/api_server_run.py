"""The webhook, the chart, deploy/ and the commands of docs/deploy.md against a real API server.

Usage: api_server_run.py HELM KUBECTL CROSSFADE OUTPUT-DIRECTORY; KUBE_APISERVER and ETCD name the server's binaries.
No pod runs: what is judged is what the server takes, defaults, refuses and stores.
"""

import base64
import os
import pathlib
import re
import shutil
import subprocess
import sys

import yaml

helm, kubectl, binary, out = sys.argv[1:5]
sys.argv = [sys.argv[0], helm, "", binary, out]
import api_server  # noqa: E402
import inject  # noqa: E402
import inject_templates  # noqa: E402
from inject import fail, seen  # noqa: E402

CHART = pathlib.Path("charts/crossfade")
PAGE = pathlib.Path("docs/deploy.md")
# They need an image, a node or a registry.
NO_CLUSTER = ("docker build", "docker push", "docker compose", "kubectl rollout", "kubectl port-forward", "kubectl exec", "curl --silent")
PODS = "/api/v1/namespaces/{}/pods"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def load(text):
    return [doc for doc in yaml.safe_load_all(text) if doc]


def run(words, server, **more):
    folders = (pathlib.Path(helm).parent, pathlib.Path(kubectl).parent)
    got = subprocess.run(words, capture_output=True, text=True, check=False, env=server.environment(*folders), **more)
    if got.returncode != 0:
        fail(f"{words}: {got.stdout}{got.stderr}")
    return got.stdout


def manifests():
    """Label and documents of everything that is to be taken."""
    for values in sorted(CHART.glob("ci/*-values.yaml")):
        command = [helm, "template", "rel", str(CHART), "--namespace", "chat", "--kube-version", "1.34.0", "--values", str(values)]
        yield values.stem, load(subprocess.check_output(command, text=True))
    for file in sorted([*pathlib.Path("deploy/kubernetes").glob("*.yaml"), *pathlib.Path("deploy/examples").glob("*/kubernetes.yaml")]):
        docs = load(file.read_text())
        if all("kind" in doc for doc in docs):
            yield str(file), docs
    for folder in sorted(file.parent for file in pathlib.Path("deploy/examples").glob("*/kustomization.yaml")):
        yield str(folder), load(subprocess.check_output([kubectl, "kustomize", str(folder)], text=True))


def taken(server):
    """Server-side dry run, with strict fields."""
    known = {group["name"] for group in server.get("/apis")["groups"]} | {""}
    count = left = 0
    made = set()
    for label, docs in manifests():
        ours = [doc for doc in docs if doc["apiVersion"].rpartition("/")[0] in known]
        left += len(docs) - len(ours)
        if not ours:
            continue
        for namespace in {doc["metadata"].get("namespace", "default") for doc in ours} - made:
            server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
            made.add(namespace)
        run([kubectl, "apply", "--dry-run=server", "--validate=strict", "-f", "-"], server, input=yaml.safe_dump_all(ours))
        count += len(ours)
    if count < 40:
        fail(f"only {count} objects are found")
    seen(f"{count} objects of the chart's value sets and of deploy/ are taken by a server-side dry run ({left} of operators' kinds left out)")
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 70000}]}}
    got = subprocess.run([kubectl, "apply", "--dry-run=server", "--namespace", "chat", "-f", "-"], capture_output=True, text=True,
                         check=False, env=server.environment(), input=yaml.safe_dump(wrong))
    if got.returncode == 0:
        fail("the server takes everything")


def registered(server, docs, hook, authority):
    """The chart's own configuration; only the way to the webhook is another, since no Service is routed here."""
    (config,) = [doc for doc in docs if doc["kind"] == "MutatingWebhookConfiguration"]
    for one in config["webhooks"]:
        path = one["clientConfig"]["service"]["path"]
        one["clientConfig"] = {"url": f"https://127.0.0.1:{hook.port}{path}", "caBundle": base64.b64encode(authority.file.read_bytes()).decode()}
        one["timeoutSeconds"] = 30
    server.ask("DELETE", f"{WEBHOOKS}/{config['metadata']['name']}")
    server.make(WEBHOOKS, config)


def pod(case, given):
    metadata = {"generateName": f"{case['name']}-", "labels": case.get("labels", given["all"]["labels"]),
                "annotations": case.get("annotations", given["all"]["annotations"]) or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": case.get("spec", {"containers": [given["feed"]]})}


def first_answer(server, namespace, plain):
    """The server's admission uses a configuration a moment after it is stored."""
    def injected():
        made, _ = server.make(PODS.format(namespace) + "?dryRun=All", plain)
        return "crossfade.dev/injected" in made["metadata"].get("annotations", {})

    inject.until("the webhook in use", injected)


def names(pod_stored):
    spec = pod_stored["spec"]
    return [container["name"] for container in spec.get("initContainers", []) + spec["containers"]]


def patched(server, given, docs, hook, authority):
    """Every case: the server takes the patch and stores what the snapshot of the answers says."""
    registered(server, docs, hook, authority)
    said = dict(re.findall(r"^([a-z-]+): (\w+)", pathlib.Path("tests/admission/answers/native.txt").read_text(), re.M))
    cases = [case for case in given["pods"] if "update" not in case]
    first_answer(server, "feeds", pod({"name": "first"}, given))
    count = {}
    for case in cases:
        stored, warnings = server.make(PODS.format("feeds"), pod(case, given))
        notes = stored["metadata"].get("annotations", {})
        how = "Injected" if "crossfade.dev/injected" in notes else "Refused" if "crossfade" in " ".join(warnings) else "NotAsked"
        if how != said[case["name"]]:
            fail(f"{case['name']}: {how} and not {said[case['name']]}: {notes} {warnings}")
        own = "crossfade" in names(pod(case, given))
        if ("crossfade" in names(stored)) != (how == "Injected" or own):
            fail(f"{case['name']}: {how}, and its containers are {names(stored)}")
        if how == "Injected" and stored["spec"]["initContainers"][0].get("restartPolicy") != "Always":
            fail(f"{case['name']}: the sidecar is no sidecar any more: {stored['spec']['initContainers'][0]}")
        count[how] = count.get(how, 0) + 1
    if count.get("Injected", 0) < 5 or count.get("Refused", 0) < 10:
        fail(f"{count}")
    seen(f"the server takes the patches and stores the pods, with our warnings: {count}")
    stored, _ = server.make(PODS.format("others"), pod({"name": "plain"}, given))
    if "crossfade" in names(stored):
        fail("a namespace without the label is injected")
    strict = {**given["feed"], "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False,
              "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}
    stored, warnings = server.make(PODS.format("strict"), pod({"name": "strict", "spec": {"containers": [strict]}}, given))
    if "crossfade" not in names(stored) or warnings:
        fail(f"Pod Security `restricted`: {names(stored)} {warnings}")
    seen("namespaces without the label stay as they are; Pod Security `restricted` takes the injected pod")


def redirected(server, given, docs, hook, authority):
    registered(server, docs, hook, authority)
    first_answer(server, "privileged", pod({"name": "first"}, given))
    for namespace, wanted in (("privileged", True), ("feeds", False)):
        stored, _ = server.make(PODS.format(namespace), pod({"name": "plain"}, given))
        if ("NET_ADMIN" in str(stored)) != wanted or "crossfade" not in names(stored):
            fail(f"{namespace}: NET_ADMIN is {not wanted}")
    seen("redirect: NET_ADMIN only where the namespace's label allows it, by the server's own choice of the path")


def without(server, given):
    """The webhook is gone."""
    stored, _ = server.make(PODS.format("feeds"), pod({"name": "plain"}, given))
    if "crossfade" in names(stored):
        fail("who has injected this?")
    seen("the webhook gone: pods start without a sidecar (failurePolicy Ignore)")


def page(server, folder):
    """The commands of docs/deploy.md as they stand there."""
    for name in ("charts", "deploy"):
        (folder / name).symlink_to(pathlib.Path(name).resolve())
    (folder / "supabase-key").write_text("sb_secret_0123456789abcdef")
    server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "chat"}})
    run([kubectl, "apply", "--namespace", "chat", "-f", "deploy/examples/node/kubernetes.yaml"], server)
    backend = {"service": {"name": "feed", "port": {"number": 80}}}
    server.make("/apis/networking.k8s.io/v1/namespaces/chat/ingresses", {"metadata": {"name": "feed"}, "spec": {
        "rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}})
    ran = []
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        for line in block.splitlines():
            line = line.removesuffix(" &")
            if line and not line.startswith(NO_CLUSTER) and not line.startswith("REDIS_URL="):
                run(["bash", "-euo", "pipefail", "-c", line], server, cwd=folder)
                ran.append(line)
                print(f"ok  the server takes: {line[:100]}", flush=True)
    if len(ran) < 10:
        fail(f"the page's commands are not found: {ran}")
    deployment = server.get("/apis/apps/v1/namespaces/chat/deployments/crossfade")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    share = {variable["name"]: variable.get("value") for variable in container["env"]}.get("CROSSFADE_ROLLOUT_PERCENT")
    ingress = server.get("/apis/networking.k8s.io/v1/namespaces/chat/ingresses/feed")
    leads = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
    if (share, leads) != ("1", "crossfade"):
        fail(f"after the page the share is {share} and the Ingress leads to {leads}")
    seen(f"docs/deploy.md: {len(ran)} commands as they stand there, against the server")


def main():
    folder = pathlib.Path(out)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = yaml.safe_load(pathlib.Path("tests/admission/pods.yaml").read_text())
    authority = inject.Authority(folder, "authority")
    authority.issue("localhost", folder / "tls", address="127.0.0.1")
    hooks, server = [], None
    try:
        server = api_server.ApiServer(os.environ["KUBE_APISERVER"], os.environ["ETCD"], folder / "server")
        seen(f"kube-apiserver {server.version}")
        enabled = {"crossfade.dev/inject": "enabled"}
        server.namespace("feeds", enabled)
        server.namespace("others")
        server.namespace("strict", {**enabled, "pod-security.kubernetes.io/enforce": "restricted"})
        server.namespace("privileged", {**enabled, "crossfade.dev/redirect": "allowed"})
        taken(server)
        for values, judge in ((inject.VALUES, patched), (inject.REDIRECT_VALUES, redirected)):
            side, docs = inject_templates.rendered(helm, values, "1.34.0")
            (folder / "sidecar.json").write_text(side)
            hook = inject.Webhook(docs, folder / "tls", folder / "sidecar.json", "127.0.0.1")
            hooks.append(hook)
            judge(server, given, docs, hook, authority)
            hook.process.kill()
            hook.process.wait()
        without(server, given)
        (folder / "page").mkdir()
        page(server, folder / "page")
    finally:
        for hook in hooks:
            hook.process.kill()
            hook.process.wait()
        if server:
            server.close()


if __name__ == "__main__":
    main()
