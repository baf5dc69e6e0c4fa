#!/bin/sh
# Redirects inbound connections to crossfade with iptables, in the network namespace it runs in (a pod's init
# container, or a machine). One chain of our own per hook; running it again changes nothing; `remove` takes all away.
#
#   REDIRECT_FROM=3000,3001 REDIRECT_TO=8080 ./iptables.sh
#   REDIRECT_FROM=3000 REDIRECT_TO=8080 REDIRECT_UID=65532 ./iptables.sh    # local clients, too
#   ./iptables.sh remove
#
# REDIRECT_UID is the user that crossfade runs as: with it, connections that begin on this machine are redirected as
# well, but for those of that user, which would come back for ever.
set -eu
action=${1:-add}

take_away() {
  for pair in "PREROUTING CROSSFADE_IN" "OUTPUT CROSSFADE_OUT"; do
    hook=${pair% *} chain=${pair#* }
    while "$1" -w -t nat -D "$hook" -p tcp -j "$chain" 2>/dev/null; do :; done
    "$1" -w -t nat -F "$chain" 2>/dev/null || true
    "$1" -w -t nat -X "$chain" 2>/dev/null || true
  done
}

chain() { # TOOL HOOK CHAIN: an empty chain that the hook jumps to once
  "$1" -w -t nat -N "$3" 2>/dev/null || "$1" -w -t nat -F "$3"
  "$1" -w -t nat -C "$2" -p tcp -j "$3" 2>/dev/null || "$1" -w -t nat -A "$2" -p tcp -j "$3"
}

redirect() {
  chain "$1" PREROUTING CROSSFADE_IN
  if [ -n "${REDIRECT_UID:-}" ]; then
    chain "$1" OUTPUT CROSSFADE_OUT
    "$1" -w -t nat -A CROSSFADE_OUT -m owner --uid-owner "$REDIRECT_UID" -j RETURN
  fi
  for port in $(echo "$REDIRECT_FROM" | tr , ' '); do
    "$1" -w -t nat -A CROSSFADE_IN -p tcp --dport "$port" -j REDIRECT --to-ports "$REDIRECT_TO"
    if [ -n "${REDIRECT_UID:-}" ]; then
      "$1" -w -t nat -A CROSSFADE_OUT -m addrtype --dst-type LOCAL -p tcp --dport "$port" \
        -j REDIRECT --to-ports "$REDIRECT_TO"
    fi
  done
}

for tool in iptables ip6tables; do
  if [ "$tool" = ip6tables ] && ! ip6tables -w -t nat -S >/dev/null 2>&1; then
    echo "no IPv6 nat table: only IPv4 is redirected"
    continue
  fi
  case $action in
    add) redirect "$tool" ;;
    remove) take_away "$tool" ;;
    *) echo "usage: REDIRECT_FROM=3000 REDIRECT_TO=8080 $0 [add | remove]" >&2; exit 64 ;;
  esac
done
