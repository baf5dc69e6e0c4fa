-- Flags in Realtime's publication: sidecars hear a change at once instead of at their next poll. A few rows a day.
do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    raise notice 'publication supabase_realtime is not here: flags are found by polling';
  elsif not exists (
    select from pg_catalog.pg_publication_rel as member
    join pg_catalog.pg_publication as publication on publication.oid = member.prpubid
    where publication.pubname = 'supabase_realtime' and member.prrelid = 'public.crossfade_flags'::regclass
  ) then
    alter publication supabase_realtime add table public.crossfade_flags;
  end if;
end
$$;
