-- Tables, columns, keys and indexes are those that the sink, reconcile and the docs rely on.
begin;
select plan(50);

select columns_are('public', 'monitoring_events', array[
  'id', 'event_type', 'timestamp', 'data', 'source', 'created_at', 'instance', 'session_no', 'session_id', 'dir',
  'seq', 'op', 'class', 'path', 'raw', 'crc', 'redacted', 'replay'
]);
select col_type_is('public', 'monitoring_events', name, type, name || ' is ' || type)
from (values
  ('id', 'uuid'), ('event_type', 'text'), ('timestamp', 'timestamp with time zone'), ('data', 'jsonb'),
  ('source', 'text'), ('created_at', 'timestamp with time zone'), ('session_no', 'bigint'), ('seq', 'bigint'),
  ('raw', 'bytea'), ('crc', 'text'), ('redacted', 'boolean'), ('replay', 'boolean')
) as wanted (name, type);
select col_not_null('public', 'monitoring_events', name, name || ' is never null')
from unnest(array['id', 'event_type', 'timestamp', 'source', 'created_at', 'instance', 'session_no', 'dir', 'seq',
  'op', 'class', 'path', 'raw', 'crc']) as name;
select col_is_null('public', 'monitoring_events', 'data', 'data may be null: not every message is JSON');
select col_has_default('public', 'monitoring_events', 'created_at', 'created_at is the database''s');
select col_is_pk('public', 'monitoring_events', array['id', 'timestamp']::name[], 'id and time are the key');
select is_partitioned('public', 'monitoring_events', 'it is partitioned');
select has_index('public', 'monitoring_events', 'monitoring_events_type_time_idx',
  array['event_type', '"timestamp"']::name[], 'the latest of a type');
select has_index('public', 'monitoring_events', 'monitoring_events_session_idx',
  array['instance', 'session_no', 'dir', 'seq']::name[], 'a session in order');

select columns_are('public', 'crossfade_flags',
  array['service', 'version', 'document', 'updated_at', 'updated_by']);
select col_is_pk('public', 'crossfade_flags', array['service']::name[], 'one document for each service');
select has_trigger('public', 'crossfade_flags', 'crossfade_flags_changed', 'versions are counted');
select columns_are('public', 'crossfade_reports',
  array['service', 'instance', 'kind', 'period_start', 'period_end', 'verdict', 'report', 'created_at']);
select col_is_pk('public', 'crossfade_reports', array['service', 'instance', 'kind', 'period_start']::name[], 'one report for each period');
select has_index('public', 'crossfade_reports', 'crossfade_reports_time_idx', array['service', 'period_start']::name[], 'the latest reports');

-- Values that no message can have are refused, one check at a time.
prepare event(text, bigint, text, bigint, text, text, text) as
  insert into public.monitoring_events
    (id, event_type, "timestamp", source, instance, dir, session_no, op, seq, class, path, raw, crc)
  values (gen_random_uuid(), 'x', now(), 's', 'i', $1, $2, $3, $4, $5, '/', $6::bytea, $7);
select lives_ok($$execute event('up', 4294967295, 'binary', 1, 'critical', '\x00ff', '0123abcd')$$);
select throws_ok($$execute event('left', 1, 'text', 1, 'low', '\x', '0123abcd')$$, '23514', null, 'dir');
select throws_ok($$execute event('up', -1, 'text', 1, 'low', '\x', '0123abcd')$$, '23514', null, 'session_no');
select throws_ok($$execute event('up', 4294967296, 'text', 1, 'low', '\x', '0123abcd')$$, '23514', null, 'u32');
select throws_ok($$execute event('up', 1, 'ping', 1, 'low', '\x', '0123abcd')$$, '23514', null, 'op');
select throws_ok($$execute event('up', 1, 'text', 0, 'low', '\x', '0123abcd')$$, '23514', null, 'seq');
select throws_ok($$execute event('up', 1, 'text', 1, 'dull', '\x', '0123abcd')$$, '23514', null, 'class');
select throws_ok($$execute event('up', 1, 'text', 1, 'low', '\x', '0123ABCD')$$, '23514', null, 'crc');

-- The version is the table's to count, whatever a writer says.
insert into public.crossfade_flags (service, version, document) values ('shop', 41, '{"percent": 1}');
select is(version, 1::bigint, 'a new document has version 1') from public.crossfade_flags where service = 'shop';
update public.crossfade_flags set document = '{"percent": 5}', version = 7 where service = 'shop' and version = 1;
select is(version, 2::bigint, 'a change raises it by one') from public.crossfade_flags where service = 'shop';
update public.crossfade_flags set document = '{}' where service = 'shop' and version = 1;
select is(document, '{"percent": 5}'::jsonb, 'who has read an old version changes nothing')
from public.crossfade_flags where service = 'shop';

select * from finish();
rollback;
