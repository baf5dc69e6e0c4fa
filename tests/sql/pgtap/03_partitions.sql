-- Days are made ahead, rows find them, late ones wait in the default partition, old days go.
begin;
select plan(17);

create function pg_temp.add(at timestamptz) returns void language sql as $$
  insert into public.monitoring_events
    (id, event_type, "timestamp", source, instance, session_no, dir, seq, op, class, path, raw, crc)
  values (gen_random_uuid(), 'x', at, 's', 'i', 1, 'up', 1, 'text', 'critical', '/', '\x', '00000000')
$$;
create function pg_temp.home(at timestamptz) returns text language sql as $$
  select relname::text from public.monitoring_events as event join pg_class on pg_class.oid = event.tableoid
  where "timestamp" = at
$$;
set local timezone = 'UTC';

select is(count(*)::integer, 8, 'today and seven days ahead were made by the migration')
from pg_class where relnamespace = 'crossfade'::regnamespace and relname ~ '^monitoring_events_p[0-9]{8}$';
select is(crossfade.make_partitions(), 0, 'making them again makes none');

select pg_temp.add('2020-02-28 23:59:59.999+00');
select pg_temp.add('2020-02-29 00:00:00+00');
select is(pg_temp.home('2020-02-29 00:00:00+00'), 'monitoring_events_default', 'a day without partition waits');
select is(crossfade.make_partitions(1, '2020-02-28'), 2, 'days of the past can be made');
select is(pg_temp.home('2020-02-28 23:59:59.999+00'), 'monitoring_events_p20200228', 'what waited has moved');
select is(pg_temp.home('2020-02-29 00:00:00+00'), 'monitoring_events_p20200229', 'each to its day');
select is_empty('select 1 from crossfade.monitoring_events_default', 'nothing is left behind');

-- The border is midnight UTC whatever the session's time zone is.
set local timezone = 'Asia/Tokyo';
select is(crossfade.make_partitions(0, '2020-03-10'), 1, 'made by a session in Tokyo');
select pg_temp.add('2020-03-10 23:59:00+00');
select is(pg_temp.home('2020-03-10 23:59:00+00'), 'monitoring_events_p20200310', 'the day is UTC''s');
set local timezone = 'UTC';

select pg_temp.add('2019-01-01 00:00:00+00');
select pg_temp.add(now());
select crossfade.make_partitions(40, current_date - 40);
select is(crossfade.drop_partitions(30), 10 + 3, 'thirty days stay');
select hasnt_table('crossfade', 'monitoring_events_p20200228', 'an old day is gone');
select has_table('crossfade', 'monitoring_events_p' || to_char(current_date - 30, 'YYYYMMDD'), 'the 30th is not');
select results_eq('select count(*) from public.monitoring_events', array[1::bigint],
  'old rows went with their days, the default partition''s too; today''s stayed');
select lives_ok('select crossfade.maintain()', 'the daily upkeep runs');
select throws_ok('select crossfade.drop_partitions(0)', '22023', null, 'today is never dropped');
select throws_ok('select crossfade.make_partitions(-1)', '22023', null, 'days ahead are not negative');

-- A table that only looks like a partition is not ours to drop.
create table crossfade.monitoring_events_p20010101 (id integer);
select crossfade.drop_partitions(1);
select has_table('crossfade', 'monitoring_events_p20010101', 'a stranger''s table stays');

select * from finish();
rollback;
