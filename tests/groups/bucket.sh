# The bucket function, as published, in the languages of those who want to predict it: SHA-256 is built into each.
ran=0
if command -v python3 >/dev/null; then
  python3 tests/vectors/bucket.py
  ran=1
fi
if command -v node >/dev/null; then
  node tests/vectors/bucket.mjs
  ran=1
fi
if [ "$ran" -eq 0 ]; then
  echo "skip: neither python3 nor node is here"
  exit 77
fi
