# The readers that consumers copy, against the vectors that tests/readers.rs keeps equal to what our encoder writes;
# and the published JSON Schema against the same vectors.
ran=0
if command -v python3 >/dev/null; then
  python=python3
  schema=
  if ! python3 -c 'import jsonschema' 2>/dev/null; then
    venv=target/readers/py
    if [ -x "$venv/bin/python" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet jsonschema; }; then
      python=$venv/bin/python
    fi
  fi
  if "$python" -c 'import jsonschema' 2>/dev/null; then schema=--schema; else echo "note: no jsonschema, the schema is not checked"; fi
  "$python" -B examples/readers/python/check.py $schema
  ran=1
fi
if command -v node >/dev/null; then
  node examples/readers/javascript/check.mjs
  ran=1
fi
if [ "$ran" -eq 0 ]; then
  echo "skip: neither python3 nor node is here"
  exit 77
fi
