# Runs the commands of the pages on TLS, PROXY protocol, HTTP/2, interception and the way to the service as they stand there, each page in a network namespace
# and a folder of its own, so that ports are free and nothing is left.
for tool in unshare nsenter ip iptables nft openssl curl python3; do
  if ! command -v "$tool" >/dev/null; then
    echo "skip: $tool is not here"
    exit 77
  fi
done
if ! unshare --map-root-user --net --pid --mount-proc --fork true 2>/dev/null; then
  echo "skip: network namespaces may not be made here"
  exit 77
fi
cargo build --locked --bin crossfade
binary=$PWD/${CARGO_TARGET_DIR:-target}/debug
for page in docs/tls.md docs/proxy-protocol.md docs/http2.md docs/interception.md docs/upstream.md; do
  folder=$(mktemp -d)
  {
    echo 'set -euo pipefail; ip link set lo up'
    echo 'trap '\''kill $(jobs -p) 2>/dev/null || true'\'' EXIT'
    awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$page"
  } >"$folder/commands"
  mkdir "$folder/deploy" && cp -r deploy/redirect "$folder/deploy/"
  blocks=$(grep -c '^```sh$' "$page")
  echo "$page: $blocks blocks"
  (cd "$folder" && PATH="$binary:$PATH" timeout 120 unshare --map-root-user --net --pid --mount-proc --fork --kill-child \
    bash -x commands)
  rm -rf "$folder"
done
