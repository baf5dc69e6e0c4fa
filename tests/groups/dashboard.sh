# The dashboard in Debian's Chromium against the demo; screenshots of every view go to target/screenshots.
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
if ! command -v chromium >/dev/null && ! { apt-get update && apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1; then
  echo "skip: chromium is not here and cannot be installed"
  exit 77
fi
modules=$PWD/target/dashboard
mkdir -p "$modules"
cp tests/dashboard/package.json tests/dashboard/package-lock.json "$modules"
if ! (cd "$modules" && npm ci --no-audit --no-fund --prefer-offline --silent); then
  echo "skip: playwright-core cannot be installed (a package registry is needed)"
  exit 77
fi
CROSSFADE=$binary CHROMIUM=$(command -v chromium) MODULES=$modules/package.json node tests/dashboard/dashboard.mjs
