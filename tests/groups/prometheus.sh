# A real Prometheus (Debian's) scrapes the demo: every query of deploy/grafana and deploy/prometheus is evaluated.
. tests/artefacts/tools.sh
need_binary
need_apt promtool=prometheus prometheus=prometheus
need_python yaml=pyyaml
out=$PWD/target/prometheus
rm -rf "$out" && mkdir -p "$out"
"$python" tests/artefacts/prometheus.py "$binary" "$out"
