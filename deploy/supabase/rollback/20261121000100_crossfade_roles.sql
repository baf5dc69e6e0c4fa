-- Undoes the migration of the same name.
drop schema if exists crossfade;
do $$
begin
  if exists (select from pg_catalog.pg_roles where rolname = 'crossfade_mirror') then
    revoke usage on schema public from crossfade_mirror;
    drop role crossfade_mirror;
  end if;
end
$$;
