"""A real Prometheus scrapes the demo: every query of the dashboard and of the rules is evaluated, and every metric and
label that they name exists.

Usage: prometheus.py BINARY DIRECTORY
"""

import json
import pathlib
import re
import subprocess
import sys
import urllib.parse
import urllib.request

import yaml

from waits import until

binary, out = sys.argv[1], pathlib.Path(sys.argv[2])
LABELS = re.compile(r"\bby \(([^)]*)\)")
# What may be pending over a healthy demo, and why.
MAY_BE_PENDING = {
    "CrossfadeReadbackSlow": "how fast the read-back is depends on the machine",
    "CrossfadeMatchUnproved": "2,995 pairs take longer than the demo is watched",
    "CrossfadeOverheadHigh": "how long a turn takes depends on the machine",
    "CrossfadeMirrorLagging": "how far the mirror lags depends on the machine",
}
NAMES = re.compile(r"\b((?:crossfade|process)_[a-z0-9_]+)")


def fetch(url, tolerant=False):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except OSError as error:
        if tolerant:
            return ""
        body = error.read().decode() if hasattr(error, "read") else error
        raise SystemExit(f"BROKEN  {url}: {body}") from error


def line(path, pattern):
    return until(pattern, lambda: re.search(pattern, path.read_text()))


def queries():
    """All (where, query) of the dashboard and the rules, with Grafana's variables filled in as Grafana does."""
    board = json.loads(pathlib.Path("deploy/grafana/crossfade.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)), f"panels share an id: {ids}"
    titles = [panel["title"] for panel in board["panels"]]
    assert len(titles) == len(set(titles)), f"panels share a title: {titles}"
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "20s")
            yield f"panel {panel['id']} ({panel['title']})", text.replace("$namespace", ".*").replace("$pod", ".*")
    for group in yaml.safe_load(pathlib.Path("deploy/prometheus/rules/crossfade.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"rule {rule.get('alert') or rule['record']}", rule["expr"]


def ask(api, path, **query):
    answer = json.loads(fetch(f"{api}/{path}?{urllib.parse.urlencode(query)}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def judge(api):
    described = set(re.findall(r"^\| `([a-z_]+)`", pathlib.Path("docs/metrics.md").read_text(), re.M))
    scraped = set(ask(api, "label/__name__/values"))
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in scraped} | scraped
    series, silent, labels = 0, [], set(ask(api, "labels"))
    for where, query in queries():
        found = ask(api, "query", query=query)["result"]
        series += len(found)
        if not found:
            silent.append(where)
        for name in NAMES.findall(query):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            known = plain in base or plain in described
            assert known, f"{where} names {name}, which neither the demo shows nor docs/metrics.md describes"
        for listed in LABELS.findall(query):
            for label in filter(None, (part.strip() for part in listed.split(","))):
                assert label in labels, f"{where} groups by {label}, which no series has"
    asked = len(list(queries()))
    panels = [where for where in silent if where.startswith("panel")]
    print(f"ok  {asked} queries of the dashboard and the rules are evaluated, {series} series come back")
    print(f"ok  without a series just now: {', '.join(panels) or 'no panel'}")
    assert len(panels) * 3 < len([1 for where, _ in queries() if where.startswith('panel')]), "too many panels are empty"


def main():
    log = out / "demo.log"
    prometheus = None
    with log.open("w") as err:
        demo = subprocess.Popen([binary, "demo", "--for", "600s", "--clients", "30"], stderr=err, stdout=subprocess.DEVNULL)
    try:
        target = line(log, r"metrics http://(\S+)/metrics")[1]
        text = fetch(f"http://{target}/metrics")
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(pathlib.Path("deploy/prometheus/rules/crossfade.yaml").resolve())],
            "scrape_configs": [{"job_name": "crossfade", "static_configs": [{"targets": [target], "labels": {"namespace": "test", "pod": "demo-0"}}]}],
        }
        (out / "prometheus.yml").write_text(yaml.safe_dump(config))
        words = ["prometheus", f"--config.file={out}/prometheus.yml", f"--storage.tsdb.path={out}/data", "--web.listen-address=127.0.0.1:0", "--log.format=json"]
        plog = out / "prometheus.log"
        with plog.open("w") as err:
            prometheus = subprocess.Popen(words, stderr=err, stdout=subprocess.DEVNULL)
        address = line(plog, r'"address":"(127\.0\.0\.1:[1-9]\d*)"')
        api = f"http://{address[1]}/api/v1"
        until("Prometheus is ready", lambda: fetch(api.replace("/api/v1", "/-/ready"), tolerant=True))
        rated = 'rate(crossfade_messages_total{direction="down"}[20s]) > 0'
        until("rates of the demo", lambda: ask(api, "query", query=rated)["result"])
        judge(api)
        groups = until("the rules were evaluated", lambda: evaluated(api))
        broken = [rule["name"] + ": " + rule["lastError"] for rule in groups if rule["health"] != "ok"]
        assert not broken, broken
        alerts = {rule["name"]: rule["state"] for rule in groups if rule["type"] == "alerting"}
        raised = [name for name, state in alerts.items() if state != "inactive" and name not in MAY_BE_PENDING]
        raised += [name for name in MAY_BE_PENDING if alerts[name] == "firing"]
        assert not raised, f"alerts pending or firing over a healthy demo: {raised}"
        print(f"ok  {len(groups)} rules are loaded and healthy; none is pending over a healthy demo")
    finally:
        for process in (prometheus, demo):
            if process is not None:
                process.kill()
                process.wait()


def evaluated(api):
    rules = [rule for group in ask(api, "rules")["groups"] for rule in group["rules"]]
    return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None


main()
