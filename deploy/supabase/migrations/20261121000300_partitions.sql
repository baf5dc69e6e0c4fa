-- Daily partitions (UTC): made ahead, dropped after their time. Owners only; a partition is a table like any other
-- to PostgreSQL, so each gets row level security and loses the grants that default privileges gave it.

-- Makes the partitions of `from_day` and the `days_ahead` days after it; rows of such a day that wait in the
-- default partition move into it. Returns how many were made.
create or replace function crossfade.make_partitions(days_ahead integer default 7, from_day date default null)
returns integer
language plpgsql
set search_path = ''
set timezone = 'UTC'
as $$
declare
  first_day date := coalesce(from_day, current_date);
  one_day date;
  partition_name text;
  grantee text;
  made integer := 0;
begin
  if days_ahead not between 0 and 366 then
    raise exception 'days_ahead is %, must be 0 to 366, for example 7', days_ahead
      using errcode = '22023';
  end if;
  -- Two upkeeps at once would each try to make the same partition.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('crossfade.partitions'));
  for one_day in select first_day + step from generate_series(0, days_ahead) as step loop
    partition_name := 'monitoring_events_p' || to_char(one_day, 'YYYYMMDD');
    continue when to_regclass(format('crossfade.%I', partition_name)) is not null;
    execute format(
      'create table crossfade.%I (like public.monitoring_events including defaults including constraints)',
      partition_name
    );
    execute format('revoke all on crossfade.%I from public', partition_name);
    foreach grantee in array array['anon', 'authenticated', 'service_role'] loop
      if exists (select from pg_catalog.pg_roles where rolname = grantee) then
        execute format('revoke all on crossfade.%I from %I', partition_name, grantee);
      end if;
    end loop;
    execute format('alter table crossfade.%I enable row level security', partition_name);
    execute format(
      'with moved as (delete from crossfade.monitoring_events_default '
      'where "timestamp" >= %1$L and "timestamp" < %2$L returning *) '
      'insert into crossfade.%3$I select * from moved',
      one_day::timestamptz, (one_day + 1)::timestamptz, partition_name
    );
    execute format(
      'alter table public.monitoring_events attach partition crossfade.%I for values from (%L) to (%L)',
      partition_name, one_day::timestamptz, (one_day + 1)::timestamptz
    );
    made := made + 1;
  end loop;
  return made;
end
$$;

-- Drops the partitions of days that ended at least `keep_days` days ago, and such rows of the default partition.
-- Returns how many partitions were dropped.
create or replace function crossfade.drop_partitions(keep_days integer default 30)
returns integer
language plpgsql
set search_path = ''
set timezone = 'UTC'
as $$
declare
  oldest_day date := current_date - keep_days;
  partition_name text;
  dropped integer := 0;
begin
  if keep_days not between 1 and 3660 then
    raise exception 'keep_days is %, must be 1 to 3660, for example 30', keep_days
      using errcode = '22023';
  end if;
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('crossfade.partitions'));
  for partition_name in
    select child.relname
    from pg_catalog.pg_inherits as link
    join pg_catalog.pg_class as child on child.oid = link.inhrelid
    where link.inhparent = 'public.monitoring_events'::regclass
      and child.relnamespace = 'crossfade'::regnamespace
      and child.relname ~ '^monitoring_events_p[0-9]{8}$'
      and to_date(right(child.relname, 8), 'YYYYMMDD') < oldest_day
    order by child.relname
  loop
    execute format('drop table crossfade.%I', partition_name);
    dropped := dropped + 1;
  end loop;
  delete from crossfade.monitoring_events_default where "timestamp" < oldest_day::timestamptz;
  return dropped;
end
$$;

-- What is to run once a day.
create or replace function crossfade.maintain(keep_days integer default 30, days_ahead integer default 7)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform crossfade.make_partitions(days_ahead);
  perform crossfade.drop_partitions(keep_days);
end
$$;

revoke all on function crossfade.make_partitions(integer, date) from public;
revoke all on function crossfade.drop_partitions(integer) from public;
revoke all on function crossfade.maintain(integer, integer) from public;

select crossfade.make_partitions();

-- With pg_cron the upkeep runs by itself, at a quarter past midnight UTC; without it, call crossfade.maintain()
-- daily from anywhere. Forgetting it loses nothing: rows then wait in the default partition.
do $$
begin
  if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
    perform cron.schedule('crossfade_maintain', '15 0 * * *', 'select crossfade.maintain()');
  else
    raise notice 'pg_cron is not here: call crossfade.maintain() once a day';
  end if;
end
$$;
