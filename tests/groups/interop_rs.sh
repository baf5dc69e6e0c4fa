# realtime-rs, a client that we did not write, hears what crossfade's own client publishes. A package of its own.
binary=${CROSSFADE:-target/release/crossfade}
[ -x "$binary" ] || binary=target/debug/crossfade
if [ ! -x "$binary" ]; then
  echo "skip: no binary; run the step release first"
  exit 77
fi
if ! pkg-config --exists openssl 2>/dev/null; then
  echo "skip: realtime-rs needs the development files of OpenSSL (libssl-dev, pkg-config)"
  exit 77
fi
manifest=tests/interop/realtime-rs/Cargo.toml
if ! cargo fetch --locked --manifest-path "$manifest"; then
  echo "skip: realtime-rs cannot be fetched (a package registry is needed)"
  exit 77
fi
cargo build --locked --example publish
cargo build --locked --manifest-path "$manifest" --target-dir target/interop/rs
CROSSFADE=$binary PUBLISH=target/debug/examples/publish target/interop/rs/debug/interop-realtime-rs
