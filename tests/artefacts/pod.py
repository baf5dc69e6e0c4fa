"""A pod from its admission to its end. Two network namespaces stand for the pod and for everybody else.

Usage: pod.py HELM KUBERNETES-VALIDATE CROSSFADE OUTPUT-DIRECTORY
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import yaml

import inject
import inject_templates
from inject import binary, fail, out, seen, until

SESSIONS = 500
POD, WORLD = "198.18.4.1", "198.18.4.2"
EMULATOR_PORT = 4000
LOAD = str(pathlib.Path("tests/artefacts/pod_load.py").resolve())
running = []


def ip(*words):
    got = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if got.returncode != 0:
        fail(f"ip {' '.join(words)}: {got.stderr}")


class Spaces:
    def __init__(self):
        self.pod, self.world = f"cf-pod-{os.getpid()}", f"cf-world-{os.getpid()}"

    def __enter__(self):
        for space in (self.pod, self.world):
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("link", "add", "eth0", "netns", self.pod, "type", "veth", "peer", "name", "eth0", "netns", self.world)
        for space, address in ((self.pod, POD), (self.world, WORLD)):
            ip("-n", space, "addr", "add", f"{address}/30", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
        return self

    def __exit__(self, *_):
        for _, process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
        for space in (self.pod, self.world):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def start(space, name, command, environment=None):
    log = pathlib.Path(out, f"{name}.log").open("w")
    base = {"PATH": os.environ["PATH"]}
    process = subprocess.Popen(["ip", "netns", "exec", space, *command], env={**base, **(environment or {})},
                               stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    running.append((name, process))
    return process


def log_of(name):
    return pathlib.Path(out, f"{name}.log").read_text()


def ended(name, process):
    try:
        return process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        return fail(f"{name} does not end: {log_of(name)[-2000:]}")


def get(space, port, path):
    """The kubelet asks from outside the pod."""
    script = f"import urllib.request as u; print(u.urlopen('http://{POD}:{port}{path}', timeout=5).read().decode(), end='')"
    got = subprocess.run(["ip", "netns", "exec", space, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return got.stdout if got.returncode == 0 else None


def admitted(folder):
    """The pod as the API server would run it: the chart's webhook, asked over TLS for a labelled namespace."""
    values = {
        "mode": "injector",
        "sidecar": {"native": "always", "intercept": "redirect", "redirect": {"image": "registry.example/iptables:1", "ports": [3000]}},
        "secrets": {"CROSSFADE_ADMIN_TOKEN": {"name": "crossfade", "key": "admin-token"}, "SUPABASE_KEY": {"name": "supabase", "key": "k"}},
        "config": {"SUPABASE_URL": f"http://{WORLD}:{EMULATOR_PORT}", "CROSSFADE_PLAN": "custom:1000000",
                   "CROSSFADE_ROLLOUT_PERCENT": 100, "CROSSFADE_BREAKER": "forced_closed"},
    }
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    side, docs = inject_templates.rendered(inject.helm, str(folder / "values.yaml"), "1.34.0")
    (folder / "sidecar.json").write_text(side)
    host = "rel-crossfade.chat.svc"
    authority = inject.Authority(folder, "authority")
    authority.issue(host, folder / "tls")
    hook = inject.Webhook(docs, folder / "tls", folder / "sidecar.json", host)
    running.append(("inject", hook.process))
    pod, warnings = hook.review(authority, "/mutate/redirect", inject.REVIEWS["plain"])
    hook.process.terminate()
    if warnings:
        fail(str(warnings))
    return pod


def environment(container, secrets):
    made = {}
    for variable in container["env"]:
        name, value = variable["name"], variable.get("value", "feed-6d9c7f5b8-x2x7p")
        secret = name.removesuffix("_FILE")
        made[name] = str(secrets[secret]) if secret in secrets else value
    return made


def emulator(spaces, folder):
    """Realtime, outside the pod. Returns the secrets that the pod mounts."""
    limits = ["--events-per-second", "1000000", "--joins-per-second", "100000", "--users", "100000"]
    start(spaces.world, "emulator", [binary, "emulator", "--listen", f"{WORLD}:{EMULATOR_PORT}", *limits])
    mark = "SUPABASE_SERVICE_ROLE_KEY="
    key = until("the emulator", lambda: next((line.removeprefix(mark) for line in log_of("emulator").splitlines() if line.startswith(mark)), None))
    secrets = {"SUPABASE_KEY": key, "CROSSFADE_ADMIN_TOKEN": "0123456789abcdef0123456789abcdef"}
    for name, text in secrets.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in secrets}


def started(spaces, pod, secrets):
    """Init containers in their order; a native sidecar counts when its startupProbe answers; then the service."""
    redirect, sidecar = pod["spec"]["initContainers"]
    if (redirect["name"], sidecar["name"], sidecar["restartPolicy"]) != ("crossfade-redirect", "crossfade", "Always"):
        fail(f"another order: {redirect['name']}, {sidecar['name']}")
    variables = {**{v["name"]: v["value"] for v in redirect["env"]}, "XTABLES_LOCKFILE": str(pathlib.Path(out, "lock"))}
    if ended("redirect", start(spaces.pod, "redirect", [*redirect["command"], *redirect["args"]], variables)) != 0:
        fail(log_of("redirect"))
    proxy_environment = environment(sidecar, secrets)
    proxy = start(spaces.pod, "crossfade", [binary], proxy_environment)
    port = {one["name"]: one["containerPort"] for one in sidecar["ports"]}["cf-metrics"]
    until("the startupProbe", lambda: get(spaces.world, port, sidecar["startupProbe"]["httpGet"]["path"]))
    if get(spaces.world, port, sidecar["readinessProbe"]["httpGet"]["path"]):
        fail("ready without a service")
    seen("redirect, then the sidecar: started before the service is there, and not ready")
    service = start(spaces.pod, "service", [sys.executable, LOAD, "service", "3000", str(pathlib.Path(out, "service.json"))])
    until("readiness", lambda: get(spaces.world, port, "/readyz"))
    metrics = lambda: get(spaces.world, port, "/metrics") or ""  # noqa: E731
    until("the link to Realtime", lambda: "crossfade_realtime_connected 1" in metrics())
    return proxy, proxy_environment, service, metrics


def value(metrics, series):
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(series))


def terminated(spaces, pod, proxy, proxy_environment, service):
    """As the kubelet does it: every preStop at once; the service is told when its own is over; native sidecars last."""
    (_, sidecar) = pod["spec"]["initContainers"]
    command = sidecar["lifecycle"]["preStop"]["exec"]["command"]
    if command[0] != "/crossfade":
        fail(f"the image has no {command[0]}")
    # The service's own preStop outlives the drain, as docs/deploy.md asks for: here it waits for it.
    drain = start(spaces.pod, "drain", [binary, *command[1:]], proxy_environment)
    if ended("drain", drain) != 0 or "drained" not in log_of("drain"):
        fail(f"preStop: {log_of('drain')}")
    if service.poll() is not None:
        fail("the service was gone before its sessions")
    service.send_signal(signal.SIGTERM)
    if ended("service", service) != 0:
        fail(log_of("service"))
    if proxy.poll() is None:
        proxy.send_signal(signal.SIGTERM)
    if ended("crossfade", proxy) != 0:
        fail(log_of("crossfade")[-2000:])
    (stopped,) = [line for line in map(json.loads, log_of("crossfade").splitlines()) if line["message"] == "stopped"]
    if stopped["sessions_cut"] or stopped["requests_cut"]:
        fail(f"cut off: {stopped}")


def judged(clients, sessions):
    """By the logs of both ends alone."""
    if len(clients) != SESSIONS or set(clients) != set(sessions):
        fail(f"{len(clients)} clients, {len(sessions)} sessions")
    down = up = after = 0
    for user, client in clients.items():
        served = sessions[user]
        if served["peer"] != "127.0.0.1":
            fail(f"{user} went past the sidecar: {served['peer']}")
        if client["code"] != 1012 or served["code"] != 1001:
            fail(f"{user}: closed with {client['code']}, the service was told {served['code']}")
        if served["read"] != client["sent"]:
            fail(f"{user}: said {len(client['sent'])}, the service has read {len(served['read'])}")
        if served["written"][: len(client["received"])] != client["received"]:
            fail(f"{user}: a gap, a double or a swap before the close")
        down, up = down + len(client["received"]), up + len(served["read"])
        after += len(served["written"]) - len(client["received"])
    return [
        f"{SESSIONS} sessions are told 1012, the service 1001; none is cut",
        f"{up} messages to the service: all of them, in order, up to the clients' own close",
        f"{down} messages to clients: in order, no gap, no double; {after} were written when the close was on its way",
    ]


def bites(clients, sessions):
    """The comparison finds what it is for."""
    def lose_one(clients, _):
        del clients["7"]["received"][2]

    def swap(clients, _):
        clients["7"]["received"][1:3] = reversed(clients["7"]["received"][1:3])

    def lose_last_said(_, sessions):
        sessions["7"]["read"].pop()

    def cut(clients, _):
        clients["7"]["code"] = 1006

    for sabotage in (lose_one, swap, lose_last_said, cut):
        made = json.loads(json.dumps([clients, sessions]))
        sabotage(*made)
        try:
            judged(*made)
        except SystemExit:
            continue
        fail(f"{sabotage.__name__} goes unseen")
    seen("the comparison finds a lost, a swapped, an unread message and a cut session")


def main():
    folder = pathlib.Path(out)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Spaces() as spaces:
        pod = admitted(folder)
        secrets = emulator(spaces, folder)
        proxy, proxy_environment, service, metrics = started(spaces, pod, secrets)
        crowd = start(spaces.world, "crowd", [sys.executable, LOAD, "crowd", f"ws://{POD}:3000/feed", str(SESSIONS), str(folder / "crowd.json")])
        until("every session is under way", lambda: "steady" in log_of("crowd") or (crowd.poll() is not None and fail(log_of("crowd"))))
        now = metrics()
        if value(now, "crossfade_sessions{") != SESSIONS or value(now, 'crossfade_sessions{lane="hot"}') < SESSIONS * 0.9:
            fail("sessions: " + "\n".join(line for line in now.splitlines() if line.startswith("crossfade_sessions")))
        seen(f"{SESSIONS} sessions on the service's own address, through the redirect, on the hot lane")
        terminated(spaces, pod, proxy, proxy_environment, service)
        if ended("crowd", crowd) != 0:
            fail(log_of("crowd")[-2000:])
        clients, sessions = (json.loads((folder / f"{name}.json").read_text()) for name in ("crowd", "service"))
        for text in judged(clients, sessions):
            seen(text)
        bites(clients, sessions)


main()
