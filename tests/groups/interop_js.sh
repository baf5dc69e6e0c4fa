# The official JavaScript client (supabase-js) against `crossfade emulator`, and as a subscriber of events.
binary=${CROSSFADE:-target/release/crossfade}
[ -x "$binary" ] || binary=target/debug/crossfade
if [ ! -x "$binary" ]; then
  echo "skip: no binary; run the step release first"
  exit 77
fi
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "skip: node or npm is not here"
  exit 77
fi
modules=$PWD/target/interop/js
mkdir -p "$modules"
cp tests/interop/js/package.json tests/interop/js/package-lock.json "$modules"
if ! (cd "$modules" && npm ci --no-audit --no-fund --prefer-offline --silent); then
  echo "skip: @supabase/supabase-js cannot be installed (a package registry is needed)"
  exit 77
fi
CROSSFADE=$binary MODULES=$modules/package.json node tests/interop/js/supabase.mjs
CROSSFADE=$binary MODULES=$modules/package.json node tests/interop/js/events.mjs
CROSSFADE=$binary MODULES=$modules/package.json node tests/interop/js/cold.mjs
CROSSFADE=$binary MODULES=$modules/package.json node tests/interop/js/native.mjs
