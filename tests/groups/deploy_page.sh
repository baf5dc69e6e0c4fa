# docs/deploy.md: every command on the page is run, or is on the page's list of what a test cannot run.
# Here `helm upgrade` is rendered, and kubectl's create, patch, label and apply run with --local or --dry-run=client. The
# group `apiserver` runs those for real, as they stand on the page, where there is an API server. For nobody here are
# `docker push`, `kubectl rollout` and `kubectl port-forward`: they need a registry or nodes.
. tests/artefacts/tools.sh
need_binary
need_helm
need_apt curl=curl
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0
"$python" tests/artefacts/deploy_page.py "$helm" "$kubectl" "$tools/venv/bin/kubernetes-validate" "$binary"
