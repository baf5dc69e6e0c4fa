# Stand-ins for the images that the Dockerfile starts from, under their names in this test's own storage.
# Sourced by tests/groups/image.sh. shellcheck shell=bash
mirror=$(awk '$1 == "deb" && $2 ~ /^http/ && $2 ~ /debian/ { print $2; exit } $1 == "URIs:" && $2 ~ /debian/ { print $2; exit }' \
  /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null || true)
mirror=${mirror:-http://deb.debian.org/debian}

# make_rust_stand_in NAME: a C toolchain; Rust itself is mounted in the build.
make_rust_stand_in() {
  buildah inspect --type image "$1" >/dev/null 2>&1 && return 0
  if [ ! -s "$work/rust.tar" ]; then
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev,pkg-config bookworm \
      "$work/rust.part" "$mirror" >"$work/rust.log" 2>&1 </dev/null || skip "no base image (see $work/rust.log)"
    mv "$work/rust.part" "$work/rust.tar"
  fi
  local c
  c=$(buildah from scratch)
  buildah add --quiet "$c" "$work/rust.tar" / >/dev/null
  buildah config --env PATH=/usr/local/rustup/bin:/usr/local/cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env CARGO_HOME=/usr/local/cargo "$c"
  buildah commit --quiet "$c" "$1" >/dev/null
  buildah rm "$c" >/dev/null
}

# make_static_stand_in NAME: what distroless/static holds: certificates, time zones, names, a home of 65532.
make_static_stand_in() {
  buildah inspect --type image "$1" >/dev/null 2>&1 && return 0
  local root=$work/static package c
  rm -rf "$root" && mkdir -p "$root/debs" "$root/tree"
  chmod 0777 "$root/debs"
  (cd "$root/debs" && apt-get download base-files netbase tzdata ca-certificates) >"$work/static.log" 2>&1 ||
    skip "no base image (see $work/static.log)"
  for package in "$root"/debs/*.deb; do dpkg-deb -x "$package" "$root/tree"; done
  find "$root/tree/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$root/ca.crt"
  mkdir -p "$root/tree/etc/ssl/certs" "$root/tree/home/nonroot" "$root/tree/tmp"
  mv "$root/ca.crt" "$root/tree/etc/ssl/certs/ca-certificates.crt"
  printf 'root:x:0:0:root:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$root/tree/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/tree/etc/group"
  printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/tree/etc/nsswitch.conf"
  rm -rf "$root/tree/usr/share/doc" "$root/tree/usr/share/man"
  chown 65532:65532 "$root/tree/home/nonroot" && chmod 1777 "$root/tree/tmp"
  c=$(buildah from scratch)
  buildah add --quiet "$c" "$root/tree" / >/dev/null
  buildah config --user 65532 --env PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$c"
  buildah commit --quiet "$c" "$1" >/dev/null
  buildah rm "$c" >/dev/null
}
