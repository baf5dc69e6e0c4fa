# The chart: rendered by Helm for several Kubernetes versions, judged by schemas and by rules of our own (each with a
# sabotage that it finds), wrong values refused, the alerts tested by promtool, and the redirect tried in namespaces.
. tests/artefacts/tools.sh
need_binary
need_helm
need_helm3
need_apt promtool=prometheus shellcheck=shellcheck
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0
need_crds
out=$PWD/target/chart
rm -rf "$out" && mkdir -p "$out"

shellcheck --shell=sh --exclude=SC2148 charts/crossfade/files/redirect.sh deploy/kubernetes/secret.example.sh
shellcheck --shell=bash --exclude=SC2148,SC1091,SC2034,SC2154 tests/artefacts/*.sh tests/groups/{activation,chart,deploy,image,inject,pod,redirect,stack}.sh
seen "shellcheck has no finding"

"$python" tests/artefacts/chart.py "$helm" "$tools/venv/bin/kubernetes-validate" "$crds" "$binary" "$out" "$helm3"

# The alerts as the chart renders them are those that are tested.
mkdir -p "$out/rules"
"$python" - "$out" <<'PYTHON'
import pathlib, sys, yaml
out = pathlib.Path(sys.argv[1])
text = (out / "gateway-minimal-values-1.34-1.yaml").read_text()
(rule,) = [d for d in yaml.safe_load_all(text) if d and d["kind"] == "PrometheusRule"]
source = yaml.safe_load(pathlib.Path("deploy/prometheus/rules/crossfade.yaml").read_text())
assert rule["spec"] == source, "the PrometheusRule is not deploy/prometheus/rules"
full = (out / "gateway-full-values-1.34-1.yaml").read_text()
(linked,) = [d for d in yaml.safe_load_all(full) if d and d["kind"] == "PrometheusRule"]
links = [r["annotations"]["runbook_url"] for g in linked["spec"]["groups"] for r in g["rules"] if "alert" in r]
assert links and all(link.startswith("https://wiki.example.com/crossfade#crossfade") for link in links), links
(out / "rules/rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
tests = yaml.safe_load(pathlib.Path("tests/artefacts/rules_test.yaml").read_text())
tested = {t["alertname"] for test in tests["tests"] for t in test["alert_rule_test"] if t["exp_alerts"]}
alerts = {r["alert"] for g in source["groups"] for r in g["rules"] if "alert" in r}
assert tested == alerts, f"alerts without a case that fires: {alerts ^ tested}"
PYTHON
cp tests/artefacts/rules_test.yaml "$out/rules/"
promtool check rules "$out/rules/rules.yaml"
promtool test rules "$out/rules/rules_test.yaml"
# The cases can fail: each alert alone, made to fire always, never and at once, and with half of its condition.
"$python" tests/artefacts/rules_mutants.py "$out/rules"
promtool check config --syntax-only deploy/prometheus/prometheus.yml
seen "the chart"
