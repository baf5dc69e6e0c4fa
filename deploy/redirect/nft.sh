#!/bin/sh
# The same as iptables.sh with nft: one table of our own, replaced as a whole, so that running it again changes
# nothing and no connection sees half of it; `remove` takes it away.
#
#   REDIRECT_FROM=3000,3001 REDIRECT_TO=8080 ./nft.sh
#   REDIRECT_FROM=3000 REDIRECT_TO=8080 REDIRECT_UID=65532 ./nft.sh    # local clients, too
#   ./nft.sh remove
set -eu
case ${1:-add} in
  add) ;;
  remove) nft 'add table inet crossfade; delete table inet crossfade'; exit ;;
  *) echo "usage: REDIRECT_FROM=3000 REDIRECT_TO=8080 $0 [add | remove]" >&2; exit 64 ;;
esac
local_rules=''
if [ -n "${REDIRECT_UID:-}" ]; then
  local_rules="chain out {
    type nat hook output priority -100; policy accept;
    meta skuid $REDIRECT_UID return
    fib daddr type local tcp dport { $REDIRECT_FROM } redirect to :$REDIRECT_TO
  }"
fi
nft -f - <<RULES
add table inet crossfade
delete table inet crossfade
table inet crossfade {
  chain in {
    type nat hook prerouting priority dstnat; policy accept;
    tcp dport { $REDIRECT_FROM } redirect to :$REDIRECT_TO
  }
  $local_rules
}
RULES
