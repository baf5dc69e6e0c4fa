-- The very rows that the sink writes (tests/vectors/rows.json, checked by a Rust test), inserted as PostgREST does it:
-- the listed columns, ignoring duplicates, as the sidecar's role. Run from the root of the repository.
\set rows `cat tests/vectors/rows.json`
begin;
select plan(7);

prepare post(json) as
  insert into public.monitoring_events
    (id, event_type, "timestamp", data, source, instance, session_no, session_id, dir, seq, op, class, path, raw, crc,
      redacted, replay)
  select id, event_type, "timestamp", data, source, instance, session_no, session_id, dir, seq, op, class, path, raw,
    crc, redacted, replay
  from json_populate_recordset(null::public.monitoring_events, $1)
  on conflict (id, "timestamp") do nothing;

set local role crossfade_mirror;
execute post(:'rows');
execute post(:'rows');
reset role;
select is(count(*)::integer, 5, 'five rows, though posted twice') from public.monitoring_events;
select is(encode(raw, 'escape'), '{"n": 1.50}', 'the bytes are those of the message')
from public.monitoring_events where seq = 1;
select is(data, '{"n": 1.50}'::jsonb, 'and its JSON beside them') from public.monitoring_events where seq = 1;
select is(raw, '\x00ff'::bytea, 'binary comes back') from public.monitoring_events where seq = 3;
select ok(bool_and(data is null), 'what is no JSON for jsonb has none')
from public.monitoring_events where seq in (3, 4, 5);
select is("timestamp", '2026-11-21 07:09:55.123+00'::timestamptz, 'the time is the message''s, not the row''s')
from public.monitoring_events where seq = 1;
select ok(bool_and(created_at = now()), 'created_at is the database''s') from public.monitoring_events;

select * from finish();
rollback;
