# What readers of the two publications get of one stored row. Called by tests/groups/sql.sh, which has set PG*.
row="insert into public.monitoring_events
  (id, event_type, \"timestamp\", source, instance, session_no, dir, seq, op, class, path, raw, crc)
  values (gen_random_uuid(), 'x', now(), 's', 'i', 1, 'up', 1, 'text', 'critical', '/', '\\x', '00000000')"
ask() { psql -qXAt -v ON_ERROR_STOP=1 -c "$1"; }

# pgoutput, as replicas and pipelines read: the parent's name.
ask "select pg_create_logical_replication_slot('root', 'pgoutput')" >/dev/null
ask "$row"
ask "select encode(data, 'escape') from pg_logical_slot_get_binary_changes('root', null, null,
  'proto_version', '1', 'publication_names', 'crossfade_events')" >"${TMPDIR:-/tmp}/decoded.$$"
ask "select pg_drop_replication_slot('root')" >/dev/null
trap 'rm -f "${TMPDIR:-/tmp}/decoded.$$"' EXIT
grep -q 'public\\000monitoring_events\\000' "${TMPDIR:-/tmp}/decoded.$$"
! grep -q 'monitoring_events_p' "${TMPDIR:-/tmp}/decoded.$$"
echo "pgoutput names the parent"

# wal2json, as Realtime reads: tables as pg_publication_tables lists them.
if ! ask "select pg_create_logical_replication_slot('leaf', 'wal2json')" >/dev/null 2>&1; then
  echo "wal2json left out: it is not installed"
  exit 0
fi
changes() {
  ask "$row"
  ask "select count(*) from pg_logical_slot_get_changes('leaf', null, null, 'format-version', '2',
    'include-transaction', 'false', 'add-tables', (select string_agg(schemaname || '.' || tablename, ',')
    from pg_publication_tables where pubname = 'supabase_realtime')) where data like '%\"table\":\"$1\"%'"
}
today=monitoring_events_p$(date -u +%Y%m%d)
found="$(changes "$today") $(changes monitoring_events)"
ask "alter publication supabase_realtime set (publish_via_partition_root = true)"
found="$found $(changes "$today") $(changes monitoring_events)"
ask "alter publication supabase_realtime set (publish_via_partition_root = false)"
ask "select pg_drop_replication_slot('leaf')" >/dev/null
if [ "$found" != "1 0 0 0" ]; then
  echo "wal2json found $found rows by (partition, parent), and by root; the migration's warning says 1 0 0 0"
  exit 1
fi
echo "wal2json names the partition, and nothing at all by publish_via_partition_root"
