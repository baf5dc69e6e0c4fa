-- Private topics `crossfade:…`: the sidecar's role and service_role, nobody else, whatever other policies say. As
-- Realtime asks: as the role of the token, with the topic in a setting, a probe row selected and inserted.
begin;
select plan(13);

create function pg_temp.reads(reader text, topic text, of text default 'broadcast') returns bigint
language plpgsql as $$
declare
  found bigint;
begin
  insert into realtime.messages (topic, extension) values (topic, of);
  perform set_config('realtime.topic', topic, true);
  perform set_config('role', reader, true);
  execute 'select count(*) from realtime.messages where topic = $1' into found using topic;
  perform set_config('role', 'none', true);
  delete from realtime.messages;
  return found;
end
$$;
create function pg_temp.writes(writer text, topic text, of text default 'broadcast') returns boolean
language plpgsql as $$
begin
  perform set_config('realtime.topic', topic, true);
  perform set_config('role', writer, true);
  begin
    execute 'insert into realtime.messages (topic, extension) values ($1, $2)' using topic, of;
  exception when insufficient_privilege then
    perform set_config('role', 'none', true);
    return false;
  end;
  perform set_config('role', 'none', true);
  delete from realtime.messages;
  return true;
end
$$;

select is(pg_temp.reads('crossfade_mirror', 'crossfade:shop:pod-1'), 1::bigint, 'the sidecar reads its topic');
select ok(pg_temp.writes('crossfade_mirror', 'crossfade:shop:pod-1'), 'and writes to it');
select is(pg_temp.reads('crossfade_mirror', 'room:1'), 0::bigint, 'but no other');
select ok(not pg_temp.writes('crossfade_mirror', 'room:1'), 'neither way');
select ok(not pg_temp.writes('crossfade_mirror', 'crossfade:shop:pod-1', 'presence'), 'broadcasts only');
select ok(pg_temp.writes('service_role', 'crossfade:shop:pod-1'), 'service_role needs no policy');

-- A project with policies that are too kind.
create policy too_kind_reads on realtime.messages for select to anon, authenticated using (true);
create policy too_kind_writes on realtime.messages for insert to anon, authenticated with check (true);
select is(pg_temp.reads('authenticated', 'room:1'), 1::bigint, 'other topics are as they were');
select ok(pg_temp.writes('anon', 'room:1'), 'both ways');
select is(pg_temp.reads('authenticated', 'crossfade:shop:pod-1'), 0::bigint, 'ours stay closed to authenticated');
select is(pg_temp.reads('anon', 'crossfade:shop:pod-1'), 0::bigint, 'and to anon');
select ok(not pg_temp.writes('authenticated', 'crossfade:shop:pod-1'), 'nor may they write');
select ok(not pg_temp.writes('anon', 'crossfade:shop:pod-1'), 'either of them');

-- The example policy of the migration's comment does what it says.
drop policy too_kind_reads on realtime.messages;
create policy "users hear their own events" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'events:' || (select auth.uid())::text);
select set_config('request.jwt.claims', '{"sub": "6d1f8f0a-0000-8000-8000-000000000001"}', true);
select is(
  array[pg_temp.reads('authenticated', 'events:6d1f8f0a-0000-8000-8000-000000000001'),
        pg_temp.reads('authenticated', 'events:6d1f8f0a-0000-8000-8000-000000000002')],
  array[1, 0]::bigint[], 'a user hears the own topic and no other');

select * from finish();
rollback;
