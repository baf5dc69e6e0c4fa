#!/usr/bin/env bash
# Records the questions of tests/admission anew. KUBE_APISERVER and ETCD name the binaries of an API server and its
# store (etcd of the PATH otherwise). Then: BLESS=1 cargo test --lib inject, and read the diff.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/artefacts/tools.sh
[ -x "${KUBE_APISERVER:-}" ] || skip "KUBE_APISERVER names no kube-apiserver"
export ETCD=${ETCD:-$(command -v etcd || true)}
[ -x "$ETCD" ] || skip "ETCD names no etcd"
need_binary
need_helm
need_apt openssl=openssl
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0 jsonpatch=jsonpatch==1.33
"$python" tests/admission/record.py "$helm" "$binary" "$PWD/target/record"
