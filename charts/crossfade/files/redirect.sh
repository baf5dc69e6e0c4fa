# Inbound connections to the ports REDIRECT_FROM (comma-separated) go to REDIRECT_TO on this pod.
# One chain of our own; running it again changes nothing. IPv6 only where the kernel has its nat table.
redirect() {
  "$1" -w -t nat -N CROSSFADE_IN 2>/dev/null || "$1" -w -t nat -F CROSSFADE_IN
  for port in $(echo "$REDIRECT_FROM" | tr , ' '); do
    "$1" -w -t nat -A CROSSFADE_IN -p tcp --dport "$port" -j REDIRECT --to-ports "$REDIRECT_TO"
  done
  "$1" -w -t nat -C PREROUTING -p tcp -j CROSSFADE_IN 2>/dev/null || "$1" -w -t nat -A PREROUTING -p tcp -j CROSSFADE_IN
}
redirect iptables
if ip6tables -w -t nat -S >/dev/null 2>&1; then
  redirect ip6tables
else
  echo "no IPv6 nat table: only IPv4 is redirected"
fi
