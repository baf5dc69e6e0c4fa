# The trip with 2,000 hot sessions: service, sidecar, emulator and clients as processes of their own. Closes, loss and
# order are judged by the ends' logs; times are printed and not judged. `--sessions 9000` is for a quiet machine.
sessions=${TRIP_SESSIONS:-2000}
hard=$(ulimit -Hn)
if [ "$hard" != unlimited ] && [ "$hard" -lt $((2 * sessions + 300)) ]; then
  echo "skip: $sessions sessions need $((2 * sessions + 300)) open files, the hard limit is $hard"
  exit 77
fi
cargo build --locked --bin crossfade --example trip
target=${CARGO_TARGET_DIR:-target}/debug
# A fifth of the usual load, for machines with two cores that do other things besides.
"$target/examples/trip" --sessions "$sessions" --rate 1000 --load 4 --patience 420 --crossfade "$target/crossfade"
# A limit that is too low is named before anything is started.
code=0
(ulimit -n 256 && "$target/examples/trip" --sessions 100 --crossfade "$target/crossfade") >target/run/trip.low 2>&1 || code=$?
if [ "$code" -ne 69 ] || ! grep -q 'need 500 open files' target/run/trip.low; then
  echo "a low limit of open files is not named (exit code $code):"
  cat target/run/trip.low
  exit 1
fi
