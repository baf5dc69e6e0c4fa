-- The rollout's flags, one versioned document for each service: the shared store of fleets without Redis.
-- A writer names the version that it has read: update … where service = S and version = V. No row, then somebody
-- was faster. The version rises by itself.
create table if not exists public.crossfade_flags (
  service text not null,
  version bigint not null default 1,
  document jsonb not null,
  updated_at timestamptz not null default now(),
  updated_by text,
  constraint crossfade_flags_pkey primary key (service),
  constraint crossfade_flags_document_check check (jsonb_typeof(document) = 'object')
);

comment on table public.crossfade_flags is 'Rollout flags of crossfade, one versioned document per service.';

create or replace function crossfade.flags_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    new.version := 1;
  else
    new.version := old.version + 1;
  end if;
  new.updated_at := pg_catalog.now();
  return new;
end
$$;
revoke all on function crossfade.flags_changed() from public;

create or replace trigger crossfade_flags_changed
  before insert or update on public.crossfade_flags
  for each row execute function crossfade.flags_changed();

revoke all on public.crossfade_flags from public;
do $$
declare
  reader text;
begin
  foreach reader in array array['anon', 'authenticated', 'service_role'] loop
    if exists (select from pg_catalog.pg_roles where rolname = reader) then
      execute format('revoke all on public.crossfade_flags from %I', reader);
    end if;
  end loop;
  if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
    grant select, insert, update, delete on public.crossfade_flags to service_role;
  end if;
end
$$;

alter table public.crossfade_flags enable row level security;

-- A sidecar reads its flags; only people, as service_role, write them.
grant select on public.crossfade_flags to crossfade_mirror;
drop policy if exists crossfade_mirror_reads on public.crossfade_flags;
create policy crossfade_mirror_reads on public.crossfade_flags
  for select to crossfade_mirror using (true);
