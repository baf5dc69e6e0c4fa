"""Runs the unpacked image by runc as Kubernetes would: read-only root, user 65532, no capability, no new privilege.

In a network namespace of its own (only loopback, so ports are free) with a small HTTP service and a DNS server that
knows one name. Usage: image_run.py BUNDLE NAME-PREFIX-DIRECTORY
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

HANG = 60


def seen(text):
    print(f"ok  {text}", flush=True)


def enter_own_network():
    """Only this process (and what it starts) moves; the host's network stays as it is."""
    if os.environ.get("IN_OWN_NETWORK") != "1":
        os.environ["IN_OWN_NETWORK"] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def bundle_for(source, target, args, env, resolv):
    """A copy of the bundle's configuration, cut to what this machine allows; the root is shared and read-only."""
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    with open(f"{source}/config.json") as file:
        config = json.load(file)
    process = config["process"]
    assert process["user"] == {"uid": 65532, "gid": 65532} or process["user"]["uid"] == 65532, process["user"]
    process.update(terminal=False, noNewPrivileges=True, capabilities={})
    process["args"] = process["args"] + args
    process["env"] = process.get("env", []) + [f"{name}={value}" for name, value in env.items()]
    process.pop("rlimits", None)
    config["root"] = {"path": f"{source}/rootfs", "readonly": True}
    linux = config["linux"]
    linux.pop("resources", None)
    linux.pop("cgroupsPath", None)
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] not in ("network", "cgroup", "user")]
    linux.pop("uidMappings", None)
    linux.pop("gidMappings", None)
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"]
    config["mounts"] = [m for m in config["mounts"] if m["destination"] not in ("/etc/resolv.conf", "/etc/hosts")]
    config["mounts"].append(
        {"destination": "/etc/resolv.conf", "type": "bind", "source": resolv, "options": ["bind", "ro"]}
    )
    with open(f"{target}/config.json", "w") as file:
        json.dump(config, file)
    return target


def serve_http():
    """A service: 200 to everything."""
    listener = socket.create_server(("127.0.0.1", 3000))

    def answer(connection):
        with connection:
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_dns(asked):
    """Answers A of legacy.test with 127.0.0.1, everything else with NXDOMAIN."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 53))

    def answer():
        while True:
            query, peer = udp.recvfrom(4096)
            end = query.index(b"\0", 12)
            name, kind = query[12:end], struct.unpack(">H", query[end + 1 : end + 3])[0]
            known = name == b"\x06legacy\x04test"
            asked.add((known, kind))
            hit = known and kind == 1
            code = 0x8180 if known else 0x8183
            head = query[:2] + struct.pack(">HHHHH", code, 1, 1 if hit else 0, 0, 0)
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + b"\x7f\0\0\x01"
            udp.sendto(head + query[12 : end + 5] + (record if hit else b""), peer)

    threading.Thread(target=answer, daemon=True).start()


def until(what, holds, process=None):
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise SystemExit(f"BROKEN  {what}: the container ended with {process.returncode}")
        try:
            value = holds()
            if value:
                return value
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"BROKEN  {what} did not happen")


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def main():
    enter_own_network()
    source, target = (os.path.abspath(path) for path in sys.argv[1:3])
    os.makedirs(target, exist_ok=True)
    resolv = f"{target}/resolv.conf"
    with open(resolv, "w") as file:
        file.write("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
    state = f"{target}/state"
    runc = ["runc", "--root", state]
    asked = set()
    serve_http()
    serve_dns(asked)

    def once(name, args, env):
        bundle = bundle_for(source, f"{target}/{name}", args, env, resolv)
        return subprocess.run(
            [*runc, "run", "-b", bundle, f"{name}-{os.getpid()}"], capture_output=True, text=True, timeout=HANG
        )

    version = once("version", ["--version"], {})
    assert version.returncode == 0 and version.stdout.startswith("crossfade "), version
    seen(f"says {version.stdout.strip()}")
    wrong = once("wrong", [], {})
    assert wrong.returncode == 64 and "CROSSFADE_UPSTREAM: is required" in wrong.stderr, wrong
    seen("ends with 64 and a reason where a setting is missing")

    env = {"CROSSFADE_UPSTREAM": "http://legacy.test:3000", "CROSSFADE_DRAIN_SETTLE": "0s"}
    bundle = bundle_for(source, f"{target}/proxy", [], env, resolv)
    name = f"proxy-{os.getpid()}"
    with open(f"{target}/proxy.log", "w") as log:
        process = subprocess.Popen([*runc, "run", "-b", bundle, name], stdout=log, stderr=log)
    try:
        until("ready", lambda: fetch("http://127.0.0.1:9464/readyz") == "ok\n", process)
        seen("is ready on a read-only root, as 65532, without capabilities")
        assert fetch("http://127.0.0.1:8080/") == "hello"
        assert (True, 1) in asked, asked
        seen("reaches a service by a name from DNS, with glibc linked in")
        pid = json.loads(subprocess.check_output([*runc, "state", name]))["pid"]
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert status["Uid"].split() == ["65532"] * 4, status["Uid"]
        assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
        with open(f"/proc/{pid}/mountinfo") as file:
            root = next(line.split() for line in file if line.split()[4] == "/")
        assert "ro" in root[5].split(","), root
        seen("the kernel agrees: uid 65532, no capability, no new privileges, root mounted ro")
        for args in (["health"], ["health", "--ready"]):
            health = subprocess.run([*runc, "exec", name, "/crossfade", *args], timeout=HANG, capture_output=True)
            assert health.returncode == 0, health
        seen("the healthcheck's command exits 0 inside")
        subprocess.run([*runc, "kill", name, "TERM"], check=True)
        assert process.wait(timeout=HANG) == 0
        seen("SIGTERM ends it with 0")
    finally:
        subprocess.run([*runc, "delete", "--force", name], capture_output=True, check=False)
        if process.poll() is None:
            process.kill()


if __name__ == "__main__":
    main()
