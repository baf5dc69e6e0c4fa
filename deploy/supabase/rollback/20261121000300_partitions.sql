-- Undoes the migration of the same name. Partitions that exist stay; no further ones are made or dropped.
do $$
begin
  if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
    perform cron.unschedule(jobid) from cron.job where jobname = 'crossfade_maintain';
  end if;
end
$$;
drop function if exists crossfade.maintain(integer, integer);
drop function if exists crossfade.drop_partitions(integer);
drop function if exists crossfade.make_partitions(integer, date);
