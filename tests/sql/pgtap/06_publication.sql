-- What the publications list. What a reader gets from them is seen in tests/sql/decode.sh.
begin;
select plan(6);

select ok(exists (select from pg_publication_tables
  where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'crossfade_flags'),
  'Realtime hears of flags');
select is(puballtables or pubviaroot, false, 'the project''s own publication keeps its options')
from pg_publication where pubname = 'supabase_realtime';
select is(pubviaroot, true, 'ours publishes by the parent''s name') from pg_publication
where pubname = 'crossfade_events';
select is(pubinsert and not pubupdate and not pubdelete and not pubtruncate, true, 'and inserts only')
from pg_publication where pubname = 'crossfade_events';
select results_eq(
  $$select tablename::text collate "default" from pg_publication_tables where pubname = 'crossfade_events'$$,
  array['monitoring_events']::text[], 'the parent stands for all partitions');
select cmp_ok(count(*)::integer, '>=', 9, 'Realtime''s lists each partition, those made later too')
from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'crossfade';

select * from finish();
rollback;
