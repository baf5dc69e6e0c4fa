# deploy/compose's services and the three stacks as processes in namespaces of their own, watched by a real Prometheus
# with our rules and our dashboard's queries.
. tests/artefacts/tools.sh
need_binary
need_apt promtool=prometheus ip=iproute2 redis-server=redis-server redis-cli=redis-tools
need_python yaml=pyyaml websockets=websockets==15.0.1
need_npm node ws@8
unshare --net --mount true 2>/dev/null || skip "network and mount namespaces are refused here"
# Go and its WebSocket package come from Debian.
gorilla=/usr/share/gocode/src/github.com/gorilla/websocket
if ! command -v go >/dev/null || [ ! -d "$gorilla" ]; then
  apt-get install -y --no-install-recommends golang-go golang-github-gorilla-websocket-dev >"$tools/go.log" 2>&1 || true
fi
"$python" tests/artefacts/stack.py "$binary" "$tools/node/node_modules" "$PWD/target/stack"
[ -d "$gorilla" ] || skip "everything but the Go service held, which needs golang-go and its WebSocket package"
