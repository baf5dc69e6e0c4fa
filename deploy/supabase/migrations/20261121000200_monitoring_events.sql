-- One row for each mirrored message that the table sink was asked to store. See docs/sinks.md.
--
-- (id, "timestamp") is the key: partitions by day need the time in it. Both follow from the message alone (id from
-- source instance, session, direction and seq; "timestamp" is when the sidecar saw it), so that writing a message
-- twice leaves one row.
create table if not exists public.monitoring_events (
  id uuid not null,
  event_type text not null,
  "timestamp" timestamptz not null,
  -- The message where it is JSON that PostgreSQL can hold, else null; `raw` has the bytes in any case.
  data jsonb,
  source text not null,
  created_at timestamptz not null default now(),
  instance text not null,
  session_no bigint not null,
  session_id text,
  dir text not null,
  seq bigint not null,
  op text not null,
  class text not null,
  path text not null,
  -- The bytes as carried, after redaction; `crc` is their CRC-32 (IEEE) in hex.
  raw bytea not null,
  crc text not null,
  redacted boolean not null default false,
  replay boolean not null default false,
  constraint monitoring_events_pkey primary key (id, "timestamp"),
  constraint monitoring_events_session_no_check check (session_no between 0 and 4294967295),
  constraint monitoring_events_seq_check check (seq >= 1),
  constraint monitoring_events_dir_check check (dir in ('up', 'down')),
  constraint monitoring_events_op_check check (op in ('text', 'binary')),
  constraint monitoring_events_class_check check (class in ('critical', 'high', 'medium', 'low')),
  constraint monitoring_events_crc_check check (crc ~ '^[0-9a-f]{8}$')
) partition by range ("timestamp");

comment on table public.monitoring_events is 'WebSocket messages mirrored by crossfade, partitioned by day (UTC).';

-- What no day's partition takes, so that an insert never fails for want of one; upkeep moves the rows later.
create table if not exists crossfade.monitoring_events_default partition of public.monitoring_events default;

-- What people ask: the latest of a type; one session in order (also what reconcile asks).
create index if not exists monitoring_events_type_time_idx
  on public.monitoring_events (event_type, "timestamp" desc);
create index if not exists monitoring_events_session_idx
  on public.monitoring_events (instance, session_no, dir, seq);

-- Supabase grants everything on new tables of `public` to these roles. A mirror of production traffic is nobody's to
-- read or rewrite; service_role reads it and prunes it.
revoke all on public.monitoring_events from public;
revoke all on crossfade.monitoring_events_default from public;
do $$
declare
  reader text;
begin
  foreach reader in array array['anon', 'authenticated', 'service_role'] loop
    if exists (select from pg_catalog.pg_roles where rolname = reader) then
      execute format('revoke all on public.monitoring_events from %I', reader);
      execute format('revoke all on crossfade.monitoring_events_default from %I', reader);
    end if;
  end loop;
  if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
    grant select, insert, delete on public.monitoring_events to service_role;
  end if;
end
$$;

alter table public.monitoring_events enable row level security;
alter table crossfade.monitoring_events_default enable row level security;

-- The sidecar adds rows. "on conflict (id, timestamp) do nothing" needs to read these two columns, and so does
-- reconcile, which asks which ids are there; it can read nothing else.
grant insert on public.monitoring_events to crossfade_mirror;
grant select (id, "timestamp") on public.monitoring_events to crossfade_mirror;
drop policy if exists crossfade_mirror_adds on public.monitoring_events;
create policy crossfade_mirror_adds on public.monitoring_events
  for insert to crossfade_mirror with check (true);
drop policy if exists crossfade_mirror_finds on public.monitoring_events;
create policy crossfade_mirror_finds on public.monitoring_events
  for select to crossfade_mirror using (true);
