-- The bucket function against the published vectors. Run from the root of the repository.
\set vectors `cat tests/vectors/bucket.json`
begin;
select plan(4);

create temporary table vector as
  select row ->> 'salt' as salt, row ->> 'key' as key, (row ->> 'bucket')::integer as bucket
  from jsonb_array_elements(:'vectors'::jsonb) as row;
select is(count(*)::integer, 1000, 'a thousand vectors') from vector;
select is_empty('select * from vector where public.crossfade_bucket(salt, key) <> bucket', 'all agree');
select ok(public.crossfade_bucket('a', null) is null, 'no key, no bucket');
select volatility_is('public', 'crossfade_bucket', array['text', 'text'], 'immutable');

select * from finish();
rollback;
