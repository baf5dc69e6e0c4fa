# The redirect of the chart's init container, in network namespaces: a client that calls the service's own port is
# served through crossfade, the service sees crossfade alone, and running the script twice changes nothing.
. tests/artefacts/tools.sh
need_binary
need_apt ip=iproute2 iptables=iptables curl=curl
ip netns add "cf-probe-$$" 2>/dev/null || skip "network namespaces are refused here"
ip netns del "cf-probe-$$"
pod=cf-pod-$$ world=cf-world-$$
work=$(mktemp -d)
pids=()
tidy() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  ip netns del "$pod" 2>/dev/null || true
  ip netns del "$world" 2>/dev/null || true
  rm -rf "$work"
}
trap tidy EXIT
ip netns add "$pod" && ip netns add "$world"
ip link add "cfp$$" netns "$pod" type veth peer name "cfw$$" netns "$world"
ip -n "$pod" addr add 198.18.0.1/30 dev "cfp$$" && ip -n "$world" addr add 198.18.0.2/30 dev "cfw$$"
for space in "$pod" "$world"; do ip -n "$space" link set lo up; done
ip -n "$pod" link set "cfp$$" up && ip -n "$world" link set "cfw$$" up

cat >"$work/service.py" <<'PYTHON'
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = f"{self.client_address[0]} {self.headers.get('X-Forwarded-For')}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", 3000), Answer).serve_forever()
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
until_says "198.18.0.2 None" ask "$world" 198.18.0.1:3000
seen "before: the client reaches the service itself"
ip netns exec "$pod" env -i PATH="$PATH" CROSSFADE_UPSTREAM=http://127.0.0.1:3000 "$binary" 2>"$work/log" &
pids+=($!)
until_says ok ip netns exec "$pod" curl --silent http://127.0.0.1:9464/readyz

redirect() {
  ip netns exec "$pod" env REDIRECT_FROM=3000,3001 REDIRECT_TO=8080 XTABLES_LOCKFILE="$work/lock" \
    /bin/sh -euc "$(cat charts/crossfade/files/redirect.sh)"
}
redirect
until_says "127.0.0.1 198.18.0.2" ask "$world" 198.18.0.1:3000
seen "after: the same address is served through crossfade, which says who asked"
until_says "127.0.0.1 None" ask "$pod" 127.0.0.1:3000
seen "inside the pod the service is reached directly: crossfade does not call itself"
once=$(ip netns exec "$pod" iptables -t nat -S)
redirect
[ "$once" = "$(ip netns exec "$pod" iptables -t nat -S)" ] || broken "running it again changes the rules"
seen "running it again changes nothing"
