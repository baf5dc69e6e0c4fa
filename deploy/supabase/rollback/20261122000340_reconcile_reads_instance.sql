-- Undoes the migration of the same name.
do $$
begin
  if to_regclass('public.monitoring_events') is not null
    and exists (select from pg_catalog.pg_roles where rolname = 'crossfade_mirror')
  then
    revoke select (instance) on public.monitoring_events from crossfade_mirror;
  end if;
end
$$;
