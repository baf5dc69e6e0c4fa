# `crossfade inject` as a process over TLS, with what the chart renders: reviews in the API server's form, patches
# applied by an independent implementation, the pods judged by the API's schemas and read by the program itself.
. tests/artefacts/tools.sh
need_binary
need_helm
need_apt openssl=openssl promtool=prometheus
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0 jsonpatch=jsonpatch==1.33
CROSSFADE_BLESS=${CROSSFADE_BLESS:-} "$python" tests/artefacts/inject_templates.py "$helm"
"$python" tests/artefacts/inject.py "$helm" "$tools/venv/bin/kubernetes-validate" "$binary" "$PWD/target/inject"
