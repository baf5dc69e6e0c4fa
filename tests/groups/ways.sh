# The table of tests/ways.rs over the one way that needs a rule of the kernel: in a network namespace in which the
# service's address is redirected to the proxy. The other ways are ordinary tests.
. tests/artefacts/tools.sh
need_apt ip=iproute2 iptables=iptables unshare=util-linux
unshare --map-root-user --net true 2>/dev/null || skip "network namespaces are refused here"
export XTABLES_LOCKFILE=$tools/ways.lock
rule='ip link set lo up
ip addr add 198.18.0.1/32 dev lo
iptables -w -t nat -A OUTPUT -d 198.18.0.1 -p tcp --dport 3000 -j REDIRECT --to-ports 8080'
unshare --map-root-user --net sh -euc "$rule" || skip "iptables cannot redirect here"
ways=$(cargo test --locked --no-run --test ways 2>&1 | tee /dev/stderr | sed -n 's/.*Executable tests.ways.rs (\(.*\))/\1/p')
[ -x "$ways" ] || broken "no test was built"
CROSSFADE_WAYS_MEANT=198.18.0.1:3000 unshare --map-root-user --net sh -euc "$rule
exec $ways --exact redirected --nocapture" | tee "$tools/ways.log"
grep -q '^Redirect(198.18.0.1:3000): the same as straight$' "$tools/ways.log" || broken "the redirected way was left out"
seen "requests, sessions and crimes are the same through the redirect as straight"
