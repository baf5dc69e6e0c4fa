# The count guards that need strace: an echo is two reads and two writes, and no read of an empty socket.
if ! command -v strace >/dev/null; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "skip: strace is not here, and only root may install it"
    exit 77
  fi
  if ! { apt-get update && apt-get install -y --no-install-recommends strace; } >/dev/null 2>&1; then
    echo "skip: strace cannot be installed (a package registry is needed)"
    exit 77
  fi
fi
cargo test --locked --test it -- guards --nocapture
