"""deploy/compose as processes: the same names, commands, environment and files, in a network and mount namespace of
its own where every name of the compose file is loopback. Then the three stacks behind the same binary.

Usage: stack.py CROSSFADE NODE-MODULES OUTPUT-DIRECTORY
"""

import asyncio
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

HANG = 60
binary, modules, out = sys.argv[1:4]
running = []


def seen(text):
    print(f"ok  {text}", flush=True)


def fail(text):
    raise SystemExit(f"BROKEN  {text}")


def enter_own_namespaces():
    if os.environ.get("IN_OWN_NETWORK") != "1":
        os.environ["IN_OWN_NETWORK"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def names(services):
    """As the compose network resolves them, here all to loopback."""
    hosts = pathlib.Path(out, "hosts")
    hosts.write_text("127.0.0.1 localhost " + " ".join(services) + "\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


def start(name, command, environment):
    log = open(pathlib.Path(out, f"{name}.log"), "w")  # noqa: SIM115
    base = {"PATH": os.environ["PATH"], "HOME": out}
    process = subprocess.Popen(command, env={**base, **environment}, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    running.append((name, process))
    return process


def until(what, holds):
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        for name, process in running:
            if process.poll() is not None:
                fail(f"{what() if callable(what) else what}: {name} has ended with {process.returncode}: {pathlib.Path(out, name + '.log').read_text()[-2000:]}")
        try:
            value = holds()
            if value:
                return value
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.05)
    return fail(f"{what() if callable(what) else what} did not happen")


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def value(series):
    """One value of crossfade's own exposition; 0 where it is not there."""
    lines = [line for line in fetch("http://crossfade:9464/metrics").splitlines() if line.startswith(f"{series} ")]
    return float(lines[0].split()[1]) if lines else 0.0


def query(expression):
    answer = json.loads(fetch("http://prometheus:9090/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
    if answer["status"] != "success":
        fail(f"{expression}: {answer}")
    return answer["data"]["result"]


async def converse(url, user, count):
    """Welcome, prices in order without a gap, and an echo of what is said."""
    import websockets

    async with websockets.connect(url, additional_headers={"x-user-id": user}) as socket:
        if json.loads(await socket.recv())["type"] != "welcome":
            fail("no welcome")
        await socket.send('{"type":"hello"}')
        prices, echoed = [], False
        while len(prices) < count or not echoed:
            message = json.loads(await asyncio.wait_for(socket.recv(), HANG))
            if message["type"] == "hello":
                echoed = True
            else:
                prices.append(message["n"])
        if prices != list(range(prices[0], prices[0] + len(prices))):
            fail(f"prices with a gap: {prices}")


async def crowd(url, users, count):
    await asyncio.gather(*(converse(url, user, count) for user in users))


def cohort(percent):
    lines = subprocess.check_output([binary, "bucket", "--percent", percent, *map(str, range(200))], text=True)
    rows = [line.split("\t") for line in lines.splitlines()]
    return [row[0] for row in rows if row[2] == "in"], [row[0] for row in rows if row[2] == "out"]


def compose():
    doc = yaml.safe_load(pathlib.Path("deploy/compose/compose.yaml").read_text())
    services = doc["services"]
    names(services)
    percent = "10"
    defaults = {"${PERCENT:-10}": percent, "${REDIS_URL:-}": ""}
    start("legacy", [sys.executable, "deploy/examples/python/server.py"], services["legacy"]["environment"])
    start("emulator", [binary, *services["emulator"]["command"]], {})
    environment = {key: defaults.get(value, value) for key, value in services["crossfade"]["environment"].items()}
    secret = doc["secrets"]["supabase-key"]["file"]
    environment["SUPABASE_KEY_FILE"] = str(pathlib.Path("deploy/compose", secret).resolve())
    proxy = start("crossfade", [binary], environment)
    until("ready", lambda: fetch("http://crossfade:9464/readyz") == "ok\n")
    until("the link", lambda: "crossfade_realtime_connected 1" in fetch("http://crossfade:9464/metrics"))
    seen("compose: service, emulator and crossfade are up, and the link is joined")

    prometheus = pathlib.Path(out, "prometheus")
    shutil.rmtree(prometheus, ignore_errors=True)
    prometheus.mkdir()
    shutil.copy("deploy/prometheus/prometheus.yml", prometheus)
    shutil.copytree("charts/crossfade/files/rules", prometheus / "rules")
    start("prometheus", ["prometheus", f"--config.file={prometheus}/prometheus.yml", f"--storage.tsdb.path={prometheus}/data"], {})
    check = subprocess.run([binary, "check", "--json"], env=environment, capture_output=True, text=True, check=False)
    if check.returncode != 0:
        fail(f"crossfade check: {check.stdout}")
    seen("compose: `crossfade check` has nothing to say against it")

    inside, outside = cohort(percent)
    until("the breaker closes", lambda: 'crossfade_breaker_state{state="closed"} 1' in fetch("http://crossfade:9464/metrics"))
    asyncio.run(crowd("ws://crossfade:8080/feed", inside[:3] + outside[:3], 20))
    seen("compose: six users are served, in order, with an echo")
    until("read-backs", lambda: value('crossfade_mirror_messages_total{state="confirmed"}') > 100)
    seen("compose: Realtime has delivered them back")
    return proxy, environment, services["redis"]


# Queries that need show nothing in this stack, by what they name, and why.
OPTIONAL = {
    "> 0": "nothing is what one wants to see",
    "crossfade_hot_": "after a start the share comes back in steps, so nobody need be hot",
    "crossfade_spool_": "compose has no spool",
    "_live_percent": "compose's users bring no key of their own",
    "crossfade_breaker_return_seconds": "Realtime has not been lost",
    "crossfade_rollout_tier_": "compose has no store",
    "crossfade_plan_": "without a shared store there is no plan",
    "crossfade_match_ratio": "without a pair there is no ratio, and the first report takes its time",
    "crossfade_match_coverage_ratio": "as above",
}


def watched():
    """Every metric of a rule or a panel exists, and every panel's query is one."""
    until("a scrape", lambda: query("crossfade_build_info"))
    families = {line.split()[2] for line in fetch("http://crossfade:9464/metrics").splitlines() if line.startswith("# TYPE")}
    # What has no value here (no spool, no user key) is not scraped; the page lists every family, and a test holds it to that.
    families |= set(re.findall(r"`((?:crossfade|process)_[a-z_]+)`", pathlib.Path("docs/metrics.md").read_text()))
    rules = pathlib.Path("charts/crossfade/files/rules/crossfade.yaml").read_text()
    board = json.loads(pathlib.Path("charts/crossfade/files/dashboards/crossfade.json").read_text())
    expressions = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    expressions += [v["definition"] for v in board["templating"]["list"] if v["type"] == "query"]
    rules = [rule["expr"] for group in yaml.safe_load(rules)["groups"] for rule in group["rules"]]
    named = set(re.findall(r"\b(?:crossfade|process)_[a-z_]+", " ".join(rules + expressions)))
    unknown = {name for name in named if re.sub(r"_(bucket|sum|count)$", "", name) not in families}
    if unknown:
        fail(f"no such metric: {unknown}")
    ids = [panel["id"] for panel in board["panels"]]
    if len(ids) != len(set(ids)):
        fail("two panels of one id")
    empty = {}
    for panel in board["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$namespace", "compose").replace("$pod", "crossfade").replace("$__rate_interval", "1m")
            if not any(name in text for name in OPTIONAL):
                empty[text] = panel["title"]

    def all_show():
        """Rates need two scrapes: a query is asked until it has answered once."""
        for text in [text for text in empty if query(text)]:
            del empty[text]
        return not empty

    until(lambda: f"every panel shows something (not yet: {empty})", all_show)
    idle = [name for name in OPTIONAL if not any(name in expression for expression in expressions)]
    if idle:
        fail(f"nothing asks for what may be empty: {idle}")
    seen(f"{len(named)} metrics of rules and dashboard exist, {len(expressions)} queries of panels answer")
    state = json.loads(fetch("http://prometheus:9090/api/v1/rules"))["data"]["groups"]
    wrong = [r["name"] for g in state for r in g["rules"] if r["health"] == "err"]
    firing = [r["name"] for g in state for r in g["rules"] if r.get("state") == "firing"]
    if wrong or firing or not state:
        fail(f"rules: {wrong} cannot be evaluated, {firing} fire in a healthy stack")
    seen("Prometheus evaluates every rule, and none fires in a healthy stack")


def redis_commands():
    """What docs/deploy.md says inside the container of Redis."""
    inside = re.findall(r"^docker compose .* exec redis (redis-cli .*)$", pathlib.Path("docs/deploy.md").read_text(), re.M)
    commands = [shlex.split(line) for line in inside]
    if [command[1] for command in commands] != ["SET", "PUBLISH"]:
        fail(f"docs/deploy.md writes flags by {inside}")
    return commands


def redis_says(*words):
    """Its answer; nothing where it cannot be reached or refuses."""
    got = subprocess.run(["redis-cli", "-e", "-h", "redis", *words], capture_output=True, text=True, check=False)
    return got.stdout.strip() if got.returncode == 0 else ""


def rollout():
    """The process's own view; only what it is told, nothing that depends on who is connected."""
    told = json.loads(fetch("http://127.0.0.1:9465/api/v1/status"))["rollout"]
    return told["tier"], told["effective_percent"]


def by_redis(environment, redis):
    """The share as flags in Redis: nobody before they are written, then what they say, each as soon as it is seen."""
    start("redis", [*redis["command"], "--bind", "127.0.0.1", "--dir", out], {})
    until("Redis answers", lambda: redis_says("PING") == "PONG")
    # What the breaker leaves of a share is another matter: a slow machine may not trip it here.
    environment = {**environment, "CROSSFADE_REDIS_URL": "redis://redis:6379/0", "CROSSFADE_BREAKER": "forced_closed"}
    proxy = start("crossfade-redis", [binary], environment)
    until("Redis decides, for nobody", lambda: rollout() == ("redis", 0))
    written = redis_commands()
    flags = json.loads(written[0][3])
    for version, percent in ((flags["version"], flags["percent"]), (flags["version"] + 1, "40")):
        written[0][3] = json.dumps({**flags, "version": version, "percent": percent})
        for _, *words in written:
            if not redis_says(*words):
                fail(f"Redis does not take {words}")
        until(f"{percent} % by Redis", lambda wanted=float(percent): rollout() == ("redis", wanted))
    asyncio.run(crowd("ws://crossfade:8080/feed", ["1", "2", "3", "4"], 5))
    if stop(proxy) != 0:
        fail("crossfade does not end with 0")
    seen("compose with Redis: nobody until flags are written, then 12.5 %, then 40 %, and everybody is served")


def stop(process):
    process.terminate()
    code = process.wait(timeout=HANG)
    running[:] = [(name, other) for name, other in running if other is not process]
    return code


def stacks():
    """Each example unchanged behind crossfade."""
    examples = pathlib.Path("deploy/examples").resolve()
    node = pathlib.Path(out, "node")
    shutil.rmtree(node, ignore_errors=True)
    shutil.copytree(examples / "node", node)
    (node / "node_modules").symlink_to(pathlib.Path(modules).resolve())
    commands = {"python": [sys.executable, str(examples / "python/server.py")], "node": ["node", str(node / "server.js")]}
    if shutil.which("go") and pathlib.Path("/usr/share/gocode/src/github.com/gorilla/websocket").exists():
        program = str(pathlib.Path(out, "feed-go").resolve())
        go = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": os.path.abspath(f"{out}/gocache"), "CGO_ENABLED": "0", "HOME": out}
        subprocess.run(["go", "build", "-o", program, str(examples / "go/main.go")], env=go, check=True)
        commands["go"] = [program]
    for port, (name, command) in enumerate(commands.items(), start=3100):
        service = start(f"feed-{name}", command, {"PORT": str(port)})
        environment = {
            "CROSSFADE_UPSTREAM": f"ws://127.0.0.1:{port}",
            "CROSSFADE_LISTEN": f"127.0.0.1:{port + 5000}",
            "CROSSFADE_METRICS_LISTEN": f"127.0.0.1:{port + 6000}",
            "CROSSFADE_DRAIN_SETTLE": "0s",
        }
        proxy = start(f"crossfade-{name}", [binary], environment)
        until(f"{name} is ready", lambda at=port: fetch(f"http://127.0.0.1:{at + 6000}/readyz") == "ok\n")
        if fetch(f"http://127.0.0.1:{port + 5000}/healthz") != "ok\n":
            fail(f"{name}: plain HTTP does not pass")
        asyncio.run(crowd(f"ws://127.0.0.1:{port + 5000}/feed", ["1", "2"], 5))
        if stop(proxy) != 0:
            fail(f"{name}: crossfade does not end with 0")
        stop(service)
        seen(f"the {name} service behind crossfade, unchanged")


def main():
    enter_own_namespaces()
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    try:
        proxy, environment, redis = compose()
        watched()
        if stop(proxy) != 0:
            fail("crossfade does not end with 0")
        seen("compose: SIGTERM drains and ends with 0")
        by_redis(environment, redis)
        stacks()
    finally:
        for _, process in running:
            process.terminate()
        for _, process in running:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


main()
