"""A real API server on loopback, with etcd behind it and nothing else: no scheduler, no kubelet, no controller.

It answers, defaults, validates and asks webhooks as in a cluster; no pod ever runs.
"""

import base64
import json
import os
import pathlib
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

from waits import HANG, fail, until

TOKEN = "of-the-tests"
USERS = f"{TOKEN},admin,admin,system:masters\n"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class ApiServer:
    """Its folder holds everything that it writes. `close` ends both processes."""

    def __init__(self, server, etcd, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.processes = []
        try:
            self._start(server, etcd)
        except BaseException:
            self.close()
            raise

    def _start(self, server, etcd):
        folder, peer, client, self.port = self.folder, free_port(), free_port(), free_port()
        store = f"http://127.0.0.1:{client}"
        self._run("etcd", [etcd, "--data-dir", folder / "etcd", "--listen-client-urls", store, "--advertise-client-urls", store,
                           "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                           "--initial-cluster", f"default=http://127.0.0.1:{peer}"])
        until("etcd's health", lambda: b"true" in self._plain(f"{store}/health"))
        (folder / "users.csv").write_text(USERS)
        subprocess.run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True)
        self._run("kube-apiserver", [
            server, "--etcd-servers", store, "--bind-address", "127.0.0.1", "--secure-port", str(self.port),
            "--cert-dir", folder / "certificates", "--token-auth-file", folder / "users.csv", "--authorization-mode", "RBAC",
            "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", folder / "accounts.key",
            "--service-account-signing-key-file", folder / "accounts.key", "--service-cluster-ip-range", "10.96.0.0/16",
            "--endpoint-reconciler-type", "none"])
        self.url = f"https://127.0.0.1:{self.port}"
        until("the server's certificate", (folder / "certificates/apiserver.crt").exists)
        # It made the certificate itself a moment ago, in a folder that nobody else reads.
        self.trust = ssl.create_default_context(cafile=str(folder / "certificates/apiserver.crt"))
        until("readiness", lambda: self.ask("GET", "/readyz")[0] == 200)
        self.version = self.get("/version")["gitVersion"]
        self._kubeconfig()

    def _run(self, name, words):
        log = (self.folder / f"{name}.log").open("w")
        self.processes.append(subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    @staticmethod
    def _plain(url):
        try:
            with urllib.request.urlopen(url, timeout=HANG) as answer:
                return answer.read()
        except OSError:
            return b""

    def _kubeconfig(self):
        authority = base64.b64encode((self.folder / "certificates/apiserver.crt").read_bytes()).decode()
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "tests",
                  "clusters": [{"name": "tests", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
                  "users": [{"name": "tests", "user": {"token": TOKEN}}],
                  "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}]}
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(config))

    def ask(self, method, path, body=None, headers=None):
        """Status, what it says, and its warnings."""
        for process in self.processes:
            if process.poll() is not None:
                logs = "".join(log.read_text()[-3000:] for log in self.folder.glob("*.log"))
                fail(f"{process.args[0]} has ended:\n{logs}")
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), method=method, headers={
            "Authorization": f"Bearer {TOKEN}", "Content-Type": kind, "Accept": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=HANG, context=self.trust) as answer:
                status, text, said = answer.status, answer.read(), answer.headers.get_all("Warning") or []
        except urllib.error.HTTPError as error:
            status, text, said = error.code, error.read(), error.headers.get_all("Warning") or []
        except OSError:
            return 0, None, []
        try:
            return status, json.loads(text), said
        except ValueError:
            return status, text.decode(errors="replace"), said

    def get(self, path):
        status, said, _ = self.ask("GET", path)
        if status != 200:
            fail(f"GET {path}: {status} {said}")
        return said

    def make(self, path, body, headers=None):
        status, said, warnings = self.ask("POST", path, body, headers)
        if status not in (200, 201):
            fail(f"POST {path}: {status} {said}")
        return said, warnings

    def namespace(self, name, labels=None):
        """With the account that a controller would make."""
        self.make("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})
        self.make(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})

    def environment(self, *folders):
        path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig), "HOME": str(home)}

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
