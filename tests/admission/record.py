"""Records what an API server asks about the pods of pods.yaml. Usage: record.py HELM CROSSFADE OUTPUT-DIRECTORY

The server's webhook is a recorder that keeps each question and hands it on to `crossfade inject` over TLS, whose answer
the server then uses. KUBE_APISERVER and ETCD name the server's binaries.
"""

import http.server
import json
import os
import pathlib
import shutil
import ssl
import sys
import threading

import yaml

sys.path.insert(0, "tests/artefacts")
helm, binary, out = sys.argv[1:4]
sys.argv = [sys.argv[0], helm, "", binary, out]
import api_server  # noqa: E402
import inject  # noqa: E402
import inject_templates  # noqa: E402

FOLDER = pathlib.Path("tests/admission")
CONTROLLER = "system:serviceaccount:kube-system:replicaset-controller"
# Pods are made by a controller: with an owner, and a name that the server makes up.
AS_CONTROLLER = {"Impersonate-User": CONTROLLER, "User-Agent": "kube-controller-manager"}


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked, hand_on = [], None

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        review = json.loads(body)
        Recorder.asked.append(review)
        uid = review["request"]["uid"]
        said = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, "allowed": True}}
        status, answer = 200, json.dumps(said).encode()
        if Recorder.hand_on:
            status, answer = Recorder.hand_on(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def recorder(folder, authority):
    authority.issue("recorder", folder / "recorder", address="127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "recorder/tls.crt", folder / "recorder/tls.key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def configuration(port, authority):
    """Everything about pods, whatever their labels: what the chart's selectors leave out is to be recorded too."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"], "scope": "Namespaced"}
    client = {"url": f"https://127.0.0.1:{port}/mutate", "caBundle": inject.base64.b64encode(authority.file.read_bytes()).decode()}
    hook = {"name": "record.crossfade.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "timeoutSeconds": 30, "clientConfig": client, "rules": [rule]}
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "record"}, "webhooks": [hook]}


def pod(case, given):
    shared, name = given["all"], (case.get("labels") or given["all"]["labels"])["app"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-6d9c7f5b8", "uid": "0b6c8f0e-53a7-4a33-9c0d-4f1f0f5f8a11",
             "controller": True, "blockOwnerDeletion": True}
    metadata = {"generateName": f"{name}-6d9c7f5b8-", "labels": case.get("labels", shared["labels"]), "ownerReferences": [owner]}
    annotations = case.get("annotations", shared["annotations"])
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": case.get("spec", {"containers": [given["feed"]]})}


def record(server, case, given, hook_ask):
    """The last question about this pod."""
    path = "/api/v1/namespaces/chat/pods"
    Recorder.asked.clear()
    # A pod that is to be changed is left as it is at first.
    Recorder.hand_on = None if "update" in case else hook_ask
    made, _ = server.make(path, pod(case, given), AS_CONTROLLER)
    if "update" in case:
        Recorder.asked.clear()
        Recorder.hand_on = hook_ask
        status, said, _ = server.ask("PATCH", f"{path}/{made['metadata']['name']}", {"metadata": case["update"]})
        if status != 200:
            inject.fail(f"{case['name']}: {status} {said}")
    if len(Recorder.asked) != 1:
        inject.fail(f"{case['name']}: {len(Recorder.asked)} questions")
    return Recorder.asked[0]


def main():
    folder = pathlib.Path(out)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = yaml.safe_load((FOLDER / "pods.yaml").read_text())
    native, docs = inject_templates.rendered(helm, inject.VALUES, "1.34.0")
    (config,) = [doc for doc in docs if doc["kind"] == "MutatingWebhookConfiguration"]
    service = config["webhooks"][0]["clientConfig"]["service"]
    host = f"{service['name']}.{service['namespace']}.svc"
    authority = inject.Authority(folder, "authority")
    authority.issue(host, folder / "tls")
    (folder / "sidecar.json").write_text(native)
    hook = inject.Webhook(docs, folder / "tls", folder / "sidecar.json", host)
    server = None
    try:
        server = api_server.ApiServer(os.environ["KUBE_APISERVER"], os.environ["ETCD"], folder / "server")
        server.namespace("chat", {"crossfade.dev/inject": "enabled"})
        port = recorder(folder, authority)
        server.make("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", configuration(port, authority))
        plain = {**given, "name": "first"}
        # The configuration is seen by the server's admission a moment after it is stored.
        until_asked(server, pod(plain, given))
        kept = {}
        for case in given["pods"]:
            kept[case["name"]] = record(server, case, given, lambda body: hook.ask(authority, "POST", "/mutate", body))
        for old in FOLDER.glob("*.json"):
            old.unlink()
        for name, review in kept.items():
            (FOLDER / f"{name}.json").write_text(json.dumps(review, indent=2) + "\n")
        print(f"ok  {len(kept)} questions of kube-apiserver {server.version} recorded", flush=True)
    finally:
        if server:
            server.close()
        hook.process.kill()
        hook.process.wait()


def until_asked(server, first):
    def asked():
        server.make("/api/v1/namespaces/chat/pods?dryRun=All", first, AS_CONTROLLER)
        return Recorder.asked

    inject.until("the webhook's configuration in use", asked)


if __name__ == "__main__":
    main()
