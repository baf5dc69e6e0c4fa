-- Who may join the private topics `crossfade:…`: the sidecar's role (and service_role, which no policy holds).
-- The restrictive policy keeps anon and authenticated out even where another policy says `using (true)`.
--
-- Topics for your own users (events, cold sessions) must not begin with `crossfade:`. A policy for them may look
-- like this; without one nobody but service_role hears anything:
--   create policy "users hear their own events" on realtime.messages for select to authenticated
--     using (extension = 'broadcast' and (select realtime.topic()) = 'events:' || (select auth.uid())::text);
do $$
declare
  topic constant text := '(coalesce((select realtime.topic()), '''') like ''crossfade:%'')';
begin
  if to_regclass('realtime.messages') is null then
    raise notice 'realtime.messages is not here: no policies for private topics';
    return;
  end if;
  begin
    grant usage on schema realtime to crossfade_mirror;
    grant select, insert on realtime.messages to crossfade_mirror;
    grant execute on function realtime.topic() to crossfade_mirror;
  exception when insufficient_privilege then
    raise warning 'crossfade_mirror cannot be given access to realtime.messages: use a service_role key';
  end;
  execute 'drop policy if exists crossfade_topics_closed on realtime.messages';
  execute 'create policy crossfade_topics_closed on realtime.messages as restrictive for all '
    'to anon, authenticated using (not ' || topic || ' and topic not like ''crossfade:%'') '
    'with check (not ' || topic || ' and topic not like ''crossfade:%'')';
  execute 'drop policy if exists crossfade_mirror_reads on realtime.messages';
  execute 'create policy crossfade_mirror_reads on realtime.messages for select '
    'to crossfade_mirror using (extension = ''broadcast'' and ' || topic || ')';
  execute 'drop policy if exists crossfade_mirror_writes on realtime.messages';
  execute 'create policy crossfade_mirror_writes on realtime.messages for insert '
    'to crossfade_mirror with check (extension = ''broadcast'' and ' || topic || ')';
end
$$;
