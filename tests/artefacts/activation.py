"""deploy/systemd: socket activation. Usage: activation.py CROSSFADE OUTPUT-DIRECTORY"""

import http.server
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading

from waits import HANG, fail, seen, until

RESTARTS, CALLERS = 10, 8
binary, out = sys.argv[1:3]
UNITS = pathlib.Path("deploy/systemd")


def setting(unit, name):
    found = re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.M)
    return found[0] if found else fail(f"{unit} says nothing of {name}")


class Service(http.server.ThreadingHTTPServer):
    # Five, Python's own, is fewer than there are callers: the sixth waits a second for its SYN to be sent again.
    request_queue_size = 128


class Answer(http.server.BaseHTTPRequestHandler):
    """The service behind."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass


def environment(upstream):
    """crossfade.env.example and the unit's Environment=, with places of this test."""
    made = {}
    for line in (UNITS / "crossfade.env.example").read_text().splitlines():
        name, value = line.split("=", 1)
        made[name] = value
    credential = pathlib.Path(out, "supabase-key")
    credential.write_text("sb_secret_0123456789abcdef")
    name, value = setting("crossfade.service", "Environment").split("=", 1)
    made[name] = value.replace("%d/supabase-key", str(credential))
    # Realtime is not there, which clients must not notice; the socket's own page says settle 0.
    made.update(CROSSFADE_UPSTREAM=upstream, SUPABASE_URL="http://127.0.0.1:1", CROSSFADE_METRICS_LISTEN="127.0.0.1:0",
                CROSSFADE_DRAIN_SETTLE="0s", CROSSFADE_LISTEN="192.0.2.1:1", PATH=os.environ["PATH"])
    return made


def command():
    words = shlex.split(setting("crossfade.service", "ExecStart"))
    if words[0] != "/usr/local/bin/crossfade":
        fail(f"crossfade.service starts {words[0]}")
    return [binary, *words[1:]]


def ask(port):
    """One connection, one answer; every failure is one."""
    with socket.create_connection(("127.0.0.1", port), timeout=HANG) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        said = b""
        while piece := caller.recv(4096):
            said += piece
    if not said.startswith(b"HTTP/1.1 200 ") or not said.endswith(b"ok\n"):
        raise OSError(f"answered {said[:400]}")


def messages(log):
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


def by_systemd(made):
    """systemd-socket-activate listens, and becomes crossfade when the first client comes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = pathlib.Path(out, "activate.log")
    name = setting("crossfade.socket", "FileDescriptorName")
    words = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", f"--fdname={name}"]
    words += [f"--setenv={key}={value}" for key, value in made.items()]
    process = subprocess.Popen([*words, *command()], stderr=log.open("w"), stdin=subprocess.DEVNULL)
    try:
        def answered():
            if process.poll() is not None:
                fail(log.read_text())
            try:
                ask(port)
            except ConnectionRefusedError:
                return False
            return True

        until("systemd-socket-activate", answered)
        listening = [line["addr"] for line in messages(log) if line["message"] == "listening" and line["listener"] == "proxy"]
        if listening != [f"127.0.0.1:{port}"]:
            fail(f"listens on {listening}")
        process.terminate()
        if process.wait(timeout=HANG) != 0:
            fail(f"SIGTERM: {process.returncode}")
    finally:
        process.kill()
        process.wait()
    seen(f"systemd-socket-activate hands the listener `{name}` over; the first client is answered; SIGTERM ends with 0")


class Held:
    """What systemd is to crossfade.socket: it holds the listener and starts the service."""

    def __init__(self, made):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=int(setting("crossfade.socket", "Backlog")))
        self.port = self.socket.getsockname()[1]
        self.made, self.count = made, 0

    def start(self):
        self.count += 1
        self.log = pathlib.Path(out, f"held-{self.count}.log")
        script = 'exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES="$0" exec "$@"'
        name = setting("crossfade.socket", "FileDescriptorName")
        self.process = subprocess.Popen(["sh", "-c", script, name, *command()], env=self.made, stdin=self.socket, stderr=self.log.open("w"))
        until("the start", lambda: self.process.poll() is None and any(line["message"] == "listening" for line in messages(self.log)))

    def restart(self):
        self.process.send_signal(getattr(signal, setting("crossfade.service", "KillSignal")))
        if self.process.wait(timeout=HANG) != 0:
            fail(self.log.read_text())
        self.start()


def restarts(made):
    held = Held(made)
    held.start()
    answered, failed, stop = [0] * CALLERS, [], threading.Event()

    def call(number):
        while not stop.is_set():
            try:
                ask(held.port)
                answered[number] += 1
            except OSError as error:
                failed.append(repr(error))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    try:
        for caller in callers:
            caller.start()
        for _ in range(RESTARTS):
            goal = [count + 5 for count in answered]
            until("answers", lambda: all(have >= want for have, want in zip(answered, goal)) or failed)
            held.restart()
        goal = [count + 5 for count in answered]
        until("answers", lambda: all(have >= want for have, want in zip(answered, goal)) or failed)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
        held.process.terminate()
        held.process.wait(timeout=HANG)
    if failed:
        fail(f"{len(failed)} of {sum(answered)} callers: {failed[:3]}")
    seen(f"{RESTARTS} restarts behind the held listener: {sum(answered)} callers, each one answered")


def main():
    shutil.rmtree(out, ignore_errors=True)
    pathlib.Path(out).mkdir(parents=True)
    service = Service(("127.0.0.1", 0), Answer)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    made = environment(f"ws://127.0.0.1:{service.server_address[1]}")
    by_systemd(made)
    restarts(made)


main()
