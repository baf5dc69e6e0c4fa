# deploy/systemd run for real as far as that goes without being process 1: the listener is made and handed over by
# systemd-socket-activate as crossfade.socket says, and restarts behind a held listener refuse nobody.
. tests/artefacts/tools.sh
need_binary
need_apt systemd-socket-activate=systemd
python3 tests/artefacts/activation.py "$binary" "$PWD/target/activation"
