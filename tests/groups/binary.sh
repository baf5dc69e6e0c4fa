# The release binary as a user meets it: exit codes, and what it says before it binds a port.
binary=target/release/crossfade
if [ ! -x "$binary" ]; then
  echo "skip: no release binary; run the step release first"
  exit 77
fi
expect() { # CODE, then the command
  local wanted=$1 code=0
  shift
  "$@" >target/run/binary.out 2>target/run/binary.err </dev/null || code=$?
  if [ "$code" -ne "$wanted" ]; then
    echo "exit code $code instead of $wanted: $*"
    cat target/run/binary.out target/run/binary.err
    exit 1
  fi
}
clean="env -i PATH=$PATH"
expect 0 $clean "$binary" --version
expect 0 $clean "$binary" config
expect 0 $clean "$binary" bucket alice
grep -q '^alice' target/run/binary.out
expect 64 $clean "$binary" no-such-command
expect 64 $clean "$binary"
grep -q 'CROSSFADE_UPSTREAM: is required' target/run/binary.err
expect 64 $clean CROSSFADE_UPSTRAEM=ws://x CROSSFADE_LISTEN=8080 "$binary" run
grep -q 'did you mean CROSSFADE_UPSTREAM' target/run/binary.err
grep -q 'CROSSFADE_LISTEN: "8080" is not an address' target/run/binary.err
expect 64 $clean CROSSFADE_UPSTRAEM=ws://x "$binary" check
grep -q '^failed   configuration  CROSSFADE_UPSTRAEM' target/run/binary.out
# Nobody listens on port 1.
expect 69 $clean CROSSFADE_UPSTREAM=ws://127.0.0.1:1 "$binary" check --json
grep -q '"blame": "theirs"' target/run/binary.out
expect 0 bash -c "$binary config | head -n 1"
echo "the binary answers as documented"
