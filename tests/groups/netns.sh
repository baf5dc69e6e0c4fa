# Interception in real network namespaces with real rules, by deploy/redirect/iptables.sh and nft.sh, and the way
# without rules (targetPort): requests, bodies, a WebSocket byte for byte, two ports, IPv6, local clients with our own
# user exempt and forgotten (the loop guard), twice the same, and all of it taken away again.
. tests/artefacts/tools.sh
need_binary
need_apt ip=iproute2 iptables=iptables nft=nftables curl=curl python3=python3 setpriv=util-linux
ip netns add "cf-probe-$$" 2>/dev/null || skip "network namespaces are refused here"
ip netns del "cf-probe-$$"
pod=cf-p-$$ world=cf-w-$$
work=$(mktemp -d)
chmod 755 "$work"
pids=()
proxy=
tidy() {
  for pid in "${pids[@]}" $proxy; do kill "$pid" 2>/dev/null || true; done
  wait
  ip netns del "$pod" 2>/dev/null || true
  ip netns del "$world" 2>/dev/null || true
  rm -rf "$work"
}
trap tidy EXIT
ip netns add "$pod" && ip netns add "$world"
ip link add "cfp$$" netns "$pod" type veth peer name "cfw$$" netns "$world"
ip -n "$pod" addr add 198.18.0.1/30 dev "cfp$$" && ip -n "$world" addr add 198.18.0.2/30 dev "cfw$$"
v6=yes
ip -n "$pod" addr add fd00:cf::1/64 dev "cfp$$" nodad 2>/dev/null &&
  ip -n "$world" addr add fd00:cf::2/64 dev "cfw$$" nodad 2>/dev/null || v6=
for space in "$pod" "$world"; do ip -n "$space" link set lo up; done
ip -n "$pod" link set "cfp$$" up && ip -n "$world" link set "cfw$$" up
cp "$binary" "$work/crossfade" # where another user may run it

cat >"$work/service.py" <<'PYTHON'
"""Two ports. GET says port, peer and forwarding; POST echoes; an upgrade echoes bytes as they are."""
import base64, hashlib, socket, socketserver, sys, threading
class Service(socketserver.BaseRequestHandler):
    def handle(self):
        read = self.request.makefile("rb")
        while line := read.readline():
            fields = {}
            while (field := read.readline()) not in (b"\r\n", b""):
                name, value = field.decode("latin-1").split(":", 1)
                fields[name.strip().lower()] = value.strip()
            if "sec-websocket-key" in fields:
                seed = fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                accept = base64.b64encode(hashlib.sha1(seed.encode()).digest()).decode()
                self.request.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").encode())
                while some := read.read1(65536):
                    self.request.sendall(some)
                return
            body = read.read(int(fields.get("content-length", 0)))
            peer = self.client_address[0].removeprefix("::ffff:")
            port = self.server.server_address[1]
            text = body or f"{port} {peer} {fields.get('x-forwarded-for')}\n".encode()
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address, daemon_threads = socket.AF_INET6, True, True
for port in (3000, 3001):
    threading.Thread(target=Server(("::", port), Service).serve_forever).start()
PYTHON
cat >"$work/websocket.py" <<'PYTHON'
"""Upgrades, sends a megabyte of bytes that are not even frames, and wants every one of them back, then the end."""
import hashlib, os, socket, sys, threading
client = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
client.sendall(b"GET /chat?x=%2F HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nearly")
read = client.makefile("rb")
head = b""
while not head.endswith(b"\r\n\r\n"):
    head += read.read(1)
assert head.startswith(b"HTTP/1.1 101 "), head
sent = os.urandom(1 << 20)
def say():
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
threading.Thread(target=say).start()
got = read.read()
print("same" if got == b"early" + sent else f"{len(got)} bytes differ")
PYTHON
ip netns exec "$pod" python3 "$work/service.py" &
pids+=($!)
until_says() { # TEXT, then the command
  local text=$1 answer='' tries
  shift
  for tries in $(seq 300); do
    answer=$("$@" 2>/dev/null) && [ "$answer" = "$text" ] && return 0
    sleep 0.1
  done
  broken "'$text' expected, '$answer' after $tries tries: $*"
}
ask() { ip netns exec "$1" curl --silent --max-time 5 "http://$2/"; }
echoes() { # SPACE ADDRESS PORT: body and WebSocket
  [ "$(ip netns exec "$1" curl --silent --max-time 20 --data-binary @"$work/body" "http://$2:$3/" | sha256sum)" = \
    "$(sha256sum <"$work/body")" ] || broken "a body of 1 MiB comes back changed"
  until_says same ip netns exec "$1" python3 "$work/websocket.py" "$2" "$3"
}
start() { # the environment's words
  ip netns exec "$pod" env -i PATH="$PATH" CROSSFADE_UPSTREAM=http://127.0.0.1:3000 CROSSFADE_LISTEN='[::]:8080' \
    CROSSFADE_LOG=debug "$@" prlimit --nofile=1024 setpriv --reuid 65532 --regid 65532 --clear-groups "$work/crossfade" 2>>"$work/log" &
  proxy=$!
  until_says ok ip netns exec "$pod" curl --silent http://127.0.0.1:9464/readyz
}
stop() { if [ -n "$proxy" ]; then kill -KILL "$proxy"; wait "$proxy" 2>/dev/null || true; fi; proxy=; }
loops() { # NAME MODE: with no connection in the pool a client is told, a WebSocket too, and no descriptor is eaten
  stop
  start "CROSSFADE_INTERCEPT=$2"
  until_says "508 loop_detected" ip netns exec "$world" curl --silent --max-time 5 --output "$work/told" \
    --write-out '%{http_code} %header{x-crossfade-error}' http://198.18.0.1:3000/
  grep -q 'leads back to crossfade' "$work/told" || broken "$1: the answer does not say what is wrong"
  until_says 508 ip netns exec "$world" curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' \
    --header 'Connection: Upgrade' --header 'Upgrade: websocket' --header 'Sec-WebSocket-Version: 13' \
    --header 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://198.18.0.1:3000/chat
  ip netns exec "$pod" curl --silent http://127.0.0.1:9464/metrics >"$work/metrics"
  grep -E 'crossfade_faults_total.*"loop_detected".* [1-9]' "$work/metrics" >/dev/null || broken "$1: the loop is not counted"
  [ "$(awk '$1 == "crossfade_connections" { print $2 }' "$work/metrics")" -lt 20 ] || broken "$1: the loop eats descriptors"
  grep -q "a connection of crossfade's own came back to it" "$work/log" || broken "$1: the log does not say it"
  seen "$1: our own connection that is redirected to us is answered 508, counted and told"
}
head -c 1048576 /dev/urandom >"$work/body"
until_says "3000 198.18.0.2 None" ask "$world" 198.18.0.1:3000

start CROSSFADE_INTERCEPT=off
until_says "3000 127.0.0.1 198.18.0.2" ask "$world" 198.18.0.1:8080
echoes "$world" 198.18.0.1 8080
seen "targetPort: a client that is sent to crossfade's port is served"
stop

start CROSSFADE_INTERCEPT=redirect
rules() { # FLAVOUR, then its words
  local flavour=$1
  shift
  ip netns exec "$pod" env XTABLES_LOCKFILE="$work/lock" REDIRECT_FROM=3000,3001 REDIRECT_TO=8080 "${uid[@]}" \
    sh "deploy/redirect/$flavour.sh" "$@" >>"$work/rules"
}
listed() { ip netns exec "$pod" sh -c 'iptables-save -t nat; ip6tables-save -t nat; nft list ruleset' 2>/dev/null | grep -v '^#' | sed 's/\[[0-9:]*\]//; s/counter packets [0-9]* bytes [0-9]*//'; }
empty=$(listed | grep -c CROSSFADE || true)
[ "$empty" = 0 ] || broken "rules before there are any"
until_says "" sh -c "ip netns exec $world curl --silent --max-time 5 http://198.18.0.1:8080/ || true"
ip netns exec "$pod" curl --silent http://127.0.0.1:9464/metrics |
  grep -E 'crossfade_faults_total.*redirect_(loop|unknown).* [1-9]' >/dev/null || broken "a direct connection is not counted as refused"
seen "what was meant for crossfade's own port is closed and counted"
for flavour in iptables nft; do
  uid=()
  rules "$flavour"
  until_says "3000 127.0.0.1 198.18.0.2" ask "$world" 198.18.0.1:3000
  until_says "3001 127.0.0.1 198.18.0.2" ask "$world" 198.18.0.1:3001
  seen "$flavour: each port is served by the service's own port, through crossfade"
  echoes "$world" 198.18.0.1 3000
  echoes "$world" 198.18.0.1 3001
  seen "$flavour: a body and a WebSocket pass byte for byte, early bytes and ends included"
  if [ -n "$v6" ]; then
    until_says "3001 127.0.0.1 fd00:cf::2" ask "$world" "[fd00:cf::1]:3001"
    seen "$flavour: IPv6 too"
  fi
  until_says "3000 127.0.0.1 None" ask "$pod" 127.0.0.1:3000
  seen "$flavour: local clients are left alone unless asked for"
  uid=(REDIRECT_UID=65532)
  rules "$flavour"
  until_says "3000 127.0.0.1 127.0.0.1" ask "$pod" 127.0.0.1:3000
  until_says "3000 127.0.0.1 198.18.0.2" ask "$world" 198.18.0.1:3000
  seen "$flavour: local clients are redirected, and crossfade's own user is not"
  once=$(listed)
  rules "$flavour"
  [ "$once" = "$(listed)" ] || broken "$flavour: running it again changes the rules"
  seen "$flavour: running it again changes nothing"
  until_says "" sh -c "ip netns exec $world curl --silent --max-time 5 http://198.18.0.1:8080/ || true"
  ip netns exec "$pod" curl --silent http://127.0.0.1:9464/metrics | grep -E '"redirect_loop".* [1-9]' >/dev/null ||
    broken "$flavour: what was meant for crossfade's own port is not counted as such"
  seen "$flavour: what was meant for crossfade's own port is closed and counted"
  uid=(REDIRECT_UID=65533) # somebody else's: crossfade's own connections come back to it
  rules "$flavour"
  loops "$flavour" redirect
  rules "$flavour" remove
  rules "$flavour" remove
  if listed | grep -qi crossfade; then broken "$flavour: rules are left"; fi
  until_says "3000 198.18.0.2 None" ask "$world" 198.18.0.1:3000
  seen "$flavour: taken away, and taken away again, the service is reached as before"
done
stop

uid=(REDIRECT_UID=65533)
rules iptables
loops "without interception" off
rules iptables remove
until_says "3000 198.18.0.2 None" ask "$world" 198.18.0.1:3000
stop
