-- Undoes the migration of the same name.
do $$
begin
  if to_regclass('realtime.messages') is null then
    return;
  end if;
  drop policy if exists crossfade_topics_closed on realtime.messages;
  drop policy if exists crossfade_mirror_reads on realtime.messages;
  drop policy if exists crossfade_mirror_writes on realtime.messages;
  if exists (select from pg_catalog.pg_roles where rolname = 'crossfade_mirror') then
    -- The very privileges that were granted: "all" would be revoked in the owner's name, and we granted in ours.
    revoke select, insert on realtime.messages from crossfade_mirror;
    revoke execute on function realtime.topic() from crossfade_mirror;
    revoke usage on schema realtime from crossfade_mirror;
  end if;
end
$$;
