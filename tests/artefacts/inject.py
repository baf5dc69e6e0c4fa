"""The webhook as a process, asked over TLS as an API server asks.

Usage: inject.py HELM KUBERNETES-VALIDATE CROSSFADE OUTPUT-DIRECTORY
"""

import base64
import calendar
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

import jsonpatch
import yaml

import inject_templates
import manifests
from waits import HANG, fail, seen, until

# What the reloads of `reloads` must be counted as.
RELOADS = {"tls_applied": 1, "tls_refused": 1, "template_applied": 1, "template_refused": 1}
helm, validate, binary, out = sys.argv[1:5]
VALUES, REDIRECT_VALUES = (f"charts/crossfade/ci/injector{more}-values.yaml" for more in ("", "-redirect"))
REVIEWS = {path.stem: json.loads(path.read_text()) for path in sorted(pathlib.Path("tests/admission").glob("*.json"))}


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


class Authority:
    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.file = folder / f"{name}.crt"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", self.file)

    @staticmethod
    def openssl(*words):
        got = run("openssl", *map(str, words))
        if got.returncode != 0:
            fail(got.stderr)

    def issue(self, host, folder, address=None):
        folder.mkdir(parents=True)
        extensions = folder / "extensions"
        names = f"DNS:{host}" + (f",IP:{address}" if address else "")
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}",
                     "-keyout", folder / "tls.key", "-out", folder / "csr")
        self.openssl("x509", "-req", "-in", folder / "csr", "-CA", self.file, "-CAkey", self.folder / f"{self.name}.key",
                     "-days", "2", "-extfile", extensions, "-out", folder / "tls.crt")


    @staticmethod
    def expires(certificate):
        said = run("openssl", "x509", "-in", certificate, "-noout", "-enddate").stdout
        return calendar.timegm(time.strptime(said.strip().removeprefix("notAfter="), "%b %d %H:%M:%S %Y %Z"))


class Mount:
    """As the kubelet mounts: symlinks into ..data, which is swapped."""

    def __init__(self, folder, names):
        self.folder = folder
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).symlink_to(f"..data/{name}")

    def swap(self, version, files):
        (self.folder / version).mkdir()
        for name, text in files.items():
            (self.folder / version / name).write_text(text)
        (self.folder / "..new").symlink_to(version)
        os.replace(self.folder / "..new", self.folder / "..data")


class Webhook:
    """The pod's environment is the one that the chart gives it, with other places."""

    def __init__(self, docs, tls, template, host):
        self.host, self.log = host, pathlib.Path(out, "inject.log")
        (deployment,) = [doc for doc in docs if doc["kind"] == "Deployment"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        if set(environment) != {"CROSSFADE_INJECT_LISTEN", "CROSSFADE_INJECT_TLS_DIR", "CROSSFADE_INJECT_TEMPLATE", "CROSSFADE_METRICS_LISTEN"}:
            fail(f"the chart gives the webhook {environment}")
        given = (environment["CROSSFADE_INJECT_TLS_DIR"], environment["CROSSFADE_INJECT_TEMPLATE"])
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        if given != (mounts["tls"], mounts["template"] + "/sidecar.json"):
            fail(f"{given} is not where the chart mounts them: {mounts}")
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if environment["CROSSFADE_METRICS_LISTEN"] != f"0.0.0.0:{ports['cf-metrics']}":
            fail(f"Prometheus would ask {ports}")
        environment.update(CROSSFADE_INJECT_LISTEN="127.0.0.1:0", CROSSFADE_METRICS_LISTEN="127.0.0.1:0", CROSSFADE_INJECT_TLS_DIR=str(tls), CROSSFADE_INJECT_TEMPLATE=str(template))
        self.process = subprocess.Popen([binary, *container["args"]], env=environment, stderr=self.log.open("w"))
        try:
            self.port, self.metrics_port = self.port_of("inject"), self.port_of("metrics")
        except SystemExit:
            self.process.kill()
            raise

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def port_of(self, listener):
        def listening():
            if self.process.poll() is not None:
                fail(self.log.read_text())
            mine = [line for line in self.lines() if line["message"] == "listening" and line["listener"] == listener]
            return next((line["addr"] for line in mine), None)

        return int(until("listening", listening).rsplit(":", 1)[1])

    def values(self):
        """What Prometheus scrapes, without TLS, by series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=HANG) as answer:
            text = answer.read().decode()
        return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")}

    def outcome(self, word):
        return self.values()[f'crossfade_inject_reviews_total{{outcome="{word}"}}']

    def connect(self, authority):
        """Verifies the name that the API server verifies."""
        context = ssl.create_default_context(cafile=str(authority.file))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=HANG)
        return context.wrap_socket(plain, server_hostname=self.host)

    def ask(self, authority, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host)
        connection.sock = self.connect(authority)
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        status, text = answer.status, answer.read()
        connection.close()
        return status, text

    def review(self, authority, path, review):
        status, text = self.ask(authority, "POST", path, json.dumps(review))
        if status != 200:
            fail(f"{status}: {text}")
        answer = json.loads(text)
        response = answer["response"]
        if (answer["apiVersion"], answer["kind"]) != ("admission.k8s.io/v1", "AdmissionReview"):
            fail(f"not an AdmissionReview: {answer}")
        if response["uid"] != review["request"]["uid"] or response["allowed"] is not True:
            fail(f"not an answer to this question: {response}")
        pod = review["request"]["object"]
        if "patch" in response:
            if response["patchType"] != "JSONPatch":
                fail(response["patchType"])
            pod = jsonpatch.apply_patch(pod, base64.b64decode(response["patch"]).decode())
        return pod, response.get("warnings", [])


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def valid(pods, version):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        # The API server gives the name after admission, and its empty time and status are in no manifest.
        named = [{**pod, "metadata": {**pod["metadata"], "name": f"pod-{i}"}} for i, pod in enumerate(pods)]
        for pod in named:
            # Up to 1.34 the time is sent as null; later it is left out.
            pod.pop("status", None), pod["metadata"].pop("creationTimestamp", None)
        yaml.dump_all(named, file, Dumper=Plain)
        file.flush()
        got = run(validate, "-k", version, "--strict", file.name)
    if got.returncode != 0 or "Couldn't find schema" in got.stdout + got.stderr:
        fail(f"{version}: {got.stdout}{got.stderr}")


def accepted(pod):
    """The program reads the environment that the sidecar has in the patched pod; returns it."""
    both = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    (container,) = [one for one in both if one["name"] == "crossfade"]
    known = {row["name"] for row in json.loads(run(binary, "config", "--json").stdout)}
    with tempfile.TemporaryDirectory() as folder:
        environment = {}
        for variable in container["env"]:
            name, value = variable["name"], variable.get("value", "pod-0")
            if name.endswith("_FILE") and name not in known:
                value = os.path.join(folder, name)
                pathlib.Path(value).write_text("sb_secret_0123456789abcdef")
            environment[name] = value
        more = {} if "CROSSFADE_ADMIN_TOKEN_FILE" in environment else {"CROSSFADE_ADMIN_TOKEN": "x"}
        got = run(binary, "drain", "--admin", "127.0.0.1:1", env={**environment, **more})
    if got.returncode != 69:
        fail(f"the program refuses the injected environment: {got.stderr}")
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def judged(hook, authority, path, version, label):
    """All reviews: patched, valid, our own rules, and asked again nothing changes."""
    pods, injected, refused = [], 0, 0
    before_all = hook.values()
    for name, review in REVIEWS.items():
        before = review["request"]["object"]
        pod, warnings = hook.review(authority, path, review)
        pods.append(pod)
        again, _ = hook.review(authority, path, {**review, "request": {**review["request"], "object": pod}})
        if again != pod:
            fail(f"{label} {name}: asked again, it changes the pod")
        annotations = pod["metadata"].get("annotations", {})
        if "crossfade.dev/injected" in annotations:
            injected += 1
            accepted(pod)
            made = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name},
                    "spec": {"selector": {"matchLabels": {"app": pod["metadata"]["labels"]["app"]}}, "template": pod}}
            found = [p for p in manifests.problems([made]) if "crossfade" in p]
            if found:
                fail(f"{label} {name}: {found}")
        elif warnings:
            refused += 1
            if pod["spec"] != before["spec"] or ("not-injected" not in str(annotations) and name != "mirror-pod"):
                fail(f"{label} {name}: refused, but not left alone: {annotations}")
        elif pod != before:
            fail(f"{label} {name}: changed without a word")
    valid(pods, version)
    if injected < 5 or refused < 10:
        fail(f"{label}: {injected} injected, {refused} refused")
    after = hook.values()
    grown = {word: after[key] - before_all[key] for word in ("injected", "already", "refused", "not_asked")
             for key in [f'crossfade_inject_reviews_total{{outcome="{word}"}}']}
    # Asked again: an injected pod has one already, a refused one is refused again.
    if (grown["injected"], grown["already"]) != (injected, injected) or grown["refused"] < refused or sum(grown.values()) != 2 * len(REVIEWS):
        fail(f"{label}: {injected} injected and {refused} refused are counted as {grown}")
    reasons = sum(value for key, value in after.items() if key.startswith("crossfade_inject_refused_total"))
    if reasons != after['crossfade_inject_reviews_total{outcome="refused"}']:
        fail(f"{label}: {reasons} reasons for what is refused")
    seen(f"{label}: {injected} pods injected, {refused} refused with a reason; all valid on {version}, the same when asked again")
    return dict(zip(REVIEWS, pods))


def privileges(hook, authority, label, wanted):
    """NET_ADMIN on the path of labelled namespaces alone."""
    for path, allowed in (("/mutate", False), ("/mutate/redirect", wanted)):
        pod, _ = hook.review(authority, path, REVIEWS["plain"])
        if ("NET_ADMIN" in json.dumps(pod)) != allowed:
            fail(f"{label}: NET_ADMIN on {path}")
    seen(f"{label}: NET_ADMIN {'only on the path of labelled namespaces' if wanted else 'never'}")


def annotations(pods):
    environment = accepted(pods["all-annotations"])
    wanted = {"CROSSFADE_UPSTREAM": "ws://127.0.0.1:3000", "CROSSFADE_SERVICE": "feed-eu", "CROSSFADE_ROLLOUT_PERCENT": "2.5"}
    if not wanted.items() <= environment.items():
        fail(f"annotations: {environment}")
    if accepted(pods["named-port-and-probes"])["CROSSFADE_UPSTREAM"] != "ws://127.0.0.1:3000":
        fail("a named port is not resolved")
    if pods["plain"]["spec"]["enableServiceLinks"] is not True:
        fail("the service's own variables were taken away")
    seen("annotations of the list set their variables, a port may be named, the service keeps its own settings")


def hostile(hook, authority):
    """What is no question, too much, or too slow."""
    cases = [("POST", "/mutate", b"", 400), ("POST", "/mutate", b"[" * 100_000, 400), ("GET", "/mutate", None, 405),
             ("POST", "/", b"{}", 404), ("GET", "/metrics", None, 404), ("POST", "/mutate", b" " * (1 << 20) + b"{}", 413),
             ("GET", "/healthz", None, 200)]
    for method, path, body, wanted in cases:
        status, text = hook.ask(authority, method, path, body)
        if status != wanted:
            fail(f"{method} {path} ({len(body or b'')} bytes): {status} {text[:100]}")
    counted = {word: hook.outcome(word) for word in ("invalid", "too_large", "unanswered")}
    if counted != {"invalid": 2, "too_large": 1, "unanswered": 0}:
        fail(f"two that are no question and one too large are counted as {counted}")
    slow = [hook.connect(authority) for _ in range(20)]
    for one in slow:
        one.sendall(b"POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    # The probe does not wait behind them; they are told within the deadline.
    if hook.ask(authority, "GET", "/healthz")[0] != 200:
        fail("slow questions stop the health check")
    for one in slow:
        said = one.recv(100)
        if b" 503 " not in said:
            fail(f"a question that never ends is answered {said}")
        one.close()
    until("20 unanswered", lambda: hook.outcome("unanswered") == 20)
    hook.review(authority, "/mutate", REVIEWS["plain"])
    with socket.create_connection(("127.0.0.1", hook.port), timeout=HANG) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        if b"200" in plain.recv(100):
            fail("answers without TLS")
    seen("no question: 400; over 1 MiB: 413; too slow: 503 within the deadline, while others are answered; no plain HTTP")


def reloads(hook, folder, tls, template, classic, first):
    """Both mounts are swapped, to bad content and to good, without a restart."""
    template.swap("bad", {"sidecar.json": '{"version": 2}'})
    until("the refusal", lambda: any("template has changed and cannot" in line["message"] for line in hook.lines()))
    pod, _ = hook.review(first, "/mutate", REVIEWS["plain"])
    if "initContainers" not in pod["spec"]:
        fail("a bad template is used")
    template.swap("classic", {"sidecar.json": classic})

    def changed():
        pod, _ = hook.review(first, "/mutate", REVIEWS["plain"])
        return len(pod["spec"]["containers"]) == 2

    until("the new template", changed)
    seen("template: a bad one is refused and the last good one stays; a good one is used without a restart")
    open_before = hook.connect(first)
    second = Authority(folder, "second")
    second.issue(hook.host, folder / "issued-2")
    tls.swap("second", {name: (folder / "issued-2" / name).read_text() for name in ("tls.crt", "tls.key")})

    def shown():
        try:
            return hook.ask(second, "GET", "/healthz")[0] == 200
        except ssl.SSLCertVerificationError:
            return False

    until("the new certificate", shown)
    open_before.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    if b" 200 " not in open_before.recv(100):
        fail("an open connection is cut when certificates change")
    open_before.close()
    tls.swap("bad", {"tls.crt": (folder / "issued-2/tls.crt").read_text(), "tls.key": (folder / "issued-1/tls.key").read_text()})
    until("the refusal", lambda: any("TLS files have changed and cannot" in line["message"] for line in hook.lines()))
    if not shown():
        fail("a bad pair is used")
    reloads = {word: hook.values()[f'crossfade_inject_reloads_total{{outcome="{word}"}}'] for word in RELOADS}
    if reloads != RELOADS:
        fail(f"reloads are counted as {reloads}")
    if hook.values()["crossfade_inject_certificate_expiry_seconds"] != second.expires(folder / "issued-2/tls.crt"):
        fail("the expiry is not the certificate's in use")
    linted = run("promtool", "check", "metrics", input=urllib.request.urlopen(f"http://127.0.0.1:{hook.metrics_port}/metrics").read().decode())
    if linted.returncode != 0:
        fail(linted.stdout + linted.stderr)
    seen("metrics: each question by what became of it, each reload, and when the certificate in use expires")
    seen("certificate: renewed by another authority without a restart or a cut; a pair that does not fit is refused")
    return second


def wrong_start(folder):
    """Said at once, exit 64."""
    environment = {"CROSSFADE_INJECT_LISTEN": "nowhere", "CROSSFADE_INJECT_TLSDIR": "/x"}
    got = run(binary, "inject", env=environment)
    if got.returncode != 64 or any(word not in got.stderr for word in ("CROSSFADE_INJECT_LISTEN", "CROSSFADE_INJECT_TLS_DIR?")):
        fail(f"{got.returncode}: {got.stderr}")
    empty = {"CROSSFADE_INJECT_TLS_DIR": str(folder / "none"), "CROSSFADE_INJECT_TEMPLATE": str(folder / "none.json")}
    got = run(binary, "inject", env=empty)
    if got.returncode != 64 or any(word not in got.stderr for word in ("tls.crt", "tls.key", "none.json")):
        fail(f"{got.returncode}: {got.stderr}")
    seen("wrong settings and missing files: all of them named, exit 64")


def main():
    folder = pathlib.Path(out)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    native, docs = inject_templates.rendered(helm, VALUES, "1.34.0")
    classic, _ = inject_templates.rendered(helm, VALUES, "1.28.0")
    redirect, redirect_docs = inject_templates.rendered(helm, REDIRECT_VALUES, "1.34.0")
    (config,) = [doc for doc in docs if doc["kind"] == "MutatingWebhookConfiguration"]
    service = config["webhooks"][0]["clientConfig"]["service"]
    host = f"{service['name']}.{service['namespace']}.svc"
    paths = [hook["clientConfig"]["service"]["path"] for hook in config["webhooks"]]
    wrong_start(folder)
    first = Authority(folder, "first")
    first.issue(host, folder / "issued-1")
    tls, template = Mount(folder / "tls", ["tls.crt", "tls.key"]), Mount(folder / "template", ["sidecar.json"])
    tls.swap("first", {name: (folder / "issued-1" / name).read_text() for name in ("tls.crt", "tls.key")})
    template.swap("native", {"sidecar.json": native})
    (folder / "redirect.json").write_text(redirect)
    hooks = []
    try:
        hook = Webhook(docs, folder / "tls", folder / "template/sidecar.json", host)
        hooks.append(hook)
        pods = judged(hook, first, paths[0], "1.34", "native sidecar")
        annotations(pods)
        privileges(hook, first, "targetPort", False)
        hostile(hook, first)
        second = reloads(hook, folder, tls, template, classic, first)
        judged(hook, second, paths[0], "1.28", "ordinary container")
        hook.process.send_signal(signal.SIGTERM)
        until("stopping", lambda: any(line["message"] == "stopping" for line in hook.lines()))
        hook.review(second, "/mutate", REVIEWS["plain"])
        if hook.process.wait(timeout=HANG) != 0:
            fail("SIGTERM does not end it with 0")
        seen("SIGTERM: it still answers until the Service has followed, and ends with 0")
        tls.swap("again", {name: (folder / "issued-2" / name).read_text() for name in ("tls.crt", "tls.key")})
        hook = Webhook(redirect_docs, folder / "tls", folder / "redirect.json", host)
        hooks.append(hook)
        judged(hook, second, paths[1], "1.34", "redirect")
        privileges(hook, second, "redirect", True)
    finally:
        for hook in hooks:
            hook.process.kill()
            hook.process.wait()


if __name__ == "__main__":
    main()
