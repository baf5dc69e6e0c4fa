# docs/deploy.md: every command on the page is run, or is on the page's list of what a test cannot run.
. tests/artefacts/tools.sh
need_binary
need_helm
need_apt curl=curl
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0
"$python" tests/artefacts/deploy_page.py "$helm" "$kubectl" "$tools/venv/bin/kubernetes-validate" "$binary"
