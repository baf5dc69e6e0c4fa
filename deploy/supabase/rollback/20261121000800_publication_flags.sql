-- Undoes the migration of the same name.
do $$
begin
  if exists (
    select from pg_catalog.pg_publication_rel as member
    join pg_catalog.pg_publication as publication on publication.oid = member.prpubid
    where publication.pubname = 'supabase_realtime' and member.prrelid = to_regclass('public.crossfade_flags')
  ) then
    alter publication supabase_realtime drop table public.crossfade_flags;
  end if;
end
$$;
