# A pod from beginning to end, in network namespaces: the webhook makes it, redirect, sidecar and service start in its
# order, 500 sessions are open, and it is ended as the kubelet ends it. Judged by the logs of service and clients.
. tests/artefacts/tools.sh
need_binary
need_helm
need_apt ip=iproute2 iptables=iptables openssl=openssl
need_python yaml=pyyaml kubernetes_validate=kubernetes-validate==1.37.0 jsonpatch=jsonpatch==1.33 websockets=websockets==15.0.1
ip netns add "cf-probe-$$" 2>/dev/null || skip "network namespaces are refused here"
ip netns del "cf-probe-$$"
[ "$(ulimit -n)" -ge 4096 ] || skip "500 sessions need 4096 descriptors"
"$python" tests/artefacts/pod.py "$helm" "$tools/venv/bin/kubernetes-validate" "$binary" "$PWD/target/pod"
