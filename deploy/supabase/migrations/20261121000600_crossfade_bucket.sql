-- The rollout's bucket of a key, 0 to 99,999, in units of 0.001 %: in the cohort when bucket < percent * 1000.
--   bucket = (h * 100000) >> 64, h = first 8 bytes, big-endian, of SHA-256(salt || ':' || key)
-- In two halves, for h does not fit into a bigint: no step here exceeds 2^49.
create or replace function public.crossfade_bucket(salt text, key text)
returns integer
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
  select (((high * 100000 + ((low * 100000) >> 32)) >> 32))::integer
  from (
    select
      ('x' || substr(digest, 1, 8))::bit(32)::bigint as high,
      ('x' || substr(digest, 9, 8))::bit(32)::bigint as low
    from (
      select encode(sha256(convert_to(salt || ':' || key, 'UTF8')), 'hex') as digest
    ) as hashed
  ) as halves
$$;

comment on function public.crossfade_bucket(text, text) is 'Bucket of a rollout key, 0 to 99,999 (0.001 % each).';

revoke all on function public.crossfade_bucket(text, text) from public;
do $$
declare
  caller text;
begin
  foreach caller in array array['anon', 'authenticated', 'service_role'] loop
    if exists (select from pg_catalog.pg_roles where rolname = caller) then
      execute format('revoke all on function public.crossfade_bucket(text, text) from %I', caller);
    end if;
  end loop;
  if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
    grant execute on function public.crossfade_bucket(text, text) to service_role;
  end if;
end
$$;
grant execute on function public.crossfade_bucket(text, text) to crossfade_mirror;
