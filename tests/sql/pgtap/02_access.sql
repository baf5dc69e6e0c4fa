-- Who may do what, by role: the grants, row level security behind them, and partitions that default privileges opened.
begin;
select plan(42);

-- anon and authenticated: nothing, anywhere.
select table_privs_are('public', name, reader, array[]::text[], reader || ' has nothing on ' || name)
from unnest(array['monitoring_events', 'crossfade_flags', 'crossfade_reports']) as name,
  unnest(array['anon', 'authenticated']) as reader;
select is_empty(
  $$select child.relname, reader from pg_class as child, unnest(array['anon', 'authenticated']) as reader
    where child.relnamespace = 'crossfade'::regnamespace and child.relkind = 'r'
      and has_table_privilege(reader, child.oid, 'select, insert, update, delete, truncate')$$,
  'no partition is open to them');
select is_empty(
  $$select relname from pg_class where relkind in ('r', 'p') and not relrowsecurity and (
      relnamespace = 'crossfade'::regnamespace
      or oid in ('public.monitoring_events'::regclass, 'public.crossfade_flags'::regclass,
                 'public.crossfade_reports'::regclass))$$,
  'row level security is on everywhere, partitions included');
select cmp_ok(count(*)::integer, '>=', 9, 'there are partitions to look at')
from pg_class where relnamespace = 'crossfade'::regnamespace and relkind = 'r';
select schema_privs_are('crossfade', reader, array[]::text[], reader || ' cannot enter the schema')
from unnest(array['anon', 'authenticated', 'service_role', 'crossfade_mirror']) as reader;
select function_privs_are('public', 'crossfade_bucket', array['text', 'text'], reader, array[]::text[],
  reader || ' cannot call crossfade_bucket')
from unnest(array['anon', 'authenticated']) as reader;
select function_privs_are('crossfade', name, args, 'crossfade_mirror', array[]::text[],
  'the sidecar cannot call ' || name)
from (values ('make_partitions', array['integer', 'date']), ('drop_partitions', array['integer']),
  ('maintain', array['integer', 'integer']), ('flags_changed', array[]::text[])) as f (name, args);

-- Even a grant by mistake opens nothing: there is no policy for them.
grant select, insert on public.monitoring_events, public.crossfade_flags to anon, authenticated;
insert into public.crossfade_flags (service, document) values ('shop', '{}');
prepare add_event as insert into public.monitoring_events
  (id, event_type, "timestamp", source, instance, session_no, dir, seq, op, class, path, raw, crc)
  values ('6d1f8f0a-0000-8000-8000-000000000001', 'order.placed', now(), 'shop', 'pod-1', 1, 'down', 1, 'text',
    'critical', '/ws', '\x7b7d', 'a3b2c1d0')
  on conflict (id, "timestamp") do nothing;
set local role anon;
select throws_ok('execute add_event', '42501', null, 'anon is stopped by row level security');
select is_empty('select service from public.crossfade_flags', 'and reads nothing');
reset role;
revoke select, insert on public.monitoring_events, public.crossfade_flags from anon, authenticated;

-- The sidecar's role: adds events (twice is once), finds ids, reads flags; nothing else.
set local role crossfade_mirror;
set local request.jwt.claims = '{"role": "crossfade_mirror"}';
select lives_ok('execute add_event', 'the sidecar adds a row');
select lives_ok('execute add_event', 'and again');
select results_eq('select count(*) from (select id from public.monitoring_events) as ids', array[1::bigint],
  'which left one row');
select lives_ok('select instance from public.monitoring_events', 'it finds the rows of one process');
select throws_ok('select data from public.monitoring_events', '42501', null, 'it cannot read messages');
select throws_ok('select raw from public.monitoring_events', '42501', null, 'nor their bytes');
select throws_ok($$update public.monitoring_events set path = ''$$, '42501', null, 'nor change them');
select throws_ok('delete from public.monitoring_events', '42501', null, 'nor delete them');
select throws_ok('truncate public.monitoring_events', '42501', null, 'nor empty the table');
select throws_ok('select * from crossfade.monitoring_events_default', '42501', null, 'nor reach a partition');
select results_eq('select service from public.crossfade_flags', array['shop'], 'it reads flags');
select throws_ok($$update public.crossfade_flags set document = '{"percent": 100}'$$, '42501', null,
  'it cannot change them');
select throws_ok($$insert into public.crossfade_flags (service, document) values ('x', '{}')$$, '42501', null,
  'nor add some');
select lives_ok(
  $$insert into public.crossfade_reports (service, instance, kind, period_start, period_end, verdict, report)
    values ('shop', 'pod-1', 'hour', now(), now(), 'pass', '{}')
    on conflict (service, instance, kind, period_start) do nothing$$,
  'it adds a report');
select throws_ok('select report from public.crossfade_reports', '42501', null, 'it cannot read reports');
select is(public.crossfade_bucket('crossfade', ''), 17891, 'it may ask for a bucket');
reset role;

-- service_role reads and prunes.
set local role service_role;
select results_eq('select event_type from public.monitoring_events', array['order.placed'],
  'service_role reads events');
select lives_ok($$update public.crossfade_flags set document = '{"percent": 5}' where version = 1$$,
  'service_role changes flags');
select throws_ok($$update public.monitoring_events set path = ''$$, '42501', null,
  'nobody rewrites what was mirrored');
reset role;

-- PostgREST may take the sidecar's role, and the role is nobody's way in.
select ok(pg_has_role('authenticator', 'crossfade_mirror', 'member'), 'authenticator may switch to it');
select ok(not rolcanlogin and not rolsuper and not rolbypassrls and not rolcreaterole and not rolinherit,
  'it has no login and no power of its own')
from pg_roles where rolname = 'crossfade_mirror';

select * from finish();
rollback;
