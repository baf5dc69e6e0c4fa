-- The validator's reports: what went in against what Realtime gave back, one row for each period.
create table if not exists public.crossfade_reports (
  service text not null,
  instance text not null,
  kind text not null,
  period_start timestamptz not null,
  period_end timestamptz not null,
  verdict text not null,
  report jsonb not null,
  created_at timestamptz not null default now(),
  -- Told twice is stored once.
  constraint crossfade_reports_pkey primary key (service, instance, kind, period_start),
  constraint crossfade_reports_period_check check (period_end >= period_start)
);

comment on table public.crossfade_reports is 'Reports of crossfade''s validator.';

create index if not exists crossfade_reports_time_idx on public.crossfade_reports (service, period_start desc);

revoke all on public.crossfade_reports from public;
do $$
declare
  reader text;
begin
  foreach reader in array array['anon', 'authenticated', 'service_role'] loop
    if exists (select from pg_catalog.pg_roles where rolname = reader) then
      execute format('revoke all on public.crossfade_reports from %I', reader);
    end if;
  end loop;
  if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
    grant select, insert, delete on public.crossfade_reports to service_role;
  end if;
end
$$;

alter table public.crossfade_reports enable row level security;

grant insert on public.crossfade_reports to crossfade_mirror;
grant select (service, instance, kind, period_start) on public.crossfade_reports to crossfade_mirror;
drop policy if exists crossfade_mirror_adds on public.crossfade_reports;
create policy crossfade_mirror_adds on public.crossfade_reports
  for insert to crossfade_mirror with check (true);
drop policy if exists crossfade_mirror_finds on public.crossfade_reports;
create policy crossfade_mirror_finds on public.crossfade_reports
  for select to crossfade_mirror using (true);
