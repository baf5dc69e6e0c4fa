# The official Python client (realtime) against `crossfade emulator`.
binary=${CROSSFADE:-target/release/crossfade}
[ -x "$binary" ] || binary=target/debug/crossfade
if [ ! -x "$binary" ]; then
  echo "skip: no binary; run the step release first"
  exit 77
fi
venv=target/interop/py
if ! "$venv/bin/python" -c 'import realtime' 2>/dev/null; then
  if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install --quiet -r tests/interop/py/requirements.txt; then
    echo "skip: realtime cannot be installed (python3 with venv and a package index needed)"
    exit 77
  fi
fi
CROSSFADE=$binary "$venv/bin/python" tests/interop/py/official.py
