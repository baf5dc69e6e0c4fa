-- OPTIONAL: leave this file out unless you need it.
--
-- WARNING. Adding monitoring_events to supabase_realtime makes Realtime read each stored row from the WAL once more
-- and check it against each subscriber's policies, in your database: the load that broadcasts avoid. Mirrored
-- messages already travel through Realtime as broadcasts.
-- Realtime reads by wal2json, which names the partition (crossfade.monitoring_events_pYYYYMMDD), never the parent:
-- a subscription to public.monitoring_events hears nothing, and publish_via_partition_root does not help (with it
-- the partitions are not even listed, so nothing is decoded). Subscribe to the day's partition.
--
-- crossfade_events is for readers by pgoutput (replicas, pipelines): there the parent's name is used.
-- publish_via_partition_root belongs to a publication as a whole, hence one of our own.
do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'crossfade_events') then
    create publication crossfade_events for table public.monitoring_events
      with (publish = 'insert', publish_via_partition_root = true);
  end if;
  if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime')
    and not exists (
      select from pg_catalog.pg_publication_rel as member
      join pg_catalog.pg_publication as publication on publication.oid = member.prpubid
      where publication.pubname = 'supabase_realtime' and member.prrelid = 'public.monitoring_events'::regclass
    ) then
    alter publication supabase_realtime add table public.monitoring_events;
  end if;
end
$$;
