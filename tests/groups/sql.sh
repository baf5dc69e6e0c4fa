# The SQL of deploy/supabase on a PostgreSQL of its own: every migration in one transaction, twice; pgTAP; what readers
# of the publications get; rollback leaves nothing; squawk. Needs postgresql-15, pgTAP and pg_prove (installed by
# apt-get where that is allowed); wal2json and squawk where they can be had.
bin=/usr/lib/postgresql/15/bin
if [ ! -x $bin/initdb ] || [ ! -e /usr/share/postgresql/15/extension/pgtap.control ] || ! command -v pg_prove >/dev/null; then
  if [ "$(id -u)" -ne 0 ] || ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    postgresql-15 postgresql-15-pgtap postgresql-15-wal2json libtap-parser-sourcehandler-pgtap-perl >/dev/null; then
    echo "skip: postgresql-15, pgTAP or pg_prove is not here and cannot be installed (apt-get as root needed)"
    exit 77
  fi
fi

home=$(mktemp -d)
pid=
cleanup() {
  if [ -n "$pid" ]; then
    kill -INT "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  fi
  rm -rf "$home"
}
trap cleanup EXIT
# PostgreSQL refuses to run as root.
as_owner() { "$@"; }
if [ "$(id -u)" -eq 0 ]; then
  chown postgres "$home"
  as_owner() { (cd "$home" && exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@"); }
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=supabase_admin PGDATABASE=postgres PGCONNECT_TIMEOUT=5
as_owner $bin/initdb -D "$home/data" -U supabase_admin --auth=trust --encoding=UTF8 --locale=C >/dev/null
# Late releases of 15 want decoding plug-ins named.
plugins=()
if as_owner $bin/postgres --describe-config | grep '^output_plugin_libraries' >/dev/null; then
  plugins=(-c output_plugin_libraries=pgoutput,test_decoding,wal2json)
fi
as_owner $bin/postgres -D "$home/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
  ${plugins[@]+"${plugins[@]}"} -c wal_level=logical -c fsync=off -c timezone=America/New_York >"$home/log" 2>&1 &
wrapper=$!
for _ in $(seq 300); do
  $bin/pg_isready -q && break
  kill -0 $wrapper 2>/dev/null || { cat "$home/log"; exit 1; }
  sleep 0.1
done
pid=$(head -n 1 "$home/data/postmaster.pid")

sql() { PGOPTIONS='-c client_min_messages=warning' psql -qX -v ON_ERROR_STOP=1 "$@"; }
migrate() {
  for file in deploy/supabase/migrations/*.sql; do
    sql -U postgres -1 -d "$1" -o /dev/null -f "$file"
  done
}
roll_back() {
  for file in $(ls -r deploy/supabase/rollback/*.sql); do
    sql -U postgres -1 -d "$1" -o /dev/null -f "$file"
  done
}
# Everything that a migration could leave behind, as text.
# Sorted: the order of grants is not a difference.
picture() {
  pg_dump --schema-only -d "$1" | grep -v "^--" | grep -v "^\\\\" | sort
  sql -At -d "$1" -c "select rolname, rolsuper, rolcanlogin, rolbypassrls from pg_roles order by 1" \
    -c "select r.rolname, m.rolname from pg_auth_members a join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member order by 1, 2" \
    -c "select pubname, pubviaroot from pg_publication order by 1"
}

[ "$(ls deploy/supabase/migrations)" = "$(ls deploy/supabase/rollback)" ]
echo "every migration has its rollback"
sql -f tests/sql/fixture.sql
sql -c 'alter database postgres owner to postgres'
picture postgres >"$home/before"
migrate postgres
picture postgres >"$home/once"
cmp -s "$home/before" "$home/once" && { echo "the migrations changed nothing"; exit 1; }
migrate postgres
picture postgres >"$home/twice"
diff "$home/once" "$home/twice"
echo "applied as a role without superpowers, each in one transaction, and again: nothing changed"

sql -c 'create schema pgtap' -c 'create extension pgtap schema pgtap' \
  -c 'grant usage on schema pgtap to public' -c 'alter database postgres set search_path = public, pgtap'
pg_prove ${PROVE:---quiet} tests/sql/pgtap/*.sql
bash -euo pipefail tests/sql/decode.sh
sql -c 'alter database postgres reset search_path' -c 'drop schema pgtap cascade'

roll_back postgres
picture postgres >"$home/after"
diff "$home/before" "$home/after"
roll_back postgres
echo "rolled back, and again: nothing is left"
migrate postgres
picture postgres >"$home/again"
diff "$home/once" "$home/again"
echo "and applied once more: as the first time"

# The whole way: service, sidecar, emulator, and these tables behind it.
if command -v cargo >/dev/null; then
  CROSSFADE_TEST_DATABASE="postgresql://authenticator@127.0.0.1:$port/postgres" \
    cargo test --locked --quiet --test it on_a_real_database >"$home/it" 2>&1 || { cat "$home/it"; exit 1; }
  stored=$(sql -At -c 'select count(*) from public.monitoring_events')
  [ "$stored" -gt 2000 ]
  echo "a sidecar stored $stored rows, as its service wrote and read them"
else
  echo "the process test left out: cargo is not here"
fi

# A project without Realtime's objects and without PostgREST's roles takes them too.
sql -c 'create database bare owner postgres'
sql -d bare -c 'alter schema public owner to postgres'
migrate bare
echo "applied to a bare database"

venv=target/squawk-venv
if [ ! -x "$venv/bin/squawk" ] && ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet squawk-cli==2.70.0; }; then
  echo "squawk left out: it cannot be installed (python3 with venv and a package index needed)"
else
  "$venv/bin/squawk" --config tests/sql/squawk.toml deploy/supabase/migrations/*.sql >"$home/squawk" 2>&1 || {
    cat "$home/squawk"
    exit 1
  }
  grep -q 'Found 0 issues' "$home/squawk" || { cat "$home/squawk"; exit 1; }
  echo "squawk: 0 issues"
fi
