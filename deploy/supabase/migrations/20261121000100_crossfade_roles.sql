-- The role that a sidecar acts as, so that its key need not be service_role's: it may add rows and read the flags,
-- and nothing else. Sign a JWT with {"role":"crossfade_mirror","exp":…} and give it as SUPABASE_KEY.
-- PostgREST (role authenticator) may switch to it.
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'crossfade_mirror') then
    create role crossfade_mirror nologin noinherit;
  end if;
  if exists (select from pg_catalog.pg_roles where rolname = 'authenticator') then
    grant crossfade_mirror to authenticator;
  end if;
end
$$;

-- Partitions and their upkeep live here. PostgREST does not expose it, and only its owner may use it.
create schema if not exists crossfade;
revoke all on schema crossfade from public;

grant usage on schema public to crossfade_mirror;
