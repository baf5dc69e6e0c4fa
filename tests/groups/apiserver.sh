# The webhook, the chart, deploy/ and the commands of docs/deploy.md against a real API server with etcd behind it.
# KUBE_APISERVER names its binary, ETCD etcd's (else the one of the PATH); without them the group is left out.
# tests/admission/record.sh records the server's questions with the same two.
. tests/artefacts/tools.sh
[ -x "${KUBE_APISERVER:-}" ] || skip "KUBE_APISERVER names no kube-apiserver"
export ETCD=${ETCD:-$(command -v etcd || true)}
[ -x "$ETCD" ] || skip "ETCD names no etcd, and the PATH has none"
need_binary
need_helm
need_apt openssl=openssl
need_python yaml=pyyaml jsonpatch=jsonpatch==1.33
"$python" tests/artefacts/api_server_run.py "$helm" "$kubectl" "$binary" "$PWD/target/apiserver"
