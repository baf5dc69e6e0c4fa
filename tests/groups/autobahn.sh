# The Autobahn cases through the tunnel equal the direct run, case by case, with the mirror on.
# CROSSFADE_BINARY names another binary than the release one; the packages come into a private folder.
binary=${CROSSFADE_BINARY:-target/release/crossfade}
if [ ! -x "$binary" ]; then
  echo "skip: no binary at $binary; run the step release first"
  exit 77
fi
venv=target/autobahn-venv
if [ ! -x "$venv/bin/kosoku" ] || ! "$venv/bin/python" -c 'import websockets.server' 2>/dev/null; then
  if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install --quiet kosoku==0.1.0 'websockets>=15,<18'; then
    echo "skip: kosoku cannot be installed (python3 with venv and a package index needed)"
    exit 77
  fi
fi
"$venv/bin/python" tests/autobahn/compare.py "$binary"
